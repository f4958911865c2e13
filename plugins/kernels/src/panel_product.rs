//! The product of a row-major matrix with one that was packed into panels.
//!
//! A panel is sixteen columns of the packed matrix: one line of sixteen words for each step of the sum. Four panels make a
//! group, whose lines lie step by step, so that a product reads memory from one end to the other; the last group may have
//! fewer. Tiles of the result are kept in registers while their sums run over all of the depth, one product after the
//! other, so an element has the same bits whatever tile it is computed in.

use crate::activation::activated;
use crate::bf16::pairs;
#[cfg(target_arch = "x86_64")]
use crate::dot::Pairs;
use crate::dot::{Dot, Floats};
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Portable};
use crate::packed_linear::{Epilogue, Output};
use crate::scratch::sized;
use crate::simd::Simd;

/// Columns in a panel. It is a multiple of the width of every instruction set, so that all of them read the same panels.
pub(crate) const PANEL: usize = 16;

/// One step of a panel. It fills a cache line and begins with it: a vector that crosses a line is loaded twice.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Line<W>(pub(crate) [W; PANEL]);

/// Panels in a group.
pub(crate) const GROUP: usize = 4;

/// Steps of the sum done for all rows before the next ones, so that four panels of them stay in the second level cache.
/// The sums wait in a buffer, which costs them no digit.
pub(crate) const DEPTH: usize = 512;

/// The columns of the widest tile.
const COLUMNS: usize = GROUP * PANEL;

/// The sums of a row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Sums([f32; COLUMNS]);

impl Default for Sums {
    fn default() -> Sums {
        Sums([0.0; COLUMNS])
    }
}

/// The most rows of a tile.
const TILE_ROWS: usize = 6;

/// What is multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a, W> {
    /// `(rows, depth)`, row-major.
    pub(crate) x: &'a [W],
    /// `(groups, depth, panels of the group)`.
    pub(crate) lines: &'a [Line<W>],
    pub(crate) rows: usize,
    pub(crate) depth: usize,
}

/// What becomes of the sums.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// The column of the result that the first panel begins with.
    pub(crate) first: usize,
    /// The columns of the result. The last panel may have more.
    pub(crate) out: usize,
    /// What the sums of the panels begin with.
    pub(crate) bias: &'a [f32],
    pub(crate) epilogue: Epilogue<'a>,
}

/// Where a tile lies and which steps of its sum are due.
#[derive(Clone, Copy)]
struct Position {
    row: usize,
    panel: usize,
    /// Panels in the group of this one.
    group: usize,
    from: usize,
    to: usize,
}

impl Position {
    /// The lines of the group before the step `from`, and those of earlier groups.
    fn line(self, depth: usize) -> usize {
        self.panel / GROUP * GROUP * depth + self.from * self.group + self.panel % GROUP
    }
}

/// The vectors of a tile.
type Vectors<D, const R: usize, const V: usize> = [[<<D as Dot>::Lanes as Lanes>::Vector; V]; R];

/// The products of the steps `from` to `to`, added to the sums of a tile. They come and go by value, so that they stay in
/// registers meanwhile.
///
/// # Safety
///
/// That of [`tile`].
#[inline(always)]
unsafe fn add_products<D: Dot, const R: usize, const V: usize>(
    dot: D,
    factors: Factors<D::Word>,
    at: Position,
    soon: &[Line<D::Word>],
    mut sums: Vectors<D, R, V>,
) -> Vectors<D, R, V> {
    let width = const { <D::Lanes as Lanes>::WIDTH };
    let Factors { x, lines, depth, .. } = factors;
    // Pointers that move on: with slices and indices the compiler runs out of registers and spills sums.
    // Without a step nothing is read, and they may begin outside of empty factors.
    let (mut x, mut lines) = (x.as_ptr().wrapping_add(at.row * depth + at.from), lines.as_ptr().wrapping_add(at.line(depth)));
    macro_rules! step {
        () => {{
            let mut words = [dot.zero(); V];
            for (v, words) in words.iter_mut().enumerate() {
                // SAFETY: the vector is in a panel of the tile, at a step that is due, which are within `lines`.
                let line = unsafe { &*lines.add(v * width / PANEL) };
                *words = dot.load(&line.0[v * width % PANEL..][..width]);
            }
            for (r, row) in sums.iter_mut().enumerate() {
                // SAFETY: it is a row of the tile, at a step that is due, which are within `x`.
                let factor = dot.splat(unsafe { *x.add(r * depth) });
                for (sum, words) in row.iter_mut().zip(words) {
                    *sum = dot.multiply_add(factor, words, *sum);
                }
            }
            // A pointer may stand anywhere in memory as long as it is not read, and this one ends within its matrix or just
            // behind a row or panel of it.
            (x, lines) = (x.wrapping_add(1), lines.wrapping_add(at.group));
        }};
    }
    let steps = at.to - at.from;
    let soon = &soon[..soon.len().min(steps)];
    for line in soon {
        dot.lanes().prefetch(line);
        step!();
    }
    for _ in soon.len()..steps {
        step!();
    }
    sums
}

