//! Encoders of plugins.

use std::path::Path;
use std::sync::Arc;

use lmprobe_abi::{
    LMPROBE_ENCODE_CUT_LEFT, LMPROBE_ENCODE_PIECES, LMPROBE_WANT_ATTENTIONS, LMPROBE_WANT_HIDDEN_STATES, LMPROBE_WANT_LM_LOGITS, LMPROBE_WANT_MLM_LOGITS,
    LMPROBE_WANT_POOLED,
};
use lmprobe_core::candle_core::{Device, Tensor};
use lmprobe_core::polars::prelude::DataFrame;
use lmprobe_core::{
    CallContext, Dtype, Encoder, EncoderInfo, EncoderOutput, EncoderSource, Error, MaskToken, ModelReport, Result, Seed, Side, TokenBatch, TokenRows,
    Tokenization, Want,
};
use serde::Deserialize;
use serde_json::Value;

use crate::host_services::Kept;
use crate::instance::Instance;
use crate::request::{NamedTensor, Request, Response, Sequences, Texts};
use crate::table_import::numbers;

/// What `describe` of an encoder gives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    layers: usize,
    hidden: usize,
    heads: usize,
    vocab: usize,
    max_length: usize,
    mask: Option<MaskToken>,
    #[serde(default)]
    lowercase: bool,
    #[serde(default)]
    pooler: bool,
    #[serde(default)]
    mlm_head: bool,
    #[serde(default)]
    lm_head: bool,
    #[serde(default)]
    causal: bool,
    #[serde(default)]
    warnings: Vec<String>,
}

/// An encoder of a plugin, not loaded.
pub(crate) struct PluginEncoderSource {
    encoder: Arc<PluginEncoder>,
    report: ModelReport,
}

/// An encoder of a plugin.
struct PluginEncoder {
    instance: Box<dyn Instance>,
    info: EncoderInfo,
    kept: Kept,
    origin: String,
}

impl PluginEncoderSource {
    pub(crate) fn new(id: &str, instance: Box<dyn Instance>, kept: Kept, description: Value) -> Result<Self> {
        let origin = format!("encoder `{id}`");
        let fail = |message: String| Error::plugin(format!("`describe` of {origin}"), message);
        let description: Description = serde_json::from_value(description).map_err(|error| fail(error.to_string()))?;
        let Description { layers, hidden, heads, vocab, max_length, mask, lowercase, pooler, mlm_head, lm_head, causal, warnings } = description;
        for (name, value) in [("hidden", hidden), ("vocab", vocab), ("max_length", max_length)] {
            if value == 0 {
                return Err(fail(format!("`{name}` is 0")));
            }
        }
        if let Some(mask) = mask.as_ref().filter(|mask| mask.id as usize >= vocab) {
            return Err(fail(format!("the mask token has the id {}, and the vocabulary {vocab} entries", mask.id)));
        }
        let info = EncoderInfo {
            family: id.to_owned(),
            layers,
            hidden,
            heads,
            vocab,
            max_length,
            mask,
            lowercase,
            casing_source: String::new(),
            trainable: false,
            pooler,
            mlm_head,
            lm_head,
            task_head: None,
            causal,
            random_init: false,
            // The description of an encoder has no word for it; what it computes in hangs from its library, whose content is part of every id.
            dtype: Dtype::F32,
            warnings,
        };
        Ok(Self { encoder: Arc::new(PluginEncoder { instance, info, kept, origin }), report: ModelReport::default() })
    }
}

impl EncoderSource for PluginEncoderSource {
    fn info(&self) -> &EncoderInfo {
        &self.encoder.info
    }

    fn report(&self) -> &ModelReport {
        &self.report
    }

    fn load(&self, seed: Seed) -> Result<Box<dyn Encoder>> {
        self.encoder.kept.outside(seed, &[], |services| self.encoder.instance.call(Request::Load, services))?;
        Ok(Box::new(LoadedEncoder(self.encoder.clone())))
    }

    fn at(&self, _: &Path) -> Result<Box<dyn EncoderSource>> {
        Err(Error::Unsupported(format!("{} is of a plugin, and encoders of plugins cannot be trained", self.encoder.origin)))
    }
}

/// An encoder of a plugin, loaded.
struct LoadedEncoder(Arc<PluginEncoder>);

impl LoadedEncoder {
    fn ask_outside(&self, request: Request) -> Result<Response> {
        self.0.kept.outside(Seed(0), &[], |services| self.0.instance.call(request, services))
    }

    fn tokens(&self, texts: Texts) -> Result<TokenBatch> {
        let n = texts.texts.len();
        let Response::Table(frame) = self.ask_outside(Request::Tokenize(texts))? else { return Err(unexpected(&self.0.origin)) };
        tokens(&frame, n, &format!("`tokenize` of {}", self.0.origin))
    }
}

fn unexpected(origin: &str) -> Error {
    Error::plugin(origin, "it answered something else than was asked")
}

