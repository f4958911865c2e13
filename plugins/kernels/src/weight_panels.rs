//! Weights that change from one use to the next: a training brings them into the order the multiplication reads them in anew
//! for each pass.

use rayon::prelude::*;

use crate::bf16;
use crate::packed_linear::{Epilogue, Output, Precision};
use crate::panel_product::{Factors, Finish, GROUP, Line, PANEL, product_of_floats, product_of_pairs};
use crate::scratch::{Scratch, sized};
use crate::simd::{Simd, kernel, simd};

/// Rows multiplied at once. It bounds the scratch, and each time all of the weights are read.
const ROWS: usize = 384;

/// What the words of a product are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// Numbers as they are.
    #[default]
    Floats,
    /// Numbers rounded to bfloat16 and kept as `f32`, for processors that do not multiply pairs.
    Rounded,
    /// Two numbers rounded to bfloat16.
    Pairs,
}

impl Form {
    /// The form in which an instruction set multiplies numbers of a precision.
    pub(crate) fn of(precision: Precision, simd: Simd) -> Form {
        match precision {
            Precision::F32 => Form::Floats,
            Precision::Bf16 if simd.has_bf16() => Form::Pairs,
            Precision::Bf16 => Form::Rounded,
        }
    }

    /// Steps of a sum over this many numbers.
    pub(crate) fn steps(self, numbers: usize) -> usize {
        if self == Form::Pairs { bf16::pairs(numbers) } else { numbers }
    }
}

/// What the left side of a product is rounded into.
#[derive(Default)]
pub(crate) struct Rounded {
    pairs: Vec<u32>,
    floats: Vec<f32>,
}

/// The right side of a product, packed by several threads into memory that stays for the next one.
#[derive(Default)]
pub struct WeightPanels {
    simd: Option<Simd>,
    form: Form,
    floats: Vec<Line<f32>>,
    pairs: Vec<Line<u32>>,
    /// Filled up with 0 to whole panels.
    bias: Vec<f32>,
    inp: usize,
    out: usize,
}

impl WeightPanels {
    /// Nothing, which allocates when it is first used.
    #[must_use]
    pub fn new() -> WeightPanels {
        WeightPanels::default()
    }

    /// Packs `w(out, inp)` and `b(out)` of a linear layer, so that [`apply`](WeightPanels::apply) gives `x w^T + b`. Several
    /// layers that have the same input become one: its output is theirs, one after the other.
    ///
    /// # Panics
    ///
    /// A weight is not whole rows of `inp`, or a bias has not as many elements as its weight has rows.
    pub fn pack(&mut self, parts: &[(&[f32], &[f32])], inp: usize, precision: Precision) {
        self.pack_on(simd(), parts, inp, precision);
    }

    fn pack_on(&mut self, simd: Simd, parts: &[(&[f32], &[f32])], inp: usize, precision: Precision) {
        assert!(inp > 0, "layers without input have no rows to count");
        let mut rows: Vec<&[f32]> = Vec::new();
        self.bias.clear();
        for (weight, bias) in parts {
            assert!(weight.len() == bias.len() * inp, "weight must be (out, inp): {} is not {} x {inp}", weight.len(), bias.len());
            rows.extend(weight.chunks_exact(inp));
            self.bias.extend_from_slice(bias);
        }
        let depth = self.prepare(simd, inp, rows.len(), precision);
        match self.form {
            Form::Floats => pack_with(&mut self.floats, depth, &rows, |rows, to| transpose(simd, rows, to)),
            Form::Rounded => pack_with(&mut self.floats, depth, &rows, |rows, to| {
                transpose(simd, rows, to);
                round(to);
            }),
            Form::Pairs => pack_with(&mut self.pairs, depth, &rows, |rows, to| transpose_pairs(simd, rows, to)),
        }
    }

    /// Packs `w(out, inp)` of a linear layer, so that [`apply`](WeightPanels::apply) gives the gradient of its input, `dy w`.
    /// Several layers that have the same input become one, whose `dy` is theirs side by side.
    ///
    /// # Panics
    ///
    /// A weight is not whole rows of `inp`.
    pub fn pack_for_gradient(&mut self, parts: &[&[f32]], inp: usize, precision: Precision) {
        self.pack_for_gradient_on(simd(), parts, inp, precision);
    }

