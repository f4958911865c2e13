//! The optimiser's step and the norm it may be clipped by.

use rayon::prelude::*;

use crate::parallel::CHUNK;
use crate::simd::{kernel, simd};

/// The numbers of one `AdamW` step.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// The learning rate.
    pub lr: f32,
    /// The decay of the mean gradient.
    pub beta1: f32,
    /// The decay of the mean squared gradient.
    pub beta2: f32,
    /// What is added to the root of the mean squared gradient.
    pub eps: f32,
    /// The decoupled weight decay, in units of the learning rate.
    pub weight_decay: f32,
    /// Which step this is, the first being 1.
    pub step: u64,
    /// Whether the means are corrected for their start at 0: yes in `torch.optim.AdamW`, no in the original BERT.
    pub bias_correction: bool,
}

/// The factors of a step, worked out in double precision as `torch` does.
#[derive(Clone, Copy)]
struct Factors {
    /// `1 - lr weight_decay`.
    decay: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    /// `lr / (1 - beta1^step)`.
    rate: f32,
    /// `sqrt(1 - beta2^step)`.
    root: f32,
    eps: f32,
}

impl Factors {
    fn new(s: &AdamWStep) -> Factors {
        let (beta1, beta2) = (decimal(s.beta1), decimal(s.beta2));
        let (correction1, correction2) = if s.bias_correction {
            let step = s.step as f64;
            (1.0 - beta1.powf(step), 1.0 - beta2.powf(step))
        } else {
            (1.0, 1.0)
        };
        Factors {
            decay: (1.0 - f64::from(s.lr) * f64::from(s.weight_decay)) as f32,
            beta1: s.beta1,
            rest1: (1.0 - beta1) as f32,
            beta2: s.beta2,
            rest2: (1.0 - beta2) as f32,
            rate: (f64::from(s.lr) / correction1) as f32,
            root: correction2.sqrt() as f32,
            eps: s.eps,
        }
    }
}

/// The double precision number of the same decimal digits. `1 - 0.999` would otherwise be off by a hundred thousandth, for
/// the single precision 0.999 is.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

kernel! {
    fn update<L>(lanes, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], f: Factors) {
        let [decay, beta1, rest1, beta2, rest2, rate, root, eps] =
            [f.decay, f.beta1, f.rest1, f.beta2, f.rest2, f.rate, f.root, f.eps].map(|value| lanes.splat(value));
        for start in (0..p.len()).step_by(L::WIDTH) {
            let gradient = lanes.load(&g[start..]);
            let mean = lanes.mul_add(lanes.load(&m[start..]), beta1, lanes.mul(gradient, rest1));
            let square = lanes.mul(lanes.mul(gradient, gradient), rest2);
            let square = lanes.mul_add(lanes.load(&v[start..]), beta2, square);
            let divisor = lanes.add(lanes.div(lanes.sqrt(square), root), eps);
            let parameter = lanes.mul(lanes.load(&p[start..]), decay);
            let parameter = lanes.sub_mul(parameter, rate, lanes.div(mean, divisor));
            lanes.store(mean, &mut m[start..]);
            lanes.store(square, &mut v[start..]);
            lanes.store(parameter, &mut p[start..]);
        }
    }
}

/// One step of `AdamW`: updates the parameters `p` and the means `m` and `v` in place, given the gradient `g`.
///
/// The weight decay is decoupled. With `bias_correction` it is `torch.optim.AdamW`, without the optimiser of the original
/// BERT.
///
/// # Panics
///
/// The slices differ in length, or the step is 0.
pub fn adamw(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], s: &AdamWStep) {
    assert!(
        g.len() == p.len() && m.len() == p.len() && v.len() == p.len(),
        "p, g, m and v must be of one length: {}, {}, {}, {}",
        p.len(),
        g.len(),
        m.len(),
        v.len()
    );
    assert!(s.step > 0, "the first step is 1");
    let simd = simd();
    let factors = Factors::new(s);
    if p.len() <= CHUNK {
        update(simd, p, g, m, v, factors);
        return;
    }
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| update(simd, p, g, m, v, factors));
}

