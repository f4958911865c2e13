//! AdamW with parameter groups (Loshchilov and Hutter 2019, arXiv:1711.05101).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

use super::params::{TrainingParams, WeightDecayOn};
use crate::{Error, Result, Variable};

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

    /// One update. `gradients` stand in the order of the variables; a variable without a gradient stays, as in torch.
    ///
    /// # Errors
    /// If a variable is not a contiguous `f32` tensor on the CPU.
    pub fn update(&mut self, variables: &[Variable], gradients: &[Option<Tensor>], params: &TrainingParams, learning_rate: f64, scale: f64) -> Result<()> {
        self.step += 1;
        for ((variable, gradient), moments) in variables.iter().zip(gradients).zip(&mut self.moments) {
            let Some(gradient) = gradient else { continue };
            let decays = params.weight_decay_on == WeightDecayOn::All || !variable.is_bias_or_norm;
            let update = Update {
                moments: std::sync::Mutex::new(moments),
                step: self.step,
                learning_rate,
                weight_decay: if decays { params.weight_decay } else { 0.0 },
                scale,
                params,
            };
            variable
                .var
                .inplace_op2(&gradient.contiguous()?, &update)
                .map_err(|error| Error::Unsupported(format!("update of `{}`: {error}", variable.name)))?;
        }
        Ok(())
    }
}

struct Update<'a> {
    // The trait takes `&self`; the lock is taken once.
    moments: std::sync::Mutex<&'a mut (Vec<f32>, Vec<f32>)>,
    step: u64,
    learning_rate: f64,
    weight_decay: f64,
    scale: f64,
    params: &'a TrainingParams,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    #[expect(clippy::cast_possible_truncation, reason = "the arithmetic of the weights is f32")]
    fn cpu_fwd(&self, weights: &mut CpuStorage, layout: &Layout, gradient: &CpuStorage, gradient_layout: &Layout) -> candle_core::Result<()> {
        let gradient = contiguous(gradient, gradient_layout)?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a variable is not contiguous");
        };
        let dtype = weights.dtype();
        let CpuStorage::F32(weights) = weights else {
            candle_core::bail!("a variable is {dtype:?}, not F32");
        };
        let mut moments = self.moments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (first, second) = &mut **moments;
        let params = self.params;
        let step = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (correction1, correction2) = if params.bias_correction { (1.0 - params.beta1.powi(step), 1.0 - params.beta2.powi(step)) } else { (1.0, 1.0) };
        let (beta1, beta2) = (params.beta1 as f32, params.beta2 as f32);
        let (rest1, rest2) = ((1.0 - params.beta1) as f32, (1.0 - params.beta2) as f32);
        let rate = (self.learning_rate / correction1) as f32;
        let root2 = correction2.sqrt() as f32;
        let (epsilon, scale) = (params.epsilon as f32, self.scale as f32);
        let keep = (1.0 - self.learning_rate * self.weight_decay) as f32;
        // torch decays first, then moves; the original BERT decays the old weight too, scaled by the same rate.
        for (((weight, &gradient), m), v) in weights[start..end].iter_mut().zip(gradient).zip(first.iter_mut()).zip(second.iter_mut()) {
            let gradient = gradient * scale;
            *m = beta1 * *m + rest1 * gradient;
            *v = beta2 * *v + rest2 * gradient * gradient;
            *weight = *weight * keep - rate * *m / (v.sqrt() / root2 + epsilon);
        }
        Ok(())
    }
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a gradient is not contiguous");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn one_step_by_hand() {
        let var = Var::from_vec(vec![1.0f32, -2.0], 2, &Device::Cpu).unwrap();
        let variables = [Variable { name: "w".into(), var: var.clone(), is_bias_or_norm: false }];
        let gradient = Tensor::new(&[0.5f32, 0.0], &Device::Cpu).unwrap();
        let params = TrainingParams { weight_decay: 0.1, epsilon: 0.0, ..TrainingParams::default() };
        let mut adamw = AdamW::new(&variables);
        adamw.update(&variables, &[Some(gradient)], &params, 0.01, 1.0).unwrap();
        let weights: Vec<f32> = var.to_vec1().unwrap();
        assert!((weights[0] - (1.0 - 0.001 - 0.01)).abs() < 1e-6, "{weights:?}"); // decay 0.001, then the sign of the gradient times the rate
        assert!(weights[1].is_nan(), "0 / (0 + 0): epsilon is what prevents it");
    }

    #[test]
    fn bias_and_norm_do_not_decay_when_matrices_do() {
        let var = Var::from_vec(vec![1.0f32], 1, &Device::Cpu).unwrap();
        let variables = [Variable { name: "b".into(), var: var.clone(), is_bias_or_norm: true }];
        let params = TrainingParams { weight_decay: 0.5, ..TrainingParams::default() };
        let gradient = Tensor::new(&[0.0f32], &Device::Cpu).unwrap();
        AdamW::new(&variables).update(&variables, &[Some(gradient)], &params, 0.1, 1.0).unwrap();
        assert_eq!(var.to_vec1::<f32>().unwrap(), [1.0]);
    }
}
