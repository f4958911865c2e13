//! Numbers of 16 bits with the exponent of `f32`, two to a word of 32 bits. The first of a pair is the low half.

use crate::panel_product::Line;
use crate::simd::{kernel, simd};

/// The nearest bfloat16, ties to even, in the high half of the word. Not a number stays so, with its quiet bit set.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    // Rounding a NaN could carry into its sign or make it infinite.
    (if value.is_nan() { bits | 0x0040_0000 } else { nearest }) & 0xffff_0000
}

/// The nearest bfloat16 as `f32`.
#[inline(always)]
pub(crate) fn nearest(value: f32) -> f32 {
    f32::from_bits(rounded(value))
}

/// Two numbers, rounded.
#[inline(always)]
pub(crate) fn pair(first: f32, second: f32) -> u32 {
    (rounded(first) >> 16) | rounded(second)
}

/// The two numbers of a pair, which are exact in `f32`.
#[inline(always)]
fn parts(pair: u32) -> (f32, f32) {
    (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000))
}

/// How many words hold this many numbers of 16 bits, two to a word. The last one is filled up with 0.
#[must_use]
pub fn pairs(width: usize) -> usize {
    width.div_ceil(2)
}

/// Rounds `x(rows, width)` to bfloat16, to the nearest and ties to even, in `packed(rows, pairs(width))`. The first number
/// of a pair is the low half of its word, and an odd width is filled up with 0. It runs on this thread.
///
/// # Panics
///
/// `x` is not whole rows, or `packed` has not as many.
pub fn round_rows(x: &[f32], width: usize, packed: &mut [u32]) {
    assert!(x.is_empty() || (width > 0 && x.len().is_multiple_of(width)), "x must be (rows, width): {} is no multiple of {width}", x.len());
    let rows = x.len() / width.max(1);
    assert!(packed.len() == rows * pairs(width), "packed must be (rows, pairs(width)): {} for {rows} rows of {width}", packed.len());
    pack_rows(simd(), x, width, packed);
}

kernel! {
    /// Rounds the rows of `x(rows, width)` into pairs, `(rows, pairs(width))`.
    pub(crate) fn pack_rows<L>(lanes, x: &[f32], width: usize, packed: &mut [u32]) {
        if width == 0 {
            return;
        }
        for (row, to) in x.chunks_exact(width).zip(packed.chunks_exact_mut(pairs(width))) {
            for start in (0..width).step_by(L::WIDTH) {
                lanes.store_pairs(lanes.load(&row[start..]), &mut to[start / 2..]);
            }
        }
    }
}

kernel! {
    /// Rounds to the nearest bfloat16 and keeps the result as `f32`.
    pub(crate) fn round<L>(_lanes, x: &[f32], to: &mut [f32]) {
        for (to, value) in to.iter_mut().zip(x) {
            *to = f32::from_bits(rounded(*value));
        }
    }
}

kernel! {
    /// Brings rows of pairs, `(rows, pairs(width))`, back to `x(rows, width)`.
    pub(crate) fn unpack_rows<L>(_lanes, packed: &[u32], width: usize, x: &mut [f32]) {
        if width == 0 {
            return;
        }
        for (from, row) in packed.chunks_exact(pairs(width)).zip(x.chunks_exact_mut(width)) {
            for (pair, to) in from.iter().zip(row.chunks_mut(2)) {
                let (first, second) = parts(*pair);
                to[0] = first;
                if let [_, to] = to {
                    *to = second;
                }
            }
        }
    }
}

