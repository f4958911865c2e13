//! Numbers of 16 bits with the exponent of `f32`, two to a word of 32 bits. The first of a pair is the low half.

use crate::panel_product::Line;
use crate::simd::kernel;

/// The nearest bfloat16, ties to even, in the high half of the word. Not a number stays so, with its quiet bit set.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    // Rounding a NaN could carry into its sign or make it infinite.
    (if value.is_nan() { bits | 0x0040_0000 } else { nearest }) & 0xffff_0000
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

/// How many pairs hold this many numbers. The last one is filled up with 0.
pub(crate) fn pairs(width: usize) -> usize {
    width.div_ceil(2)
}

kernel! {
    /// Rounds the rows of `x(rows, width)` into pairs, `(rows, pairs(width))`.
    pub(crate) fn pack_rows<L>(_lanes, x: &[f32], width: usize, packed: &mut [u32]) {
        if width == 0 {
            return;
        }
        for (row, to) in x.chunks_exact(width).zip(packed.chunks_exact_mut(pairs(width))) {
            let (whole, rest) = row.as_chunks::<2>();
            for (to, [first, second]) in to.iter_mut().zip(whole) {
                *to = pair(*first, *second);
            }
            if let ([last], Some(to)) = (rest, to.last_mut()) {
                *to = pair(*last, 0.0);
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
    /// Widens panels of pairs, `(panels, pairs(depth))`, to panels of `f32`, `(panels, depth)`.
    pub(crate) fn widen<L>(_lanes, lines: &[Line<u32>], depth: usize, wide: &mut [Line<f32>]) {
        if depth == 0 {
            return;
        }
        for (panel, wide) in lines.chunks_exact(pairs(depth)).zip(wide.chunks_exact_mut(depth)) {
            for (line, wide) in panel.iter().zip(wide.chunks_mut(2)) {
                for (to, pair) in wide[0].0.iter_mut().zip(&line.0) {
                    *to = parts(*pair).0;
                }
                // An odd depth ends with half a pair.
                if let [_, second] = wide {
                    for (to, pair) in second.0.iter_mut().zip(&line.0) {
                        *to = parts(*pair).1;
                    }
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
}
