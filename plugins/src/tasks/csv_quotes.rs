//! Quotes of a table. The reader of tables takes a quote that is never closed as closed by the end of the file, and text behind a closing
//! quote as part of the cell; either way rows would be lost in silence.

/// Where a byte of a row stands.
#[derive(Clone, Copy)]
enum At {
    /// At the beginning of a cell, where a quote opens.
    Start,
    /// In a cell without quotes, where a quote is text like any other.
    Plain,
    /// In a cell that a quote opened.
    Quoted,
    /// Behind a quote in such a cell: the second of two is text, and any other ended the cell.
    Closing,
}

/// Looks at the quotes of a row as RFC 4180 reads them.
///
/// # Errors
/// If a quoted cell does not end, or goes on behind its closing quote: how many lines below the beginning of the text its quote opens, and
/// what is wrong.
pub(crate) fn check(raw: &str, delimiter: u8) -> Result<(), (usize, &'static str)> {
    let (mut at, mut lines, mut opened) = (At::Start, 0, 0);
    for byte in raw.bytes() {
        at = match (at, byte) {
            (At::Start, b'"') => {
                opened = lines;
                At::Quoted
            }
            (At::Quoted, b'"') => At::Closing,
            (At::Quoted, _) | (At::Closing, b'"') => At::Quoted,
            (_, b'\r' | b'\n') => At::Start,
            (_, byte) if byte == delimiter => At::Start,
            (At::Closing, _) => return Err((opened, "a quoted cell goes on behind its closing quote; a quote inside a quoted cell is written twice")),
            (At::Start | At::Plain, _) => At::Plain,
        };
        lines += usize::from(byte == b'\n');
    }
    if matches!(at, At::Quoted) { Err((opened, "a quote opens in this row and is never closed")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_sound_where_every_quoted_cell_ends() {
        for sound in ["a,b\n", "\"a\",\"b\nc\"\r\n", "5\" cut,6\"\n", "\"a \"\"b\"\"\",\"\"\n", "\n\n\"a\"", "a,\"\"\"\""] {
            assert_eq!(check(sound, b','), Ok(()), "{sound:?}");
        }
        assert_eq!(check("\"a\"\tb,\"c", b'\t'), Ok(()));
    }

    #[test]
    fn a_cell_that_stays_open_or_goes_on_is_found_with_the_line_of_its_quote() {
        let open = "a quote opens in this row and is never closed";
        let on = "a quoted cell goes on behind its closing quote; a quote inside a quoted cell is written twice";
        assert_eq!(check("5\" cut,\"x\nb,y\n", b','), Err((0, open)));
        assert_eq!(check("\n\"a\nb\",\"c\nd", b','), Err((2, open)));
        assert_eq!(check("a,\"x\nb,\"y\"\n", b','), Err((0, on)));
        assert_eq!(check("\"a\" b\n", b','), Err((0, on)));
    }
}