    fn pack_for_gradient_on(&mut self, simd: Simd, parts: &[&[f32]], inp: usize, precision: Precision) {
        assert!(inp > 0, "layers without input have no rows to count");
        let mut rows: Vec<&[f32]> = Vec::new();
        for weight in parts {
            assert!(weight.len().is_multiple_of(inp), "weight must be (out, inp): {} is no multiple of {inp}", weight.len());
            rows.extend(weight.chunks_exact(inp));
        }
        self.bias.clear();
        let depth = self.prepare(simd, rows.len(), inp, precision);
        let rows = &rows;
        if self.form == Form::Pairs {
            let task = |index: usize, to: &mut [Line<u32>]| columns_of_pairs(simd, rows, index * GROUP * PANEL, to);
            self.pairs.par_chunks_mut((GROUP * depth).max(1)).enumerate().for_each(|(index, to)| task(index, to));
        } else {
            let rounds = self.form == Form::Rounded;
            let task = |index: usize, to: &mut [Line<f32>]| {
                columns(simd, rows, index * GROUP * PANEL, to);
                if rounds {
                    round(to);
                }
            };
            self.floats.par_chunks_mut((GROUP * depth).max(1)).enumerate().for_each(|(index, to)| task(index, to));
        }
    }

    /// Makes room for a matrix of `inp` rows and `out` columns, and returns the steps of a sum.
    fn prepare(&mut self, simd: Simd, inp: usize, out: usize, precision: Precision) -> usize {
        (self.simd, self.form, self.inp, self.out) = (Some(simd), Form::of(precision, simd), inp, out);
        self.bias.resize(out.next_multiple_of(PANEL), 0.0);
        let depth = self.form.steps(inp);
        let lines = out.div_ceil(PANEL) * depth;
        let (floats, pairs) = if self.form == Form::Pairs { (0, lines) } else { (lines, 0) };
        self.floats.resize(floats, Line::default());
        self.pairs.resize(pairs, Line::default());
        depth
    }

    /// Columns of the result.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// `y(rows, out) = epilogue(x(rows, inp) . panels + b(out))`, on this thread. A row of the result depends, bit for bit,
    /// on its own row of `x` alone.
    ///
    /// # Panics
    ///
    /// Nothing was packed, or a slice has not the length its shape says.
    pub fn apply(&self, x: &[f32], rows: usize, epilogue: Epilogue<'_>, scratch: &mut Scratch, y: &mut [f32]) {
        let (inp, out) = (self.inp, self.out);
        assert!(x.len() == rows * inp, "x must be (rows, inp): {} is not {rows} x {inp}", x.len());
        assert!(y.len() == rows * out, "y must be (rows, out): {} is not {rows} x {out}", y.len());
        if let Epilogue::Residual(residual) = epilogue {
            assert!(residual.len() == rows * out, "the residual must be (rows, out): {} is not {rows} x {out}", residual.len());
        }
        let simd = self.simd.expect("weights are packed before they are used");
        for first in (0..rows).step_by(ROWS) {
            let end = rows.min(first + ROWS);
            let epilogue = match epilogue {
                Epilogue::Residual(residual) => Epilogue::Residual(&residual[first * out..end * out]),
                other => other,
            };
            let finish = Finish { first: 0, out, bias: &self.bias, epilogue };
            let (x, y) = (&x[first * inp..end * inp], &mut y[first * out..end * out]);
            let (rows, depth) = (end - first, self.form.steps(inp));
            let (sums, y) = (&mut scratch.linear.sums, &mut Output::Floats(y));
            match self.form {
                Form::Floats => product_of_floats(simd, Factors { x, lines: &self.floats, rows, depth }, finish, sums, y),
                Form::Rounded => {
                    let rounded = sized(&mut scratch.rounded.floats, x.len());
                    bf16::round(simd, x, rounded);
                    product_of_floats(simd, Factors { x: rounded, lines: &self.floats, rows, depth }, finish, sums, y);
                }
                Form::Pairs => {
                    let pairs = sized(&mut scratch.rounded.pairs, rows * depth);
                    bf16::pack_rows(simd, x, inp, pairs);
                    product_of_pairs(simd, Factors { x: pairs, lines: &self.pairs, rows, depth }, finish, sums, y);
                }
            }
        }
    }
}

