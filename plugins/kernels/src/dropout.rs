//! Dropout whose mask is a function of the seed, the stream and the element, and of nothing else.

use crate::parallel::{CHUNK, for_each_chunk};
use crate::simd::{kernel, simd};

/// A dropout: its probability and the numbers that fix its mask.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The probability that an element becomes 0, at least 0 and less than 1.
    pub p: f32,
    /// The seed of the run.
    pub seed: u64,
    /// Which mask of the run, for instance a number made of step and layer.
    pub stream: u64,
}

impl Dropout {
    /// What kept values are multiplied by, so that the expectation stays.
    pub(crate) fn scale(self) -> f32 {
        1.0 / (1.0 - self.p)
    }

    /// Random words below this drop their element.
    fn threshold(self) -> u32 {
        (f64::from(self.p) * 4_294_967_296.0).ceil() as u32
    }

    pub(crate) fn check(self) {
        assert!((0.0..1.0).contains(&self.p), "a dropout probability is at least 0 and less than 1: {}", self.p);
    }
}

/// Elements whose random words are made together: sixteen counters of four words.
pub(crate) const GROUP: usize = 64;

/// Philox4x32-10 (Salmon et al., 2011): four random words from a counter and a key.
#[inline(always)]
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(second >> 32) as u32 ^ counter[1] ^ key[0], second as u32, (first >> 32) as u32 ^ counter[3] ^ key[1], first as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// The words of elements `64 group` to `64 group + 63`: word `w` of counter `16 group + c` belongs to element `16 w + c`
/// of the group, so that each word fills whole vectors.
#[inline(always)]
fn words(d: Dropout, group: u64) -> [u32; GROUP] {
    let key = [d.seed as u32, (d.seed >> 32) as u32];
    let stream = [d.stream as u32, (d.stream >> 32) as u32];
    // Sixteen counters from a multiple of sixteen differ in their low word only.
    let first = group.wrapping_mul(16);
    let (low, high) = (first as u32, (first >> 32) as u32);
    let mut words = [0; GROUP];
    let (w0, rest) = words.split_at_mut(16);
    let (w1, rest) = rest.split_at_mut(16);
    let (w2, w3) = rest.split_at_mut(16);
    for lane in 0..16 {
        let four = philox([low | lane as u32, high, stream[0], stream[1]], key);
        w0[lane] = four[0];
        w1[lane] = four[1];
        w2[lane] = four[2];
        w3[lane] = four[3];
    }
    words
}

/// The factors of one group: 0 for dropped and `1 / (1 - p)` for kept elements.
#[inline(always)]
fn factors(d: Dropout, group: u64, threshold: u32, scale: f32) -> [f32; GROUP] {
    words(d, group).map(|word| if word >= threshold { scale } else { 0.0 })
}

kernel! {
    /// Fills `mask` with 0 for dropped and `1 / (1 - p)` for kept elements, beginning at the element `64 group`.
    pub(crate) fn mask<L>(_lanes, d: Dropout, group: u64, mask: &mut [f32]) {
        let (threshold, scale) = (d.threshold(), d.scale());
        for (index, slots) in mask.chunks_mut(GROUP).enumerate() {
            slots.copy_from_slice(&factors(d, group + index as u64, threshold, scale)[..slots.len()]);
        }
    }
}

kernel! {
    /// Dropout of elements that begin at `64 group`.
    fn apply<L>(lanes, x: &[f32], d: Dropout, group: u64, y: &mut [f32]) {
        let (threshold, scale) = (d.threshold(), d.scale());
        for (index, (x, y)) in x.chunks(GROUP).zip(y.chunks_mut(GROUP)).enumerate() {
            let factors = factors(d, group + index as u64, threshold, scale);
            for start in (0..y.len()).step_by(L::WIDTH) {
                let value = lanes.mul(lanes.load(&x[start..]), lanes.load(&factors[start..]));
                lanes.store(value, &mut y[start..]);
            }
        }
    }
}

kernel! {
    /// Dropout in place of elements that begin at the element `skip` of a group.
    fn apply_in_place<L>(lanes, d: Dropout, group: u64, skip: usize, y: &mut [f32]) {
        let (threshold, scale) = (d.threshold(), d.scale());
        let (head, rest) = y.split_at_mut(y.len().min(GROUP - skip));
        for (index, y) in std::iter::once(head).chain(rest.chunks_mut(GROUP)).enumerate() {
            let factors = factors(d, group + index as u64, threshold, scale);
            let factors = &factors[if index == 0 { skip } else { 0 }..];
            for start in (0..y.len()).step_by(L::WIDTH) {
                lanes.store(lanes.mul(lanes.load(&y[start..]), lanes.load(&factors[start..])), &mut y[start..]);
            }
        }
    }
}

