//! Seeds and the numbers drawn from them: the streams of the built-in plugins, bit for bit.

/// Root of the randomness of a call. The host has already set apart one for each call that may draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

impl Seed {
    /// The child with a number, for steps and epochs.
    #[must_use]
    pub fn at(self, index: u64) -> Self {
        Self(mix(self.0 ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    /// A generator that starts at this node.
    pub fn random(self) -> Random {
        let mut state = [0; 4];
        let mut x = self.0;
        for word in &mut state {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word = mix(x);
        }
        Random { state }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// xoshiro256** (Blackman, Vigna 2018). The stream is part of every published number and
/// never changes.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)` with 53 bits.
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let (bits, range) = ((self.next_u64() >> 11) as f64, (1u64 << 53) as f64);
        bits / range
    }

    /// Uniform in `0..bound` without bias (Lemire 2019). `bound` must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "a bound of 0 leaves nothing to draw");
        let bound = bound as u64;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            #[expect(clippy::cast_possible_truncation, reason = "the low word is what the test needs")]
            let low = product as u64;
            if low >= bound.wrapping_neg() % bound {
                return usize::try_from(product >> 64).expect("the high word is below the bound");
            }
        }
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "thousands of draws touch no memory that the others do not")]
    fn below_covers_its_range_evenly() {
        let mut random = Seed(1).random();
        let mut counts = [0usize; 7];
        for _ in 0..7_000 {
            counts[random.below(7)] += 1;
        }
        for count in counts {
            assert!((880..1_120).contains(&count), "{counts:?}"); // 1 000 expected, four standard deviations are 117
        }
    }

    #[test]
    fn the_stream_is_frozen() {
        // Computed from the published algorithms in Python.
        let mut random = Seed(33).random();
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6_209_995_197_922_487_984, 11_909_200_149_010_356_375, 2_206_703_749_883_071_010]);
        assert_eq!([Seed(33).at(0), Seed(33).at(1)], [Seed(13_958_556_398_570_271_885), Seed(10_450_454_777_070_237_230)]);
        let mut random = Seed(33).random();
        assert_eq!([0; 6].map(|_| random.below(7)), [2, 4, 0, 6, 0, 4]);
        let mut items = [0, 1, 2, 3, 4, 5];
        Seed(33).random().shuffle(&mut items);
        assert_eq!(items, [1, 4, 5, 0, 3, 2]);
        assert_eq!(Seed(33).random().unit(), 0.336_644_514_235_605_5);
        // Logarithm and cosine may differ in the last bit between systems.
        assert!((Seed(33).random().normal() + 0.552_613_079_178_924_7).abs() < 1e-14);
    }
}
