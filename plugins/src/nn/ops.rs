//! Differentiable operations on packed batches.
//!
//! Each is one node of candle's graph with its own backward pass over the kernels. Candle's fused `LayerNorm` and
//! `softmax_last_dim` have no backward pass and cut the graph in silence, and its composed operations cost several passes over
//! memory each; so nothing here is built on them. The kernels are for the CPU: tensors of another device go through `composed.rs`.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};
use lmprobe_kernels as kernels;
pub use lmprobe_kernels::{Activation, Dropout};

use super::composed;
use super::gradient_sink::GradientSlot;
use super::values::{like, owned, slice, width, with};

/// `x (rows, in)` times the transpose of `weight (out, in)` plus `bias (out)`: `(rows, out)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed::linear(x, weight, bias);
    }
    x.apply_op3(weight, bias, Linear)
}

/// The same for inference, without a graph: the bits of a row depend on that row alone, not on those beside it. The weights are copied first.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear_of_rows(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed::linear(&x.detach(), weight, bias);
    }
    let ((rows, inputs), (outputs, expected)) = (x.dims2()?, weight.dims2()?);
    if inputs != expected || bias.dims() != [outputs] {
        candle_core::bail!("linear: x {:?}, weight {:?}, bias {:?} do not fit", x.dims(), weight.dims(), bias.dims());
    }
    let layer = with(weight, |weight| with(bias, |bias| Ok(kernels::PackedLinear::new(weight, Some(bias), outputs, inputs, kernels::Precision::F32))))?;
    let mut y = vec![0.0; rows * outputs];
    with(x, |x| {
        layer.apply(x, rows, kernels::Epilogue::None, &mut kernels::Scratch::default(), &mut y);
        Ok(())
    })?;
    Tensor::from_vec(y, (rows, outputs), x.device())
}

/// Layer normalisation of rows with gain and bias.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed::layer_norm(x, gain, bias, eps);
    }
    x.apply_op3(gain, bias, LayerNorm { eps })
}

/// An activation, element by element.
///
/// # Errors
/// If `x` is not `f32`.
pub fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed::activation(x, kind);
    }
    x.apply_op1(Activate(kind))
}

/// Rows of `table (rows, width)` by index: `(indices, width)`.
///
/// # Errors
/// If an index is not a row.
pub fn gather(table: &Tensor, indices: &[u32]) -> Result<Tensor> {
    gather_into(table, indices, None)
}

/// The same for a table that is a variable: of its gradient only the rows that were read go to where it is summed, and nothing goes on the tape.
///
/// # Errors
/// If an index is not a row.
pub fn gather_into(table: &Tensor, indices: &[u32], slot: Option<&GradientSlot>) -> Result<Tensor> {
    let rows = table.dim(0)?;
    if let Some(index) = indices.iter().find(|&&index| index as usize >= rows) {
        candle_core::bail!("row {index} of a table of {rows} rows");
    }
    if !table.device().is_cpu() {
        return composed::gather(table, indices);
    }
    table.apply_op1(Gather { indices: indices.into(), slot: slot.cloned() })
}

/// Seeded dropout. `None`, or a rate of 0, returns `x`.
///
/// # Errors
/// If `x` is not `f32`.
pub fn dropout(x: &Tensor, dropout: Option<Dropout>) -> Result<Tensor> {
    match dropout {
        Some(dropout) if dropout.p > 0.0 && !x.device().is_cpu() => composed::dropout(x, dropout),
        Some(dropout) if dropout.p > 0.0 => x.apply_op1(Drop(dropout)),
        _ => Ok(x.clone()),
    }
}

/// Self-attention of a packed batch: queries, keys and values `(tokens, heads x head_dim)`, each sequence to itself.
#[derive(Clone)]
pub struct Attention {
    /// Sequence boundaries, `(batch + 1)`.
    pub offsets: Arc<[usize]>,
    /// Number of heads.
    pub heads: usize,
    /// Whether a token sees only itself and what stands before it.
    pub causal: bool,
    /// Dropout of the probabilities.
    pub dropout: Option<Dropout>,
}