/// Packs sixteen rows into each panel of `depth` lines, a group of panels a task.
fn pack_with<W: Send>(lines: &mut [Line<W>], depth: usize, rows: &[&[f32]], pack: impl Fn(&[&[f32]], &mut [Line<W>]) + Sync + Send) {
    lines.par_chunks_mut((GROUP * depth).max(1)).zip(rows.par_chunks(GROUP * PANEL)).for_each(|(to, rows)| pack(rows, to));
}

fn round(lines: &mut [Line<f32>]) {
    for line in lines {
        line.0 = line.0.map(bf16::nearest);
    }
}

/// The transpose of at most sixteen pieces of rows, each of at most sixteen numbers. What is missing is 0.
#[inline(always)]
fn turned(rows: &[&[f32]], start: usize) -> [[f32; PANEL]; PANEL] {
    let mut turned = [[0.0; PANEL]; PANEL];
    if rows.len() == PANEL && rows[0].len() >= start + PANEL {
        let pieces: [&[f32; PANEL]; PANEL] = std::array::from_fn(|row| rows[row][start..].first_chunk().expect("rows are as long as the first"));
        for (step, line) in turned.iter_mut().enumerate() {
            *line = std::array::from_fn(|row| pieces[row][step]);
        }
    } else {
        for (row, values) in rows.iter().enumerate() {
            for (line, value) in turned.iter_mut().zip(&values[start..]) {
                line[row] = *value;
            }
        }
    }
    turned
}

kernel! {
    /// Lays the rows of a group of panels out in lines, one a panel for each of their columns.
    fn transpose<L>(_lanes, rows: &[&[f32]], to: &mut [Line<f32>]) {
        let panels = rows.len().div_ceil(PANEL);
        for (panel, rows) in rows.chunks(PANEL).enumerate() {
            for (index, to) in to.chunks_mut(PANEL * panels).enumerate() {
                for (to, line) in to.chunks_exact_mut(panels).zip(turned(rows, index * PANEL)) {
                    to[panel].0 = line;
                }
            }
        }
    }
}

kernel! {
    /// The same for pairs of columns.
    fn transpose_pairs<L>(_lanes, rows: &[&[f32]], to: &mut [Line<u32>]) {
        let panels = rows.len().div_ceil(PANEL);
        for (panel, rows) in rows.chunks(PANEL).enumerate() {
            for (index, to) in to.chunks_mut(PANEL / 2 * panels).enumerate() {
                let lines = turned(rows, index * PANEL);
                for (to, [first, second]) in to.chunks_exact_mut(panels).zip(lines.as_chunks().0) {
                    to[panel].0 = std::array::from_fn(|lane| bf16::pair(first[lane], second[lane]));
                }
            }
        }
    }
}

/// The numbers from a column on, filled up with 0.
#[inline(always)]
pub(crate) fn piece<const N: usize>(row: &[f32], column: usize) -> [f32; N] {
    match row[column..].first_chunk() {
        Some(whole) => *whole,
        None => std::array::from_fn(|lane| row.get(column + lane).copied().unwrap_or_default()),
    }
}

kernel! {
    /// Copies a group of panels of the columns from `first` on, one line a panel for each row.
    fn columns<L>(lanes, rows: &[&[f32]], first: usize, to: &mut [Line<f32>]) {
        let panels = to.len() / rows.len();
        for (row, lines) in rows.iter().zip(to.chunks_exact_mut(panels)) {
            for (panel, line) in lines.iter_mut().enumerate() {
                for start in (0..PANEL).step_by(L::WIDTH) {
                    lanes.store(lanes.load(row.get(first + panel * PANEL + start..).unwrap_or_default()), &mut line.0[start..]);
                }
            }
        }
    }
}

