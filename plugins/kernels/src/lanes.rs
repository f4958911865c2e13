//! The vector registers of each instruction set behind one trait, so that a kernel is written once.

use crate::bf16::pair;

/// A token that stands for an instruction set, with its operations on vectors of [`Lanes::WIDTH`] floats.
///
/// Whoever holds a token may run its instructions: the only way to make one of a special instruction set is `unsafe`.
/// Loads and stores take whatever is left of a slice, so no kernel needs a second loop for its tail.
pub(crate) trait Lanes: Copy {
    /// A vector register.
    type Vector: Copy;

    /// Floats in a vector. It divides [`PAD`].
    const WIDTH: usize;

    /// How many vectors the processor holds in registers.
    const REGISTERS: usize;

    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::Vector;

    /// The first floats of a slice. Lanes beyond its end hold `fill`.
    fn load_or(self, from: &[f32], fill: f32) -> Self::Vector;

    /// Writes as many lanes as the slice takes.
    fn store(self, vector: Self::Vector, to: &mut [f32]);

    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a > b ? a : b`, hence `b` where either is not a number.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a < b ? a : b`, hence `b` where either is not a number.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `c - a * b`, rounded once where the processor can.
    fn sub_mul(self, c: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The nearest whole number, ties to even.
    fn round(self, a: Self::Vector) -> Self::Vector;

    /// `a * 2^n` for whole numbers `n` from -252 to 254.
    fn scale_by_power(self, a: Self::Vector, n: Self::Vector) -> Self::Vector;

    /// `a` where `condition > 0`, else 0.
    fn where_positive(self, condition: Self::Vector, a: Self::Vector) -> Self::Vector;

    /// The sum of all lanes, in an order fixed by the instruction set.
    fn sum(self, a: Self::Vector) -> f32;

    /// The largest of all lanes.
    fn largest(self, a: Self::Vector) -> f32;

    /// Rounds to the nearest bfloat16, ties to even, and writes as many pairs as the slice takes, at most half as many as
    /// there are lanes.
    fn store_pairs(self, vector: Self::Vector, to: &mut [u32]);

    /// Asks for the cache line a value begins in, which is wanted soon, to be brought to the second level cache.
    fn prefetch<T>(self, value: &T);

    #[inline(always)]
    fn zero(self) -> Self::Vector {
        self.splat(0.0)
    }

    /// The first floats of a slice. Lanes beyond its end hold 0.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        self.load_or(from, 0.0)
    }
}

/// Scratch rows are padded to a multiple of this many floats, whatever the instruction set.
pub(crate) const PAD: usize = 16;

/// A width rounded up to whole vectors.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(PAD)
}

/// The head of a slice in an array, for the instruction sets without masked loads.
#[cold]
#[inline(never)]
fn partial<const N: usize>(from: &[f32], fill: f32) -> [f32; N] {
    let mut array = [fill; N];
    let length = from.len().min(N);
    array[..length].copy_from_slice(&from[..length]);
    array
}

