//! The product of a row-major matrix with one that was packed into panels.
//!
//! A panel is sixteen columns of the packed matrix: one line of sixteen words for each step of the sum. Tiles of the result
//! are kept in registers while their sums run over all of the depth, one product after the other, so an element has the
//! same bits whatever tile it is computed in.

use crate::activation::activate_in_place;
#[cfg(target_arch = "x86_64")]
use crate::dot::Pairs;
use crate::dot::{Dot, Floats};
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Portable};
use crate::packed_linear::Epilogue;
use crate::simd::Simd;

/// Columns in a panel. It is a multiple of the width of every instruction set, so that all of them read the same panels.
pub(crate) const PANEL: usize = 16;

/// One step of a panel. It fills a cache line and begins with it: a vector that crosses a line is loaded twice.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Line<W>(pub(crate) [W; PANEL]);

/// Steps of the sum done for all rows before the next ones, so that four panels of them stay in the second level cache.
/// The sums wait in the result, which costs them no digit.
pub(crate) const DEPTH: usize = 512;

/// What is multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a, W> {
    /// `(rows, depth)`, row-major.
    pub(crate) x: &'a [W],
    /// `(panels, depth)`.
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
    from: usize,
    to: usize,
}

/// The vectors of a tile.
type Sums<D, const R: usize, const V: usize> = [[<<D as Dot>::Lanes as Lanes>::Vector; V]; R];

/// The products of the steps `from` to `to`, added to the sums of a tile. They come and go by value, so that they stay in
/// registers meanwhile.
///
/// # Safety
///
/// That of [`tile`].
#[inline(always)]
unsafe fn add_products<D: Dot, const R: usize, const V: usize>(dot: D, factors: Factors<D::Word>, at: Position, mut sums: Sums<D, R, V>) -> Sums<D, R, V> {
    let width = const { <D::Lanes as Lanes>::WIDTH };
    let Factors { x, lines, depth, .. } = factors;
    // Pointers that move on: with slices and indices the compiler runs out of registers and spills sums.
    // SAFETY: the caller says that the row, the panel and the steps are within the factors.
    let (mut x, mut lines) = unsafe { (x.as_ptr().add(at.row * depth + at.from), lines.as_ptr().add(at.panel * depth + at.from)) };
    for _ in at.from..at.to {
        let mut words = [dot.zero(); V];
        for (v, words) in words.iter_mut().enumerate() {
            // SAFETY: the vector is in a panel of the tile, at a step that is due, which are within `lines`.
            let line = unsafe { &*lines.add(v * width / PANEL * depth) };
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
        (x, lines) = (x.wrapping_add(1), lines.wrapping_add(1));
    }
    sums
}

/// A tile of `R` rows and `V` vectors: the steps `from` to `to` of its sums, which begin with the bias or with what an
/// earlier step left in the result.
///
/// # Safety
///
/// `x` is `(rows, depth)` and `lines` is `(panels, depth)`. The rows `row` to `row + R`, the panels from `panel` on that
/// `V` vectors span, and the steps up to `to` are within them.
#[inline(always)]
unsafe fn tile<D: Dot, const R: usize, const V: usize>(dot: D, factors: Factors<D::Word>, finish: Finish, at: Position, y: &mut [f32]) {
    let lanes = dot.lanes();
    let width = const { <D::Lanes as Lanes>::WIDTH };
    let column = |v: usize| finish.first + at.panel * PANEL + v * width;
    // From an element on to the end of its row, or nothing for a column that only the panel has.
    let rest = |r: usize, v: usize| (at.row + r) * finish.out + column(v).min(finish.out)..(at.row + r + 1) * finish.out;

    let mut sums = [[lanes.zero(); V]; R];
    for (r, row) in sums.iter_mut().enumerate() {
        for (v, sum) in row.iter_mut().enumerate() {
            *sum = lanes.load(if at.from == 0 { &finish.bias[at.panel * PANEL + v * width..] } else { &y[rest(r, v)] });
        }
    }
    // SAFETY: the caller says so.
    let sums = unsafe { add_products(dot, factors, at, sums) };
    for (r, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            lanes.store(*sum, &mut y[rest(r, v)]);
        }
    }
}

/// Turns the finished sums of some rows and columns into the result, while they are in the nearest cache.
#[inline(always)]
fn complete<L: Lanes>(lanes: L, finish: Finish, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>, y: &mut [f32]) {
    for row in rows {
        let part = row * finish.out + columns.start..row * finish.out + columns.end;
        match finish.epilogue {
            Epilogue::None => {}
            Epilogue::Activation(kind) => activate_in_place(lanes, kind, &mut y[part]),
            Epilogue::Residual(residual) => {
                let (residual, y) = (&residual[part.clone()], &mut y[part]);
                for start in (0..y.len()).step_by(L::WIDTH) {
                    lanes.store(lanes.add(lanes.load(&y[start..]), lanes.load(&residual[start..])), &mut y[start..]);
                }
            }
        }
    }
}