kernel! {
    /// The squares are exact in double precision, so every instruction set gives the same bits.
    fn squares<L>(_lanes, x: &[f32]) -> f64 {
        let mut sums = [0.0f64; 16];
        let (chunks, rest) = x.as_chunks::<16>();
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*value) * f64::from(*value);
        }
        sums.iter().sum()
    }
}

/// The sum of the squares of all elements, in double precision.
#[must_use]
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let simd = simd();
    if x.len() <= CHUNK {
        return squares(simd, x);
    }
    let parts: Vec<f64> = x.par_chunks(CHUNK).map(|piece| squares(simd, piece)).collect();
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::{distance, same_on_any_pool, values};
    use crate::simd::Simd;

    const STEP: AdamWStep = AdamWStep { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, step: 1, bias_correction: true };

    #[test]
    fn the_first_corrected_step_moves_by_the_learning_rate() {
        let (mut p, mut m, mut v) = ([1.0, 1.0], [0.0; 2], [0.0; 2]);
        adamw(&mut p, &[0.5, -20.0], &mut m, &mut v, &STEP);
        // The decay takes a thousandth, the step a tenth towards the gradient's sign.
        assert!((p[0] - 0.899).abs() < 1e-6 && (p[1] - 1.099).abs() < 1e-6, "{p:?}");
        assert!((m[0] - 0.05).abs() < 1e-7 && (v[0] - 0.000_25).abs() < 1e-9);
    }

    #[test]
    fn without_correction_the_first_step_is_larger() {
        let (mut p, mut m, mut v) = ([1.0], [0.0], [0.0]);
        adamw(&mut p, &[1.0], &mut m, &mut v, &AdamWStep { bias_correction: false, weight_decay: 0.0, ..STEP });
        // 0.1 / sqrt(0.001) = 3.1623 learning rates.
        assert!((p[0] - (1.0 - 0.316_227_8)).abs() < 1e-6, "{p:?}");
    }

    #[test]
    fn every_path_follows_the_formula_over_many_steps() {
        let length = 37;
        for bias_correction in [true, false] {
            for simd in Simd::supported() {
                let (mut p, mut m, mut v) = (values(length, 1), vec![0.0; length], vec![0.0; length]);
                let mut exact: Vec<[f64; 3]> = p.iter().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
                for step in 1..=20 {
                    let g = values(length, 100 + step);
                    let s = AdamWStep { step: u64::from(step), lr: 0.01, bias_correction, ..STEP };
                    update(simd, &mut p, &g, &mut m, &mut v, Factors::new(&s));
                    for ([p, m, v], g) in exact.iter_mut().zip(&g) {
                        let (lr, g) = (f64::from(s.lr), f64::from(*g));
                        let (beta1, beta2) = (0.9, 0.999);
                        let power = f64::from(step);
                        let correct = |beta: f64| if bias_correction { 1.0 - beta.powf(power) } else { 1.0 };
                        *p -= lr * f64::from(s.weight_decay) * *p;
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        *p -= lr * (*m / correct(beta1)) / ((*v / correct(beta2)).sqrt() + f64::from(s.eps));
                    }
                }
                let expected: Vec<f32> = exact.iter().map(|[p, ..]| *p as f32).collect();
                assert!(distance(&p, &expected) < 2e-6, "{simd}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (p, g) = (values(100_003, 1), values(100_003, 2));
        same_on_any_pool(|| {
            let (mut p, mut m, mut v) = (p.clone(), vec![0.1; g.len()], vec![0.2; g.len()]);
            adamw(&mut p, &g, &mut m, &mut v, &STEP);
            let sum = sum_of_squares(&p).to_bits();
            [p, m, v, vec![f32::from_bits(sum as u32), f32::from_bits((sum >> 32) as u32)]].concat()
        });
    }

    #[test]
    fn squares_are_summed_in_double_precision_on_every_path() {
        let x = values(1003, 3);
        let expected: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let first = squares(Simd::Portable, &x);
        for simd in Simd::supported() {
            assert_eq!(squares(simd, &x).to_bits(), first.to_bits());
        }
        assert!((first - expected).abs() < 1e-11 * expected);
        assert_eq!(sum_of_squares(&[3.0, 4.0]), 25.0);
        assert_eq!(sum_of_squares(&[]), 0.0);
    }
}