impl Attention {
    /// The context `(tokens, heads x head_dim)`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn apply(self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        if !query.device().is_cpu() {
            return composed::attention(&self, query, key, value);
        }
        query.apply_op3(key, value, self)
    }

    /// The probabilities, `(heads, query, key)` for each sequence. Not differentiable.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn probabilities(&self, query: &Tensor, key: &Tensor) -> Result<Vec<Tensor>> {
        if !query.device().is_cpu() {
            return composed::attention_probabilities(self, query, key);
        }
        let blocks = with(query, |query_values| with(key, |key_values| Ok(kernels::attention_probabilities(query_values, key_values, self.shape(query)?))))?;
        self.offsets
            .windows(2)
            .zip(blocks)
            .map(|(ends, block)| {
                let length = ends[1] - ends[0];
                Tensor::from_vec(block, (self.heads, length, length), query.device())
            })
            .collect()
    }

    pub(super) fn shape(&self, query: &Tensor) -> Result<kernels::AttentionShape<'_>> {
        self.shape_for(query.dim(1)?)
    }

    fn shape_for(&self, width: usize) -> Result<kernels::AttentionShape<'_>> {
        if self.heads == 0 || !width.is_multiple_of(self.heads) {
            candle_core::bail!("{} heads do not divide a width of {width}", self.heads);
        }
        let head_dim = width / self.heads;
        #[expect(clippy::cast_precision_loss, reason = "a head has a few dozen dimensions")]
        let scale = 1.0 / (head_dim as f32).sqrt();
        Ok(kernels::AttentionShape { offsets: &self.offsets, heads: self.heads, head_dim, scale, causal: self.causal })
    }
}

/// The mean of the rows of each sequence: `(tokens, width)` to `(batch, width)`.
///
/// # Errors
/// If a sequence is empty.
pub fn sequence_mean(x: &Tensor, offsets: &[usize]) -> Result<Tensor> {
    if offsets.windows(2).any(|ends| ends[0] == ends[1]) {
        candle_core::bail!("a sequence without tokens has no mean");
    }
    if !x.device().is_cpu() {
        return composed::sequence_mean(x, offsets);
    }
    x.apply_op1(SequenceMean(offsets.into()))
}

/// Logarithm of the softmax of rows, `(rows, width)`.
///
/// # Errors
/// If `x` is not `f32`.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed::log_softmax(x);
    }
    x.apply_op1(LogSoftmax)
}

/// The mean of `-log_probabilities[row, targets[row]]`, a scalar.
///
/// # Errors
/// If the shapes do not fit.
pub fn negative_log_likelihood(log_probabilities: &Tensor, targets: &Tensor) -> Result<Tensor> {
    log_probabilities.gather(&targets.to_device(log_probabilities.device())?.unsqueeze(1)?, 1)?.mean_all()?.neg()
}

type Gradients3 = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout, w: &CpuStorage, w_layout: &Layout, b: &CpuStorage, b_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, expected) = w_layout.shape().dims2()?;
        if inputs != expected || b_layout.dims() != [outputs] {
            candle_core::bail!("linear: x {:?}, weight {:?}, bias {:?} do not fit", x_layout.dims(), w_layout.dims(), b_layout.dims());
        }
        let mut y = vec![0.0; rows * outputs];
        kernels::linear(slice(x, x_layout)?, slice(w, w_layout)?, Some(slice(b, b_layout)?), rows, inputs, outputs, &mut y);
        Ok(owned(y, (rows, outputs)))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, b: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Gradients3> {
        let (rows, inputs) = x.dims2()?;
        let outputs = w.dim(0)?;
        let (mut dx, mut dw, mut db) = (vec![0.0; rows * inputs], vec![0.0; outputs * inputs], vec![0.0; outputs]);
        with(dy, |dy| {
            with(w, |w| {
                kernels::linear_grad_input(dy, w, rows, inputs, outputs, &mut dx);
                Ok(())
            })?;
            with(x, |x| {
                kernels::linear_grad_weight(dy, x, rows, inputs, outputs, &mut dw);
                Ok(())
            })?;
            kernels::sum_rows(dy, outputs, &mut db);
            Ok(())
        })?;
        Ok((Some(like(dx, x)?), Some(like(dw, w)?), Some(like(db, b)?)))
    }
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout, g: &CpuStorage, g_layout: &Layout, b: &CpuStorage, b_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = width(x_layout)?;
        if g_layout.dims() != [width] || b_layout.dims() != [width] {
            candle_core::bail!("layer-norm: x {:?}, gain {:?}, bias {:?} do not fit", x_layout.dims(), g_layout.dims(), b_layout.dims());
        }
        let x = slice(x, x_layout)?;
        let mut y = vec![0.0; x.len()];
        kernels::layer_norm(x, slice(g, g_layout)?, slice(b, b_layout)?, self.eps, &mut y);
        Ok(owned(y, x_layout.shape()))
    }

    fn bwd(&self, x: &Tensor, g: &Tensor, b: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Gradients3> {
        let (mut dx, mut dg, mut db) = (vec![0.0; x.elem_count()], vec![0.0; g.elem_count()], vec![0.0; b.elem_count()]);
        with(x, |x| {
            with(g, |g| {
                with(dy, |dy| {
                    kernels::layer_norm_grad(x, g, dy, self.eps, &mut dx, &mut dg, &mut db);
                    Ok(())
                })
            })
        })?;
        Ok((Some(like(dx, x)?), Some(like(dg, g)?), Some(like(db, b)?)))
    }
}

struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut y = vec![0.0; x.len()];
        kernels::activation(self.0, x, &mut y);
        Ok(owned(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0.0; x.elem_count()];
        with(x, |x| {
            with(dy, |dy| {
                kernels::activation_grad(self.0, x, dy, &mut dx);
                Ok(())
            })
        })?;
        Ok(Some(like(dx, x)?))
    }
}

struct Gather {
    indices: Arc<[u32]>,
    slot: Option<GradientSlot>,
}

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = width(layout)?;
        let mut y = vec![0.0; self.indices.len() * width];
        kernels::gather_rows(slice(table, layout)?, width, &self.indices, &mut y);
        Ok(owned(y, (self.indices.len(), width)))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = table.dims2()?;
        if let Some(slot) = &self.slot {
            with(dy, |dy| {
                slot.lock().add_rows(slot.index, &self.indices, dy);
                Ok(())
            })?;
            return Ok(None);
        }
        let mut dtable = vec![0.0; table.elem_count()];
        with(dy, |dy| {
            kernels::scatter_add_rows(dy, width, &self.indices, &mut dtable);
            Ok(())
        })?;
        Ok(Some(like(dtable, table)?))
    }
}

struct Drop(Dropout);

impl CustomOp1 for Drop {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut y = vec![0.0; x.len()];
        kernels::dropout(x, self.0, &mut y);
        Ok(owned(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0.0; x.elem_count()];
        with(dy, |dy| {
            kernels::dropout(dy, self.0, &mut dx);
            Ok(())
        })?;
        Ok(Some(like(dx, x)?))
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, q: &CpuStorage, q_layout: &Layout, k: &CpuStorage, k_layout: &Layout, v: &CpuStorage, v_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = q_layout.shape().dims2()?;
        if k_layout.dims() != q_layout.dims() || v_layout.dims() != q_layout.dims() || self.offsets.last() != Some(&tokens) {
            candle_core::bail!("attention: query {:?}, key {:?}, value {:?} do not fit", q_layout.dims(), k_layout.dims(), v_layout.dims());
        }
        let mut out = vec![0.0; tokens * width];
        kernels::attention(slice(q, q_layout)?, slice(k, k_layout)?, slice(v, v_layout)?, self.shape_for(width)?, self.dropout, &mut out);
        Ok(owned(out, (tokens, width)))
    }

    fn bwd(&self, q: &Tensor, k: &Tensor, v: &Tensor, _: &Tensor, dout: &Tensor) -> Result<Gradients3> {
        let n = q.elem_count();
        let (mut dq, mut dk, mut dv) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let shape = self.shape(q)?;
        with(q, |q| {
            with(k, |k| {
                with(v, |v| {
                    with(dout, |dout| {
                        kernels::attention_grad(q, k, v, dout, shape, self.dropout, &mut dq, &mut dk, &mut dv);
                        Ok(())
                    })
                })
            })
        })?;
        Ok((Some(like(dq, q)?), Some(like(dk, k)?), Some(like(dv, v)?)))
    }
}

struct SequenceMean(Arc<[usize]>);