kernel! {
    /// The same for pairs of rows.
    fn columns_of_pairs<L>(_lanes, rows: &[&[f32]], first: usize, to: &mut [Line<u32>]) {
        let panels = to.len() / bf16::pairs(rows.len());
        for (rows, lines) in rows.chunks(2).zip(to.chunks_exact_mut(panels)) {
            for (panel, line) in lines.iter_mut().enumerate() {
                let column = first + panel * PANEL;
                let (upper, lower) = (piece::<PANEL>(rows[0], column), rows.get(1).map_or([0.0; PANEL], |row| piece(row, column)));
                line.0 = std::array::from_fn(|lane| bf16::pair(upper[lane], lower[lane]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, same_on_any_pool, values};

    fn seen(precision: Precision, value: f32) -> f64 {
        f64::from(if precision == Precision::Bf16 { bf16::nearest(value) } else { value })
    }

    fn shapes() -> Vec<(usize, usize, usize)> {
        let mut shapes = vec![(1, 1, 1), (3, 2, 5), (2, 17, 9), (5, 33, 18)];
        if !cfg!(miri) {
            shapes.extend([(7, 64, 130), (ROWS + 3, 31, 70), (9, 515, 48), (0, 4, 4)]);
        }
        shapes
    }

    #[test]
    fn every_path_agrees_with_double_precision() {
        for (rows, inp, out) in shapes() {
            let (x, w, b, dy) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3), values(rows * out, 4));
            let cut = out / 3;
            for precision in [Precision::F32, Precision::Bf16] {
                let number = |value: f32| seen(precision, value);
                let y = |row: usize, column: usize| {
                    let sum: f64 = (0..inp).map(|k| number(x[row * inp + k]) * number(w[column * inp + k])).sum();
                    (sum + f64::from(b[column])) as f32
                };
                let dx = |row: usize, column: usize| (0..out).map(|k| number(dy[row * out + k]) * number(w[k * inp + column])).sum::<f64>() as f32;
                let expected: Vec<f32> = (0..rows * out).map(|index| y(index / out, index % out)).collect();
                let expected_gradient: Vec<f32> = (0..rows * inp).map(|index| dx(index / inp, index % inp)).collect();
                for simd in Simd::supported() {
                    // What was packed before must not matter.
                    let mut panels = WeightPanels::new();
                    panels.pack_on(simd, &[(&values(40 * inp, 9), &values(40, 9))], inp, precision);
                    panels.pack_on(simd, &[(&w[..cut * inp], &b[..cut]), (&w[cut * inp..], &b[cut..])], inp, precision);
                    let mut y = vec![f32::NAN; rows * out];
                    panels.apply(&x, rows, Epilogue::None, &mut Scratch::new(), &mut y);
                    assert!(distance(&y, &expected) < 3e-6, "{simd} {precision:?} {rows} {inp} {out}");

                    panels.pack_for_gradient_on(simd, &[&w[..cut * inp], &w[cut * inp..]], inp, precision);
                    let mut dx = vec![f32::NAN; rows * inp];
                    panels.apply(&dy, rows, Epilogue::None, &mut Scratch::new(), &mut dx);
                    assert!(distance(&dx, &expected_gradient) < 3e-6, "{simd} {precision:?} {rows} {inp} {out}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (rows, inp, out) = if cfg!(miri) { (2, 9, 20) } else { (50, 130, 200) };
        let (x, w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
        same_on_any_pool(|| {
            let mut panels = WeightPanels::new();
            panels.pack(&[(&w, &b)], inp, Precision::Bf16);
            let mut y = vec![0.0; rows * out];
            panels.apply(&x, rows, Epilogue::None, &mut Scratch::new(), &mut y);
            y
        });
    }

    #[test]
    #[should_panic(expected = "packed before they are used")]
    fn nothing_cannot_be_applied() {
        WeightPanels::new().apply(&[], 0, Epilogue::None, &mut Scratch::new(), &mut []);
    }
}