/// Plain Rust on arrays, which the compiler turns into whatever vectors the target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Lane by lane operations on arrays.
macro_rules! each_lane {
    ($($(#[$attribute:meta])* $name:ident($($argument:ident),+) = $value:expr;)*) => {$(
        $(#[$attribute])*
        #[inline(always)]
        fn $name(self, $($argument: [f32; 8]),+) -> [f32; 8] {
            let mut result = [0.0; 8];
            for (lane, slot) in result.iter_mut().enumerate() {
                $(let $argument = $argument[lane];)+
                *slot = $value;
            }
            result
        }
    )*};
}

impl Lanes for Portable {
    type Vector = [f32; 8];

    const WIDTH: usize = 8;

    // Sixteen registers of half the width, which is what every 64-bit processor has at least.
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load_or(self, from: &[f32], fill: f32) -> [f32; 8] {
        match from.first_chunk() {
            Some(whole) => *whole,
            None => partial(from, fill),
        }
    }

    #[inline(always)]
    fn store(self, vector: [f32; 8], to: &mut [f32]) {
        match to.first_chunk_mut() {
            Some(whole) => *whole = vector,
            None => to.copy_from_slice(&vector[..to.len()]),
        }
    }

    each_lane! {
        add(a, b) = a + b;
        sub(a, b) = a - b;
        mul(a, b) = a * b;
        div(a, b) = a / b;
        max(a, b) = if a > b { a } else { b };
        min(a, b) = if a < b { a } else { b };
        // Without the instruction a fused product is a slow library call.
        mul_add(a, b, c) = a * b + c;
        sub_mul(c, a, b) = c - a * b;
        // Adding 1.5 * 2^23 leaves no bits for a fraction. It is exact for all that `exp` rounds.
        round(a) = (a + 12_582_912.0) - 12_582_912.0;
        scale_by_power(a, n) = {
            // One power of two cannot reach the subnormal results, two halves can.
            let n = n as i32;
            let half = n >> 1;
            let power = |n: i32| f32::from_bits((n + 127).cast_unsigned() << 23);
            a * power(half) * power(n - half)
        };
        where_positive(condition, a) = if condition > 0.0 { a } else { 0.0 };
    }

    #[inline(always)]
    fn store_pairs(self, vector: [f32; 8], to: &mut [u32]) {
        let (both, _) = vector.as_chunks::<2>();
        for (to, [first, second]) in to.iter_mut().zip(both) {
            *to = pair(*first, *second);
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, _value: &T) {}

    #[inline(always)]
    fn sum(self, a: [f32; 8]) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }

    #[inline(always)]
    fn largest(self, a: [f32; 8]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "nearly everything in this module is an intrinsic")]
    use std::arch::x86_64::*;

    use super::{Lanes, Portable, partial};

    /// Proof that the processor runs AVX-512 F, VL, BW and DQ.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(());

    /// Proof that the processor runs AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx512 {
        /// # Safety
        ///
        /// The processor has AVX-512 F, VL, BW and DQ.
        #[inline(always)]
        pub(crate) unsafe fn new() -> Avx512 {
            Avx512(())
        }

        /// Writes as many words as the slice takes.
        #[inline(always)]
        pub(crate) fn store_words(self, words: __m256i, to: &mut [u32]) {
            if to.len() >= 8 {
                // SAFETY: `self` proves that the processor has the instruction; the slice takes the 8 words written.
                unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), words) }
            } else {
                let mask = (1u8 << to.len()) - 1;
                // SAFETY: `self` proves that the processor has the instruction; the mask lets it write only the words of
                // the slice, and masked lanes do not fault.
                unsafe { _mm256_mask_storeu_epi32(to.as_mut_ptr().cast(), mask, words) }
            }
        }
    }

    impl Avx2 {
        /// # Safety
        ///
        /// The processor has AVX2 and FMA.
        #[inline(always)]
        pub(crate) unsafe fn new() -> Avx2 {
            Avx2(())
        }
    }

    /// Operations that are one instruction on registers.
    macro_rules! instructions {
        ($vector:ty; $($name:ident($($argument:ident),+) = $value:expr;)*) => {$(
            #[inline(always)]
            fn $name(self, $($argument: $vector),+) -> $vector {
                // SAFETY: `self` proves that the processor has the instruction, and it touches only registers.
                unsafe { $value }
            }
        )*};
    }

    impl Lanes for Avx512 {
        type Vector = __m512;

        const WIDTH: usize = 16;

        const REGISTERS: usize = 32;

        #[inline(always)]
        fn splat(self, value: f32) -> __m512 {
            // SAFETY: `self` proves that the processor has the instruction, and it touches only registers.
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        fn load_or(self, from: &[f32], fill: f32) -> __m512 {
            if from.len() >= 16 {
                // SAFETY: `self` proves that the processor has the instruction; the slice holds the 16 floats it reads.
                unsafe { _mm512_loadu_ps(from.as_ptr()) }
            } else {
                let mask = (1u16 << from.len()) - 1;
                // SAFETY: `self` proves that the processor has the instructions; the mask lets it read only the floats
                // of the slice, and masked lanes do not fault.
                unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, from.as_ptr()) }
            }
        }

        #[inline(always)]
        fn store(self, vector: __m512, to: &mut [f32]) {
            if to.len() >= 16 {
                // SAFETY: `self` proves that the processor has the instruction; the slice takes the 16 floats written.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), vector) }
            } else {
                let mask = (1u16 << to.len()) - 1;
                // SAFETY: `self` proves that the processor has the instruction; the mask lets it write only the floats
                // of the slice, and masked lanes do not fault.
                unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, vector) }
            }
        }

        instructions! { __m512;
            add(a, b) = _mm512_add_ps(a, b);
            sub(a, b) = _mm512_sub_ps(a, b);
            mul(a, b) = _mm512_mul_ps(a, b);
            div(a, b) = _mm512_div_ps(a, b);
            max(a, b) = _mm512_max_ps(a, b);
            min(a, b) = _mm512_min_ps(a, b);
            mul_add(a, b, c) = _mm512_fmadd_ps(a, b, c);
            sub_mul(c, a, b) = _mm512_fnmadd_ps(a, b, c);
            round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
            scale_by_power(a, n) = _mm512_scalef_ps(a, n);
            where_positive(condition, a) =
                _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition, _mm512_setzero_ps()), a);
        }

        #[inline(always)]
        fn store_pairs(self, vector: __m512, to: &mut [u32]) {
            // SAFETY: `self` proves that the processor has the instructions, and they touch only registers.
            let words = unsafe {
                let bits = _mm512_castps_si512(vector);
                // Half of what is cut off, less 1, plus 1 where the last digit that stays is odd.
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                // Rounding a NaN could carry into its sign or make it infinite.
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(vector, vector);
                let rounded = _mm512_mask_or_epi32(nearest, nan, bits, _mm512_set1_epi32(0x0040_0000));
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
            };
            self.store_words(words, to);
        }

        #[inline(always)]
        fn prefetch<T>(self, value: &T) {
            // SAFETY: every processor of this architecture has the instruction, which has no effect but on the caches.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()) }
        }

        #[inline(always)]
        fn sum(self, a: __m512) -> f32 {
            // SAFETY: `self` proves that the processor has the instructions, and they touch only registers.
            unsafe { _mm512_reduce_add_ps(a) }
        }

        #[inline(always)]
        fn largest(self, a: __m512) -> f32 {
            // SAFETY: `self` proves that the processor has the instructions, and they touch only registers.
            unsafe { _mm512_reduce_max_ps(a) }
        }
    }

    #[expect(clippy::unused_self, reason = "the token is the proof that the instructions may run")]
    impl Avx2 {
        /// The lanes as an array.
        #[inline(always)]
        fn array(self, a: __m256) -> [f32; 8] {
            let mut array = [0.0; 8];
            // SAFETY: `self` proves that the processor has the instruction; the array takes the 8 floats written.
            unsafe { _mm256_storeu_ps(array.as_mut_ptr(), a) };
            array
        }

        #[inline(always)]
        fn vector(self, array: &[f32; 8]) -> __m256 {
            // SAFETY: `self` proves that the processor has the instruction; the array holds the 8 floats it reads.
            unsafe { _mm256_loadu_ps(array.as_ptr()) }
        }
    }

    impl Lanes for Avx2 {
        type Vector = __m256;

        const WIDTH: usize = 8;

        const REGISTERS: usize = 16;

        #[inline(always)]
        fn splat(self, value: f32) -> __m256 {
            // SAFETY: `self` proves that the processor has the instruction, and it touches only registers.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        fn load_or(self, from: &[f32], fill: f32) -> __m256 {
            match from.first_chunk() {
                Some(whole) => self.vector(whole),
                None => self.vector(&partial(from, fill)),
            }
        }

        #[inline(always)]
        fn store(self, vector: __m256, to: &mut [f32]) {
            if to.len() >= 8 {
                // SAFETY: `self` proves that the processor has the instruction; the slice takes the 8 floats written.
                unsafe { _mm256_storeu_ps(to.as_mut_ptr(), vector) }
            } else {
                to.copy_from_slice(&self.array(vector)[..to.len()]);
            }
        }

        instructions! { __m256;
            add(a, b) = _mm256_add_ps(a, b);
            sub(a, b) = _mm256_sub_ps(a, b);
            mul(a, b) = _mm256_mul_ps(a, b);
            div(a, b) = _mm256_div_ps(a, b);
            max(a, b) = _mm256_max_ps(a, b);
            min(a, b) = _mm256_min_ps(a, b);
            mul_add(a, b, c) = _mm256_fmadd_ps(a, b, c);
            sub_mul(c, a, b) = _mm256_fnmadd_ps(a, b, c);
            round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
            scale_by_power(a, n) = {
                // One power of two cannot reach the subnormal results, two halves can.
                let n = _mm256_cvtps_epi32(n);
                let half = _mm256_srai_epi32::<1>(n);
                let bias = _mm256_set1_epi32(127);
                let first = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
                let second = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias));
                _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second))
            };
            where_positive(condition, a) =
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(condition, _mm256_setzero_ps()), a);
        }

        #[inline(always)]
        fn store_pairs(self, vector: __m256, to: &mut [u32]) {
            // Plain arithmetic on whole numbers, which the compiler turns into vectors.
            Portable.store_pairs(self.array(vector), to);
        }

        #[inline(always)]
        fn prefetch<T>(self, value: &T) {
            // SAFETY: every processor of this architecture has the instruction, which has no effect but on the caches.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()) }
        }

        #[inline(always)]
        fn sum(self, a: __m256) -> f32 {
            Portable.sum(self.array(a))
        }

        #[inline(always)]
        fn largest(self, a: __m256) -> f32 {
            Portable.largest(self.array(a))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lanes::PAD;
    use crate::simd::{Simd, kernel};

    kernel! {
        fn doubled<L>(lanes, x: &[f32], y: &mut [f32]) {
            for start in (0..x.len()).step_by(L::WIDTH) {
                let v = lanes.load(&x[start..]);
                lanes.store(lanes.add(v, v), &mut y[start..]);
            }
        }
    }

    kernel! {
        fn width<L>(_lanes) -> usize {
            L::WIDTH
        }
    }

    kernel! {
        fn scaled<L>(lanes, value: f32, power: f32) -> f32 {
            let mut out = [0.0];
            lanes.store(lanes.scale_by_power(lanes.splat(value), lanes.splat(power)), &mut out);
            out[0]
        }
    }

    kernel! {
        fn total_and_largest<L>(lanes, x: &[f32]) -> (f32, f32) {
            (lanes.sum(lanes.load(x)), lanes.largest(lanes.load_or(x, f32::NEG_INFINITY)))
        }
    }

    #[test]
    fn a_tail_of_any_length_is_read_and_written() {
        for simd in Simd::supported() {
            for length in 0..40u8 {
                let x: Vec<f32> = (0..length).map(f32::from).collect();
                let mut y = vec![-1.0; x.len()];
                doubled(simd, &x, &mut y);
                assert!(x.iter().zip(&y).all(|(x, y)| *y == 2.0 * x), "{simd} {length}");
            }
        }
    }

    #[test]
    fn every_width_divides_the_padding() {
        for simd in Simd::supported() {
            assert_eq!(PAD % width(simd), 0);
        }
    }

    #[test]
    fn powers_of_two_reach_both_ends_of_the_range() {
        for simd in Simd::supported() {
            assert_eq!(scaled(simd, 3.0, 4.0), 48.0);
            assert_eq!(scaled(simd, 1.0, -149.0), f32::from_bits(1));
            assert_eq!(scaled(simd, 1.0, -152.0), 0.0);
            assert_eq!(scaled(simd, 1.0, 128.0), f32::INFINITY);
        }
    }

    #[test]
    fn reductions_see_only_the_slice() {
        for simd in Simd::supported() {
            assert_eq!(total_and_largest(simd, &[-3.0, -1.0, -2.0]), (-6.0, -1.0), "{simd}");
        }
    }
}