impl Encoder for LoadedEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.0.info
    }

    fn tokenize_pairs(&self, texts: &[(&str, Option<&str>)], how: Tokenization) -> Result<TokenBatch> {
        let pairs = if texts.iter().any(|(_, second)| second.is_some()) {
            texts.iter().map(|(_, second)| second.unwrap_or_default().to_owned()).collect()
        } else {
            Vec::new()
        };
        if how.whole {
            return Err(Error::Unsupported(format!("encoder `{}` is of a plugin, and those cut texts at their limit", self.0.info.family)));
        }
        let max_length = how.max_length.unwrap_or(self.0.info.max_length).min(self.0.info.max_length);
        let batch = self.tokens(Texts {
            texts: texts.iter().map(|(first, _)| (*first).to_owned()).collect(),
            pairs,
            max_length: u32::try_from(max_length).unwrap_or(u32::MAX),
            flags: if how.cut == Side::Left { LMPROBE_ENCODE_CUT_LEFT } else { 0 },
        })?;
        if let Some(long) = (0..batch.len()).find(|&sequence| batch.sequence_len(sequence) > max_length) {
            let message = format!("sequence {long} has {} tokens, more than the {max_length} that were allowed", batch.sequence_len(long));
            return Err(Error::plugin(format!("`tokenize` of {}", self.0.origin), message));
        }
        Ok(batch)
    }

    fn token(&self, id: u32) -> Option<String> {
        match self.ask_outside(Request::Token(id)) {
            Ok(Response::Text(text)) if !text.is_empty() => Some(text),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokens(Texts { texts: vec![text.to_owned()], flags: LMPROBE_ENCODE_PIECES, ..Texts::default() })?.ids)
    }

    fn encode(&self, tokens: &TokenBatch, want: &Want, cx: &CallContext<'_>) -> Result<EncoderOutput> {
        let origin = format!("`encode` of {}", self.0.origin);
        let request = sequences(tokens, want, &self.0.info)?;
        let Response::Tensors(tensors) = self.0.kept.inside(cx, &[], |services| self.0.instance.call(Request::Encode(request), services))? else {
            return Err(unexpected(&origin));
        };
        Received { tensors, tokens, want, info: &self.0.info, origin: &origin }.output()
    }
}

/// Packed tokens of the table that `tokenize` gives.
pub(crate) fn tokens(frame: &DataFrame, n_texts: usize, origin: &str) -> Result<TokenBatch> {
    let fail = |message: String| Error::Frame { origin: origin.to_owned(), schema: "tokens", message };
    let narrow = |column: &str, values: Vec<i64>| -> Result<Vec<u32>> {
        values.into_iter().map(|value| u32::try_from(value).map_err(|_| fail(format!("column `{column}` holds {value}")))).collect()
    };
    let optional = |column: &str| -> Result<Vec<u32>> {
        if frame.column(column).is_ok() { narrow(column, numbers(frame, column, origin)?) } else { Ok(vec![0; frame.height()]) }
    };
    let flags = |column: &str| -> Result<Vec<bool>> {
        match frame.column(column) {
            Ok(found) => {
                let found = found.bool().map_err(|_| fail(format!("column `{column}` has type {}, expected bool", found.dtype())))?;
                Ok(found.iter().map(Option::unwrap_or_default).collect())
            }
            Err(_) => Ok(vec![false; frame.height()]),
        }
    };
    let sequences = numbers(frame, "sequence", origin)?;
    let mut offsets = Vec::with_capacity(n_texts + 1);
    offsets.push(0);
    for (row, &sequence) in sequences.iter().enumerate() {
        let sequence = usize::try_from(sequence).ok().filter(|&sequence| sequence < n_texts && sequence + 1 >= offsets.len());
        let sequence = sequence.ok_or_else(|| fail(format!("row {row} belongs to sequence {} of {n_texts}; sequences must ascend", sequences[row])))?;
        while offsets.len() <= sequence {
            offsets.push(row);
        }
    }
    while offsets.len() <= n_texts {
        offsets.push(sequences.len());
    }
    let word_ids = match frame.column("word") {
        Ok(words) => {
            let words = words.i64().map_err(|_| fail(format!("column `word` has type {}, expected i64", words.dtype())))?;
            words.iter().map(|word| word.and_then(|word| u32::try_from(word).ok())).collect()
        }
        Err(_) => vec![None; frame.height()],
    };
    let cut = flags("truncated")?;
    let truncated = offsets.windows(2).map(|bounds| cut[bounds[0]..bounds[1]].contains(&true)).collect();
    Ok(TokenBatch {
        ids: narrow("id", numbers(frame, "id", origin)?)?,
        type_ids: optional("type_id")?,
        special: flags("special")?,
        word_ids,
        char_offsets: optional("start")?.into_iter().zip(optional("end")?).collect(),
        offsets,
        truncated,
    })
}