/// A tile of `R` rows and `V` vectors: the steps `from` to `to` of its sums, which begin with the bias or with what earlier
/// steps left in `sums`.
///
/// # Safety
///
/// `x` is `(rows, depth)` and `lines` is `(groups, depth, panels of the group)`. The rows `row` to `row + R`, the panels from `panel` on that
/// `V` vectors span, and the steps up to `to` are within them.
#[inline(always)]
unsafe fn tile<D: Dot, const R: usize, const V: usize>(
    dot: D,
    factors: Factors<D::Word>,
    bias: &[f32],
    at: Position,
    soon: &[Line<D::Word>],
    sums: &mut [Sums; R],
) {
    let lanes = dot.lanes();
    let width = const { <D::Lanes as Lanes>::WIDTH };
    let mut vectors = [[lanes.zero(); V]; R];
    if at.from == 0 {
        let bias = &bias[at.panel * PANEL..][..V * width];
        for row in &mut vectors {
            for (v, vector) in row.iter_mut().enumerate() {
                *vector = lanes.load(&bias[v * width..][..width]);
            }
        }
    } else {
        for (row, sums) in vectors.iter_mut().zip(&*sums) {
            for (v, vector) in row.iter_mut().enumerate() {
                *vector = lanes.load(&sums.0[v * width..][..width]);
            }
        }
    }
    // SAFETY: the caller says so.
    let vectors = unsafe { add_products(dot, factors, at, soon, vectors) };
    for (row, sums) in vectors.iter().zip(sums) {
        for (v, vector) in row.iter().enumerate() {
            lanes.store(*vector, &mut sums.0[v * width..][..width]);
        }
    }
}

/// Turns a row of finished sums, the columns from `column` on, into the result.
#[inline(always)]
fn complete<D: Dot>(dot: D, finish: Finish, sums: &[f32], row: usize, column: usize, y: &mut Output) {
    let lanes = dot.lanes();
    let width = const { <D::Lanes as Lanes>::WIDTH };
    let start = row * finish.out + column;
    macro_rules! each {
        ($sum:ident, $at:ident => $value:expr) => {
            match y {
                Output::Floats(y) => {
                    let y = &mut y[start..start + sums.len()];
                    for $at in (0..sums.len()).step_by(width) {
                        let $sum = lanes.load(&sums[$at..]);
                        lanes.store($value, &mut y[$at..]);
                    }
                }
                Output::Pairs(y) => {
                    let y = &mut y[row * pairs(finish.out) + column / 2..][..pairs(sums.len())];
                    for $at in (0..sums.len()).step_by(width) {
                        // Where the width is odd, a lane beyond it is stored: it is 0, and every epilogue keeps it so.
                        let $sum = lanes.load(&sums[$at..]);
                        dot.store_pairs($value, &mut y[$at / 2..]);
                    }
                }
            }
        };
    }
    match finish.epilogue {
        Epilogue::None => each!(sum, at => sum),
        Epilogue::Residual(residual) => {
            let residual = &residual[start..start + sums.len()];
            each!(sum, at => lanes.add(sum, lanes.load(&residual[at..])));
        }
        Epilogue::Activation(kind) => each!(sum, at => activated(lanes, kind, sum)),
    }
}

/// Rows of the next tile: full tiles, then two of about the same size, for a tile of one row wastes most of its loads.
#[inline(always)]
fn tile_rows(left: usize, full: usize) -> usize {
    if left >= 2 * full || left <= full { left.min(full) } else { left.div_ceil(2) }
}

