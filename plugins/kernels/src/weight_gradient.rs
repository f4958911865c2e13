//! The gradient of the weight of a linear layer, from parts of the tokens one after the other.

use crate::attention::Rows;
use crate::bf16;
#[cfg(target_arch = "x86_64")]
use crate::dot::Pairs;
use crate::dot::{Dot, Floats};
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Portable};
use crate::packed_linear::Precision;
use crate::panel_product::{DEPTH, Line, PANEL};
use crate::simd::{Simd, kernel, simd};
use crate::weight_panels::{Form, piece};

/// Columns of `dy` that lie together: the rows of a tile of the result. A piece of the gradient of a weight begins at a multiple of it.
pub const STRIP: usize = 6;

/// Inputs of a linear layer for some of the tokens, in the order the gradient of its weight reads them in.
#[derive(Default)]
pub struct InputPanels {
    simd: Option<Simd>,
    form: Form,
    floats: Vec<Line<f32>>,
    pairs: Vec<Line<u32>>,
    rows: usize,
    width: usize,
}

impl InputPanels {
    /// Nothing, which allocates when it is first used.
    #[must_use]
    pub fn new() -> InputPanels {
        InputPanels::default()
    }

    /// Makes room for `x(rows, width)`. What it holds has no meaning before all rows were [put](InputPanels::put).
    pub fn prepare(&mut self, rows: usize, width: usize, precision: Precision) {
        self.prepare_on(simd(), rows, width, precision);
    }

    fn prepare_on(&mut self, simd: Simd, rows: usize, width: usize, precision: Precision) {
        (self.simd, self.form, self.rows, self.width) = (Some(simd), Form::of(precision, simd), rows, width);
        let lines = width.div_ceil(PANEL) * self.form.steps(rows);
        let (floats, pairs) = if self.form == Form::Pairs { (0, lines) } else { (lines, 0) };
        self.floats.resize(floats, Line::default());
        self.pairs.resize(pairs, Line::default());
    }

    /// Copies some rows, from an even one on.
    ///
    /// # Panics
    ///
    /// `x` is not whole rows, `first` is odd, or the rows are more than there is room for.
    pub fn put(&mut self, first: usize, x: &[f32]) {
        let simd = self.simd.expect("room is made before rows are put");
        if x.is_empty() {
            return;
        }
        assert!(self.width > 0 && x.len().is_multiple_of(self.width), "x must be (rows, width): {} is no multiple of {}", x.len(), self.width);
        let rows = x.len() / self.width;
        assert!(first.is_multiple_of(2) && first + rows <= self.rows, "rows {first} to {} must begin even and end by {}", first + rows, self.rows);
        let depth = self.form.steps(self.rows);
        match self.form {
            Form::Floats => put_floats(simd, x, self.width, first, depth, &mut self.floats),
            Form::Rounded => {
                put_floats(simd, x, self.width, first, depth, &mut self.floats);
                for lines in self.floats.chunks_exact_mut(depth) {
                    for line in &mut lines[first..first + rows] {
                        line.0 = line.0.map(bf16::nearest);
                    }
                }
            }
            Form::Pairs => put_pairs(simd, x, self.width, first / 2, depth, &mut self.pairs),
        }
    }
}

kernel! {
    fn put_floats<L>(lanes, x: &[f32], width: usize, first: usize, depth: usize, to: &mut [Line<f32>]) {
        for (panel, lines) in to.chunks_exact_mut(depth).enumerate() {
            for (row, line) in x.chunks_exact(width).zip(&mut lines[first..]) {
                for start in (0..PANEL).step_by(L::WIDTH) {
                    lanes.store(lanes.load(row.get(panel * PANEL + start..).unwrap_or_default()), &mut line.0[start..]);
                }
            }
        }
    }
}

kernel! {
    fn put_pairs<L>(_lanes, x: &[f32], width: usize, first: usize, depth: usize, to: &mut [Line<u32>]) {
        for (panel, lines) in to.chunks_exact_mut(depth).enumerate() {
            for (rows, line) in x.chunks(2 * width).zip(&mut lines[first..]) {
                let (upper, lower) = rows.split_at(width);
                let upper = piece::<PANEL>(upper, panel * PANEL);
                let lower = if lower.is_empty() { [0.0; PANEL] } else { piece::<PANEL>(lower, panel * PANEL) };
                line.0 = std::array::from_fn(|lane| bf16::pair(upper[lane], lower[lane]));
            }
        }
    }
}

