//! Exponential, normal distribution and hyperbolic tangent on vectors, without branches.

use crate::lanes::Lanes;

/// Below this `exp` is 0, so nothing smaller needs to be told apart, and minus infinity becomes harmless.
const EXP_LOWEST: f32 = -105.0;

/// Above this `exp` is infinite.
const EXP_HIGHEST: f32 = 89.0;

/// `ln 2` in two parts. The first has trailing zeros, so its product with a small whole number is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `(e^r - 1 - r) / r^2` for `|r| <= ln 2 / 2`, the lowest degree first. The fit is good to 5e-9 of `e^r`.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_393, 0.008_368_781, 0.001_381_450_1];

/// Splits `x` into `n ln 2 + r` and returns `n` and `e^r - 1`.
#[inline(always)]
fn exp_parts<L: Lanes>(lanes: L, x: L::Vector) -> (L::Vector, L::Vector) {
    // The constants come first, so that a value that is not a number survives both.
    let x = lanes.min(lanes.splat(EXP_HIGHEST), lanes.max(lanes.splat(EXP_LOWEST), x));
    let n = lanes.round(lanes.mul(x, lanes.splat(std::f32::consts::LOG2_E)));
    let r = lanes.sub_mul(x, n, lanes.splat(LN_2_HIGH));
    let r = lanes.sub_mul(r, n, lanes.splat(LN_2_LOW));
    let polynomial = horner(lanes, r, &EXP);
    (n, lanes.mul_add(lanes.mul(r, r), polynomial, r))
}

/// `e^x`, to about one unit in the last place. It is 0 for everything below -105, infinite above 88.73.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let (n, less_one) = exp_parts(lanes, x);
    lanes.scale_by_power(lanes.add(less_one, lanes.splat(1.0)), n)
}

/// The probability that a normal variable exceeds `a`, divided by `e^(-a^2 / 2)`, as a quotient of polynomials for
/// `0 <= a <= 14.5`, the lowest degrees first, good to 4e-8. All terms are positive, so nothing cancels.
const TAIL_NUMERATOR: [f32; 5] = [0.5, 0.438_293_93, 0.183_234_33, 0.040_632_94, 0.004_116_262_3];
const TAIL_DENOMINATOR: [f32; 6] = [1.0, 1.674_472_8, 1.202_499_9, 0.469_468_47, 0.101_858_124, 0.010_317_82];

/// Beyond this the tail of the normal distribution is 0 in single precision.
pub(crate) const TAIL_END: f32 = 14.5;

/// For `a` from 0 to [`TAIL_END`]: the probability that a normal variable exceeds it, and `e^(-a^2 / 2)`.
#[inline(always)]
pub(crate) fn normal_tail<L: Lanes>(lanes: L, a: L::Vector) -> (L::Vector, L::Vector) {
    let power = exp(lanes, lanes.mul(lanes.mul(a, a), lanes.splat(-0.5)));
    let quotient = lanes.div(horner(lanes, a, &TAIL_NUMERATOR), horner(lanes, a, &TAIL_DENOMINATOR));
    (lanes.mul(power, quotient), power)
}

/// The hyperbolic tangent, accurate near 0 too.
#[inline(always)]
pub(crate) fn tanh<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    // (e^2x - 1) / (e^2x + 1), with `e^2x - 1` taken before it could cancel. At 20 both are equal in single precision.
    let x = lanes.min(lanes.splat(20.0), lanes.max(lanes.splat(-20.0), x));
    let (n, less_one) = exp_parts(lanes, lanes.add(x, x));
    let one = lanes.splat(1.0);
    let power = lanes.scale_by_power(one, n);
    let less_one = lanes.mul_add(power, less_one, lanes.sub(power, one));
    lanes.div(less_one, lanes.add(less_one, lanes.splat(2.0)))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let one = lanes.splat(1.0);
    lanes.div(one, lanes.add(one, exp(lanes, lanes.sub(lanes.zero(), x))))
}

