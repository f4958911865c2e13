//! Numbers as Python prints them.

/// A single-precision number as `str(numpy.float32)` writes it: the shortest text that reads back as the same number.
pub fn float32_text(value: f32) -> String {
    let exact = f64::from(value);
    layout(exact, &nearest_shortest(exact, format!("{value:e}"), |text| text.parse() == Ok(value)))
}

/// A number as Python's `repr(float)` writes it.
pub fn float64_text(value: f64) -> String {
    layout(value, &nearest_shortest(value, format!("{value:e}"), |text| text.parse() == Ok(value)))
}

/// Of the shortest texts that read back as the number the nearest, the even one of two: Rust leaves open which of them it writes.
fn nearest_shortest(exact: f64, shortest: String, reads_back: impl Fn(&str) -> bool) -> String {
    let digits = shortest.split('e').next().map_or(0, |mantissa| mantissa.bytes().filter(u8::is_ascii_digit).count());
    let nearest = format!("{exact:.*e}", digits.saturating_sub(1));
    if reads_back(&nearest) { nearest } else { shortest }
}

/// Lays out the shortest digits: with powers of ten below 1e-4 and from 1e16.
fn layout(value: f64, scientific: &str) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is an integer");
    if !(-4..16).contains(&exponent) {
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    if exponent < 0 {
        format!("{sign}0.{}{digits}", "0".repeat(usize::try_from(-exponent - 1).expect("a negative exponent")))
    } else if digits.len() <= whole {
        format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()))
    } else {
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The texts are those of Python 3.11 and numpy 2.
    #[test]
    fn single_precision_looks_as_in_numpy() {
        for (value, text) in [
            (0.0f32, "0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.999_876, "0.999876"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.234_5e-5, "1.2345e-05"),
            (2.560_012_3e-8, "2.5600123e-08"),
            (1.0 / 3.0, "0.33333334"),
            (-0.5, "-0.5"),
            (123_456.0, "123456.0"),
            // Exactly 30.8515625: half-way between two texts of eight digits.
            (f32::from_bits(0x41F6_D000), "30.851562"),
        ] {
            assert_eq!(float32_text(value), text);
        }
    }

    #[test]
    fn double_precision_looks_as_in_python() {
        for (value, text) in [
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1.5e300, "1.5e+300"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "-0.0"),
            (0.000_123, "0.000123"),
            (f64::NAN, "nan"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float64_text(value), text);
        }
    }
}
