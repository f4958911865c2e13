//! Numbers with a meaning.

/// Major version of this interface. A plugin of another one is refused.
pub const LMPROBE_ABI_MAJOR: u16 = 1;
/// Minor version of this interface. Any minor works with any other.
pub const LMPROBE_ABI_MINOR: u16 = 0;

/// Status: done.
pub const LMPROBE_OK: i32 = 0;
/// Status: a parameter cannot be honoured.
pub const LMPROBE_CONFIG: i32 = 1;
/// Status: an input table, tensor or file is not what it should be.
pub const LMPROBE_INPUT: i32 = 2;
/// Status: stopped because the host asked for it.
pub const LMPROBE_CANCELLED: i32 = 3;
/// Status: not offered.
pub const LMPROBE_UNSUPPORTED: i32 = 4;
/// Status: a mistake of the callee.
pub const LMPROBE_INTERNAL: i32 = 5;
/// Status: the callee panicked. The host calls the plugin no more.
pub const LMPROBE_PANIC: i32 = 6;
/// Status: not enough memory.
pub const LMPROBE_OOM: i32 = 7;
/// Status: a file could not be read or written.
pub const LMPROBE_IO: i32 = 8;

/// Kind of a component: a language model.
pub const LMPROBE_KIND_ENCODER: u32 = 1;
/// Kind of a component: a way of asking.
pub const LMPROBE_KIND_PROBER: u32 = 2;
/// Kind of a component: a training signal.
pub const LMPROBE_KIND_OBJECTIVE: u32 = 3;
/// Kind of a component: a set of questions.
pub const LMPROBE_KIND_TASK: u32 = 4;
/// Kind of a component: a number about answers.
pub const LMPROBE_KIND_METRIC: u32 = 5;

/// Capability: one instance may be called from several threads at once.
pub const LMPROBE_CAP_CONCURRENT: u64 = 1;
/// Capability: the same input and seed give the same bits.
pub const LMPROBE_CAP_DETERMINISTIC: u64 = 2;
/// Capability: uses the network.
pub const LMPROBE_CAP_NEEDS_NETWORK: u64 = 4;
/// Capability: each row of the result depends on one row of the input only, so the host may split the input.
pub const LMPROBE_CAP_ROW_INDEPENDENT: u64 = 8;

/// Wanted of an encoder: hidden states of the layers of the request.
pub const LMPROBE_WANT_HIDDEN_STATES: u64 = 1;
/// Wanted of an encoder: attention probabilities of every block.
pub const LMPROBE_WANT_ATTENTIONS: u64 = 2;
/// Wanted of an encoder: the pooler's output.
pub const LMPROBE_WANT_POOLED: u64 = 4;
/// Wanted of an encoder: masked-language-model logits.
pub const LMPROBE_WANT_MLM_LOGITS: u64 = 8;
/// Wanted of an encoder: causal-language-model logits.
pub const LMPROBE_WANT_LM_LOGITS: u64 = 16;

/// Flag of a request: long texts lose their beginning instead of their end.
pub const LMPROBE_ENCODE_CUT_LEFT: u32 = 1;
/// Flag of a request: the vocabulary pieces of texts that follow other text, without special tokens.
pub const LMPROBE_ENCODE_PIECES: u32 = 2;
/// Flag of a request: logits are wanted for `rows` only, not for every token.
pub const LMPROBE_ENCODE_SOME_ROWS: u32 = 4;

/// Level of a message: something a person should know; it is kept in the record of the job.
pub const LMPROBE_LOG_WARN: u32 = 2;
/// Level of a message: shown with `-v`.
pub const LMPROBE_LOG_INFO: u32 = 3;
/// Level of a message: shown with `-vv`.
pub const LMPROBE_LOG_DEBUG: u32 = 4;
