//! Gradients of an objective against differences of its values.

use lmprobe_core::{Error, Result};
use serde::Serialize;

use crate::objective::PluginObjective;
use crate::request::{NamedTensor, TensorValues};

/// The most numbers of one tensor that are moved; of a larger one every n-th.
const MOST_PROBED: usize = 512;

/// A difference above this share of the tensor's largest gradient is a wrong gradient: the values are of 32 bits, so the last digits of differences are noise.
const TOLERANCE: f64 = 1e-2;

/// How the gradients of one tensor compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradientReport {
    /// Which sample, from 0.
    pub sample: usize,
    /// The tensor.
    pub tensor: String,
    /// How many of its numbers were moved.
    pub probed: usize,
    /// The largest gradient, absolute.
    pub largest: f64,
    /// The largest difference, as a share of the largest gradient.
    pub difference: f64,
    /// Where that is: position, gradient of the plugin, difference quotient.
    pub worst: (usize, f64, f64),
    /// Whether the gradients are right.
    pub passed: bool,
}

/// Compares every gradient of the objective's samples with central differences, refined once (Richardson 1911).
///
/// # Errors
/// If the objective gives no sample, or fails.
pub(crate) fn of_objective(objective: &PluginObjective, id: &str) -> Result<Vec<GradientReport>> {
    if objective.sample().is_empty() {
        return Err(Error::plugin(format!("objective `{id}`"), "its `describe` gives no `sample`, so its gradients cannot be checked"));
    }
    let mut reports = Vec::new();
    for (sample, inputs) in objective.sample().iter().enumerate() {
        let live: Vec<usize> = (0..inputs.len()).filter(|&at| is_live(&inputs[at])).collect();
        let need_grad = live.iter().fold(0, |bits, &at| bits | 1 << at);
        if live.is_empty() || inputs.len() > 64 {
            return Err(Error::plugin(
                format!("objective `{id}`"),
                format!("sample {sample} needs 1 to 64 tensors, one of them an encoder's output of floats"),
            ));
        }
        let (_, gradients) = objective.value_and_grad(inputs.clone(), need_grad)?;
        for &at in &live {
            reports.push(of_tensor(objective, sample, inputs, at, &gradients)?);
        }
    }
    Ok(reports)
}

/// Whether the host would ask for the gradient of this tensor.
fn is_live(tensor: &NamedTensor) -> bool {
    ["hidden_states.", "pooled.", "mlm_logits."].iter().any(|prefix| tensor.name.starts_with(prefix)) && tensor.floats().is_some()
}

fn of_tensor(objective: &PluginObjective, sample: usize, inputs: &[NamedTensor], at: usize, gradients: &[NamedTensor]) -> Result<GradientReport> {
    let tensor = &inputs[at];
    let gradient = gradients.iter().find(|gradient| gradient.name == tensor.name).and_then(NamedTensor::floats).unwrap_or_default();
    let largest = gradient.iter().fold(0.0f64, |largest, &value| largest.max(f64::from(value).abs()));
    let step = tensor.values.len().div_ceil(MOST_PROBED).max(1);
    let mut report = GradientReport { sample, tensor: tensor.name.clone(), probed: 0, largest, difference: 0.0, worst: (0, 0.0, 0.0), passed: true };
    for position in (0..tensor.values.len()).step_by(step) {
        let expected = quotient(objective, inputs, at, position)?;
        let found = f64::from(gradient[position]);
        // A gradient that is zero everywhere is held against 1: the quotient is noise then.
        let difference = (found - expected).abs() / if largest > 1e-6 { largest } else { 1.0 };
        report.probed += 1;
        if difference > report.difference || !difference.is_finite() {
            (report.difference, report.worst) = (difference, (position, found, expected));
        }
    }
    report.passed = report.difference <= TOLERANCE;
    Ok(report)
}

