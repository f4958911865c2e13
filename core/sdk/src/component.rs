//! What every plugin component has: parameters, a version, a text for people.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Call, Result};

/// What a metric, prober, task, objective and encoder have in common.
pub trait Component: Send + Sync + Sized + 'static {
    /// The parameters as a run file writes them. Their doc comments and defaults are shown to people. [`NoParams`](crate::NoParams) if there are none.
    type Params: DeserializeOwned + JsonSchema;

    /// Semantic version of the behaviour: raise the major when the same parameters give other numbers.
    const VERSION: &'static str;

    /// One line, for lists.
    const SUMMARY: &'static str;

    /// The manual in Markdown: what it does, how, an example, a reference.
    const MANUAL: &'static str = "";

    /// What the host may rely on.
    const CAPS: Caps = Caps::CONCURRENT.and(Caps::DETERMINISTIC);

    /// Creates the component. Paths in `params` are absolute. Weights and other large files are better read at the first use.
    ///
    /// # Errors
    /// If the parameters cannot be honoured.
    fn build(params: Self::Params, call: &Call<'_>) -> Result<Self>;
}

/// What the host may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps(pub(crate) u64);

impl Caps {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// It may be called from several threads at once. Components in safe Rust may: they are `Sync`.
    pub const CONCURRENT: Self = Self(lmprobe_abi::LMPROBE_CAP_CONCURRENT);
    /// The same input and seed give the same bits.
    pub const DETERMINISTIC: Self = Self(lmprobe_abi::LMPROBE_CAP_DETERMINISTIC);
    /// It uses the network.
    pub const NEEDS_NETWORK: Self = Self(lmprobe_abi::LMPROBE_CAP_NEEDS_NETWORK);
    /// Each row of the result depends on one row of the input only, so the host may split the input.
    pub const ROW_INDEPENDENT: Self = Self(lmprobe_abi::LMPROBE_CAP_ROW_INDEPENDENT);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a prober or an objective asks of an encoder; the host checks it before any weight is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needs {
    /// How many encoders: 0 for a baseline, 1 for most.
    pub encoders: usize,
    /// A mask token.
    #[serde(default)]
    pub mask_token: bool,
    /// A masked-language-model head.
    #[serde(default)]
    pub mlm_head: bool,
    /// A pooler.
    #[serde(default)]
    pub pooler: bool,
    /// These hidden states, negative numbers counting from the end.
    #[serde(default)]
    pub layers: Vec<i64>,
    /// A seed: its answers are drawn, so they depend on the seed of the run.
    #[serde(default)]
    pub randomness: bool,
}

impl Needs {
    /// Nothing: a baseline that asks no model.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// One encoder.
    pub fn one_encoder() -> Self {
        Self { encoders: 1, ..Self::default() }
    }
}
