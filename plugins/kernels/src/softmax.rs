//! The logarithm of the softmax of rows and its gradient.

use crate::lanes::Lanes;
use crate::math::exp;
use crate::parallel::{for_each_chunk, rows_per_chunk};
use crate::simd::{kernel, simd};

/// Floats summed in single precision before the sum goes on in double precision: a vocabulary is wide.
const BLOCK: usize = 512;

/// The largest value of a row.
#[inline(always)]
fn largest<L: Lanes>(lanes: L, row: &[f32]) -> f32 {
    let mut best = lanes.splat(f32::NEG_INFINITY);
    for start in (0..row.len()).step_by(L::WIDTH) {
        best = lanes.max(best, lanes.load_or(&row[start..], f32::NEG_INFINITY));
    }
    lanes.largest(best)
}

kernel! {
    fn forward<L>(lanes, x: &[f32], width: usize, y: &mut [f32]) {
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let top = largest(lanes, x);
            let tops = lanes.splat(top);
            let mut total = 0.0;
            for block in x.chunks(BLOCK) {
                let mut sum = lanes.zero();
                for start in (0..block.len()).step_by(L::WIDTH) {
                    let value = lanes.load_or(&block[start..], f32::NEG_INFINITY);
                    sum = lanes.add(sum, exp(lanes, lanes.sub(value, tops)));
                }
                total += f64::from(lanes.sum(sum));
            }
            let logarithm = lanes.splat(total.ln() as f32);
            for start in (0..width).step_by(L::WIDTH) {
                // The largest goes first: the difference of near values is exact.
                let value = lanes.sub(lanes.sub(lanes.load(&x[start..]), tops), logarithm);
                lanes.store(value, &mut y[start..]);
            }
        }
    }
}

kernel! {
    fn backward<L>(lanes, y: &[f32], dy: &[f32], width: usize, dx: &mut [f32]) {
        let rows = y.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((y, dy), dx) in rows {
            let mut total = 0.0;
            for block in dy.chunks(BLOCK) {
                let mut sum = lanes.zero();
                for start in (0..block.len()).step_by(L::WIDTH) {
                    sum = lanes.add(sum, lanes.load(&block[start..]));
                }
                total += f64::from(lanes.sum(sum));
            }
            let total = lanes.splat(total as f32);
            for start in (0..width).step_by(L::WIDTH) {
                let probability = exp(lanes, lanes.load(&y[start..]));
                lanes.store(lanes.sub_mul(lanes.load(&dy[start..]), probability, total), &mut dx[start..]);
            }
        }
    }
}

/// `y` = the logarithm of the softmax of each row of `x(rows, width)`.
///
/// # Panics
///
/// `x` is not whole rows, or `y` is not as long.
pub fn log_softmax(x: &[f32], width: usize, y: &mut [f32]) {
    check(x, width, y);
    let simd = simd();
    for_each_chunk(y, rows_per_chunk(width) * width, |start, y| forward(simd, &x[start..start + y.len()], width, y));
}

/// The gradient of [`log_softmax`] by its input, from its output `y(rows, width)` and `dy(rows, width)`.
///
/// # Panics
///
/// `y` is not whole rows, or another slice is not as long.
pub fn log_softmax_grad(y: &[f32], dy: &[f32], width: usize, dx: &mut [f32]) {
    check(y, width, dy);
    check(y, width, dx);
    let simd = simd();
    for_each_chunk(dx, rows_per_chunk(width) * width, |start, dx| {
        let end = start + dx.len();
        backward(simd, &y[start..end], &dy[start..end], width, dx);
    });
}

fn check(x: &[f32], width: usize, y: &[f32]) {
    assert!(x.is_empty() || (width > 0 && x.len().is_multiple_of(width)), "the input must be (rows, width): {} is no multiple of {width}", x.len());
    assert!(x.len() == y.len(), "the slices must be of one length: {} is not {}", y.len(), x.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, same_on_any_pool, values};
    use crate::simd::Simd;

    fn reference(x: &[f32], width: usize) -> Vec<f64> {
        let mut y = Vec::new();
        for row in x.chunks_exact(width) {
            let sum: f64 = row.iter().map(|value| f64::from(*value).exp()).sum();
            y.extend(row.iter().map(|value| f64::from(*value) - sum.ln()));
        }
        y
    }

    #[test]
    fn equal_values_share_the_probability() {
        let mut y = [0.0; 4];
        log_softmax(&[5.0; 4], 4, &mut y);
        assert!(y.iter().all(|value| (value + 4f32.ln()).abs() < 1e-7));
    }

    #[test]
    fn huge_and_masked_values_do_no_harm() {
        let mut y = [0.0; 3];
        log_softmax(&[3e38, f32::NEG_INFINITY, -3e38], 3, &mut y);
        assert_eq!(y, [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
    }

    #[test]
    fn every_path_agrees_with_double_precision_for_any_width() {
        for width in [1, 2, 15, 16, 33, 1000, 30_522] {
            let x: Vec<f32> = values(3 * width, 1).iter().map(|value| value * 8.0).collect();
            let expected: Vec<f32> = reference(&x, width).iter().map(|value| *value as f32).collect();
            for simd in Simd::supported() {
                let mut y = vec![0.0; x.len()];
                forward(simd, &x, width, &mut y);
                assert!(distance(&y, &expected) < 1e-6, "{simd} {width}");
            }
        }
    }

    #[test]
    fn the_gradient_is_the_finite_difference() {
        for width in [1, 5, 33] {
            let (x, dy) = (values(2 * width, 1), values(2 * width, 2));
            let loss = |x: &[f32]| -> f64 { reference(x, width).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum() };
            let expected: Vec<f32> = (0..x.len())
                .map(|index| {
                    let moved = |by: f32| {
                        let mut x = x.clone();
                        x[index] += by;
                        (loss(&x), f64::from(x[index]))
                    };
                    let ((high, at_high), (low, at_low)) = (moved(1e-3), moved(-1e-3));
                    ((high - low) / (at_high - at_low)) as f32
                })
                .collect();
            for simd in Simd::supported() {
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![9.0; x.len()]);
                forward(simd, &x, width, &mut y);
                backward(simd, &y, &dy, width, &mut dx);
                assert!(distance(&dx, &expected) < 2e-6, "{simd} {width}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (x, dy) = (values(70 * 1001, 1), values(70 * 1001, 2));
        same_on_any_pool(|| {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            log_softmax(&x, 1001, &mut y);
            log_softmax_grad(&y, &dy, 1001, &mut dx);
            [y, dx].concat()
        });
    }

    #[test]
    fn no_rows_give_nothing() {
        log_softmax(&[], 5, &mut []);
        log_softmax_grad(&[], &[], 0, &mut []);
    }
}