/// [`dropout`] in place, of the elements of a larger slice from `first` on, on this thread.
///
/// # Panics
///
/// The probability is not at least 0 and less than 1.
pub fn dropout_rows(d: Dropout, first: usize, y: &mut [f32]) {
    d.check();
    if d.p > 0.0 {
        apply_in_place(simd(), d, (first / GROUP) as u64, first % GROUP, y);
    }
}

/// Sets elements of `x` to 0 with probability `d.p` and multiplies the others by `1 / (1 - d.p)`.
///
/// It is its own gradient: the same call on `dy` gives `dx`.
///
/// # Panics
///
/// The slices differ in length, or the probability is not at least 0 and less than 1.
pub fn dropout(x: &[f32], d: Dropout, y: &mut [f32]) {
    assert!(x.len() == y.len(), "y must be as long as x: {} is not {}", y.len(), x.len());
    d.check();
    if d.p == 0.0 {
        y.copy_from_slice(x);
        return;
    }
    let simd = simd();
    for_each_chunk(y, CHUNK, |start, y| {
        apply(simd, &x[start..start + y.len()], d, (start / GROUP) as u64, y);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{same_on_any_pool, values};
    use crate::simd::Simd;

    const D: Dropout = Dropout { p: 0.25, seed: 7, stream: 3 };

    fn kept(d: Dropout, length: usize) -> Vec<bool> {
        let mut y = vec![9.0; length];
        dropout(&vec![1.0; length], d, &mut y);
        y.iter().map(|value| *value != 0.0).collect()
    }

    #[test]
    fn philox_gives_the_published_words() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn kept_values_are_scaled_and_the_others_are_zero() {
        let x = values(1000, 1);
        let mut y = vec![9.0; 1000];
        dropout(&x, D, &mut y);
        assert!(x.iter().zip(&y).all(|(x, y)| *y == 0.0 || *y == x * (1.0 / 0.75)));
    }

    #[test]
    fn the_share_of_kept_values_is_right_on_every_stream() {
        for stream in 0..8 {
            let kept = kept(Dropout { stream, ..D }, 100_000).into_iter().filter(|kept| *kept).count();
            // Five standard deviations of a binomial distribution are about 685.
            assert!(kept.abs_diff(75_000) < 685, "{stream} {kept}");
        }
    }

    #[test]
    fn neighbouring_streams_seeds_and_elements_are_independent() {
        let length = 100_000;
        let base = kept(D, length + 1);
        for other in [kept(Dropout { stream: 4, ..D }, length), kept(Dropout { seed: 8, ..D }, length), base[1..].to_vec()] {
            let both = base.iter().zip(&other).filter(|(a, b)| **a && **b).count();
            // Both are kept with probability 9/16, and five standard deviations are about 785.
            assert!(both.abs_diff(56_250) < 785, "{both}");
        }
    }

    #[test]
    fn a_longer_input_begins_with_the_same_mask() {
        assert_eq!(kept(D, 100_000)[..777], kept(D, 777));
    }

    #[test]
    fn pieces_of_any_length_get_their_part_of_the_mask() {
        let x = values(1000, 1);
        let mut whole = vec![9.0; 1000];
        dropout(&x, D, &mut whole);
        for lengths in [[1, 63, 64], [5, 100, 130], [64, 128, 1]] {
            let mut y = x.clone();
            let mut first = 0;
            for length in lengths.into_iter().cycle() {
                let end = (first + length).min(y.len());
                dropout_rows(D, first, &mut y[first..end]);
                first = end;
                if first == y.len() {
                    break;
                }
            }
            assert_eq!(y, whole, "{lengths:?}");
        }
    }

    #[test]
    fn the_backward_mask_is_the_forward_mask() {
        let (x, dy) = (values(500, 1), values(500, 2));
        let (mut y, mut dx) = (vec![0.0; 500], vec![0.0; 500]);
        dropout(&x, D, &mut y);
        dropout(&dy, D, &mut dx);
        assert!(y.iter().zip(&dx).all(|(y, dx)| (*y == 0.0) == (*dx == 0.0)));
    }

    #[test]
    fn every_path_draws_the_same_mask() {
        let x = values(1003, 5);
        let results: Vec<Vec<f32>> = Simd::supported()
            .map(|simd| {
                let mut y = vec![0.0; x.len()];
                apply(simd, &x, D, 11, &mut y);
                y
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]));
    }

    #[test]
    fn no_probability_copies() {
        let x = values(100, 1);
        let mut y = vec![0.0; 100];
        dropout(&x, Dropout { p: 0.0, ..D }, &mut y);
        assert_eq!(x, y);
        dropout(&[], D, &mut []);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let x = values(100_003, 1);
        same_on_any_pool(|| {
            let mut y = vec![0.0; x.len()];
            dropout(&x, D, &mut y);
            y
        });
    }

    #[test]
    #[should_panic(expected = "less than 1")]
    fn a_probability_of_one_is_refused() {
        dropout(&[1.0], Dropout { p: 1.0, ..D }, &mut [0.0]);
    }
}
