//! A linear layer whose weights were brought into the order the multiplication reads them in.

use std::ops::Range;

use crate::activation::Activation;
use crate::bf16::{self, pairs};
use crate::panel_product::{Factors, Finish, GROUP, Line, PANEL, Sums, product_of_floats, product_of_pairs};
use crate::scratch::{Scratch, sized};
use crate::simd::{Simd, simd};

/// What the numbers of a product are rounded to. Sums are `f32` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    F32,
    /// Weights and inputs are rounded to bfloat16, which has 8 significant bits. The weights take half the memory, and
    /// where [`Simd::has_bf16`] the product takes half the time.
    Bf16,
}

/// What is done to a product after its bias was added.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// An activation function, with the same bits as [`activation`](crate::activation).
    Activation(Activation),
    /// This matrix, `(rows, out)`, is added.
    Residual(&'a [f32]),
}

/// Rows that are multiplied: as they are, or rounded to bfloat16.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// `(rows, width)`.
    Floats(&'a [f32]),
    /// Two numbers to a word, the first in its low half, `(rows, pairs(width))` by [`pairs`](crate::pairs). A layer of
    /// [`Precision::Bf16`] gives the same bits as for the floats that were rounded.
    Pairs(&'a [u32]),
}

/// Rows that a product is written to: as it is, or rounded to bfloat16 for the next product.
#[derive(Debug)]
pub enum Output<'a> {
    /// `(rows, width)`.
    Floats(&'a mut [f32]),
    /// Two numbers to a word, the first in its low half, `(rows, pairs(width))` by [`pairs`](crate::pairs). An odd width
    /// is filled up with 0. A layer of [`Precision::Bf16`] writes subnormal numbers as 0 where [`Simd::has_bf16`], as its
    /// products take them.
    Pairs(&'a mut [u32]),
}

impl<'a> Input<'a> {
    /// The number of elements that rows of this width have.
    fn length(self, rows: usize, width: usize) -> usize {
        rows * if let Input::Floats(_) = self { width } else { pairs(width) }
    }

    fn len(self) -> usize {
        match self {
            Input::Floats(x) => x.len(),
            Input::Pairs(x) => x.len(),
        }
    }

    fn rows(self, rows: Range<usize>, width: usize) -> Input<'a> {
        match self {
            Input::Floats(x) => Input::Floats(&x[rows.start * width..rows.end * width]),
            Input::Pairs(x) => Input::Pairs(&x[rows.start * pairs(width)..rows.end * pairs(width)]),
        }
    }
}

impl Output<'_> {
    fn rows(&mut self, rows: Range<usize>, width: usize) -> Output<'_> {
        match self {
            Output::Floats(y) => Output::Floats(&mut y[rows.start * width..rows.end * width]),
            Output::Pairs(y) => Output::Pairs(&mut y[rows.start * pairs(width)..rows.end * pairs(width)]),
        }
    }
}

/// Rows multiplied at once. It bounds the scratch, and each time all of the weights are read.
const ROWS: usize = 384;

/// The inputs and weights in the form a product needs them, and its sums.
#[derive(Default)]
pub(crate) struct Operands {
    pairs: Vec<u32>,
    rounded: Vec<f32>,
    wide: Vec<Line<f32>>,
    pub(crate) sums: Vec<Sums>,
}

/// Groups of panels of sixteen rows of the weight matrix, side by side.
enum Panels {
    F32(Vec<Line<f32>>),
    Bf16(Vec<Line<u32>>),
}

/// A linear layer for inference: `y(rows, out) = epilogue(x(rows, inp) . w(out, inp)^T + b(out))`.
///
/// The weights are copied once into panels that every instruction set reads. [`apply`](PackedLinear::apply) runs on the
/// calling thread only: threads share the layer, and each brings its own rows and its own [`Scratch`].
///
/// **Invariant:** a row of the result depends, bit for bit, on its own row of `x` alone (and of the residual), not on how
/// many rows there are or which.
pub struct PackedLinear {
    panels: Panels,
    /// Filled up with 0 to whole panels.
    bias: Vec<f32>,
    inp: usize,
    out: usize,
}