/// Gradients of the outputs of a linear layer for some of the tokens, in the order the gradient of its weight reads them in.
#[derive(Default)]
pub struct OutputStrips {
    simd: Option<Simd>,
    form: Form,
    /// `(strips, steps, STRIP)`.
    floats: Vec<f32>,
    pairs: Vec<u32>,
    rows: usize,
    width: usize,
}

impl OutputStrips {
    /// Nothing, which allocates when it is first used.
    #[must_use]
    pub fn new() -> OutputStrips {
        OutputStrips::default()
    }

    /// Makes room for `dy(rows, width)`. What it holds has no meaning before all rows were [put](OutputStrips::put).
    pub fn prepare(&mut self, rows: usize, width: usize, precision: Precision) {
        self.prepare_on(simd(), rows, width, precision);
    }

    fn prepare_on(&mut self, simd: Simd, rows: usize, width: usize, precision: Precision) {
        (self.simd, self.form, self.rows, self.width) = (Some(simd), Form::of(precision, simd), rows, width);
        let words = width.div_ceil(STRIP) * self.form.steps(rows) * STRIP;
        let (floats, pairs) = if self.form == Form::Pairs { (0, words) } else { (words, 0) };
        self.floats.resize(floats, 0.0);
        self.pairs.resize(pairs, 0);
    }

    /// Copies `n` rows, from an even one on.
    ///
    /// # Panics
    ///
    /// `dy` holds fewer rows or columns, `first` is odd, or the rows are more than there is room for.
    pub fn put(&mut self, first: usize, dy: Rows<'_>, n: usize) {
        let simd = self.simd.expect("room is made before rows are put");
        dy.check("dy", n, self.width);
        assert!(first.is_multiple_of(2) && first + n <= self.rows, "rows {first} to {} must begin even and end by {}", first + n, self.rows);
        let steps = self.form.steps(self.rows);
        match self.form {
            Form::Floats => strips_of_floats(simd, dy, n, self.width, first, steps, &mut self.floats),
            Form::Rounded => {
                strips_of_floats(simd, dy, n, self.width, first, steps, &mut self.floats);
                for strip in self.floats.chunks_exact_mut((steps * STRIP).max(1)) {
                    for value in &mut strip[first * STRIP..(first + n) * STRIP] {
                        *value = bf16::nearest(*value);
                    }
                }
            }
            Form::Pairs => strips_of_pairs(simd, dy, n, self.width, first / 2, steps, &mut self.pairs),
        }
    }
}

kernel! {
    fn strips_of_floats<L>(_lanes, dy: Rows, n: usize, width: usize, first: usize, steps: usize, to: &mut [f32]) {
        if n == 0 {
            return;
        }
        for (index, strip) in to.chunks_exact_mut(steps * STRIP).enumerate() {
            for (row, to) in strip[first * STRIP..][..n * STRIP].as_chunks_mut::<STRIP>().0.iter_mut().enumerate() {
                *to = piece::<STRIP>(&dy.values[row * dy.stride..][..width], index * STRIP);
            }
        }
    }
}

kernel! {
    /// The same for pairs of rows.
    fn strips_of_pairs<L>(_lanes, dy: Rows, n: usize, width: usize, first: usize, steps: usize, to: &mut [u32]) {
        // Strips whose words are made together: they are three whole vectors of the widest instruction set.
        const TOGETHER: usize = 8;
        if n == 0 {
            return;
        }
        for (index, strips) in to.chunks_mut(TOGETHER * steps * STRIP).enumerate() {
            for step in 0..bf16::pairs(n) {
                let row = |row: usize| piece::<{ TOGETHER * STRIP }>(&dy.values[row * dy.stride..][..width], index * TOGETHER * STRIP);
                let upper = row(2 * step);
                // Behind the last row of an odd number comes nothing.
                let lower = if 2 * step + 1 < n { row(2 * step + 1) } else { [0.0; TOGETHER * STRIP] };
                let words: [u32; TOGETHER * STRIP] = std::array::from_fn(|lane| bf16::pair(upper[lane], lower[lane]));
                for (strip, words) in strips.chunks_exact_mut(steps * STRIP).zip(words.as_chunks::<STRIP>().0) {
                    strip[(first + step) * STRIP..][..STRIP].copy_from_slice(words);
                }
            }
        }
    }
}

/// The factors of a gradient for some steps of its sums.
#[derive(Clone, Copy)]
struct Part<'a, W> {
    /// `(strips, all, STRIP)`.
    strips: &'a [W],
    /// `(panels, all)`.
    lines: &'a [Line<W>],
    all: usize,
    from: usize,
    to: usize,
}

/// The result: `(out, inp)`.
#[derive(Clone, Copy)]
struct Size {
    out: usize,
    inp: usize,
}

