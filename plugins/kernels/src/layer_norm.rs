//! Layer normalisation and its gradient.

use rayon::prelude::*;

use crate::bf16::pairs;
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

/// The values of a normalised row, from a column on.
#[inline(always)]
fn normalised<L: Lanes>(lanes: L, [x, gain, bias]: [&[f32]; 3], mean: L::Vector, scale: L::Vector, start: usize) -> L::Vector {
    let normal = lanes.mul(lanes.sub(lanes.load(&x[start..]), mean), scale);
    lanes.mul_add(normal, lanes.load(&gain[start..]), lanes.load(&bias[start..]))
}

kernel! {
    /// Overwrites `y`.
    pub(crate) fn forward<L>(lanes, x: &[f32], gain: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let width = gain.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, scale) = statistics(lanes, x, eps);
            let (mean, scale) = (lanes.splat(mean), lanes.splat(scale));
            for start in (0..width).step_by(L::WIDTH) {
                lanes.store(normalised(lanes, [x, gain, bias], mean, scale, start), &mut y[start..]);
            }
        }
    }
}

kernel! {
    /// As `forward`, with a second copy of `y` that is rounded to bfloat16. An empty `y` is not written.
    fn forward_with_pairs<L>(lanes, x: &[f32], gain: &[f32], bias: &[f32], eps: f32, y: &mut [f32], packed: &mut [u32]) {
        let width = gain.len();
        for (row, (x, packed)) in x.chunks_exact(width).zip(packed.chunks_exact_mut(pairs(width))).enumerate() {
            let (mean, scale) = statistics(lanes, x, eps);
            let (mean, scale) = (lanes.splat(mean), lanes.splat(scale));
            let mut y = y.get_mut(row * width..(row + 1) * width);
            for start in (0..width).step_by(L::WIDTH) {
                let value = normalised(lanes, [x, gain, bias], mean, scale, start);
                if let Some(y) = &mut y {
                    lanes.store(value, &mut y[start..]);
                }
                lanes.store_pairs(value, &mut packed[start / 2..]);
            }
            // A lane beyond the row is not 0 where the row is not finite.
            if width % 2 == 1 && let Some(last) = packed.last_mut() {
                *last &= 0xffff;
            }
        }
    }
}

kernel! {
    /// Overwrites `dx` and adds into `dgain` and `dbias`.
    pub(crate) fn backward<L>(
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

/// As [`layer_norm`], with the same bits, but on this thread only, for callers that give each thread rows of its own.
///
/// # Panics
///
/// `x` is not whole rows, or another slice has not the length its shape says.
pub fn layer_norm_rows(x: &[f32], gain: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    check(x, gain, bias, y);
    if !x.is_empty() {
        forward(simd(), x, gain, bias, eps, y);
    }
}

/// As [`layer_norm_rows`], with the result rounded to bfloat16 in `packed(rows, pairs(width))`, the form
/// [`Input::Pairs`](crate::Input::Pairs) has. `y(rows, width)` is the result before it is rounded, if it is wanted.
///
/// # Panics
///
/// `x` is not whole rows, or another slice has not the length its shape says.
pub fn layer_norm_pairs(x: &[f32], gain: &[f32], bias: &[f32], eps: f32, y: Option<&mut [f32]>, packed: &mut [u32]) {
    check(x, gain, bias, y.as_deref().unwrap_or(x));
    let rows = x.len() / gain.len().max(1);
    assert!(packed.len() == rows * pairs(gain.len()), "the pairs must be (rows, pairs(width)): {} for {rows} rows", packed.len());
    if !x.is_empty() {
        forward_with_pairs(simd(), x, gain, bias, eps, y.unwrap_or_default(), packed);
    }
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
    use crate::bf16::pack_rows;
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
    fn rows_on_one_thread_have_the_same_bits_rounded_or_not() {
        for width in [1, 2, 7, 16, 31, 33, 100] {
            let (x, gain, bias) = (values(5 * width, 1), values(width, 2), values(width, 3));
            let (mut expected, mut y) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
            layer_norm(&x, &gain, &bias, 1e-5, &mut expected);
            layer_norm_rows(&x, &gain, &bias, 1e-5, &mut y);
            assert_eq!(y, expected, "{width}");
            let mut outside = vec![0; 5 * pairs(width)];
            for simd in Simd::supported() {
                forward(simd, &x, &gain, &bias, 1e-5, &mut expected);
                pack_rows(simd, &expected, width, &mut outside);
                let (mut y, mut packed) = (vec![f32::NAN; x.len()], vec![u32::MAX; outside.len()]);
                forward_with_pairs(simd, &x, &gain, &bias, 1e-5, &mut y, &mut packed);
                assert_eq!((&y, &packed), (&expected, &outside), "{simd} {width}");
                packed.fill(u32::MAX);
                forward_with_pairs(simd, &x, &gain, &bias, 1e-5, &mut [], &mut packed);
                assert_eq!(packed, outside, "{simd} {width}");
            }
        }
    }

    #[test]
    fn an_odd_row_of_pairs_ends_with_zero_whatever_it_holds() {
        for simd in Simd::supported() {
            let mut packed = [u32::MAX; 2];
            forward_with_pairs(simd, &[f32::INFINITY, 1.0, 2.0], &[1.0; 3], &[0.0; 3], 1e-5, &mut [], &mut packed);
            assert_eq!(packed[1] >> 16, 0, "{simd}");
        }
    }

    #[test]
    #[should_panic(expected = "the pairs must be")]
    fn pairs_of_another_length_are_refused() {
        layer_norm_pairs(&[1.0; 6], &[1.0; 3], &[0.0; 3], 1e-5, None, &mut [0; 3]);
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
