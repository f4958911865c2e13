//! AdamW with parameter groups (Loshchilov and Hutter 2019, arXiv:1711.05101).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Tensor};
use rayon::prelude::*;

use super::gradients::{Gradient, Gradients};
use super::params::{TrainingParams, WeightDecayOn};
use crate::{Error, Result, Variable};

/// Numbers that one task updates, rounded up to whole rows.
const PIECE: usize = 1 << 15;

/// The optimiser: first and second moments of every variable.
///
/// Own code because the libraries' keeps its moments private (no resume), knows no groups, and allocates a dozen temporaries a
/// variable.
pub struct AdamW {
    /// Finished steps.
    pub step: u64,
    /// First and second moments, one pair a variable, in the order of the variables.
    pub moments: Vec<(Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// An optimiser that has seen nothing.
    pub fn new(variables: &[Variable]) -> Self {
        let moments = variables.iter().map(|variable| variable.var.elem_count()).map(|n| (vec![0.0; n], vec![0.0; n])).collect();
        Self { step: 0, moments }
    }

    /// One update with `scale` times the gradients. A variable without a gradient stays, as in torch; of a gradient by rows, all other rows are 0.
    ///
    /// # Errors
    /// If a variable is not a contiguous `f32` tensor.
    pub fn update(&mut self, variables: &[Variable], gradients: &Gradients, params: &TrainingParams, learning_rate: f64, scale: f64) -> Result<()> {
        self.step += 1;
        for (index, (variable, moments)) in variables.iter().zip(&mut self.moments).enumerate() {
            let Some(gradient) = gradients.get(index) else { continue };
            let decays = params.weight_decay_on == WeightDecayOn::All || !variable.is_bias_or_norm;
            let factors = Factors::new(params, self.step, learning_rate, if decays { params.weight_decay } else { 0.0 }, scale);
            // The trait takes `&self`; the lock is taken once.
            let update = Update { moments: std::sync::Mutex::new(moments), gradient, factors };
            update.apply(variable).map_err(|error| Error::Unsupported(format!("update of `{}`: {error}", variable.name)))?;
        }
        Ok(())
    }
}

/// The numbers of a step that all elements of a variable share.
#[derive(Clone, Copy)]
struct Factors {
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    rate: f32,
    root2: f32,
    epsilon: f32,
    /// What is left of a weight by its decay before the step and after it: one of them is 1, which changes no bit.
    keep: f32,
    keep_after: f32,
    scale: f32,
}

impl Factors {
    #[expect(clippy::cast_possible_truncation, reason = "the arithmetic of the weights is f32")]
    fn new(params: &TrainingParams, step: u64, learning_rate: f64, weight_decay: f64, scale: f64) -> Self {
        let step = i32::try_from(step).unwrap_or(i32::MAX);
        let (correction1, correction2) = if params.bias_correction { (1.0 - params.beta1.powi(step), 1.0 - params.beta2.powi(step)) } else { (1.0, 1.0) };
        let hat = params.epsilon_hat && params.bias_correction;
        let keep = (1.0 - learning_rate * weight_decay) as f32;
        // The correction of the root moves into the rate, so that epsilon is added to the root as it is.
        let (root2, rate) = if hat { (1.0, learning_rate * correction2.sqrt() / correction1) } else { (correction2.sqrt(), learning_rate / correction1) };
        Self {
            beta1: params.beta1 as f32,
            beta2: params.beta2 as f32,
            rest1: (1.0 - params.beta1) as f32,
            rest2: (1.0 - params.beta2) as f32,
            rate: rate as f32,
            root2: root2 as f32,
            epsilon: params.epsilon as f32,
            keep: if hat { 1.0 } else { keep },
            keep_after: if hat { keep } else { 1.0 },
            scale: scale as f32,
        }
    }

    // torch decays first, then moves; the original BERT decays the old weight too, scaled by the same rate; transformers moves first.
    fn element(self, weight: &mut f32, m: &mut f32, v: &mut f32, gradient: f32) {
        let gradient = gradient * self.scale;
        *m = self.beta1 * *m + self.rest1 * gradient;
        *v = self.beta2 * *v + self.rest2 * gradient * gradient;
        *weight = (*weight * self.keep - self.rate * *m / (v.sqrt() / self.root2 + self.epsilon)) * self.keep_after;
    }

    /// All elements of a piece, given the gradients of as many.
    fn dense(self, weights: &mut [f32], (first, second): (&mut [f32], &mut [f32]), gradient: &[f32]) {
        for (((weight, m), v), gradient) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
            self.element(weight, m, v, *gradient);
        }
    }

    /// A row whose gradient is 0.
    fn without_gradient(self, weights: &mut [f32], (first, second): (&mut [f32], &mut [f32])) {
        // A row that never had a gradient has moments of 0 and moves by 0 / epsilon: most of a vocabulary, most of the time.
        if self.epsilon > 0.0 && first.iter().all(|&m| m == 0.0) && second.iter().all(|&v| v == 0.0) {
            let keep = self.keep * self.keep_after;
            if keep != 1.0 {
                for weight in weights {
                    *weight *= keep;
                }
            }
            return;
        }
        for ((weight, m), v) in weights.iter_mut().zip(first).zip(second) {
            self.element(weight, m, v, 0.0);
        }
    }
}

