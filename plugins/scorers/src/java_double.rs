//! Numbers as Java prints them.

/// A number as `Double.toString` of Java writes it: at least one digit behind the point, and powers of ten outside [1e-3, 1e7).
pub(crate) fn double_text(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "NaN".into() } else { format!("{}Infinity", if value < 0.0 { "-" } else { "" }) };
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_java() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1.0 / 18.0, "0.05555555555555555"),
            (0.001, "0.001"),
            (0.0005, "5.0E-4"),
            (0.000_125, "1.25E-4"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (-2.5, "-2.5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double_text(value), text);
        }
    }
}
