//! Activation functions and their gradients.

use crate::lanes::Lanes;
use crate::math::{TAIL_END, exp, normal_tail, sigmoid, tanh};
use crate::parallel::{CHUNK, for_each_chunk};
use crate::simd::{kernel, simd};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / 2 (1 + erf(x / sqrt 2))`, which Hugging Face calls `gelu`.
    GeluErf,
    /// The approximation of GELU by a hyperbolic tangent, which Hugging Face calls `gelu_new` or `gelu_pytorch_tanh`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

/// `2 sqrt(2 / pi)`, twice the factor of the tangent's argument, for a logistic function of twice the argument takes the
/// tangent's place.
const GELU_SCALE: f32 = 1.595_769_2;
const GELU_CUBIC: f32 = 0.044_715;

/// `1 / sqrt(2 pi)`.
const DENSITY: f32 = 0.398_942_3;

/// The absolute value, no larger than where the tail of the normal distribution ends. NaN passes.
#[inline(always)]
fn magnitude<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    lanes.min(lanes.splat(TAIL_END), lanes.max(lanes.sub(lanes.zero(), x), x))
}

#[inline(always)]
fn gelu_erf<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    // Both sides differ from the rectifier by `|x|` times the tail, which loses no digits where 1 + erf would.
    let a = magnitude(lanes, x);
    let (tail, _) = normal_tail(lanes, a);
    gelu_erf_of_tail(lanes, x, a, tail)
}

#[inline(always)]
fn gelu_erf_of_tail<L: Lanes>(lanes: L, x: L::Vector, a: L::Vector, tail: L::Vector) -> L::Vector {
    lanes.sub_mul(lanes.max(lanes.zero(), x), a, tail)
}

/// The normal distribution function plus `x` times its density.
#[inline(always)]
fn gelu_erf_slope<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let a = magnitude(lanes, x);
    let (tail, power) = normal_tail(lanes, a);
    gelu_erf_slope_of_tail(lanes, x, a, tail, power)
}

#[inline(always)]
fn gelu_erf_slope_of_tail<L: Lanes>(lanes: L, x: L::Vector, a: L::Vector, tail: L::Vector, power: L::Vector) -> L::Vector {
    // On the left it is `tail - a density`, on the right 1 less that.
    let left = lanes.sub_mul(tail, lanes.mul(a, lanes.splat(DENSITY)), power);
    let one_less_twice = lanes.sub_mul(lanes.splat(1.0), lanes.splat(2.0), left);
    lanes.add(left, lanes.where_positive(x, one_less_twice))
}

/// The logistic function of this is the factor of `x` in the approximate GELU.
#[inline(always)]
fn gelu_tanh_argument<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let square = lanes.mul(x, x);
    let factor = lanes.mul_add(square, lanes.splat(GELU_SCALE * GELU_CUBIC), lanes.splat(GELU_SCALE));
    lanes.mul(x, factor)
}

#[inline(always)]
fn gelu_tanh<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    lanes.mul(x, sigmoid(lanes, gelu_tanh_argument(lanes, x)))
}

#[inline(always)]
fn gelu_tanh_slope<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    // Far out the slope is 0 or 1 to the last bit, and the limit keeps the power finite. NaN passes.
    let x = lanes.min(lanes.splat(10.0), lanes.max(lanes.splat(-10.0), x));
    let power = exp(lanes, lanes.sub(lanes.zero(), gelu_tanh_argument(lanes, x)));
    let one = lanes.splat(1.0);
    let s = lanes.div(one, lanes.add(one, power));
    // `power * s` is `1 - s` without the cancellation.
    let ds = lanes.mul(lanes.mul(power, s), s);
    let square = lanes.mul(x, x);
    let dargument = lanes.mul_add(square, lanes.splat(3.0 * GELU_SCALE * GELU_CUBIC), lanes.splat(GELU_SCALE));
    lanes.mul_add(lanes.mul(x, ds), dargument, s)
}

/// An activation function of each lane.
#[inline(always)]
pub(crate) fn activated<L: Lanes>(lanes: L, kind: Activation, x: L::Vector) -> L::Vector {
    match kind {
        Activation::GeluErf => gelu_erf(lanes, x),
        Activation::GeluTanh => gelu_tanh(lanes, x),
        Activation::Relu => lanes.max(lanes.zero(), x),
        Activation::Tanh => tanh(lanes, x),
    }
}

kernel! {
    pub(crate) fn forward<L>(lanes, kind: Activation, x: &[f32], y: &mut [f32]) {
        for start in (0..y.len()).step_by(L::WIDTH) {
            lanes.store(activated(lanes, kind, lanes.load(&x[start..])), &mut y[start..]);
        }
    }
}

kernel! {
    pub(crate) fn backward<L>(lanes, kind: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        macro_rules! map {
            ($x:ident, $dy:ident => $dx:expr) => {
                for start in (0..dx.len()).step_by(L::WIDTH) {
                    let $x = lanes.load(&x[start..]);
                    let $dy = lanes.load(&dy[start..]);
                    lanes.store($dx, &mut dx[start..]);
                }
            };
        }
        match kind {
            Activation::GeluErf => map!(x, dy => lanes.mul(dy, gelu_erf_slope(lanes, x))),
            Activation::GeluTanh => map!(x, dy => lanes.mul(dy, gelu_tanh_slope(lanes, x))),
            Activation::Relu => map!(x, dy => lanes.where_positive(x, dy)),
            Activation::Tanh => map!(x, dy => {
                let y = tanh(lanes, x);
                lanes.mul(dy, lanes.sub_mul(lanes.splat(1.0), y, y))
            }),
        }
    }
}

kernel! {
    /// The activation and `dy` times its slope, which share most of their work.
    pub(crate) fn both<L>(lanes, kind: Activation, x: &[f32], y: &mut [f32], dy: &mut [f32]) {
        macro_rules! map {
            ($x:ident => $pair:expr) => {
                for start in (0..dy.len()).step_by(L::WIDTH) {
                    let $x = lanes.load(&x[start..]);
                    let (value, slope) = $pair;
                    lanes.store(value, &mut y[start..]);
                    lanes.store(lanes.mul(lanes.load(&dy[start..]), slope), &mut dy[start..]);
                }
            };
        }
        match kind {
            Activation::GeluErf => map!(x => {
                let a = magnitude(lanes, x);
                let (tail, power) = normal_tail(lanes, a);
                (gelu_erf_of_tail(lanes, x, a, tail), gelu_erf_slope_of_tail(lanes, x, a, tail, power))
            }),
            Activation::GeluTanh => map!(x => (gelu_tanh(lanes, x), gelu_tanh_slope(lanes, x))),
            Activation::Relu => map!(x => (lanes.max(lanes.zero(), x), lanes.where_positive(x, lanes.splat(1.0)))),
            Activation::Tanh => map!(x => {
                let y = tanh(lanes, x);
                (y, lanes.sub_mul(lanes.splat(1.0), y, y))
            }),
        }
    }
}

/// `y = kind(x)`, element by element.
///
/// # Panics
///
/// The slices differ in length.
pub fn activation(kind: Activation, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == y.len(), "y must be as long as x: {} is not {}", y.len(), x.len());
    let simd = simd();
    for_each_chunk(y, CHUNK, |start, y| forward(simd, kind, &x[start..start + y.len()], y));
}

/// `dx = dy kind'(x)`, element by element, where `x` is the input of the activation.
///
/// # Panics
///
/// The slices differ in length.
pub fn activation_grad(kind: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dy.len(), "dy must be as long as x: {} is not {}", dy.len(), x.len());
    assert!(x.len() == dx.len(), "dx must be as long as x: {} is not {}", dx.len(), x.len());
    let simd = simd();
    for_each_chunk(dx, CHUNK, |start, dx| {
        let end = start + dx.len();
        backward(simd, kind, &x[start..end], &dy[start..end], dx);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::erf_f64;
    use crate::parallel::tests::{same_on_any_pool, values};
    use crate::simd::Simd;

    const ALL: [Activation; 4] = [Activation::GeluErf, Activation::GeluTanh, Activation::Relu, Activation::Tanh];

    fn reference(kind: Activation, x: f64) -> f64 {
        match kind {
            Activation::GeluErf => 0.5 * x * (1.0 + erf_f64(x / 2f64.sqrt())),
            Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
            Activation::Relu => x.max(0.0),
            Activation::Tanh => x.tanh(),
        }
    }

    /// From -12 to 12, avoiding the corner of the rectifier.
    fn grid() -> Vec<f32> {
        (0..24_001u16).map(|i| (f32::from(i) - 12_000.5) / 1000.0).collect()
    }

    #[test]
    fn known_values_come_out() {
        for (kind, expected) in [
            (Activation::GeluErf, [-0.158_655_26, 0.0, 0.841_344_7]),
            (Activation::GeluTanh, [-0.158_808, 0.0, 0.841_192]),
            (Activation::Relu, [0.0, 0.0, 1.0]),
            (Activation::Tanh, [-0.761_594_2, 0.0, 0.761_594_2]),
        ] {
            let mut y = [9.0; 3];
            activation(kind, &[-1.0, 0.0, 1.0], &mut y);
            for (y, expected) in y.iter().zip(expected) {
                assert!((y - expected).abs() < 1e-6, "{kind:?} {y} {expected}");
            }
        }
    }

    #[test]
    fn every_path_is_within_half_a_millionth_of_double_precision() {
        let x = grid();
        for kind in ALL {
            for simd in Simd::supported() {
                let mut y = vec![0.0; x.len()];
                forward(simd, kind, &x, &mut y);
                for (x, y) in x.iter().zip(&y) {
                    let expected = reference(kind, f64::from(*x));
                    // Beyond 4 the spacing of single precision alone is near the bound.
                    let bound = 5e-7 * (expected.abs() / 4.0).max(1.0);
                    assert!((f64::from(*y) - expected).abs() <= bound, "{simd} {kind:?} {x} {y} {expected}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        let x = grid();
        let dy = vec![2.0; x.len()];
        let step = 1e-5;
        for kind in ALL {
            for simd in Simd::supported() {
                let mut dx = vec![9.0; x.len()];
                backward(simd, kind, &x, &dy, &mut dx);
                for (x, dx) in x.iter().zip(&dx) {
                    let x = f64::from(*x);
                    let expected = (reference(kind, x + step) - reference(kind, x - step)) / step;
                    assert!((f64::from(*dx) - expected).abs() < 3e-6, "{simd} {kind:?} {x} {dx} {expected}");
                }
            }
        }
    }

    #[test]
    fn extreme_inputs_give_limits() {
        let x = [f32::NEG_INFINITY, -1e20, 1e20, f32::INFINITY];
        for simd in Simd::supported() {
            for kind in ALL {
                let mut dx = [9.0; 4];
                backward(simd, kind, &x[1..3], &[1.0; 2], &mut dx[..2]);
                let slopes = if kind == Activation::Tanh { [0.0, 0.0] } else { [0.0, 1.0] };
                assert!(dx.iter().zip(slopes).all(|(dx, slope)| (dx - slope).abs() < 1e-30), "{simd} {kind:?} {dx:?}");
            }
            let mut y = [9.0; 4];
            forward(simd, Activation::Tanh, &x, &mut y);
            assert_eq!(y, [-1.0, -1.0, 1.0, 1.0], "{simd}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (x, dy) = (values(100_003, 1), values(100_003, 2));
        for kind in ALL {
            same_on_any_pool(|| {
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                activation(kind, &x, &mut y);
                activation_grad(kind, &x, &dy, &mut dx);
                [y, dx].concat()
            });
        }
    }

    #[test]
    fn nothing_gives_nothing() {
        activation(Activation::GeluErf, &[], &mut []);
        activation_grad(Activation::GeluErf, &[], &[], &mut []);
    }
}
