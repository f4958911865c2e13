//! Bytes as lines of text, with the line of what is wrong.

use crate::{Error, Result};

/// The lines of a text, without their ends. A last line may lack its end.
///
/// # Errors
///
/// If there is nothing, a byte is not UTF-8, the text begins with a byte order mark, or a line ends in a carriage return: such a mark becomes part of the
/// first word and of every label, which then match nothing.
pub fn text_lines<'a>(bytes: &'a [u8], file: &str) -> Result<Vec<&'a str>> {
    let text = text(bytes, file)?;
    if text.is_empty() {
        return Err(Error::file(file, "the file is empty"));
    }
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    if let Some(at) = lines.iter().position(|line| line.ends_with('\r')) {
        return Err(Error::at(
            file,
            at + 1,
            "the line ends in a carriage return (as Windows writes lines); convert the file to lines that end in a line feed only",
        ));
    }
    Ok(lines)
}

/// The bytes as text.
pub(crate) fn text<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Error::at(file, 1, "the file begins with a byte order mark; save it as UTF-8 without one"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let line = bytes[..at].split(|byte| *byte == b'\n').count();
        Error::at(file, line, format!("byte 0x{:02x} is not UTF-8; save the file as UTF-8", bytes[at]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_may_lack_its_end() {
        assert_eq!(text_lines(b"a\n\nb\n", "f").unwrap(), ["a", "", "b"]);
        assert_eq!(text_lines(b"a\n\nb", "f").unwrap(), ["a", "", "b"]);
        assert_eq!(text_lines(b"\n", "f").unwrap(), [""]);
    }

    #[test]
    fn what_would_hide_in_a_label_is_refused_with_its_line() {
        for (bytes, message) in [
            (&b""[..], "f: the file is empty"),
            (b"a\nb\xff\n", "f:2: byte 0xff is not UTF-8; save the file as UTF-8"),
            (b"\xef\xbb\xbfa\n", "f:1: the file begins with a byte order mark; save it as UTF-8 without one"),
            (b"a\nb\r\nc\n", "f:2: the line ends in a carriage return (as Windows writes lines); convert the file to lines that end in a line feed only"),
        ] {
            assert_eq!(text_lines(bytes, "f").unwrap_err().to_string(), message);
        }
    }
}
