//! JSON as Python's `json.dumps` writes it, so that files compare byte for byte.

use std::fmt::Write;

/// Appends a string with everything outside ASCII escaped.
pub(crate) fn string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// Appends `round(value, 6)`.
pub(crate) fn rounded(value: f64, out: &mut String) {
    // Rust and Python both round the exact binary value, ties to even.
    let rounded: f64 = format!("{value:.6}").parse().unwrap_or(value);
    number(rounded, out);
}

/// Appends the `repr` of a double: the shortest digits that mean it, with an exponent below 1e-4 and from 1e16 on.
fn number(value: f64, out: &mut String) {
    if !value.is_finite() {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
        return;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
    } else {
        // `{:?}` writes the shortest digits and keeps `.0`.
        let _ = if size.fract() == 0.0 { write!(out, "{value:.1}") } else { write!(out, "{value}") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: f64) -> String {
        let mut text = String::new();
        rounded(value, &mut text);
        text
    }

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        // Each by `json.dumps(round(x, 6))` of Python 3.11.
        for (value, expected) in [
            (0.5, "0.5"),
            (-1e-9, "-0.0"),
            (0.0, "0.0"),
            (1.2e-6, "1e-06"),
            (-1.23e-5, "-1.2e-05"),
            (0.0001, "0.0001"),
            (0.000_099_9, "0.0001"),
            (0.007_812_5, "0.007812"), // a tie: to even
            (0.023_437_5, "0.023438"), // a tie: to even
            (3.0, "3.0"),
            (f64::from(0.1f32), "0.1"),
            (-12.345_678_9, "-12.345679"),
            (123_456_789.123_456_78, "123456789.123457"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(shown(value), expected, "{value:e}");
        }
    }

    #[test]
    fn strings_are_ascii() {
        let mut text = String::new();
        string("a\"\\\n\u{1}é肝😀\u{7f}", &mut text);
        assert_eq!(text, r#""a\"\\\n\u0001\u00e9\u809d\ud83d\ude00\u007f""#);
    }
}
