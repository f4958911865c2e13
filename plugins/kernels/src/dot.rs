//! How the words of two matrices are multiplied and added up: plain floats, or pairs of bfloat16.

use crate::lanes::Lanes;

/// Multiplies words of two matrices into sums of `f32`. A word holds one number or two neighbours of a row.
pub(crate) trait Dot: Copy {
    /// The registers of the sums.
    type Lanes: Lanes;

    /// What the matrices are made of.
    type Word: Copy;

    /// A register of as many words as there are sums in a vector.
    type Words: Copy;

    fn lanes(self) -> Self::Lanes;

    /// Zero in every lane.
    fn zero(self) -> Self::Words;

    /// The same word in every lane.
    fn splat(self, word: Self::Word) -> Self::Words;

    /// The first words of a slice, which has enough for a register.
    fn load(self, from: &[Self::Word]) -> Self::Words;

    /// Rounds a vector to bfloat16 and writes as many pairs as the slice takes, at most half as many as there are lanes.
    fn store_pairs(self, vector: <Self::Lanes as Lanes>::Vector, to: &mut [u32]);

    /// `sum + a b`, lane by lane. A pair adds two products.
    fn multiply_add(self, a: Self::Words, b: Self::Words, sum: <Self::Lanes as Lanes>::Vector) -> <Self::Lanes as Lanes>::Vector;
}

/// Words that are floats, for any instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Floats<L>(pub(crate) L);

impl<L: Lanes> Dot for Floats<L> {
    type Lanes = L;
    type Word = f32;
    type Words = L::Vector;

    #[inline(always)]
    fn lanes(self) -> L {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> L::Vector {
        self.0.zero()
    }

    #[inline(always)]
    fn splat(self, word: f32) -> L::Vector {
        self.0.splat(word)
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> L::Vector {
        self.0.load(from)
    }

    #[inline(always)]
    fn store_pairs(self, vector: L::Vector, to: &mut [u32]) {
        self.0.store_pairs(vector, to);
    }

    #[inline(always)]
    fn multiply_add(self, a: L::Vector, b: L::Vector, sum: L::Vector) -> L::Vector {
        self.0.mul_add(a, b, sum)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Pairs;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256bh, __m256i, __m512, __m512bh, __m512i, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32};

    use super::Dot;
    use crate::lanes::Avx512;

    /// Proof that the processor runs AVX-512 with BF16: words are pairs of bfloat16.
    ///
    /// Its instructions round to nearest and take subnormal numbers for 0, both when they multiply and when they round to
    /// bfloat16.
    #[derive(Clone, Copy)]
    pub(crate) struct Pairs(Avx512);

    impl Pairs {
        /// # Safety
        ///
        /// The processor has AVX-512 F, VL, BW, DQ and BF16.
        #[inline(always)]
        pub(crate) unsafe fn new() -> Pairs {
            // SAFETY: the caller says that the processor has these features.
            Pairs(unsafe { Avx512::new() })
        }
    }

    impl Dot for Pairs {
        type Lanes = Avx512;
        type Word = u32;
        type Words = __m512i;

        #[inline(always)]
        fn lanes(self) -> Avx512 {
            self.0
        }

        #[inline(always)]
        fn zero(self) -> __m512i {
            self.splat(0)
        }

        #[inline(always)]
        fn splat(self, word: u32) -> __m512i {
            // SAFETY: `self` proves that the processor has the instruction, and it touches only registers.
            unsafe { _mm512_set1_epi32(word.cast_signed()) }
        }

        #[inline(always)]
        fn load(self, from: &[u32]) -> __m512i {
            let from = &from[..16];
            // SAFETY: `self` proves that the processor has the instruction; the slice holds the 16 words it reads.
            unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
        }

        #[inline(always)]
        fn store_pairs(self, vector: __m512, to: &mut [u32]) {
            // SAFETY: `self` proves that the processor has the instruction, and it touches only registers; 256 plain bits
            // are the same register seen as words and as bfloat16.
            let words = unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(vector)) };
            self.0.store_words(words, to);
        }

        #[inline(always)]
        fn multiply_add(self, a: __m512i, b: __m512i, sum: __m512) -> __m512 {
            // SAFETY: both types are 512 plain bits, the same register seen as words and as bfloat16.
            let halves = |words: __m512i| unsafe { std::mem::transmute::<__m512i, __m512bh>(words) };
            // SAFETY: `self` proves that the processor has the instruction, and it touches only registers.
            unsafe { _mm512_dpbf16_ps(sum, halves(a), halves(b)) }
        }
    }
}