/// A polynomial at `x`, the lowest degree first.
#[inline(always)]
fn horner<L: Lanes, const N: usize>(lanes: L, x: L::Vector, coefficients: &[f32; N]) -> L::Vector {
    let mut value = lanes.splat(coefficients[N - 1]);
    for coefficient in coefficients[..N - 1].iter().rev() {
        value = lanes.mul_add(value, x, lanes.splat(*coefficient));
    }
    value
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{exp, normal_tail, sigmoid, tanh};
    use crate::lanes::Lanes;
    use crate::simd::{Simd, kernel};

    #[inline(always)]
    fn tail<L: Lanes>(lanes: L, a: L::Vector) -> L::Vector {
        normal_tail(lanes, a).0
    }

    macro_rules! mapped {
        ($name:ident, $function:ident) => {
            kernel! {
                fn $name<L>(lanes, x: &[f32], y: &mut [f32]) {
                    for start in (0..x.len()).step_by(L::WIDTH) {
                        lanes.store($function(lanes, lanes.load(&x[start..])), &mut y[start..]);
                    }
                }
            }
        };
    }
    mapped!(all_exp, exp);
    mapped!(all_tails, tail);
    mapped!(all_tanh, tanh);
    mapped!(all_sigmoid, sigmoid);

    /// The error function in double precision: its series near 0, a continued fraction of its complement beyond.
    pub(crate) fn erf_f64(x: f64) -> f64 {
        let a = x.abs();
        let value = if a < 3.0 {
            let mut term = a;
            let mut sum = a;
            for n in 1..200 {
                term *= -a * a / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let mut fraction = a;
            for n in (1..60).rev() {
                fraction = a + f64::from(n) / 2.0 / fraction;
            }
            1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / fraction
        };
        value.copysign(x)
    }

    fn grid(from: f64, to: f64) -> Vec<f32> {
        (0..=40_000).map(|i| (from + (to - from) * f64::from(i) / 40_000.0) as f32).collect()
    }

    fn worst(map: fn(Simd, &[f32], &mut [f32]), x: &[f32], reference: impl Fn(f64) -> f64, error: impl Fn(f64, f64) -> f64) -> f64 {
        let mut worst: f64 = 0.0;
        for simd in Simd::supported() {
            let mut y = vec![0.0; x.len()];
            map(simd, x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                assert!(!y.is_nan(), "{simd} at {x}");
                worst = worst.max(error(f64::from(*y), reference(f64::from(*x))));
            }
        }
        worst
    }

    fn relative(value: f64, reference: f64) -> f64 {
        if value == reference { 0.0 } else { ((value - reference) / reference).abs() }
    }

    #[test]
    fn the_reference_error_function_is_right() {
        assert!((erf_f64(0.5) - 0.520_499_877_813_046_5).abs() < 1e-14);
        assert!((erf_f64(-4.0) + 0.999_999_984_582_742_1).abs() < 1e-14);
        assert!((erf_f64(2.999_999) - erf_f64(3.000_001)).abs() < 1e-8);
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let worst = worst(all_exp, &grid(-87.0, 88.0), f64::exp, relative);
        assert!(worst < 1.3e-7, "{worst:e}");
    }

    #[test]
    fn exp_is_zero_far_below_and_infinite_far_above() {
        for simd in Simd::supported() {
            let mut y = [0.5; 5];
            all_exp(simd, &[f32::NEG_INFINITY, -1e30, -110.0, 1e30, f32::INFINITY], &mut y);
            assert_eq!(y, [0.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY], "{simd}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for simd in Simd::supported() {
            for map in [all_exp, all_tails, all_tanh, all_sigmoid] {
                let mut y = [0.0];
                map(simd, &[f32::NAN], &mut y);
                assert!(y[0].is_nan(), "{simd}");
            }
        }
    }

    #[test]
    fn the_tail_is_right_to_seven_digits() {
        let worst = worst(all_tails, &grid(0.0, 14.5), |a| 0.5 - 0.5 * erf_f64(a / 2f64.sqrt()), |a, b| (a - b).abs());
        assert!(worst < 1e-7, "{worst:e}");
    }

    #[test]
    fn tanh_is_within_a_few_units_in_the_last_place() {
        for x in [grid(-12.0, 12.0), grid(-1e-3, 1e-3)] {
            let worst = worst(all_tanh, &x, f64::tanh, relative);
            assert!(worst < 4e-7, "{worst:e}");
        }
    }

    #[test]
    fn sigmoid_is_within_a_few_units_in_the_last_place() {
        let worst = worst(all_sigmoid, &grid(-80.0, 80.0), |x| 1.0 / (1.0 + (-x).exp()), relative);
        assert!(worst < 4e-7, "{worst:e}");
    }

    #[test]
    fn exp_and_tanh_of_zero_are_exact() {
        for simd in Simd::supported() {
            let mut y = [9.0, 9.0];
            all_exp(simd, &[0.0, -0.0], &mut y);
            assert_eq!(y, [1.0, 1.0]);
            all_tanh(simd, &[0.0, -0.0], &mut y);
            assert_eq!(y, [0.0, 0.0]);
        }
    }
}