/// The tile of `R` rows from strip `strip` on and `V` vectors from panel `panel` on: the steps of a part, added to what the
/// result holds unless they are the first.
///
/// # Safety
///
/// `part.strips` holds `strip`, `part.lines` the panels from `panel` on that `V` vectors span, both with `part.all` steps, of
/// which `part.to` is none beyond.
#[inline(always)]
unsafe fn tile<D: Dot, const R: usize, const V: usize>(dot: D, part: Part<D::Word>, size: Size, strip: usize, panel: usize, first: bool, dw: &mut [f32]) {
    let lanes = dot.lanes();
    let width = const { <D::Lanes as Lanes>::WIDTH };
    // From an element on to the end of its row, or nothing for a column that only the panel has.
    let rest = |r: usize, v: usize| {
        let row = strip * STRIP + r;
        row * size.inp + (panel * PANEL + v * width).min(size.inp)..(row + 1) * size.inp
    };
    let mut sums = [[lanes.zero(); V]; R];
    if !first {
        for (r, row) in sums.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate() {
                *sum = lanes.load(&dw[rest(r, v)]);
            }
        }
    }
    // Pointers that move on: with slices and indices the compiler runs out of registers and spills sums.
    // SAFETY: the caller says that the strip, the panels and the steps are within the factors.
    let (mut factors, mut lines) =
        unsafe { (part.strips.as_ptr().add((strip * part.all + part.from) * STRIP), part.lines.as_ptr().add(panel * part.all + part.from)) };
    for _ in part.from..part.to {
        let mut words = [dot.zero(); V];
        for (v, words) in words.iter_mut().enumerate() {
            // SAFETY: the vector is in a panel of the tile, at a step of the part, which are within the lines.
            let line = unsafe { &*lines.add(v * width / PANEL * part.all) };
            *words = dot.load(&line.0[v * width % PANEL..][..width]);
        }
        for (r, row) in sums.iter_mut().enumerate() {
            // SAFETY: it is a column of the strip, at a step of the part, which are within the strips.
            let factor = dot.splat(unsafe { *factors.add(r) });
            for (sum, words) in row.iter_mut().zip(words) {
                *sum = dot.multiply_add(factor, words, *sum);
            }
        }
        // A pointer may stand anywhere in memory as long as it is not read, and these end within their slices or just behind.
        (factors, lines) = (factors.wrapping_add(STRIP), lines.wrapping_add(1));
    }
    for (r, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            lanes.store(*sum, &mut dw[rest(r, v)]);
        }
    }
}

#[inline(always)]
fn add_part<D: Tiles>(dot: D, part: Part<D::Word>, size: Size, first: bool, dw: &mut [f32]) {
    let (strips, panels) = (size.out.div_ceil(STRIP), size.inp.div_ceil(PANEL));
    assert!(part.strips.len() >= strips * part.all * STRIP && part.lines.len() == panels * part.all && part.to <= part.all, "the factors are whole");
    assert!(dw.len() == size.out * size.inp, "the result is whole");
    let registers = const { <D::Lanes as Lanes>::REGISTERS };
    let mut panel = 0;
    while panel < panels {
        let wide = if registers >= 32 && panels - panel >= 4 { 4 } else { 1 };
        for strip in 0..strips {
            macro_rules! tiles {
                ($vectors:literal) => {
                    // SAFETY: the assertions say that the factors are whole, the strip is one of theirs, and `wide` panels are left.
                    unsafe {
                        match (size.out - strip * STRIP).min(STRIP) {
                            1 => dot.tile::<1, $vectors>(part, size, strip, panel, first, dw),
                            2 => dot.tile::<2, $vectors>(part, size, strip, panel, first, dw),
                            3 => dot.tile::<3, $vectors>(part, size, strip, panel, first, dw),
                            4 => dot.tile::<4, $vectors>(part, size, strip, panel, first, dw),
                            5 => dot.tile::<5, $vectors>(part, size, strip, panel, first, dw),
                            _ => dot.tile::<STRIP, $vectors>(part, size, strip, panel, first, dw),
                        }
                    }
                };
            }
            match (registers, wide) {
                (32.., 4) => tiles!(4),
                (32.., _) => tiles!(1),
                _ => tiles!(2),
            }
        }
        panel += wide;
    }
}

/// A product whose tiles are functions of their own, as in [`panel_product`](crate::panel_product).
trait Tiles: Dot {
    /// # Safety
    ///
    /// That of [`tile`].
    unsafe fn tile<const R: usize, const V: usize>(self, part: Part<Self::Word>, size: Size, strip: usize, panel: usize, first: bool, dw: &mut [f32]);
}