#[expect(clippy::cast_precision_loss, reason = "a sequence has at most a few thousand tokens")]
impl CustomOp1 for SequenceMean {
    fn name(&self) -> &'static str {
        "sequence-mean"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = width(layout)?;
        let x = slice(x, layout)?;
        let mut y = vec![0.0; (self.0.len() - 1) * width];
        for (ends, mean) in self.0.windows(2).zip(y.chunks_exact_mut(width)) {
            for row in x[ends[0] * width..ends[1] * width].chunks_exact(width) {
                mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
            }
            let n = (ends[1] - ends[0]) as f32;
            for value in mean.iter_mut() {
                *value /= n;
            }
        }
        Ok(owned(y, (self.0.len() - 1, width)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = x.dims2()?;
        let mut dx = vec![0.0; x.elem_count()];
        with(dy, |dy| {
            for (ends, gradient) in self.0.windows(2).zip(dy.chunks_exact(width)) {
                let n = (ends[1] - ends[0]) as f32;
                for row in dx[ends[0] * width..ends[1] * width].chunks_exact_mut(width) {
                    row.iter_mut().zip(gradient).for_each(|(dx, dy)| *dx = dy / n);
                }
            }
            Ok(())
        })?;
        Ok(Some(like(dx, x)?))
    }
}

struct LogSoftmax;

impl CustomOp1 for LogSoftmax {
    fn name(&self) -> &'static str {
        "log-softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut y = vec![0.0; x.len()];
        kernels::log_softmax(x, width(layout)?, &mut y);
        Ok(owned(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = x.dims2()?;
        let mut dx = vec![0.0; x.elem_count()];
        with(y, |y| {
            with(dy, |dy| {
                kernels::log_softmax_grad(y, dy, width, &mut dx);
                Ok(())
            })
        })?;
        Ok(Some(like(dx, x)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn var(shape: (usize, usize), scale: f32) -> Var {
        let n = shape.0 * shape.1;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let values: Vec<f32> = (0..n).map(|i| ((i * 7 % 11) as f32 - 5.0) * scale).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Checks the gradient of `sum(f(x) * c)` against central differences.
    fn check(x: &Var, f: impl Fn(&Tensor) -> Tensor) {
        let loss = |x: &Tensor| {
            let y = f(x);
            let weights: Vec<f32> = (0..y.elem_count()).map(|i| if i % 3 == 0 { 1.0 } else { -0.5 }).collect();
            (y.flatten_all().unwrap() * Tensor::new(weights, &Device::Cpu).unwrap()).unwrap().sum_all().unwrap()
        };
        let gradient = loss(x.as_tensor())
            .backward()
            .unwrap()
            .get(x.as_tensor())
            .expect("the gradient reaches the variable")
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for i in 0..values.len() {
            let shifted = |by: f32| {
                let mut values = values.clone();
                values[i] += by;
                loss(&Tensor::from_vec(values, x.shape(), &Device::Cpu).unwrap()).to_scalar::<f32>().unwrap()
            };
            let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((numeric - gradient[i]).abs() < 2e-3 * (1.0 + numeric.abs()), "element {i}: {numeric} by differences, {} by the graph", gradient[i]);
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        let (w, b) = (var((3, 4), 0.1), Var::from_vec(vec![0.1f32, -0.2, 0.3], 3, &Device::Cpu).unwrap());
        check(&var((5, 4), 0.2), |x| linear(x, w.as_tensor(), b.as_tensor()).unwrap());
        let gain = Var::from_vec(vec![1.0f32, 0.5, -1.0, 2.0], 4, &Device::Cpu).unwrap();
        check(&var((5, 4), 0.3), |x| layer_norm(x, gain.as_tensor(), gain.as_tensor(), 1e-5).unwrap());
        check(&var((2, 6), 0.3), |x| activation(x, Activation::GeluErf).unwrap());
        check(&var((4, 3), 0.3), |x| gather(x, &[2, 0, 2]).unwrap());
        check(&var((5, 3), 0.3), |x| sequence_mean(x, &[0, 2, 5]).unwrap());
        check(&var((3, 5), 0.3), |x| log_softmax(x).unwrap());
        let keep = Some(Dropout { p: 0.4, seed: 1, stream: 2 });
        check(&var((4, 4), 0.3), |x| dropout(x, keep).unwrap());
        let attention = Attention { offsets: [0, 2, 5].into(), heads: 2, causal: false, dropout: keep };
        let (q, k, v) = (var((5, 4), 0.2), var((5, 4), 0.3), var((5, 4), 0.4));
        check(&q, |q| attention.clone().apply(q, k.as_tensor(), v.as_tensor()).unwrap());
        check(&k, |k| attention.clone().apply(q.as_tensor(), k, v.as_tensor()).unwrap());
        check(&v, |v| attention.clone().apply(q.as_tensor(), k.as_tensor(), v).unwrap());
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let (x, w) = (var((2, 3), 1.0), var((4, 5), 1.0));
        let bias = Tensor::zeros(4, candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = linear(x.as_tensor(), w.as_tensor(), &bias).unwrap_err().to_string();
        assert!(error.contains("x [2, 3], weight [4, 5], bias [4] do not fit"), "{error}");
    }
}
