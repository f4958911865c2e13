//! How work is cut into pieces. Pieces depend on shapes only, never on the number of threads, so results do not either.

use rayon::prelude::*;

/// Floats in a piece of work: enough to make a task worth its start, few enough to stay in the second level cache. It is
/// a multiple of everything the kernels align to.
pub(crate) const CHUNK: usize = 1 << 14;

/// Whole rows that make about one piece of work.
pub(crate) fn rows_per_chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// Calls `work` with the position and the slice of every piece of `chunk` floats. A single piece needs no threads.
pub(crate) fn for_each_chunk(y: &mut [f32], chunk: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if y.is_empty() {
        return;
    }
    if y.len() <= chunk {
        work(0, y);
    } else {
        y.par_chunks_mut(chunk).enumerate().for_each(|(index, piece)| work(index * chunk, piece));
    }
}

/// Adds `parts`, laid end to end, into `total`, in their order.
pub(crate) fn add_parts(parts: &[f32], total: &mut [f32]) {
    if total.is_empty() {
        return;
    }
    for part in parts.chunks_exact(total.len()) {
        for (sum, value) in total.iter_mut().zip(part) {
            *sum += value;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What `work` returns on pools of one, two and three threads, which must not differ in a bit.
    pub(crate) fn same_on_any_pool(work: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
        let results: Vec<Vec<f32>> = [1, 2, 3]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
                pool.install(&work)
            })
            .collect();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&results[0]), bits(&results[1]));
        assert_eq!(bits(&results[0]), bits(&results[2]));
        results.into_iter().next().expect("three results")
    }

    /// Reproducible whole numbers below a limit, for shapes drawn at random.
    pub(crate) fn dice(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |limit| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % limit
        }
    }

    /// Reproducible values between -1 and 1.
    pub(crate) fn values(length: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(12_345);
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    /// The largest distance between two slices, in units of the largest value of the second (or of 1).
    pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let size = b.iter().fold(1.0f32, |size, value| size.max(value.abs()));
        a.iter().zip(b).fold(0.0, |worst: f32, (a, b)| {
            assert!(!a.is_nan() && !b.is_nan());
            worst.max((a - b).abs() / size)
        })
    }

    #[test]
    fn every_piece_is_visited_once_at_its_position() {
        for length in [0, 1, 7, 8, 20] {
            let mut y = vec![0.0; length];
            for_each_chunk(&mut y, 7, |start, piece| {
                for (offset, slot) in piece.iter_mut().enumerate() {
                    *slot += (start + offset) as f32;
                }
            });
            assert!(y.iter().enumerate().all(|(index, value)| *value == index as f32));
        }
    }

    #[test]
    fn parts_are_added_in_their_order() {
        let mut total = [0.0, 1.0];
        add_parts(&[1.0, 2.0, 10.0, 20.0], &mut total);
        assert_eq!(total, [11.0, 23.0]);
    }
}