/// Compiles the product for one kind of words and instruction set.
macro_rules! compiled {
    ($name:ident, $dot:ty, $word:ty $(, $features:literal)?) => {
        impl Tiles for $dot {
            #[inline(always)]
            unsafe fn tile<const R: usize, const V: usize>(self, part: Part<$word>, size: Size, strip: usize, panel: usize, first: bool, dw: &mut [f32]) {
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                unsafe fn own<const R: usize, const V: usize>(dot: $dot, part: Part<$word>, size: Size, strip: usize, panel: usize, first: bool, dw: &mut [f32]) {
                    // SAFETY: the caller says so.
                    unsafe { tile::<$dot, R, V>(dot, part, size, strip, panel, first, dw) }
                }
                // SAFETY: `self` proves that the processor has the features, and the caller answers for the rest.
                unsafe { own::<R, V>(self, part, size, strip, panel, first, dw) }
            }
        }

        $(#[target_feature(enable = $features)])?
        fn $name(dot: $dot, part: Part<$word>, size: Size, first: bool, dw: &mut [f32]) {
            add_part(dot, part, size, first, dw);
        }
    };
}

compiled!(portable, Floats<Portable>, f32);
#[cfg(target_arch = "x86_64")]
compiled!(avx2, Floats<Avx2>, f32, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(avx512, Floats<Avx512>, f32, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(avx512_bf16, Pairs, u32, "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma");

fn add_floats(simd: Simd, part: Part<f32>, size: Size, first: bool, dw: &mut [f32]) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 if simd.is_supported() => {
            // SAFETY: the guard has just asked the processor for the features of the token and of the function.
            unsafe { avx512(Floats(Avx512::new()), part, size, first, dw) }
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 if simd.is_supported() => {
            // SAFETY: the guard has just asked the processor for the features of the token and of the function.
            unsafe { avx2(Floats(Avx2::new()), part, size, first, dw) }
        }
        _ => portable(Floats(Portable), part, size, first, dw),
    }
}

fn add_pairs(simd: Simd, part: Part<u32>, size: Size, first: bool, dw: &mut [f32]) {
    assert!(simd.has_bf16(), "`{simd}` does not multiply pairs");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the assertion has just asked the processor for the features of the token and of the function.
    unsafe {
        avx512_bf16(Pairs::new(), part, size, first, dw);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (part, size, first, dw);
}

/// `dw(out, inp)` = the sum of `dy(rows, out)^T . x(rows, inp)` over all parts, added to what `dw` holds if `adds`; the columns of
/// `dy` are those from `first` on, a multiple of [`STRIP`]. On this thread: threads take rows of `dw`, which are columns of `dy`.
///
/// An element is one sum over the tokens in their order: how they are cut into parts changes no bit of it in `f32`.
///
/// # Panics
///
/// `dw` is not whole rows, or the two sides of a part differ in their number of rows or do not fit `dw`.
pub fn weight_gradient(parts: &[(&OutputStrips, &InputPanels)], first: usize, out: usize, adds: bool, dw: &mut [f32]) {
    assert!(out > 0 && dw.len().is_multiple_of(out), "dw must be (out, inp): {} is no multiple of {out}", dw.len());
    assert!(first.is_multiple_of(STRIP), "the first column must be a multiple of {STRIP}: {first}");
    let size = Size { out, inp: dw.len() / out };
    let strips = first / STRIP..first / STRIP + out.div_ceil(STRIP);
    let mut begins = !adds;
    for (dy, x) in parts.iter().filter(|(_, x)| x.rows > 0) {
        let simd = x.simd.expect("rows were put");
        assert!(dy.rows == x.rows && dy.form == x.form && dy.simd == x.simd, "both sides must hold the same tokens: {} are not {}", dy.rows, x.rows);
        assert!(x.width == size.inp, "the inputs must be as wide as dw: {} is not {}", x.width, size.inp);
        assert!(first + out <= dy.width, "columns {first} to {} are more than {}", first + out, dy.width);
        let all = x.form.steps(x.rows);
        let own = strips.start * all * STRIP..strips.end * all * STRIP;
        for from in (0..all).step_by(DEPTH) {
            let to = all.min(from + DEPTH);
            if x.form == Form::Pairs {
                add_pairs(simd, Part { strips: &dy.pairs[own.clone()], lines: &x.pairs, all, from, to }, size, begins, dw);
            } else {
                add_floats(simd, Part { strips: &dy.floats[own.clone()], lines: &x.floats, all, from, to }, size, begins, dw);
            }
            begins = false;
        }
    }
    if begins {
        dw.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, values};

    fn run(simd: Simd, precision: Precision, cuts: &[usize], sizes: [usize; 3], adds: Option<&[f32]>) -> Vec<f32> {
        let [rows, out, inp] = sizes;
        // The columns of interest stand in the middle of wider rows.
        let stride = out + 5;
        let (dy, x) = (values(rows * stride, 1), values(rows * inp, 2));
        let mut ends = vec![0];
        ends.extend_from_slice(cuts);
        ends.push(rows);
        let halves: Vec<(OutputStrips, InputPanels)> = ends
            .windows(2)
            .map(|ends| {
                let mut panels = InputPanels::new();
                panels.prepare_on(simd, ends[1] - ends[0], inp, precision);
                let mut strips = OutputStrips::new();
                strips.prepare_on(simd, ends[1] - ends[0], out, precision);
                for first in (ends[0]..ends[1]).step_by(4) {
                    let end = (first + 4).min(ends[1]);
                    panels.put(first - ends[0], &x[first * inp..end * inp]);
                    strips.put(first - ends[0], Rows { values: &dy[first * stride + 2..], stride }, end - first);
                }
                (strips, panels)
            })
            .collect();
        let parts: Vec<(&OutputStrips, &InputPanels)> = halves.iter().map(|(strips, panels)| (strips, panels)).collect();
        let mut dw = adds.map_or(vec![f32::NAN; out * inp], <[f32]>::to_vec);
        // Two pieces, as two threads would take them.
        let cut = out / 2 / STRIP * STRIP;
        let (upper, lower) = dw.split_at_mut(cut * inp);
        if cut > 0 {
            weight_gradient(&parts, 0, cut, adds.is_some(), upper);
        }
        weight_gradient(&parts, cut, out - cut, adds.is_some(), lower);
        dw
    }

    fn reference(precision: Precision, [rows, out, inp]: [usize; 3]) -> Vec<f32> {
        let stride = out + 5;
        let (dy, x) = (values(rows * stride, 1), values(rows * inp, 2));
        let seen = |value: f32| f64::from(if precision == Precision::Bf16 { bf16::nearest(value) } else { value });
        let element = |o: usize, i: usize| (0..rows).map(|t| seen(dy[t * stride + 2 + o]) * seen(x[t * inp + i])).sum::<f64>() as f32;
        (0..out * inp).map(|index| element(index / inp, index % inp)).collect()
    }

    #[test]
    fn every_path_agrees_with_double_precision() {
        let mut shapes = vec![([1, 1, 1], vec![]), ([5, 7, 3], vec![2]), ([3, 13, 18], vec![1, 1])];
        if !cfg!(miri) {
            shapes.extend([([DEPTH + 9, 6, 64], vec![]), ([2 * DEPTH + 90, 20, 81], vec![40]), ([60, 96, 200], vec![17, 50])]);
        }
        for (sizes, cuts) in shapes {
            for precision in [Precision::F32, Precision::Bf16] {
                let expected = reference(precision, sizes);
                for simd in Simd::supported() {
                    let dw = run(simd, precision, &cuts, sizes, None);
                    assert!(distance(&dw, &expected) < 5e-6, "{simd} {precision:?} {sizes:?}");
                    let old = values(dw.len(), 7);
                    let added = run(simd, precision, &cuts, sizes, Some(&old));
                    let sums: Vec<f32> = expected.iter().zip(&old).map(|(new, old)| new + old).collect();
                    assert!(distance(&added, &sums) < 5e-6, "{simd} {precision:?} {sizes:?}");
                }
            }
        }
    }

    #[test]
    fn parts_change_no_bit_of_an_f32_sum() {
        let sizes = if cfg!(miri) { [9, 4, 5] } else { [300, 40, 70] };
        for simd in Simd::supported() {
            assert_eq!(run(simd, Precision::F32, &[], sizes, None), run(simd, Precision::F32, &[2, sizes[0] / 2], sizes, None));
        }
    }

    #[test]
    fn no_tokens_give_zero_or_what_was_there() {
        for simd in Simd::supported() {
            assert_eq!(run(simd, Precision::F32, &[], [0, 2, 3], None), [0.0; 6]);
            assert_eq!(run(simd, Precision::F32, &[], [0, 2, 1], Some(&[1.0, 2.0])), [1.0, 2.0]);
        }
    }

    #[test]
    #[should_panic(expected = "must begin even")]
    fn rows_begin_even() {
        let mut panels = InputPanels::new();
        panels.prepare(4, 1, Precision::F32);
        panels.put(1, &[1.0]);
    }
}