/// The derivative by differences: central ones at two distances, of which the error of second order is taken out.
fn quotient(objective: &PluginObjective, inputs: &[NamedTensor], at: usize, position: usize) -> Result<f64> {
    let central = |distance: f32| -> Result<f64> {
        let moved = |sign: f32| -> Result<(f64, f64)> {
            let mut inputs = inputs.to_vec();
            let TensorValues::F32(values) = &mut inputs[at].values else { return Err(Error::Unsupported("a tensor of floats".into())) };
            values[position] += sign * distance;
            let place = f64::from(values[position]);
            Ok((place, objective.value_and_grad(inputs, 0)?.0))
        };
        let ((right, above), (left, below)) = (moved(1.0)?, moved(-1.0)?);
        // The places that 32 bits can hold, not the ones that were meant.
        Ok((above - below) / (right - left))
    };
    let value = inputs[at].floats().map_or(0.0, |values| values[position].abs());
    let distance = 0.02 * value.max(0.5);
    Ok((4.0 * central(distance / 2.0)? - central(distance)?) / 3.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host_services::Kept;
    use crate::instance::{Instance, Services};
    use crate::request::{Request, Response};

    /// The loss `sum x^3` over `hidden_states.0`, whose gradient is `3 x^2`, times a factor that should be 1.
    struct Cubes {
        factor: f32,
    }

    impl Instance for Cubes {
        fn call(&self, request: Request, _: &dyn Services) -> Result<Response> {
            let Request::ValueAndGrad { inputs, need_grad } = request else { return Ok(Response::Nothing) };
            let x = inputs[0].floats().unwrap();
            let value = x.iter().map(|&x| f64::from(x).powi(3)).sum();
            let slope = x.iter().map(|&x| self.factor * 3.0 * x * x).collect();
            let gradient = NamedTensor { name: inputs[0].name.clone(), shape: inputs[0].shape.clone(), values: TensorValues::F32(slope) };
            Ok(Response::Gradient { value, gradients: if need_grad == 0 { vec![] } else { vec![gradient] } })
        }
    }

    fn report(factor: f32, values: &[f64]) -> Result<Vec<GradientReport>> {
        let sample = json!([[{"name": "hidden_states.0", "shape": [1, values.len(), 1], "values": values}]]);
        let description = json!({"needs": {"encoders": 1}, "inputs": 1, "want": {"hidden": [-1]}, "sample": sample});
        of_objective(&PluginObjective::new("a/cubes", Box::new(Cubes { factor }), Kept::default(), description).unwrap(), "a/cubes")
    }

    #[test]
    fn right_gradients_pass() {
        let reports = report(1.0, &[0.5, -2.0, 3.0, 0.0]).unwrap();
        assert_eq!((reports.len(), reports[0].probed, reports[0].passed), (1, 4, true));
        assert!((reports[0].largest - 27.0).abs() < 1e-4 && reports[0].difference < 1e-3, "{reports:?}");
    }

    #[test]
    fn wrong_gradients_are_found_with_their_place() {
        for factor in [0.9, -1.0, 0.0] {
            let report = report(factor, &[0.5, -2.0, 3.0]).unwrap().remove(0);
            assert!(!report.passed && report.worst.0 == 2, "{report:?}");
            assert!((report.worst.2 - 27.0).abs() < 0.1, "{report:?}");
        }
    }

    #[test]
    fn without_a_sample_nothing_is_claimed() {
        let description = json!({"needs": {"encoders": 1}, "inputs": 1, "want": {"pooled": true}});
        let objective = PluginObjective::new("a/cubes", Box::new(Cubes { factor: 1.0 }), Kept::default(), description).unwrap();
        assert!(of_objective(&objective, "a/cubes").unwrap_err().to_string().contains("gives no `sample`"));
    }

    #[test]
    fn malformed_descriptions_are_refused() {
        let refused = |description| PluginObjective::new("a/cubes", Box::new(Cubes { factor: 1.0 }), Kept::default(), description).err().unwrap().to_string();
        assert!(refused(json!({"needs": {"encoders": 1}, "inputs": 0, "want": {"pooled": true}})).contains("`inputs` is 0"));
        assert!(refused(json!({"needs": {"encoders": 1}, "inputs": 1, "want": {}})).contains("`want` is empty"));
        assert!(refused(json!({"needs": {"encoders": 1, "gpu": true}, "inputs": 1, "want": {"pooled": true}})).contains("unknown field `gpu`"));
        assert!(
            refused(json!({"needs": {"encoders": 1}, "inputs": 1, "want": {"pooled": true}, "sample": [[{"name": "x", "shape": [2], "values": [1]}]]}))
                .contains("`x` has shape [2] and 1 values")
        );
    }
}