struct Update<'a> {
    moments: std::sync::Mutex<&'a mut (Vec<f32>, Vec<f32>)>,
    gradient: Gradient<'a>,
    factors: Factors,
}

impl Update<'_> {
    fn apply(&self, variable: &Variable) -> candle_core::Result<()> {
        if variable.var.device().is_cpu() {
            return variable.var.inplace_op1(self);
        }
        // Elsewhere the weights come here and go back: the moments and the arithmetic are those of the CPU.
        let mut weights = variable.var.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        self.weights(&mut weights)?;
        variable.var.set(&Tensor::from_vec(weights, variable.var.shape(), &Device::Cpu)?.to_device(variable.var.device())?)
    }

    /// Updates all elements of a variable, in pieces whose results do not depend on each other.
    fn weights(&self, weights: &mut [f32]) -> candle_core::Result<()> {
        let mut moments = self.moments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (first, second) = &mut **moments;
        let n = weights.len();
        if first.len() != n || second.len() != n {
            candle_core::bail!("moments of {} and {} elements for a variable of {n}", first.len(), second.len());
        }
        let factors = self.factors;
        match self.gradient {
            Gradient::Dense(gradient) => {
                if gradient.len() != n {
                    candle_core::bail!("a gradient of {} elements for a variable of {n}", gradient.len());
                }
                let moments = first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE));
                let pieces = weights.par_chunks_mut(PIECE).zip(moments).zip(gradient.par_chunks(PIECE));
                pieces.for_each(|((weights, moments), gradient)| factors.dense(weights, moments, gradient));
            }
            Gradient::Rows { indices, values, width } => {
                let mut places = vec![None; n / width];
                for (place, &row) in indices.iter().enumerate() {
                    places[row as usize] = Some(place);
                }
                let rows = PIECE.div_ceil(width);
                let moments = first.par_chunks_mut(rows * width).zip(second.par_chunks_mut(rows * width));
                let pieces = weights.par_chunks_mut(rows * width).zip(moments).zip(places.par_chunks(rows));
                pieces.for_each(|((weights, (first, second)), places)| {
                    let moments = first.chunks_exact_mut(width).zip(second.chunks_exact_mut(width));
                    for ((weights, moments), place) in weights.chunks_exact_mut(width).zip(moments).zip(places) {
                        match place {
                            Some(place) => factors.dense(weights, moments, &values[place * width..][..width]),
                            None => factors.without_gradient(weights, moments),
                        }
                    }
                });
            }
        }
        Ok(())
    }
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, weights: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a variable is not contiguous");
        };
        let dtype = weights.dtype();
        let CpuStorage::F32(weights) = weights else {
            candle_core::bail!("a variable is {dtype:?}, not F32");
        };
        self.weights(&mut weights[start..end])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    fn variable(values: Vec<f32>, dims: (usize, usize), is_bias_or_norm: bool) -> [Variable; 1] {
        [Variable { name: "w".into(), var: Var::from_vec(values, dims, &Device::Cpu).unwrap(), is_bias_or_norm }]
    }

    fn gradients(variables: &[Variable], values: &[f32]) -> Gradients {
        let mut gradients = Gradients::new(variables);
        gradients.add_tensor(0, &Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
        gradients
    }

    fn weights(variables: &[Variable]) -> Vec<f32> {
        variables[0].var.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn one_step_by_hand() {
        let variables = variable(vec![1.0, -2.0], (1, 2), false);
        let params = TrainingParams { weight_decay: 0.1, epsilon: 0.0, ..TrainingParams::default() };
        let mut adamw = AdamW::new(&variables);
        adamw.update(&variables, &gradients(&variables, &[0.5, 0.0]), &params, 0.01, 1.0).unwrap();
        let weights = weights(&variables);
        assert!((weights[0] - (1.0 - 0.001 - 0.01)).abs() < 1e-6, "{weights:?}"); // decay 0.001, then the sign of the gradient times the rate
        assert!(weights[1].is_nan(), "0 / (0 + 0): epsilon is what prevents it");
    }

    /// What becomes of a weight of 1 by steps with these gradients, in f64 and straight from the formulas.
    fn by_formula(gradients: &[f64], hat: bool, epsilon: f64, weight_decay: f64, rate: f64) -> f64 {
        let (mut weight, mut m, mut v) = (1.0, 0.0, 0.0);
        for (gradient, t) in gradients.iter().zip(1..) {
            m = 0.9 * m + 0.1 * gradient;
            v = 0.999 * v + 0.001 * gradient * gradient;
            let (correction1, correction2) = (1.0 - 0.9_f64.powi(t), 1.0 - 0.999_f64.powi(t));
            if hat {
                weight -= rate * correction2.sqrt() / correction1 * m / (v.sqrt() + epsilon);
                weight -= rate * weight_decay * weight;
            } else {
                weight -= rate * weight_decay * weight;
                weight -= rate * (m / correction1) / ((v / correction2).sqrt() + epsilon);
            }
        }
        weight
    }

    #[test]
    fn epsilon_hat_is_added_to_the_uncorrected_root_and_weights_decay_after_the_step() {
        // One step by hand, for a gradient g as great as epsilon e and no decay. The first moments are g / 10 and g^2 / 1000, whose corrected forms are g and g^2.
        // torch: rate x g / (g + e) = rate / 2. transformers: rate x sqrt(0.001) / 0.1 x (g / 10) / (sqrt(0.001) g + e) = rate / (1 + 1 / sqrt(0.001)), 1 / 32.6.
        let epsilon = 1e-3;
        let of = |gradients_of: &[f32], hat: bool, weight_decay: f64| {
            let variables = variable(vec![1.0], (1, 1), false);
            let params = TrainingParams { epsilon, epsilon_hat: hat, weight_decay, ..TrainingParams::default() };
            let mut adamw = AdamW::new(&variables);
            for gradient in gradients_of {
                adamw.update(&variables, &gradients(&variables, &[*gradient]), &params, 0.1, 1.0).unwrap();
            }
            f64::from(weights(&variables)[0])
        };
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 3e-7, "{found} is not {expected}");
        near(of(&[1e-3], false, 0.0), 1.0 - 0.1 / 2.0);
        near(of(&[1e-3], true, 0.0), 1.0 - 0.1 / (1.0 + 1000_f64.sqrt()));
        for (gradients, weight_decay) in [(&[1e-3_f32, -4e-3][..], 0.0), (&[1e-3], 0.5), (&[1e-3, -4e-3], 0.5), (&[2.0, 3.0], 0.5)] {
            let as_f64: Vec<f64> = gradients.iter().map(|&gradient| f64::from(gradient)).collect();
            for hat in [false, true] {
                near(of(gradients, hat, weight_decay), by_formula(&as_f64, hat, epsilon, weight_decay, 0.1));
            }
            let differ = (of(gradients, false, weight_decay) - of(gradients, true, weight_decay)).abs();
            assert!(differ > 1e-4, "{gradients:?}: {differ}");
        }
    }

    #[test]
    fn without_bias_correction_epsilon_hat_changes_no_bit() {
        let of = |hat: bool| {
            let variables = variable(vec![1.0, -0.3], (1, 2), false);
            let params = TrainingParams { epsilon: 1e-3, epsilon_hat: hat, bias_correction: false, weight_decay: 0.5, ..TrainingParams::default() };
            let mut adamw = AdamW::new(&variables);
            for _ in 0..3 {
                adamw.update(&variables, &gradients(&variables, &[1e-3, 2.0]), &params, 0.1, 1.0).unwrap();
            }
            weights(&variables)
        };
        assert_eq!(of(true), of(false));
    }

    #[test]
    fn bias_and_norm_do_not_decay_when_matrices_do() {
        let variables = variable(vec![1.0], (1, 1), true);
        let params = TrainingParams { weight_decay: 0.5, ..TrainingParams::default() };
        AdamW::new(&variables).update(&variables, &gradients(&variables, &[0.0]), &params, 0.1, 1.0).unwrap();
        assert_eq!(weights(&variables), [1.0]);
    }

    #[test]
    fn a_gradient_by_rows_updates_as_a_dense_one_with_zeros() {
        let start: Vec<f32> = (0u8..12).map(|index| f32::from(index) / 7.0).collect();
        for (weight_decay, epsilon_hat) in [(0.0, false), (0.1, false), (0.1, true)] {
            let params = TrainingParams { weight_decay, epsilon_hat, ..TrainingParams::default() };
            let (dense, sparse) = (variable(start.clone(), (4, 3), false), variable(start.clone(), (4, 3), false));
            let (mut one, mut other) = (AdamW::new(&dense), AdamW::new(&sparse));
            // Row 0 is never reached, row 1 always, row 2 once and then no more.
            for rows in [&[1u32, 2][..], &[1], &[1, 3]] {
                let mut by_row = Gradients::new(&sparse);
                let values: Vec<f32> = (0..rows.len() * 3).map(|index| if index % 2 == 0 { 0.5 } else { -0.25 }).collect();
                by_row.add_rows(0, rows, &values);
                let mut all = vec![0.0; 12];
                for (row, values) in rows.iter().zip(values.chunks(3)) {
                    all[*row as usize * 3..][..3].copy_from_slice(values);
                }
                one.update(&dense, &gradients(&dense, &all), &params, 0.01, 0.5).unwrap();
                other.update(&sparse, &by_row, &params, 0.01, 0.5).unwrap();
                assert_eq!(weights(&dense), weights(&sparse));
                assert_eq!(one.moments, other.moments);
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let n = PIECE + 100;
        let run = |threads| {
            let variables = variable((0..2 * n).map(|index| if index % 3 == 0 { 0.5 } else { -1.0 }).collect(), (n, 2), false);
            let gradients = gradients(&variables, &vec![0.125; 2 * n]);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| AdamW::new(&variables).update(&variables, &gradients, &TrainingParams::default(), 0.01, 1.0)).unwrap();
            weights(&variables).iter().map(|weight| weight.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(3));
    }
}