impl PackedLinear {
    /// Packs `weight(out, inp)`, row-major, and `bias(out)`.
    ///
    /// # Panics
    ///
    /// A slice has not the length its shape says.
    #[must_use]
    pub fn new(weight: &[f32], bias: Option<&[f32]>, out: usize, inp: usize, precision: Precision) -> PackedLinear {
        assert!(weight.len() == out * inp, "weight must be (out, inp): {} is not {out} x {inp}", weight.len());
        check_bias(bias, out);
        let row = |index: usize| &weight[index * inp..][..inp];
        PackedLinear::pack(&(0..out).map(row).collect::<Vec<_>>(), bias.unwrap_or_default().to_vec(), inp, precision)
    }

    /// One layer of several that have the same input, such as those of query, key and value: its output is theirs, one
    /// after the other. Each comes as `weight(out, inp)` and `bias(out)`.
    ///
    /// # Panics
    ///
    /// A weight is not whole rows of `inp`, or a bias has not as many elements as its weight has rows.
    #[must_use]
    pub fn concat(parts: &[(&[f32], Option<&[f32]>)], inp: usize, precision: Precision) -> PackedLinear {
        assert!(inp > 0, "layers without input have no rows to count");
        let (mut rows, mut biases) = (Vec::new(), Vec::new());
        for (weight, bias) in parts {
            assert!(weight.len().is_multiple_of(inp), "weight must be (out, inp): {} is no multiple of {inp}", weight.len());
            check_bias(*bias, weight.len() / inp);
            rows.extend(weight.chunks_exact(inp));
            biases.extend_from_slice(bias.unwrap_or_default());
            biases.resize(rows.len(), 0.0);
        }
        PackedLinear::pack(&rows, biases, inp, precision)
    }

    /// `bias` may be shorter than `rows`.
    fn pack(rows: &[&[f32]], mut bias: Vec<f32>, inp: usize, precision: Precision) -> PackedLinear {
        bias.resize(rows.len().next_multiple_of(PANEL), 0.0);
        let panels = match precision {
            Precision::F32 => Panels::F32(pack_panels(rows, inp, |row, step| row[step])),
            Precision::Bf16 => {
                Panels::Bf16(pack_panels(rows, pairs(inp), |row, step| bf16::pair(row[2 * step], row.get(2 * step + 1).copied().unwrap_or_default())))
            }
        };
        PackedLinear { panels, bias, inp, out: rows.len() }
    }

    /// The width of its input.
    #[must_use]
    pub fn inp(&self) -> usize {
        self.inp
    }

