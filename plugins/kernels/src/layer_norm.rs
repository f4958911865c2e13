//! Layer normalisation and its gradient.

use rayon::prelude::*;

use crate::lanes::Lanes;
use crate::parallel::{add_parts, for_each_chunk, rows_per_chunk};
use crate::simd::{kernel, simd};

/// The mean of a row and one over its standard deviation, in two passes: the variance of the differences loses nothing.
#[inline(always)]
fn statistics<L: Lanes>(lanes: L, row: &[f32], eps: f32) -> (f32, f32) {
    let width = row.len() as f32;
    let mut sums = [lanes.zero(); 2];
    for start in (0..row.len()).step_by(2 * L::WIDTH) {
        sums[0] = lanes.add(sums[0], lanes.load(&row[start..]));
        if let Some(rest) = row.get(start + L::WIDTH..) {
            sums[1] = lanes.add(sums[1], lanes.load(rest));
        }
    }
    let mean = lanes.sum(lanes.add(sums[0], sums[1])) / width;
    let means = lanes.splat(mean);
    let mut squares = [lanes.zero(); 2];
    for start in (0..row.len()).step_by(2 * L::WIDTH) {
        // Lanes beyond the row hold the mean, so they add nothing.
        let difference = lanes.sub(lanes.load_or(&row[start..], mean), means);
        squares[0] = lanes.mul_add(difference, difference, squares[0]);
        if let Some(rest) = row.get(start + L::WIDTH..) {
            let difference = lanes.sub(lanes.load_or(rest, mean), means);
            squares[1] = lanes.mul_add(difference, difference, squares[1]);
        }
    }
    let variance = lanes.sum(lanes.add(squares[0], squares[1])) / width;
    (mean, 1.0 / (variance + eps).sqrt())
}

kernel! {
    fn forward<L>(lanes, x: &[f32], gain: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let width = gain.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, scale) = statistics(lanes, x, eps);
            let (mean, scale) = (lanes.splat(mean), lanes.splat(scale));
            for start in (0..width).step_by(L::WIDTH) {
                let normal = lanes.mul(lanes.sub(lanes.load(&x[start..]), mean), scale);
                let value = lanes.mul_add(normal, lanes.load(&gain[start..]), lanes.load(&bias[start..]));
                lanes.store(value, &mut y[start..]);
            }
        }
    }
}

kernel! {
    /// Overwrites `dx` and adds into `dgain` and `dbias`.
    fn backward<L>(
        lanes,
        x: &[f32],
        gain: &[f32],
        dy: &[f32],
        eps: f32,
        dx: &mut [f32],
        dgain: &mut [f32],
        dbias: &mut [f32],
    ) {
        let width = gain.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((x, dy), dx) in rows {
            let (mean, scale) = statistics(lanes, x, eps);
            let (mean, scale) = (lanes.splat(mean), lanes.splat(scale));
            let mut sum = lanes.zero();
            let mut dot = lanes.zero();
            for start in (0..width).step_by(L::WIDTH) {
                let normal = lanes.mul(lanes.sub(lanes.load(&x[start..]), mean), scale);
                let dy = lanes.load(&dy[start..]);
                let dnormal = lanes.mul(dy, lanes.load(&gain[start..]));
                sum = lanes.add(sum, dnormal);
                dot = lanes.mul_add(dnormal, normal, dot);
                lanes.store(lanes.mul_add(dy, normal, lanes.load(&dgain[start..])), &mut dgain[start..]);
                lanes.store(lanes.add(dy, lanes.load(&dbias[start..])), &mut dbias[start..]);
            }
            let sum = lanes.splat(lanes.sum(sum) / width as f32);
            let dot = lanes.splat(lanes.sum(dot) / width as f32);
            for start in (0..width).step_by(L::WIDTH) {
                let normal = lanes.mul(lanes.sub(lanes.load(&x[start..]), mean), scale);
                let dnormal = lanes.mul(lanes.load(&dy[start..]), lanes.load(&gain[start..]));
                let value = lanes.sub_mul(lanes.sub(dnormal, sum), normal, dot);
                lanes.store(lanes.mul(value, scale), &mut dx[start..]);
            }
        }
    }
}

/// Normalises each row of `x(rows, width)` to mean 0 and variance 1, then scales by `gain(width)` and adds `bias(width)`.
///
/// The variance is the biased one, as in BERT, and `eps` is added to it.
///
/// # Panics
///
/// `x` is not whole rows, or another slice has not the length its shape says.
pub fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    check(x, gain, bias, y);
    let width = gain.len();
    let simd = simd();
    for_each_chunk(y, rows_per_chunk(width) * width, |start, y| {
        forward(simd, &x[start..start + y.len()], gain, bias, eps, y);
    });
}

