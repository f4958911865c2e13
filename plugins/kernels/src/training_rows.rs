//! What a training does to rows between the products, on the calling thread: for callers that give each thread rows of its own
//! and go through them a few at a time, so that they stay in the nearest cache from one step to the next.

use crate::activation::{Activation, both};
use crate::layer_norm;
use crate::linear::add_rows;
use crate::simd::{kernel, simd};

/// Gain, bias and epsilon of a layer normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// What normal values are multiplied by, `(width)`.
    pub gain: &'a [f32],
    /// What is added to them, `(width)`.
    pub bias: &'a [f32],
    /// What is added to the variance.
    pub eps: f32,
}

impl Norm<'_> {
    fn check(&self, x: &[f32], others: &[&[f32]]) {
        let width = self.gain.len();
        assert!(self.bias.len() == width, "bias must be as long as gain: {} is not {width}", self.bias.len());
        assert!(x.is_empty() || (width > 0 && x.len().is_multiple_of(width)), "x must be (rows, width): {} is no multiple of {width}", x.len());
        assert!(others.iter().all(|other| other.len() == x.len()), "all rows must be as long as x: {}", x.len());
    }

    /// Normalises rows, with the bits of [`layer_norm`](crate::layer_norm).
    ///
    /// # Panics
    ///
    /// `x` is not whole rows, or another slice has not the length its shape says.
    pub fn rows(&self, x: &[f32], y: &mut [f32]) {
        self.check(x, &[y]);
        if !x.is_empty() {
            layer_norm::forward(simd(), x, self.gain, self.bias, self.eps, y);
        }
    }

    /// The gradients of [`rows`](Norm::rows): overwrites `dx`, adds to `dgain` and `dbias`.
    ///
    /// # Panics
    ///
    /// As [`rows`](Norm::rows).
    pub fn rows_grad(&self, x: &[f32], dy: &[f32], dx: &mut [f32], dgain: &mut [f32], dbias: &mut [f32]) {
        self.check(x, &[dy, dx]);
        assert!(dgain.len() == self.gain.len() && dbias.len() == self.gain.len(), "dgain and dbias must be as long as gain: {}", self.gain.len());
        if !x.is_empty() {
            layer_norm::backward(simd(), x, self.gain, dy, self.eps, dx, dgain, dbias);
        }
    }
}

kernel! {
    fn add<L>(lanes, x: &[f32], y: &mut [f32]) {
        for start in (0..y.len()).step_by(L::WIDTH) {
            lanes.store(lanes.add(lanes.load(&y[start..]), lanes.load(&x[start..])), &mut y[start..]);
        }
    }
}

/// `y + x` into `y`.
///
/// # Panics
///
/// The slices differ in length.
pub fn add_into(x: &[f32], y: &mut [f32]) {
    assert!(x.len() == y.len(), "y must be as long as x: {} is not {}", y.len(), x.len());
    add(simd(), x, y);
}

/// Adds the rows of `dy(rows, width)` to `total(width)`, one after the other.
///
/// # Panics
///
/// `dy` is not whole rows.
pub fn add_rows_into(dy: &[f32], total: &mut [f32]) {
    if dy.is_empty() {
        return;
    }
    assert!(!total.is_empty() && dy.len().is_multiple_of(total.len()), "dy must be (rows, width): {} is no multiple of {}", dy.len(), total.len());
    add_rows(simd(), dy, total);
}

/// `y = kind(x)`, with the bits of [`activation`](crate::activation).
///
/// # Panics
///
/// The slices differ in length.
pub fn activate_rows(kind: Activation, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == y.len(), "y must be as long as x: {} is not {}", y.len(), x.len());
    crate::activation::forward(simd(), kind, x, y);
}

/// `y = kind(x)` once more, and `dy kind'(x)` in the place of `dy`.
///
/// # Panics
///
/// The slices differ in length.
pub fn activate_rows_grad(kind: Activation, x: &[f32], y: &mut [f32], dy: &mut [f32]) {
    assert!(x.len() == y.len() && x.len() == dy.len(), "y and dy must be as long as x: {} and {} are not {}", y.len(), dy.len(), x.len());
    both(simd(), kind, x, y, dy);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, values};
    use crate::simd::Simd;

    #[test]
    fn rows_are_normalised_as_whole_batches_are() {
        let (rows, width) = (5, 19);
        let (x, gain, bias, dy) = (values(rows * width, 1), values(width, 2), values(width, 3), values(rows * width, 4));
        let norm = Norm { gain: &gain, bias: &bias, eps: 1e-5 };
        let mut expected = vec![0.0; x.len()];
        crate::layer_norm(&x, &gain, &bias, 1e-5, &mut expected);
        let mut y = vec![9.0; x.len()];
        norm.rows(&x, &mut y);
        assert_eq!(y, expected);
        let (mut dx_expected, mut dgain_expected, mut dbias_expected) = (vec![0.0; x.len()], vec![0.0; width], vec![0.0; width]);
        crate::layer_norm_grad(&x, &gain, &dy, 1e-5, &mut dx_expected, &mut dgain_expected, &mut dbias_expected);
        let (mut dx, mut dgain, mut dbias) = (vec![9.0; x.len()], vec![0.0; width], vec![0.0; width]);
        for (piece, dx) in [0..2 * width, 2 * width..5 * width].into_iter().zip({
            let (first, rest) = dx.split_at_mut(2 * width);
            [first, rest]
        }) {
            norm.rows_grad(&x[piece.clone()], &dy[piece], dx, &mut dgain, &mut dbias);
        }
        assert_eq!(dx, dx_expected);
        assert!(distance(&dgain, &dgain_expected) < 1e-6 && distance(&dbias, &dbias_expected) < 1e-6);
        norm.rows(&[], &mut []);
        norm.rows_grad(&[], &[], &mut [], &mut dgain, &mut dbias);
    }

    #[test]
    fn the_activation_and_its_gradient_come_together() {
        let (x, dy) = (values(1003, 1).iter().map(|value| value * 9.0).collect::<Vec<_>>(), values(1003, 2));
        for kind in [Activation::GeluErf, Activation::GeluTanh, Activation::Relu, Activation::Tanh] {
            for simd in Simd::supported() {
                let (mut expected, mut dx) = (vec![9.0; x.len()], vec![9.0; x.len()]);
                crate::activation::forward(simd, kind, &x, &mut expected);
                crate::activation::backward(simd, kind, &x, &dy, &mut dx);
                let (mut y, mut both_dx) = (vec![9.0; x.len()], dy.clone());
                both(simd, kind, &x, &mut y, &mut both_dx);
                assert_eq!(y, expected, "{simd} {kind:?}");
                assert!(distance(&both_dx, &dx) < 1e-6, "{simd} {kind:?}");
            }
        }
    }

    #[test]
    fn sums_go_into_what_is_there() {
        let mut y = [1.0, 2.0, 3.0];
        add_into(&[10.0, 20.0, 30.0], &mut y);
        assert_eq!(y, [11.0, 22.0, 33.0]);
        let mut total = [1.0, 1.0];
        add_rows_into(&[1.0, 2.0, 3.0, 4.0], &mut total);
        assert_eq!(total, [5.0, 7.0]);
        add_rows_into(&[], &mut []);
    }
}
