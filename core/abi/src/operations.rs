//! What components of each kind do: one table of functions a kind.

use crate::{lmprobe_buf, lmprobe_call, lmprobe_encode_req, lmprobe_error, lmprobe_instance, lmprobe_named_tensor, lmprobe_table, lmprobe_tensors};

/// Operations of an encoder. It runs models; training through it is not offered in 1.0.
///
/// `describe` gives `layers`, `hidden`, `heads`, `vocab`, `max_length`, and optionally `mask` (`{"text", "id"}`), `lowercase`, `pooler`, `mlm_head`, `lm_head`,
/// `causal`, `warnings`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_encoder_vt {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Turns texts into tokens, one row a token, sequences in order: `sequence` and `id` (`l`), and optionally `type_id` (`l`), `special` (`b`), `word` (`l`, may be
    /// empty), `start` and `end` (`l`, characters), `truncated` (`b`: its sequence lost tokens).
    pub tokenize: Option<
        unsafe extern "C" fn(
            instance: *mut lmprobe_instance,
            call: *const lmprobe_call,
            request: *const lmprobe_encode_req,
            tokens: *mut lmprobe_table,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
    /// Runs the model on packed sequences. `f32` tensors by name: `hidden_states` `(wanted layers, tokens, hidden)`, `attentions` `(blocks, cells)` where the cells
    /// of a block are those of each sequence as `(heads, query, key)`, `pooled` `(batch, hidden)`, `mlm_logits` and `lm_logits` `(rows, vocab)`.
    pub encode: Option<
        unsafe extern "C" fn(
            instance: *mut lmprobe_instance,
            call: *const lmprobe_call,
            request: *const lmprobe_encode_req,
            outputs: *mut lmprobe_tensors,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
    /// Reads the weights, before the first `encode`. May be null.
    pub load: Option<unsafe extern "C" fn(instance: *mut lmprobe_instance, call: *const lmprobe_call, error: *mut lmprobe_error) -> i32>,
    /// The text of a vocabulary entry; empty if there is none. May be null.
    pub token: Option<unsafe extern "C" fn(instance: *mut lmprobe_instance, id: u32, text: *mut lmprobe_buf, error: *mut lmprobe_error) -> i32>,
}

/// Operations of a prober.
///
/// `describe` gives `needs`: `encoders` (0 for a baseline), and optionally `mask_token`, `mlm_head`, `pooler`, `layers`, `randomness`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_prober_vt {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Asks: from the tables `examples` and `candidates` makes the table `predictions`, one row an example in their order.
    pub run: Option<
        unsafe extern "C" fn(
            instance: *mut lmprobe_instance,
            call: *const lmprobe_call,
            examples: *mut lmprobe_table,
            candidates: *mut lmprobe_table,
            predictions: *mut lmprobe_table,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
}

/// Examples an objective prepared. Only the plugin knows what is in it.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_examples {
    _opaque: [u8; 0],
}

/// Operations of an objective: a loss as value and gradient.
///
/// `describe` gives `needs` as of a prober, `inputs` (forward passes a batch, 1 or 2) and `want`: `hidden` (layers, negative numbers count from the end), `pooled`,
/// `mlm_logits` (`"all"`, or `"some"`: of input `i` the rows in the target `mlm_rows.i`); and `sample`, a list of examples of `value_and_grad` for the check of
/// gradients: each a list of `{"name", "shape", "values"}` with an optional `"dtype"`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_objective_vt {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Makes training examples of a corpus: the table `texts` has one column `text`. The encoder is in slot 0. `report` is JSON: `examples`, their number, and `notes`,
    /// sentences about what was left out or cut.
    pub prepare: Option<
        unsafe extern "C" fn(
            instance: *mut lmprobe_instance,
            call: *const lmprobe_call,
            texts: *mut lmprobe_table,
            examples: *mut *mut lmprobe_examples,
            report: *mut lmprobe_buf,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
    /// Makes a batch of the examples with these numbers. `inputs` has one row a token: `input`, `sequence`, `id` (`l`), optionally `type_id`; `targets` are whatever
    /// `value_and_grad` needs.
    pub batch: Option<
        unsafe extern "C" fn(
            examples: *mut lmprobe_examples,
            call: *const lmprobe_call,
            n: usize,
            chosen: *const u64,
            inputs: *mut lmprobe_table,
            targets: *mut lmprobe_tensors,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
    /// Destroys prepared examples, once.
    pub destroy_examples: Option<unsafe extern "C" fn(examples: *mut lmprobe_examples)>,
    /// The loss and its gradient. Inputs are borrowed: for each input `i` of the batch `hidden_states.i` `(layers, tokens, hidden)`, `pooled.i` `(batch, hidden)` and
    /// `mlm_logits.i` `(rows, vocab)` as wanted, `offsets.i` `(batch + 1)` as `i64`, and the targets by their names. Bit `i` of `need_grad` asks for the
    /// gradient of the `i`-th of them, which comes back under its name and in its shape.
    pub value_and_grad: Option<
        unsafe extern "C" fn(
            instance: *mut lmprobe_instance,
            call: *const lmprobe_call,
            n: usize,
            inputs: *const lmprobe_named_tensor,
            need_grad: u64,
            value: *mut f64,
            gradients: *mut lmprobe_tensors,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
}

/// Operations of a task.
///
/// `describe` gives `default_metrics`, as a run file writes them.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_task_vt {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Makes the tables `examples` and `candidates`.
    pub examples: Option<
        unsafe extern "C" fn(
            instance: *mut lmprobe_instance,
            call: *const lmprobe_call,
            examples: *mut lmprobe_table,
            candidates: *mut lmprobe_table,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
}

/// Operations of a metric.
///
/// `describe` gives `name`, as it stands in the tables.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct lmprobe_metric_vt {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Makes the table `metric rows` from the table `predictions`.
    pub compute: Option<
        unsafe extern "C" fn(
            instance: *mut lmprobe_instance,
            call: *const lmprobe_call,
            predictions: *mut lmprobe_table,
            rows: *mut lmprobe_table,
            error: *mut lmprobe_error,
        ) -> i32,
    >,
}