/// Rows of the next tile: full tiles, then two of about the same size, for a tile of one row wastes most of its loads.
#[inline(always)]
fn tile_rows(left: usize, full: usize) -> usize {
    if left >= 2 * full || left <= full { left.min(full) } else { left.div_ceil(2) }
}

#[inline(always)]
fn product<D: Tiles>(dot: D, factors: Factors<D::Word>, finish: Finish, y: &mut [f32]) {
    let Factors { x, lines, rows, depth } = factors;
    let panels = finish.bias.len() / PANEL;
    assert!(x.len() == rows * depth && lines.len() == panels * depth, "the factors are whole");
    assert!(y.len() == rows * finish.out && finish.first <= finish.out, "the result is whole");
    let lanes = dot.lanes();
    let registers = const { <D::Lanes as Lanes>::REGISTERS };
    let mut panel = 0;
    while panel < panels {
        let wide = if registers >= 32 && panels - panel >= 4 { 4 } else { 1 };
        let mut from = 0;
        loop {
            let to = depth.min(from + DEPTH);
            let mut row = 0;
            while row < rows {
                let at = Position { row, panel, from, to };
                macro_rules! tiles {
                    ($vectors:literal: $($count:literal)*) => {{
                        const FULL: usize = [$($count),*].len();
                        let count = tile_rows(rows - row, FULL);
                        match count {
                            $(
                                // SAFETY: the assertions say that the factors are whole. `tile_rows` returns no more rows
                                // than are left, `wide` panels are left, and no step is beyond the depth.
                                $count => unsafe { dot.tile::<$count, $vectors>(factors, finish, at, y) },
                            )*
                            _ => unreachable!("a tile has 1 to {FULL} rows"),
                        }
                        count
                    }};
                }
                let count = match (registers, wide) {
                    // Twenty-four sums, four vectors of a line, and a factor.
                    (32.., 4) => tiles!(4: 1 2 3 4 5 6),
                    (32.., _) => tiles!(1: 1 2 3 4 5 6),
                    // Twelve sums, two vectors, and a factor.
                    (16.., _) => tiles!(2: 1 2 3 4 5 6),
                    (_, _) => tiles!(2: 1 2),
                };
                if to == depth {
                    let start = finish.first + panel * PANEL;
                    complete(lanes, finish, row..row + count, start.min(finish.out)..finish.out.min(start + wide * PANEL), y);
                }
                row += count;
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
    unsafe fn tile<const R: usize, const V: usize>(self, factors: Factors<Self::Word>, finish: Finish, at: Position, y: &mut [f32]);
}

/// Compiles the product for one kind of words and instruction set.
macro_rules! compiled {
    ($name:ident, $dot:ty, $word:ty $(, $features:literal)?) => {
        impl Tiles for $dot {
            #[inline(always)]
            unsafe fn tile<const R: usize, const V: usize>(self, factors: Factors<$word>, finish: Finish, at: Position, y: &mut [f32]) {
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                unsafe fn own<const R: usize, const V: usize>(dot: $dot, factors: Factors<$word>, finish: Finish, at: Position, y: &mut [f32]) {
                    // SAFETY: the caller says so.
                    unsafe { tile::<$dot, R, V>(dot, factors, finish, at, y) }
                }
                // SAFETY: `self` proves that the processor has the features, and the caller answers for the rest.
                unsafe { own::<R, V>(self, factors, finish, at, y) }
            }
        }

        $(#[target_feature(enable = $features)])?
        fn $name(dot: $dot, factors: Factors<$word>, finish: Finish, y: &mut [f32]) {
            product(dot, factors, finish, y);
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
pub(crate) fn product_of_floats(simd: Simd, factors: Factors<f32>, finish: Finish, y: &mut [f32]) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 if simd.is_supported() => {
            // SAFETY: the guard has just asked the processor for the features of the token and of the function.
            unsafe { avx512(Floats(Avx512::new()), factors, finish, y) }
        }
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 if simd.is_supported() => {
            // SAFETY: the guard has just asked the processor for the features of the token and of the function.
            unsafe { avx2(Floats(Avx2::new()), factors, finish, y) }
        }
        _ => portable(Floats(Portable), factors, finish, y),
    }
}

/// `y = epilogue(bias + x w)` in the columns of the panels, for words that are pairs of bfloat16.
///
/// # Panics
///
/// The instruction set has no such products.
pub(crate) fn product_of_pairs(simd: Simd, factors: Factors<u32>, finish: Finish, y: &mut [f32]) {
    assert!(simd.has_bf16(), "`{simd}` does not multiply pairs");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the assertion has just asked the processor for the features of the token and of the function.
    unsafe {
        avx512_bf16(Pairs::new(), factors, finish, y);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (factors, finish, y);
}