#[inline(always)]
fn product<D: Tiles>(dot: D, factors: Factors<D::Word>, finish: Finish, waiting: &mut Vec<Sums>, y: &mut Output) {
    let Factors { x, lines, rows, depth } = factors;
    let panels = finish.bias.len() / PANEL;
    assert!(x.len() == rows * depth && lines.len() == panels * depth, "the factors are whole");
    assert!(finish.first <= finish.out, "the columns are of the result");
    let registers = const { <D::Lanes as Lanes>::REGISTERS };
    let mut own = [Sums::default(); TILE_ROWS];
    let waiting: &mut [Sums] = if depth > DEPTH { sized(waiting, rows) } else { &mut [] };
    let mut panel = 0;
    while panel < panels {
        let group = GROUP.min(panels - panel / GROUP * GROUP);
        let wide = if registers >= 32 && group == GROUP { GROUP } else { 1 };
        let columns = finish.first + panel * PANEL..finish.out.min(finish.first + (panel + wide) * PANEL);
        let mut from = 0;
        loop {
            let to = depth.min(from + DEPTH);
            // The lines behind those that are multiplied now are next. Each tile asks for its share of them, so that memory is
            // read while the processor multiplies.
            let next = &lines[Position { row: 0, panel, group, from: to, to }.line(depth).min(lines.len())..];
            let next = &next[..next.len().min(wide * depth.min(DEPTH))];
            let share = next.len().div_ceil(rows.max(1));
            let mut row = 0;
            while row < rows {
                let at = Position { row, panel, group, from, to };
                macro_rules! tiles {
                    ($vectors:literal: $($count:literal)*) => {{
                        const FULL: usize = [$($count),*].len();
                        let count = tile_rows(rows - row, FULL);
                        let soon = &next[next.len().min(row * share)..next.len().min((row + count) * share)];
                        let sums = if depth > DEPTH { &mut waiting[row..] } else { &mut own[..] };
                        match count {
                            $($count => {
                                let sums: &mut [Sums; $count] = sums.first_chunk_mut().expect("sums of all rows");
                                // SAFETY: the assertions say that the factors are whole. `tile_rows` returns no more rows
                                // than are left, `wide` panels are left, and no step is beyond the depth.
                                unsafe { dot.tile::<$count, $vectors>(factors, finish.bias, at, soon, sums) };
                                if to == depth && !columns.is_empty() {
                                    for (index, sums) in sums.iter().enumerate() {
                                        complete(dot, finish, &sums.0[..columns.len()], row + index, columns.start, y);
                                    }
                                }
                            })*
                            _ => unreachable!("a tile has 1 to {FULL} rows"),
                        }
                        count
                    }};
                }
                row += match (registers, wide) {
                    // Twenty-four sums, four vectors of a line, and a factor.
                    (32.., 4) => tiles!(4: 1 2 3 4 5 6),
                    (32.., _) => tiles!(1: 1 2 3 4 5 6),
                    // Twelve sums, two vectors, and a factor.
                    (16.., _) => tiles!(2: 1 2 3 4 5 6),
                    (_, _) => tiles!(2: 1 2),
                };
            }
            if to == depth {
                break;
            }
            from = to;
        }
        panel += wide;
    }
}

/// A product whose tiles are functions of their own. Inlined into one large function they would share its registers, and
/// the compiler would move sums around in the innermost loop.
trait Tiles: Dot {
    /// # Safety
    ///
    /// That of [`tile`].
    unsafe fn tile<const R: usize, const V: usize>(
        self,
        factors: Factors<Self::Word>,
        bias: &[f32],
        at: Position,
        soon: &[Line<Self::Word>],
        sums: &mut [Sums; R],
    );
}

/// Compiles the product for one kind of words and instruction set.
macro_rules! compiled {
    ($name:ident, $dot:ty, $word:ty $(, $features:literal)?) => {
        impl Tiles for $dot {
            #[inline(always)]
            unsafe fn tile<const R: usize, const V: usize>(self, factors: Factors<$word>, bias: &[f32], at: Position, soon: &[Line<$word>], sums: &mut [Sums; R]) {
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                unsafe fn own<const R: usize, const V: usize>(dot: $dot, factors: Factors<$word>, bias: &[f32], at: Position, soon: &[Line<$word>], sums: &mut [Sums; R]) {
                    // SAFETY: the caller says so.
                    unsafe { tile::<$dot, R, V>(dot, factors, bias, at, soon, sums) }
                }
                // SAFETY: `self` proves that the processor has the features, and the caller answers for the rest.
                unsafe { own::<R, V>(self, factors, bias, at, soon, sums) }
            }
        }

        $(#[target_feature(enable = $features)])?
        fn $name(dot: $dot, factors: Factors<$word>, finish: Finish, waiting: &mut Vec<Sums>, y: &mut Output) {
            product(dot, factors, finish, waiting, y);
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

/// `y = epilogue(bias + x w)` in the columns of the panels, for words that are floats.
pub(crate) fn product_of_floats(simd: Simd, factors: Factors<f32>, finish: Finish, waiting: &mut Vec<Sums>, y: &mut Output) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 if simd.is_supported() => {
            // SAFETY: the guard has just asked the processor for the features of the token and of the function.
            unsafe { avx512(Floats(Avx512::new()), factors, finish, waiting, y) }
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 if simd.is_supported() => {
            // SAFETY: the guard has just asked the processor for the features of the token and of the function.
            unsafe { avx2(Floats(Avx2::new()), factors, finish, waiting, y) }
        }
        _ => portable(Floats(Portable), factors, finish, waiting, y),
    }
}

/// `y = epilogue(bias + x w)` in the columns of the panels, for words that are pairs of bfloat16.
///
/// # Panics
///
/// The instruction set has no such products.
pub(crate) fn product_of_pairs(simd: Simd, factors: Factors<u32>, finish: Finish, waiting: &mut Vec<Sums>, y: &mut Output) {
    assert!(simd.has_bf16(), "`{simd}` does not multiply pairs");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the assertion has just asked the processor for the features of the token and of the function.
    unsafe {
        avx512_bf16(Pairs::new(), factors, finish, waiting, y);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (factors, finish, waiting, y);
}