    /// The width of its output.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// What its weights were rounded to.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self.panels {
            Panels::F32(_) => Precision::F32,
            Panels::Bf16(_) => Precision::Bf16,
        }
    }

    /// The memory of its weights and bias.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let weights = match &self.panels {
            Panels::F32(lines) => size_of_val(&lines[..]),
            Panels::Bf16(lines) => size_of_val(&lines[..]),
        };
        weights + size_of_val(&self.bias[..])
    }

    /// `y(rows, out) = epilogue(x(rows, inp) . w(out, inp)^T + b(out))`, on this thread.
    ///
    /// # Panics
    ///
    /// A slice has not the length its shape says.
    pub fn apply(&self, x: &[f32], rows: usize, epilogue: Epilogue<'_>, scratch: &mut Scratch, y: &mut [f32]) {
        self.apply_between(Input::Floats(x), rows, epilogue, scratch, Output::Floats(y));
    }

    /// As [`apply`](PackedLinear::apply), from and to rows in either form. The sums are the same whatever the forms.
    ///
    /// # Panics
    ///
    /// A slice has not the length its shape says.
    pub fn apply_between(&self, x: Input<'_>, rows: usize, epilogue: Epilogue<'_>, scratch: &mut Scratch, y: Output<'_>) {
        let simd = simd();
        self.apply_on(simd, simd.has_bf16(), x, rows, epilogue, scratch, y);
    }

    /// `of_pairs` chooses the product of pairs for bfloat16, which the instruction set then must have.
    fn apply_on(&self, simd: Simd, of_pairs: bool, x: Input, rows: usize, epilogue: Epilogue<'_>, scratch: &mut Scratch, mut y: Output) {
        let (inp, out) = (self.inp, self.out);
        assert!(x.len() == x.length(rows, inp), "x must be (rows, inp): {} is not {rows} x {inp}", x.len());
        let (given, wanted) = match &y {
            Output::Floats(y) => (y.len(), rows * out),
            Output::Pairs(y) => (y.len(), rows * pairs(out)),
        };
        assert!(given == wanted, "y must be (rows, out): {given} is not {rows} x {out}");
        if let Epilogue::Residual(residual) = epilogue {
            assert!(residual.len() == rows * out, "the residual must be (rows, out): {} is not {rows} x {out}", residual.len());
        }
        for first in (0..rows).step_by(ROWS) {
            let end = rows.min(first + ROWS);
            let epilogue = match epilogue {
                Epilogue::Residual(residual) => Epilogue::Residual(&residual[first * out..end * out]),
                other => other,
            };
            self.block(simd, of_pairs, x.rows(first..end, inp), end - first, epilogue, &mut scratch.linear, y.rows(first..end, out));
        }
    }

    fn block(&self, simd: Simd, of_pairs: bool, x: Input, rows: usize, epilogue: Epilogue<'_>, operands: &mut Operands, mut y: Output) {
        let (inp, out) = (self.inp, self.out);
        let finish = Finish { first: 0, out, bias: &self.bias, epilogue };
        let Operands { pairs: packed, rounded, wide, sums } = operands;
        match (&self.panels, x) {
            (Panels::F32(lines), x) => {
                let x = match x {
                    Input::Floats(x) => x,
                    Input::Pairs(x) => unpacked(simd, x, rows, inp, rounded),
                };
                product_of_floats(simd, Factors { x, lines, rows, depth: inp }, finish, sums, &mut y);
            }
            (Panels::Bf16(lines), x) if of_pairs => {
                let depth = pairs(inp);
                let x = match x {
                    Input::Floats(x) => {
                        let packed = sized(packed, rows * depth);
                        bf16::pack_rows(simd, x, inp, packed);
                        packed
                    }
                    Input::Pairs(x) => x,
                };
                product_of_pairs(simd, Factors { x, lines, rows, depth }, finish, sums, &mut y);
            }
            (Panels::Bf16(lines), x) => {
                let x = match x {
                    Input::Floats(x) => {
                        let rounded = sized(rounded, x.len());
                        bf16::round(simd, x, rounded);
                        rounded
                    }
                    Input::Pairs(x) => unpacked(simd, x, rows, inp, rounded),
                };
                for (index, bias) in self.bias.chunks(GROUP * PANEL).enumerate() {
                    let (first, panels) = (index * GROUP, bias.len() / PANEL);
                    let depth = pairs(inp);
                    let wide = sized(wide, panels * inp);
                    bf16::widen(simd, &lines[first * depth..(first + panels) * depth], panels, wide);
                    let finish = Finish { first: first * PANEL, bias, ..finish };
                    product_of_floats(simd, Factors { x, lines: wide, rows, depth: inp }, finish, sums, &mut y);
                }
            }
        }
    }
}

/// Rows of pairs as floats.
fn unpacked<'a>(simd: Simd, x: &[u32], rows: usize, width: usize, floats: &'a mut Vec<f32>) -> &'a [f32] {
    let floats = sized(floats, rows * width);
    bf16::unpack_rows(simd, x, width, floats);
    floats
}

fn check_bias(bias: Option<&[f32]>, out: usize) {
    if let Some(bias) = bias {
        assert!(bias.len() == out, "bias must be (out): {} is not {out}", bias.len());
    }
}