/// The gradients of [`layer_norm`] by `x`, `gain` and `bias`, from `x(rows, width)` and `dy(rows, width)`.
///
/// # Panics
///
/// `x` is not whole rows, or another slice has not the length its shape says.
pub fn layer_norm_grad(x: &[f32], gain: &[f32], dy: &[f32], eps: f32, dx: &mut [f32], dgain: &mut [f32], dbias: &mut [f32]) {
    check(x, gain, dbias, dx);
    assert!(dy.len() == x.len(), "dy must be as long as x: {} is not {}", dy.len(), x.len());
    assert!(dgain.len() == gain.len(), "dgain must be as long as gain: {} is not {}", dgain.len(), gain.len());
    let width = gain.len();
    dgain.fill(0.0);
    dbias.fill(0.0);
    if x.is_empty() {
        return;
    }
    let simd = simd();
    let chunk = rows_per_chunk(width) * width;
    if x.len() <= chunk {
        backward(simd, x, gain, dy, eps, dx, dgain, dbias);
        return;
    }
    let parts = x.len().div_ceil(chunk);
    let (mut gains, mut biases) = (vec![0.0; parts * width], vec![0.0; parts * width]);
    x.par_chunks(chunk)
        .zip(dy.par_chunks(chunk))
        .zip(dx.par_chunks_mut(chunk))
        .zip(gains.par_chunks_exact_mut(width).zip(biases.par_chunks_exact_mut(width)))
        .for_each(|(((x, dy), dx), (dgain, dbias))| backward(simd, x, gain, dy, eps, dx, dgain, dbias));
    add_parts(&gains, dgain);
    add_parts(&biases, dbias);
}

fn check(x: &[f32], gain: &[f32], bias: &[f32], y: &[f32]) {
    let width = gain.len();
    assert!(bias.len() == width, "bias must be as long as gain: {} is not {width}", bias.len());
    assert!(y.len() == x.len(), "the output must be as long as x: {} is not {}", y.len(), x.len());
    assert!(x.is_empty() || (width > 0 && x.len().is_multiple_of(width)), "x must be (rows, width): {} is no multiple of {width}", x.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, same_on_any_pool, values};
    use crate::simd::Simd;

    fn reference(x: &[f32], gain: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
        let width = gain.len();
        let mut y = Vec::new();
        for row in x.chunks_exact(width) {
            let row: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
            for (index, value) in row.iter().enumerate() {
                let normal = (value - mean) / (variance + eps).sqrt();
                y.push(normal * f64::from(gain[index]) + f64::from(bias[index]));
            }
        }
        y
    }

    #[test]
    fn a_row_of_two_becomes_minus_one_and_one() {
        let mut y = [0.0; 2];
        layer_norm(&[1.0, 3.0], &[1.0, 10.0], &[0.0, 0.5], 0.0, &mut y);
        assert_eq!(y, [-1.0, 10.5]);
    }

    #[test]
    fn every_path_agrees_with_double_precision_for_any_width() {
        for width in [1, 2, 7, 16, 31, 32, 33, 100, 384] {
            let x: Vec<f32> = values(5 * width, 1).iter().map(|value| value + 3.0).collect();
            let (gain, bias) = (values(width, 2), values(width, 3));
            let expected: Vec<f32> = reference(&x, &gain, &bias, 1e-5).iter().map(|value| *value as f32).collect();
            for simd in Simd::supported() {
                let mut y = vec![0.0; x.len()];
                forward(simd, &x, &gain, &bias, 1e-5, &mut y);
                assert!(distance(&y, &expected) < 3e-6, "{simd} {width} {}", distance(&y, &expected));
            }
        }
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        let eps = 1e-3f32;
        for width in [1, 3, 16, 37] {
            let (x, gain, bias) = (values(2 * width, 1), values(width, 2), values(width, 3));
            let dy = values(2 * width, 4);
            let loss = |x: &[f32], gain: &[f32], bias: &[f32]| -> f64 {
                reference(x, gain, bias, f64::from(eps)).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum()
            };
            let difference = |which: usize, index: usize| -> f32 {
                let step = 1e-3f32;
                let moved = |by: f32| {
                    let mut all = [x.clone(), gain.clone(), bias.clone()];
                    all[which][index] += by;
                    (loss(&all[0], &all[1], &all[2]), f64::from(all[which][index]))
                };
                let ((high, at_high), (low, at_low)) = (moved(step), moved(-step));
                ((high - low) / (at_high - at_low)) as f32
            };
            for simd in Simd::supported() {
                let mut dx = vec![9.0; x.len()];
                let (mut dgain, mut dbias) = (vec![0.0; width], vec![0.0; width]);
                backward(simd, &x, &gain, &dy, eps, &mut dx, &mut dgain, &mut dbias);
                for (which, gradient) in [dx, dgain, dbias].iter().enumerate() {
                    let expected: Vec<f32> = (0..gradient.len()).map(|index| difference(which, index)).collect();
                    assert!(distance(gradient, &expected) < 2e-4, "{simd} {width} {which}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (x, dy) = (values(301 * 384, 1), values(301 * 384, 2));
        let (gain, bias) = (values(384, 3), values(384, 4));
        same_on_any_pool(|| {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let (mut dgain, mut dbias) = (vec![0.0; 384], vec![0.0; 384]);
            layer_norm(&x, &gain, &bias, 1e-12, &mut y);
            layer_norm_grad(&x, &gain, &dy, 1e-12, &mut dx, &mut dgain, &mut dbias);
            [y, dx, dgain, dbias].concat()
        });
    }

    #[test]
    fn no_rows_give_zero_gradients() {
        let (mut dgain, mut dbias) = ([5.0; 2], [5.0; 2]);
        layer_norm_grad(&[], &[1.0, 1.0], &[], 1e-5, &mut [], &mut dgain, &mut dbias);
        assert_eq!((dgain, dbias), ([0.0; 2], [0.0; 2]));
        layer_norm(&[], &[1.0], &[0.0], 1e-5, &mut []);
        layer_norm(&[], &[], &[], 1e-5, &mut []);
    }
}