kernel! {
    /// Widens a group of panels of pairs, `(pairs(depth), panels)`, to one of `f32`, `(depth, panels)`.
    pub(crate) fn widen<L>(_lanes, lines: &[Line<u32>], panels: usize, wide: &mut [Line<f32>]) {
        for (step, wide) in lines.chunks_exact(panels).zip(wide.chunks_mut(2 * panels)) {
            // An odd depth ends with half a pair.
            let (first, second) = wide.split_at_mut(panels);
            for (line, wide) in step.iter().zip(first) {
                for (to, pair) in wide.0.iter_mut().zip(&line.0) {
                    *to = parts(*pair).0;
                }
            }
            for (line, wide) in step.iter().zip(second) {
                for (to, pair) in wide.0.iter_mut().zip(&line.0) {
                    *to = parts(*pair).1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Simd;

    #[test]
    fn values_round_to_the_nearest_and_ties_to_even() {
        for (value, expected) in [
            (1.0, 1.0),
            (-0.0, -0.0),
            (1.0 + 1.0 / 256.0, 1.0),               // halfway, 1.0 is even
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0), // halfway, the lower neighbour is odd
            (1.003_907, 1.0 + 2.0 / 256.0),         // just above halfway
            (f32::MAX, f32::INFINITY),
            (f32::INFINITY, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(f32::from_bits(rounded(value)).to_bits(), f32::to_bits(expected), "{value}");
        }
    }

    #[test]
    fn not_a_number_stays_so() {
        for bits in [0x7f80_0001, 0x7fff_ffff, 0xff80_0001, 0xffff_ffff] {
            assert!(f32::from_bits(rounded(f32::from_bits(bits))).is_nan(), "{bits:x}");
        }
    }

    #[test]
    fn packed_rows_are_the_rounded_ones() {
        for simd in Simd::supported() {
            for width in 0..70 {
                let x: Vec<f32> = crate::parallel::tests::values(3 * width, 7);
                let (mut packed, mut single) = (vec![9; 3 * pairs(width)], vec![9.0; x.len()]);
                pack_rows(simd, &x, width, &mut packed);
                round(simd, &x, &mut single);
                for (index, value) in single.iter().enumerate() {
                    let (row, column) = (index / width, index % width);
                    let both = parts(packed[row * pairs(width) + column / 2]);
                    assert_eq!(if column % 2 == 0 { both.0 } else { both.1 }, *value, "{simd} {width}");
                }
                if width % 2 == 1 {
                    assert_eq!(parts(packed[pairs(width) - 1]).1, 0.0);
                }
            }
        }
    }

    #[test]
    fn unpacked_rows_are_the_rounded_ones() {
        for simd in Simd::supported() {
            for width in 0..40 {
                let x: Vec<f32> = crate::parallel::tests::values(3 * width, 7);
                let (mut packed, mut single, mut back) = (vec![9; 3 * pairs(width)], vec![9.0; x.len()], vec![9.0; x.len()]);
                pack_rows(simd, &x, width, &mut packed);
                round(simd, &x, &mut single);
                unpack_rows(simd, &packed, width, &mut back);
                assert_eq!(back, single, "{simd} {width}");
            }
        }
    }

    #[test]
    fn every_path_rounds_to_the_same_bits() {
        // Every exponent and sign with ties, their neighbours and payloads of NaN.
        let mut x = Vec::new();
        for high in (0..1 << 16).step_by(if cfg!(miri) { 1021 } else { 7 }) {
            x.extend([0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| f32::from_bits((high << 16) | low)));
        }
        let mut expected = vec![0; pairs(x.len())];
        pack_rows(Simd::Portable, &x, x.len(), &mut expected);
        for simd in Simd::supported() {
            let mut packed = vec![9; expected.len()];
            pack_rows(simd, &x, x.len(), &mut packed);
            assert_eq!(packed, expected, "{simd}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_instruction_rounds_alike_but_takes_subnormal_numbers_for_zero() {
        use crate::dot::{Dot, Pairs};
        use crate::lanes::Lanes;
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
        fn by_instruction(x: &[f32], packed: &mut [u32]) {
            // SAFETY: the token needs the features this function enables, so whoever runs it has them.
            let dot = unsafe { Pairs::new() };
            for (x, packed) in x.chunks(16).zip(packed.chunks_mut(8)) {
                dot.store_pairs(dot.lanes().load(x), packed);
            }
        }
        if !Simd::Avx512.has_bf16() {
            return;
        }
        let (mut normal, mut subnormal) = (Vec::new(), Vec::new());
        for high in 0..1u32 << 16 {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits((high << 16) | low);
                if value.is_subnormal() { subnormal.push(value) } else { normal.push(value) }
            }
        }
        let (mut packed, mut expected) = (vec![9; pairs(normal.len())], vec![0; pairs(normal.len())]);
        pack_rows(Simd::Portable, &normal, normal.len(), &mut expected);
        // SAFETY: the guard has just asked the processor for every feature the function enables.
        unsafe { by_instruction(&normal, &mut packed) };
        assert_eq!(packed, expected);
        let mut packed = vec![9; pairs(subnormal.len())];
        // SAFETY: the guard has just asked the processor for every feature the function enables.
        unsafe { by_instruction(&subnormal, &mut packed) };
        assert!(packed.iter().all(|pair| pair & 0x7fff_7fff == 0));
    }
}