/// Lays sixteen rows after sixteen out in lines, one for each of `depth` words, and those of each group step by step. Rows
/// that are missing in the last panel are 0.
fn pack_panels<W: Copy + Default>(rows: &[&[f32]], depth: usize, word: impl Fn(&[f32], usize) -> W) -> Vec<Line<W>> {
    let mut lines = Vec::with_capacity(rows.len().div_ceil(PANEL) * depth);
    for group in rows.chunks(GROUP * PANEL) {
        for step in 0..depth {
            for rows in group.chunks(PANEL) {
                let mut line = Line::default();
                for (to, row) in line.0.iter_mut().zip(rows) {
                    *to = word(row, step);
                }
                lines.push(line);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::forward as activate;
    use crate::linear::linear;
    use crate::panel_product::DEPTH;
    use crate::parallel::tests::{distance, values};

    /// Every way there is to multiply in a precision.
    fn paths(precision: Precision) -> Vec<(Simd, bool)> {
        let both = |simd: Simd| [(simd, false), (simd, true)];
        let possible = |path: &(Simd, bool)| !path.1 || (precision == Precision::Bf16 && path.0.has_bf16());
        Simd::supported().flat_map(both).filter(possible).collect()
    }

    const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];
    const ACTIVATIONS: [Activation; 4] = [Activation::GeluErf, Activation::GeluTanh, Activation::Relu, Activation::Tanh];

    fn run(layer: &PackedLinear, (simd, of_pairs): (Simd, bool), x: &[f32], epilogue: Epilogue) -> Vec<f32> {
        let rows = x.len() / layer.inp.max(1);
        // What the output held must not matter.
        let mut y = vec![f32::NAN; rows * layer.out];
        layer.apply_on(simd, of_pairs, Input::Floats(x), rows, epilogue, &mut Scratch::new(), Output::Floats(&mut y));
        y
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// The value as a precision sees it.
    fn seen(precision: Precision, value: f32) -> f64 {
        let mut single = [value];
        if precision == Precision::Bf16 {
            bf16::round(Simd::Portable, &[value], &mut single);
        }
        f64::from(single[0])
    }

    fn reference(x: &[f32], w: &[f32], b: &[f32], inp: usize, precision: Precision) -> Vec<f32> {
        let [x, w] = [x, w].map(|values| values.iter().map(|value| seen(precision, *value)).collect::<Vec<_>>());
        let row = |x: &[f64]| w.chunks_exact(inp).zip(b).map(|(w, b)| (f64::from(*b) + x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>()) as f32).collect();
        x.chunks_exact(inp).flat_map(|x| -> Vec<f32> { row(x) }).collect()
    }

    /// Whole and partial tiles, panels, pairs and blocks of depth.
    fn shapes() -> Vec<(usize, usize, usize)> {
        let mut shapes = vec![(1, 1, 1), (3, 2, 5), (1, 17, 9), (7, 33, 16), (5, 3, 17), (4, 8, 65)];
        if !cfg!(miri) {
            shapes.extend([
                (13, 5, 64),
                (6, 384, 128),
                (11, 70, 127),
                (3, DEPTH - 1, 20),
                (2, DEPTH, 31),
                (9, DEPTH + 1, 33),
                (4, 2 * DEPTH + 3, 70),
                (ROWS + 7, 9, 80),
            ]);
            shapes.extend((1..20).map(|rows| (rows, 13, 90)));
            shapes.extend((1..70).map(|out| (5, 6, out)));
        }
        shapes
    }

    #[test]
    fn a_layer_multiplies_by_the_transposed_weight_and_adds_the_bias() {
        let layer = PackedLinear::new(&[1.0, 0.0, 10.0, 1.0], Some(&[0.5, 0.25]), 2, 2, Precision::F32);
        let mut y = [0.0; 4];
        layer.apply(&[1.0, 2.0, 3.0, 4.0], 2, Epilogue::None, &mut Scratch::new(), &mut y);
        assert_eq!(y, [1.5, 12.25, 3.5, 34.25]);
        layer.apply(&[1.0, 2.0, 3.0, 4.0], 2, Epilogue::Residual(&[1.0, 2.0, 3.0, 4.0]), &mut Scratch::new(), &mut y);
        assert_eq!(y, [2.5, 14.25, 6.5, 38.25]);
    }

    #[test]
    fn every_path_agrees_with_double_precision() {
        for (rows, inp, out) in shapes() {
            let (x, w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
            for precision in PRECISIONS {
                let layer = PackedLinear::new(&w, Some(&b), out, inp, precision);
                let expected = reference(&x, &w, &b, inp, precision);
                for path in paths(precision) {
                    let y = run(&layer, path, &x, Epilogue::None);
                    assert!(distance(&y, &expected) < 3e-6, "{path:?} {precision:?} {rows} {inp} {out}");
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_company() {
        let cases: &[_] = if cfg!(miri) { &[(9, 5, 20)] } else { &[(ROWS + 20, 37, 83), (40, DEPTH + 5, 130), (23, 64, 64)] };
        for &(rows, inp, out) in cases {
            let (x, w, b, residual) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3), values(rows * out, 4));
            for precision in PRECISIONS {
                let layer = PackedLinear::new(&w, Some(&b), out, inp, precision);
                for (simd, of_pairs) in paths(precision) {
                    for epilogue in [Epilogue::None, Epilogue::Activation(Activation::GeluErf), Epilogue::Residual(&residual)] {
                        let whole = run(&layer, (simd, of_pairs), &x, epilogue);
                        let mut scratch = Scratch::new();
                        for trial in 0..if cfg!(miri) { 2 } else { 6 } {
                            // Pieces of 1 to 2, of 1 to 4, ... rows, chosen at random.
                            let sizes = values(rows, 10 + trial).into_iter().map(|value| 1 + (value.abs() * f32::from(2u8 << trial)) as usize);
                            let mut pieces = vec![f32::NAN; rows * out];
                            let mut start = 0;
                            for size in sizes {
                                let end = rows.min(start + size);
                                let epilogue = match epilogue {
                                    Epilogue::Residual(residual) => Epilogue::Residual(&residual[start * out..end * out]),
                                    other => other,
                                };
                                let (x, y) = (&x[start * inp..end * inp], &mut pieces[start * out..end * out]);
                                layer.apply_on(simd, of_pairs, Input::Floats(x), end - start, epilogue, &mut scratch, Output::Floats(y));
                                start = end;
                            }
                            assert_eq!(bits(&pieces), bits(&whole), "{simd} {precision:?} {epilogue:?} {trial}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_epilogue_gives_the_bits_of_a_pass_of_its_own() {
        let (rows, inp, out) = if cfg!(miri) { (3, 2, 20) } else { (17, 40, 75) };
        let (x, w, b, residual) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3), values(rows * out, 4));
        for precision in PRECISIONS {
            let layer = PackedLinear::new(&w, Some(&b), out, inp, precision);
            for path in paths(precision) {
                let plain = run(&layer, path, &x, Epilogue::None);
                for kind in ACTIVATIONS {
                    let mut expected = vec![0.0; plain.len()];
                    activate(path.0, kind, &plain, &mut expected);
                    assert_eq!(bits(&run(&layer, path, &x, Epilogue::Activation(kind))), bits(&expected), "{path:?} {kind:?}");
                }
                let expected: Vec<f32> = plain.iter().zip(&residual).map(|(a, b)| a + b).collect();
                assert_eq!(bits(&run(&layer, path, &x, Epilogue::Residual(&residual))), bits(&expected), "{path:?}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "the reference runs vector instructions")]
    fn it_is_the_unpacked_layer_with_its_activation() {
        let (rows, inp, out) = (50, 384, 200);
        let (x, w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
        let layer = PackedLinear::new(&w, Some(&b), out, inp, Precision::F32);
        let mut plain = vec![0.0; rows * out];
        linear(&x, &w, Some(&b), rows, inp, out, &mut plain);
        for path in paths(Precision::F32) {
            for kind in ACTIVATIONS {
                let mut expected = vec![0.0; plain.len()];
                activate(path.0, kind, &plain, &mut expected);
                assert!(distance(&run(&layer, path, &x, Epilogue::Activation(kind)), &expected) < 1e-5, "{path:?} {kind:?}");
            }
        }
    }

    #[test]
    fn bfloat16_is_within_one_percent() {
        let (rows, inp, out) = if cfg!(miri) { (2, 9, 5) } else { (30, 384, 100) };
        let (x, w) = (values(rows * inp, 1), values(out * inp, 2));
        let exact = run(&PackedLinear::new(&w, None, out, inp, Precision::F32), (Simd::Portable, false), &x, Epilogue::None);
        let layer = PackedLinear::new(&w, None, out, inp, Precision::Bf16);
        for path in paths(Precision::Bf16) {
            assert!(distance(&run(&layer, path, &x, Epilogue::None), &exact) < 0.01, "{path:?}");
        }
    }

    #[test]
    fn bfloat16_is_exact_for_what_it_represents() {
        let (rows, inp, out) = if cfg!(miri) { (2, 9, 18) } else { (20, 301, 90) };
        let whole = |seed| -> Vec<f32> { values(rows.max(out) * inp, seed).into_iter().map(|value| (value * 100.0).round()).collect() };
        let (x, w, b) = (&whole(1)[..rows * inp], &whole(2)[..out * inp], values(out, 3));
        let layers = PRECISIONS.map(|precision| PackedLinear::new(w, Some(&b.iter().map(|b| b.round()).collect::<Vec<_>>()), out, inp, precision));
        let expected = run(&layers[0], (Simd::Portable, false), x, Epilogue::None);
        for path in paths(Precision::Bf16) {
            assert_eq!(run(&layers[1], path, x, Epilogue::None), expected, "{path:?}");
        }
        assert!(layers[1].bytes() < layers[0].bytes() * 7 / 10);
    }

    #[test]
    fn infinities_and_not_a_number_spread_as_in_plain_arithmetic() {
        let (rows, inp, out) = (8, 5, 21);
        let (mut x, mut w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
        (x[0], x[inp + 4], x[2 * inp + 1], x[3 * inp], w[20 * inp + 1]) = (f32::NAN, f32::INFINITY, 0.0, f32::NEG_INFINITY, f32::INFINITY);
        for precision in PRECISIONS {
            let layer = PackedLinear::new(&w, Some(&b), out, inp, precision);
            let expected = reference(&x, &w, &b, inp, precision);
            assert!(expected[2 * out + 20].is_nan() && expected[4 * out + 20].is_infinite(), "zero times infinity, and a multiple of it");
            for path in paths(precision) {
                for (y, expected) in run(&layer, path, &x, Epilogue::None).iter().zip(&expected) {
                    let same = if expected.is_finite() { y.is_finite() } else { y == expected || (y.is_nan() && expected.is_nan()) };
                    assert!(same, "{path:?} {precision:?} {y} {expected}");
                }
            }
        }
    }

    #[test]
    fn nothing_beside_the_output_is_written() {
        for out in [1, 7, 16, 33, 65] {
            let layer = PackedLinear::new(&values(out * 3, 1), None, out, 3, Precision::F32);
            for (simd, of_pairs) in paths(Precision::F32) {
                let mut y = vec![7.0; 5 * out + 64];
                let (x, part) = (values(15, 2), Output::Floats(&mut y[32..32 + 5 * out]));
                layer.apply_on(simd, of_pairs, Input::Floats(&x), 5, Epilogue::Activation(Activation::Relu), &mut Scratch::new(), part);
                assert!(y[..32].iter().chain(&y[32 + 5 * out..]).all(|value| *value == 7.0), "{simd} {out}");
            }
        }
    }

    #[test]
    fn concatenated_layers_give_their_outputs_side_by_side() {
        let (rows, inp) = (5, 12);
        let x = values(rows * inp, 1);
        let (wq, wk, wv) = (values(20 * inp, 2), values(7 * inp, 3), values(16 * inp, 4));
        let (bq, bv) = (values(20, 5), values(16, 6));
        let parts: [(&[f32], Option<&[f32]>); 3] = [(&wq, Some(&bq)), (&wk, None), (&wv, Some(&bv))];
        for precision in PRECISIONS {
            let merged = PackedLinear::concat(&parts, inp, precision);
            assert_eq!((merged.inp(), merged.out(), merged.precision()), (inp, 43, precision));
            for path in paths(precision) {
                let y = run(&merged, path, &x, Epilogue::None);
                let mut first = 0;
                for (w, b) in parts {
                    let out = w.len() / inp;
                    let single = run(&PackedLinear::new(w, b, out, inp, precision), path, &x, Epilogue::None);
                    for (row, single) in y.chunks_exact(43).zip(single.chunks_exact(out)) {
                        assert_eq!(bits(&row[first..first + out]), bits(single), "{path:?}");
                    }
                    first += out;
                }
            }
        }
        assert_eq!(PackedLinear::concat(&[], 3, Precision::F32).out(), 0);
    }

    #[test]
    fn sizes_of_zero_are_fine() {
        for precision in PRECISIONS {
            for (simd, of_pairs) in paths(precision) {
                let apply = |layer: &PackedLinear, x: &[f32], rows, y: &mut [f32]| {
                    layer.apply_on(simd, of_pairs, Input::Floats(x), rows, Epilogue::Activation(Activation::Relu), &mut Scratch::new(), Output::Floats(y));
                };
                let mut y = [9.0; 4];
                apply(&PackedLinear::new(&[], Some(&[1.0, -2.0]), 2, 0, precision), &[], 2, &mut y);
                assert_eq!(y, [1.0, 0.0, 1.0, 0.0]); // no inputs give the bias
                apply(&PackedLinear::new(&[], None, 0, 3, precision), &[1.0; 6], 2, &mut []);
                apply(&PackedLinear::new(&[1.0; 6], None, 2, 3, precision), &[], 0, &mut []);
                apply(&PackedLinear::new(&[], None, 0, 0, precision), &[], 5, &mut []);
            }
        }
    }

    #[test]
    fn the_scratch_grows_once() {
        let layer = PackedLinear::new(&values(40 * 9, 1), None, 40, 9, Precision::Bf16);
        let mut scratch = Scratch::new();
        for (simd, of_pairs) in paths(Precision::Bf16) {
            let sizes = [0, 1].map(|_| {
                layer.apply_on(simd, of_pairs, Input::Floats(&values(90, 2)), 10, Epilogue::None, &mut scratch, Output::Floats(&mut [0.0; 400]));
                (scratch.linear.pairs.capacity(), scratch.linear.rounded.capacity(), scratch.linear.wide.capacity())
            });
            assert_eq!(sizes[0], sizes[1], "{simd}");
        }
    }

    #[test]
    fn threads_share_a_layer() {
        fn shared<T: Send + Sync>() {}
        shared::<PackedLinear>();
        shared::<Scratch>();
    }

    fn small() -> PackedLinear {
        PackedLinear::new(&[1.0; 6], Some(&[1.0; 2]), 2, 3, Precision::F32)
    }

    #[test]
    #[should_panic(expected = "weight must be (out, inp)")]
    fn a_weight_of_another_shape_is_refused() {
        let _ = PackedLinear::new(&[1.0; 5], None, 2, 3, Precision::Bf16);
    }

    #[test]
    #[should_panic(expected = "bias must be (out)")]
    fn a_bias_of_another_length_is_refused() {
        let _ = PackedLinear::new(&[1.0; 6], Some(&[1.0; 3]), 2, 3, Precision::F32);
    }

    #[test]
    #[should_panic(expected = "bias must be (out)")]
    fn a_bias_of_another_part_is_refused() {
        let _ = PackedLinear::concat(&[(&[1.0; 6], Some(&[1.0; 3]))], 3, Precision::F32);
    }

    #[test]
    #[should_panic(expected = "x must be (rows, inp)")]
    fn an_input_of_another_length_is_refused() {
        small().apply(&[1.0; 4], 1, Epilogue::None, &mut Scratch::new(), &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "y must be (rows, out)")]
    fn an_output_of_another_length_is_refused() {
        small().apply(&[1.0; 3], 1, Epilogue::None, &mut Scratch::new(), &mut [0.0; 3]);
    }

    #[test]
    #[should_panic(expected = "the residual must be (rows, out)")]
    fn a_residual_of_another_length_is_refused() {
        small().apply(&[1.0; 3], 1, Epilogue::Residual(&[1.0]), &mut Scratch::new(), &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "does not multiply pairs")]
    fn pairs_need_their_instruction() {
        let layer = PackedLinear::new(&[1.0; 6], None, 2, 3, Precision::Bf16);
        layer.apply_on(Simd::Portable, true, Input::Floats(&[1.0; 3]), 1, Epilogue::None, &mut Scratch::new(), Output::Floats(&mut [0.0; 2]));
    }

    #[test]
    fn pairs_in_and_out_are_the_floats_rounded_outside() {
        // One width is odd, and one has more steps than are done at once.
        let shapes: &[(usize, usize, usize)] = if cfg!(miri) { &[(3, 5, 21)] } else { &[(13, 301, 75), (40, 64, 128), (7, 2 * DEPTH + 30, 67)] };
        for &(rows, inp, out) in shapes {
            let (x, w, b, residual) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3), values(rows * out, 4));
            let mut packed = vec![7; rows * pairs(inp)];
            bf16::pack_rows(Simd::Portable, &x, inp, &mut packed);
            let mut rounded = vec![0.0; x.len()];
            bf16::round(Simd::Portable, &x, &mut rounded);
            for precision in PRECISIONS {
                let layer = PackedLinear::new(&w, Some(&b), out, inp, precision);
                for path in paths(precision) {
                    for epilogue in [Epilogue::None, Epilogue::Activation(Activation::GeluErf), Epilogue::Residual(&residual)] {
                        let expected = run(&layer, path, &rounded, epilogue);
                        let (mut y, mut scratch) = (vec![f32::NAN; rows * out], Scratch::new());
                        layer.apply_on(path.0, path.1, Input::Pairs(&packed), rows, epilogue, &mut scratch, Output::Floats(&mut y));
                        assert_eq!(bits(&y), bits(&expected), "{path:?} {precision:?} {inp} {out}");
                        let (mut y, mut outside) = (vec![u32::MAX; rows * pairs(out)], vec![0; rows * pairs(out)]);
                        layer.apply_on(path.0, path.1, Input::Pairs(&packed), rows, epilogue, &mut scratch, Output::Pairs(&mut y));
                        // The instruction takes subnormal numbers for 0.
                        let flushed = |value: &f32| if path.1 && value.is_subnormal() { 0.0f32.copysign(*value) } else { *value };
                        bf16::pack_rows(Simd::Portable, &expected.iter().map(flushed).collect::<Vec<_>>(), out, &mut outside);
                        assert_eq!(y, outside, "{path:?} {precision:?} {inp} {out}");
                    }
                }
            }
        }
    }

    #[test]
    fn random_shapes_give_what_plain_rust_gives() {
        let mut draw = crate::parallel::tests::dice(11);
        for trial in 0..if cfg!(miri) { 4 } else { 200 } {
            let (rows, inp, out) = if cfg!(miri) { (draw(4), draw(6), draw(40)) } else { (draw(30), draw(90), draw(150)) };
            let precision = PRECISIONS[draw(2)];
            let (x, w, b) = (values(rows * inp, trial), values(out * inp, trial + 1), values(out, trial + 2));
            let layer = PackedLinear::new(&w, Some(&b), out, inp, precision);
            let epilogue = [Epilogue::None, Epilogue::Activation(ACTIVATIONS[draw(4)])][draw(2)];
            let on = |(simd, of_pairs)| {
                let mut y = vec![f32::NAN; rows * out];
                layer.apply_on(simd, of_pairs, Input::Floats(&x), rows, epilogue, &mut Scratch::new(), Output::Floats(&mut y));
                y
            };
            let expected = on((Simd::Portable, false));
            for path in paths(precision) {
                assert!(distance(&on(path), &expected) < 1e-5, "{path:?} {precision:?} {rows} x {inp} x {out}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "y must be (rows, out)")]
    fn an_output_of_floats_where_pairs_were_meant_is_refused() {
        small().apply_between(Input::Floats(&[1.0; 3]), 1, Epilogue::None, &mut Scratch::new(), Output::Pairs(&mut [0; 2]));
    }
}
