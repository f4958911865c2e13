//! Matrix products of a linear layer and its gradients.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::parallel::{add_parts, for_each_chunk, rows_per_chunk};
use crate::simd::{kernel, simd};

/// Fewer multiplications than this are done before a second thread has woken up.
const PARALLEL_FROM: usize = 1 << 19;

/// A matrix in a slice, with the distance between its rows and between its columns.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix of this width.
    fn new(values: &'a [f32], width: usize) -> Matrix<'a> {
        Matrix { values, row: width, column: 1 }
    }

    fn transposed(self) -> Matrix<'a> {
        Matrix { values: self.values, row: self.column, column: self.row }
    }

    /// Whether a `(rows, columns)` matrix with these strides lies within the slice.
    fn holds(self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// `c(m, n) = a(m, k) . b(k, n)`, added to what `c` holds if `accumulate`.
fn product(a: Matrix, b: Matrix, m: usize, k: usize, n: usize, accumulate: bool, c: &mut [f32]) {
    assert!(a.holds(m, k) && b.holds(k, n) && c.len() == m * n, "lengths and shapes were checked by the caller");
    let parallelism = if m * k * n < PARALLEL_FROM { Parallelism::None } else { Parallelism::Rayon(0) };
    let stride = usize::cast_signed;
    // SAFETY: the assertion above says that every element the strides reach lies in its slice, that `c` is exactly
    // `(m, n)` with rows of `n`, and `c` is borrowed mutably, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            accumulate,
            a.values.as_ptr(),
            stride(a.column),
            stride(a.row),
            b.values.as_ptr(),
            stride(b.column),
            stride(b.row),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `y(rows, out) = x(rows, inp) . w(out, inp)^T + b(out)`.
///
/// # Panics
///
/// A slice has not the length its shape says.
pub fn linear(x: &[f32], w: &[f32], b: Option<&[f32]>, rows: usize, inp: usize, out: usize, y: &mut [f32]) {
    assert!(x.len() == rows * inp, "x must be (rows, inp): {} is not {rows} x {inp}", x.len());
    assert!(w.len() == out * inp, "w must be (out, inp): {} is not {out} x {inp}", w.len());
    assert!(y.len() == rows * out, "y must be (rows, out): {} is not {rows} x {out}", y.len());
    if let Some(b) = b {
        assert!(b.len() == out, "b must be (out): {} is not {out}", b.len());
        // The product then adds to the bias, which costs no pass of its own.
        for_each_chunk(y, rows_per_chunk(out) * out, |_, piece| {
            for row in piece.chunks_exact_mut(out) {
                row.copy_from_slice(b);
            }
        });
    }
    product(Matrix::new(x, inp), Matrix::new(w, inp).transposed(), rows, inp, out, b.is_some(), y);
}

/// `dx(rows, inp) = dy(rows, out) . w(out, inp)`.
///
/// # Panics
///
/// A slice has not the length its shape says.
pub fn linear_grad_input(dy: &[f32], w: &[f32], rows: usize, inp: usize, out: usize, dx: &mut [f32]) {
    assert!(dy.len() == rows * out, "dy must be (rows, out): {} is not {rows} x {out}", dy.len());
    assert!(w.len() == out * inp, "w must be (out, inp): {} is not {out} x {inp}", w.len());
    assert!(dx.len() == rows * inp, "dx must be (rows, inp): {} is not {rows} x {inp}", dx.len());
    product(Matrix::new(dy, out), Matrix::new(w, inp), rows, out, inp, false, dx);
}

/// `dw(out, inp) = dy(rows, out)^T . x(rows, inp)`.
///
/// # Panics
///
/// A slice has not the length its shape says.
pub fn linear_grad_weight(dy: &[f32], x: &[f32], rows: usize, inp: usize, out: usize, dw: &mut [f32]) {
    assert!(dy.len() == rows * out, "dy must be (rows, out): {} is not {rows} x {out}", dy.len());
    assert!(x.len() == rows * inp, "x must be (rows, inp): {} is not {rows} x {inp}", x.len());
    assert!(dw.len() == out * inp, "dw must be (out, inp): {} is not {out} x {inp}", dw.len());
    product(Matrix::new(dy, out).transposed(), Matrix::new(x, inp), out, rows, inp, false, dw);
}

/// `c(m, n) = a(m, k) . b(n, k)^T`: the dot product of every row of `a` with every row of `b`.
///
/// # Panics
///
/// A slice has not the length its shape says.
pub fn matmul_transposed(a: &[f32], b: &[f32], m: usize, n: usize, k: usize, c: &mut [f32]) {
    linear(a, b, None, m, k, n, c);
}

kernel! {
    /// Adds the rows of `dy` into `total`.
    pub(crate) fn add_rows<L>(lanes, dy: &[f32], total: &mut [f32]) {
        let width = total.len();
        for row in dy.chunks_exact(width) {
            for start in (0..width).step_by(L::WIDTH) {
                let sum = lanes.add(lanes.load(&total[start..]), lanes.load(&row[start..]));
                lanes.store(sum, &mut total[start..]);
            }
        }
    }
}

/// `db(width)` = the sum of the rows of `dy(rows, width)`.
///
/// # Panics
///
/// `dy` is not whole rows, or `db` is not `(width)`.
pub fn sum_rows(dy: &[f32], width: usize, db: &mut [f32]) {
    assert!(db.len() == width, "db must be (width): {} is not {width}", db.len());
    db.fill(0.0);
    if width == 0 {
        assert!(dy.is_empty(), "rows of no width hold nothing");
        return;
    }
    assert!(dy.len().is_multiple_of(width), "dy must be (rows, width): {} is no multiple of {width}", dy.len());
    let simd = simd();
    // Sums of few rows, then of few sums, lose less to rounding than one long sum.
    let chunk = rows_per_chunk(width).min(128) * width;
    if dy.len() <= chunk {
        add_rows(simd, dy, db);
        return;
    }
    let mut parts = vec![0.0; dy.len().div_ceil(chunk) * width];
    dy.par_chunks(chunk).zip(parts.par_chunks_exact_mut(width)).for_each(|(rows, part)| add_rows(simd, rows, part));
    add_parts(&parts, db);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, same_on_any_pool, values};

    /// `a(m, k) . b(k, n)` in double precision.
    fn reference(m: usize, k: usize, n: usize, a: impl Fn(usize, usize) -> f32, b: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut c = Vec::new();
        for i in 0..m {
            for j in 0..n {
                c.push((0..k).map(|x| f64::from(a(i, x)) * f64::from(b(x, j))).sum::<f64>() as f32);
            }
        }
        c
    }

    const SHAPES: [(usize, usize, usize); 7] = [(1, 1, 1), (3, 2, 5), (1, 17, 9), (33, 1, 1), (5, 33, 1), (70, 65, 67), (130, 96, 129)];

    #[test]
    fn a_layer_multiplies_by_the_transposed_weight_and_adds_the_bias() {
        let mut y = [0.0; 4];
        linear(&[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 10.0, 1.0], Some(&[0.5, 0.25]), 2, 2, 2, &mut y);
        assert_eq!(y, [1.5, 12.25, 3.5, 34.25]);
    }

    #[test]
    fn products_agree_with_double_precision_for_any_shape() {
        for (rows, inp, out) in SHAPES {
            let (x, w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
            let dy = values(rows * out, 4);
            let mut y = vec![9.0; rows * out];
            linear(&x, &w, Some(&b), rows, inp, out, &mut y);
            let mut expected = reference(rows, inp, out, |i, k| x[i * inp + k], |k, j| w[j * inp + k]);
            expected.iter_mut().enumerate().for_each(|(index, value)| *value += b[index % out]);
            assert!(distance(&y, &expected) < 1e-6);

            let mut dx = vec![9.0; rows * inp];
            linear_grad_input(&dy, &w, rows, inp, out, &mut dx);
            assert!(distance(&dx, &reference(rows, out, inp, |i, k| dy[i * out + k], |k, j| w[k * inp + j])) < 1e-6);

            let mut dw = vec![9.0; out * inp];
            linear_grad_weight(&dy, &x, rows, inp, out, &mut dw);
            assert!(distance(&dw, &reference(out, rows, inp, |i, k| dy[k * out + i], |k, j| x[k * inp + j])) < 1e-6);

            let mut db = vec![9.0; out];
            sum_rows(&dy, out, &mut db);
            assert!(distance(&db, &reference(1, rows, out, |_, _| 1.0, |k, j| dy[k * out + j])) < 3e-6);
        }
    }

    #[test]
    fn without_a_bias_the_old_output_does_not_matter() {
        let mut c = [7.0, 7.0];
        matmul_transposed(&[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0], 1, 2, 2, &mut c);
        assert_eq!(c, [11.0, 17.0]);
    }

    #[test]
    fn no_rows_give_zero_weight_gradients() {
        let mut dw = [5.0; 6];
        linear_grad_weight(&[], &[], 0, 2, 3, &mut dw);
        assert_eq!(dw, [0.0; 6]);
        let mut db = [5.0; 3];
        sum_rows(&[], 3, &mut db);
        assert_eq!(db, [0.0; 3]);
        linear(&[], &[1.0, 2.0], Some(&[1.0]), 0, 2, 1, &mut []);
        linear(&[1.0], &[], Some(&[]), 1, 1, 0, &mut []);
        sum_rows(&[], 0, &mut []);
    }

    #[test]
    fn no_inputs_give_the_bias() {
        let mut y = [9.0; 2];
        linear(&[], &[], Some(&[1.0, 2.0]), 1, 0, 2, &mut y);
        assert_eq!(y, [1.0, 2.0]);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for (rows, inp, out) in [(700, 96, 130), (513, 768, 64), (97, 300, 1000)] {
            let (x, w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
            let dy = values(rows * out, 4);
            same_on_any_pool(|| {
                let (mut y, mut dx) = (vec![0.0; rows * out], vec![0.0; rows * inp]);
                let (mut dw, mut db) = (vec![0.0; out * inp], vec![0.0; out]);
                linear(&x, &w, Some(&b), rows, inp, out, &mut y);
                linear_grad_input(&dy, &w, rows, inp, out, &mut dx);
                linear_grad_weight(&dy, &x, rows, inp, out, &mut dw);
                sum_rows(&dy, out, &mut db);
                [y, dx, dw, db].concat()
            });
        }
    }

    #[test]
    #[should_panic(expected = "x must be (rows, inp)")]
    fn a_wrong_length_is_refused() {
        linear(&[1.0], &[1.0, 2.0], None, 1, 2, 1, &mut [0.0]);
    }
}