/// The request for what is wanted.
fn sequences(tokens: &TokenBatch, want: &Want, info: &EncoderInfo) -> Result<Sequences> {
    let mut bits = 0;
    let mut set = |wanted: bool, offered: bool, bit: u64, what: &str| {
        if wanted && !offered {
            return Err(Error::Unsupported(format!("encoder `{}` gives no {what}", info.family)));
        }
        bits |= if wanted { bit } else { 0 };
        Ok(())
    };
    set(!want.hidden.is_empty(), true, LMPROBE_WANT_HIDDEN_STATES, "hidden states")?;
    set(want.attentions, info.heads > 0, LMPROBE_WANT_ATTENTIONS, "attentions")?;
    set(want.pooled, info.pooler, LMPROBE_WANT_POOLED, "pooled vectors")?;
    set(want.mlm_logits.is_some(), info.mlm_head, LMPROBE_WANT_MLM_LOGITS, "masked-language-model logits")?;
    set(want.lm_logits.is_some(), info.lm_head, LMPROBE_WANT_LM_LOGITS, "causal-language-model logits")?;
    let rows = match (&want.mlm_logits, &want.lm_logits) {
        (Some(first), Some(second)) if first != second => {
            return Err(Error::Unsupported("logits of both heads at different positions in one pass".into()));
        }
        (Some(rows), _) | (None, Some(rows)) => match rows {
            TokenRows::All => None,
            TokenRows::At(rows) => Some(rows.iter().map(|&row| row as u64).collect()),
        },
        (None, None) => None,
    };
    if let Some(&layer) = want.hidden.iter().find(|&&layer| layer > info.layers) {
        return Err(Error::Config(format!("layer {layer} does not exist: the model has hidden states 0 to {}", info.layers)));
    }
    Ok(Sequences {
        offsets: tokens.offsets.iter().map(|&offset| offset as u64).collect(),
        ids: tokens.ids.clone(),
        type_ids: tokens.type_ids.clone(),
        want: bits,
        layers: want.hidden.iter().map(|&layer| u32::try_from(layer).unwrap_or(u32::MAX)).collect(),
        rows,
    })
}

/// What a plugin's encoder gave, and what it was asked.
struct Received<'a> {
    tensors: Vec<NamedTensor>,
    tokens: &'a TokenBatch,
    want: &'a Want,
    info: &'a EncoderInfo,
    origin: &'a str,
}

impl Received<'_> {
    fn output(&self) -> Result<EncoderOutput> {
        let (info, want, n_tokens) = (self.info, self.want, self.tokens.ids.len());
        let mut output = EncoderOutput::default();
        if !want.hidden.is_empty() {
            let states = self.floats("hidden_states", &[want.hidden.len(), n_tokens, info.hidden])?;
            for (&layer, values) in want.hidden.iter().zip(chunks(states, n_tokens * info.hidden, want.hidden.len())) {
                output.hidden.push((layer, Tensor::from_slice(values, (n_tokens, info.hidden), &Device::Cpu)?));
            }
            output.keep_rows(&want.hidden_rows)?; // plugins give every token
        }
        if want.attentions {
            let lengths: Vec<usize> = (0..self.tokens.len()).map(|at| self.tokens.sequence_len(at)).collect();
            let cells = lengths.iter().map(|length| info.heads * length * length).sum();
            let attentions = self.floats("attentions", &[info.layers, cells])?;
            for block in chunks(attentions, cells, info.layers) {
                let mut rest = block;
                let mut sequences = Vec::with_capacity(lengths.len());
                for &length in &lengths {
                    let (values, behind) = rest.split_at(info.heads * length * length);
                    sequences.push(Tensor::from_slice(values, (info.heads, length, length), &Device::Cpu)?);
                    rest = behind;
                }
                output.attentions.push(sequences);
            }
        }
        if want.pooled {
            let shape = [self.tokens.len(), info.hidden];
            output.pooled = Some(Tensor::from_slice(self.floats("pooled", &shape)?, &shape, &Device::Cpu)?);
        }
        let logits = |name: &str, rows: &Option<TokenRows>| -> Result<Option<Tensor>> {
            let Some(rows) = rows else { return Ok(None) };
            let n_rows = if let TokenRows::At(rows) = rows { rows.len() } else { n_tokens };
            let shape = [n_rows, info.vocab];
            Ok(Some(Tensor::from_slice(self.floats(name, &shape)?, &shape, &Device::Cpu)?))
        };
        output.mlm_logits = logits("mlm_logits", &want.mlm_logits)?;
        output.lm_logits = logits("lm_logits", &want.lm_logits)?;
        Ok(output)
    }

    /// The values of a tensor that must have this shape.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<&[f32]> {
        let fail = |message: String| Error::plugin(self.origin, format!("tensor `{name}` {message}"));
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| fail("is missing".into()))?;
        if tensor.shape != shape {
            return Err(fail(format!("has shape {:?}, expected {shape:?}", tensor.shape)));
        }
        let values = tensor.floats().ok_or_else(|| fail("is not of 32-bit floats".into()))?;
        match values.iter().position(|value| value.is_nan()) {
            Some(at) => Err(fail(format!("is NaN at position {at}"))),
            None => Ok(values),
        }
    }
}

/// `n` pieces of one size, also if that is 0.
fn chunks(values: &[f32], size: usize, n: usize) -> impl Iterator<Item = &[f32]> {
    (0..n).map(move |at| &values[at * size..(at + 1) * size])
}
