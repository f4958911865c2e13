//! Encoders of this program as plugins see them.

use lmprobe_abi::{
    LMPROBE_ENCODE_CUT_LEFT, LMPROBE_ENCODE_PIECES, LMPROBE_WANT_ATTENTIONS, LMPROBE_WANT_HIDDEN_STATES, LMPROBE_WANT_LM_LOGITS, LMPROBE_WANT_MLM_LOGITS,
    LMPROBE_WANT_POOLED,
};
use lmprobe_core::candle_core::Tensor;
use lmprobe_core::polars::prelude::{DataFrame, NamedFrom, Series};
use lmprobe_core::{CallContext, Encoder, EncoderInfo, EncoderOutput, Error, Result, Side, TokenBatch, TokenRows, Tokenization, Want, table};

use crate::request::{NamedTensor, Request, Response, Sequences, TensorValues};

/// Asks an encoder of this program what a plugin asks.
pub(crate) fn answer(encoder: &dyn Encoder, request: Request, cx: &CallContext<'_>) -> Result<Response> {
    match request {
        Request::Describe => Ok(Response::Json(serde_json::to_value(encoder.info())?)),
        Request::Token(id) => Ok(Response::Text(encoder.token(id).unwrap_or_default())),
        Request::Tokenize(texts) if texts.flags & LMPROBE_ENCODE_PIECES != 0 => {
            let mut batch = TokenBatch::default();
            for text in &texts.texts {
                let ids = encoder.pieces(text)?;
                let n = ids.len();
                batch.ids.extend(ids);
                batch.type_ids.extend(std::iter::repeat_n(0, n));
                batch.special.extend(std::iter::repeat_n(false, n));
                batch.word_ids.extend(std::iter::repeat_n(None, n));
                batch.char_offsets.extend(std::iter::repeat_n((0, 0), n));
                batch.offsets.push(batch.ids.len());
                batch.truncated.push(false);
            }
            token_table(&batch).map(Response::Table)
        }
        Request::Tokenize(texts) => {
            let second = |at: usize| texts.pairs.get(at).filter(|text| !text.is_empty()).map(String::as_str);
            let pairs: Vec<(&str, Option<&str>)> = texts.texts.iter().enumerate().map(|(at, text)| (text.as_str(), second(at))).collect();
            let cut = if texts.flags & LMPROBE_ENCODE_CUT_LEFT != 0 { Side::Left } else { Side::Right };
            let how = Tokenization { max_length: (texts.max_length > 0).then_some(texts.max_length as usize), cut, ..Tokenization::default() };
            token_table(&encoder.tokenize_pairs(&pairs, how)?).map(Response::Table)
        }
        Request::Encode(sequences) => {
            cx.check_cancelled()?;
            let info = encoder.info();
            let (tokens, want) = (packed(&sequences, info)?, wanted(&sequences, info)?);
            let output = encoder.encode(&tokens, &want, cx)?;
            let mut tensors = given(&output, &want, info)?;
            let offsets: Vec<i64> = sequences.offsets.iter().map(|&offset| i64::try_from(offset).unwrap_or(i64::MAX)).collect();
            tensors.push(NamedTensor { name: "offsets".to_owned(), shape: vec![offsets.len()], values: TensorValues::I64(offsets) });
            Ok(Response::Tensors(tensors))
        }
        other => Err(Error::Unsupported(format!("an encoder does not answer `{}`", other.function()))),
    }
}

/// The sequences that a plugin wants encoded.
fn packed(sequences: &Sequences, info: &EncoderInfo) -> Result<TokenBatch> {
    let n = sequences.ids.len();
    if let Some(id) = sequences.ids.iter().find(|&&id| id as usize >= info.vocab) {
        return Err(Error::Config(format!("there is no vocabulary entry {id}: the encoder has {}", info.vocab)));
    }
    Ok(TokenBatch {
        ids: sequences.ids.clone(),
        type_ids: sequences.type_ids.clone(),
        special: vec![false; n],
        word_ids: vec![None; n],
        char_offsets: vec![(0, 0); n],
        offsets: sequences.offsets.iter().map(|&offset| usize::try_from(offset).unwrap_or(usize::MAX)).collect(),
        truncated: vec![false; sequences.offsets.len().saturating_sub(1)],
    })
}

fn wanted(sequences: &Sequences, info: &EncoderInfo) -> Result<Want> {
    let has = |bit: u64| sequences.want & bit != 0;
    let n = sequences.ids.len() as u64;
    if let Some(row) = sequences.rows.iter().flatten().find(|&&row| row >= n) {
        return Err(Error::Config(format!("logits are wanted at position {row} of {n} tokens")));
    }
    let rows = || match &sequences.rows {
        None => TokenRows::All,
        Some(rows) => TokenRows::At(rows.iter().map(|&row| usize::try_from(row).unwrap_or(usize::MAX)).collect()),
    };
    let hidden =
        if has(LMPROBE_WANT_HIDDEN_STATES) { sequences.layers.iter().map(|&layer| info.layer(i64::from(layer))).collect::<Result<_>>()? } else { Vec::new() };
    Ok(Want {
        hidden,
        hidden_rows: TokenRows::All,
        attentions: has(LMPROBE_WANT_ATTENTIONS),
        pooled: has(LMPROBE_WANT_POOLED),
        mlm_logits: has(LMPROBE_WANT_MLM_LOGITS).then(rows),
        lm_logits: has(LMPROBE_WANT_LM_LOGITS).then(rows),
    })
}

/// Outputs as a plugin gets them.
fn given(output: &EncoderOutput, want: &Want, info: &EncoderInfo) -> Result<Vec<NamedTensor>> {
    let mut tensors = Vec::new();
    if !want.hidden.is_empty() {
        let states: Vec<&Tensor> = want.hidden.iter().map(|&layer| output.layer(layer)).collect::<Result<_>>()?;
        tensors.push(NamedTensor::of("hidden_states", &Tensor::stack(&states, 0)?)?);
    }
    if want.attentions {
        let mut values = Vec::new();
        for sequence in output.attentions.iter().flatten() {
            values.extend(sequence.flatten_all()?.to_vec1::<f32>()?);
        }
        let cells = values.len().checked_div(info.layers).unwrap_or(0);
        tensors.push(NamedTensor { name: "attentions".to_owned(), shape: vec![info.layers, cells], values: TensorValues::F32(values) });
    }
    for (name, tensor) in [("pooled", &output.pooled), ("mlm_logits", &output.mlm_logits), ("lm_logits", &output.lm_logits)] {
        if let Some(tensor) = tensor {
            tensors.push(NamedTensor::of(name, tensor)?);
        }
    }
    Ok(tensors)
}

/// Tokens as the table that `tokenize` gives.
fn token_table(batch: &TokenBatch) -> Result<DataFrame> {
    let column = |name: &str, values: Vec<i64>| Series::new(name.into(), values);
    let wide = |values: &[u32]| values.iter().map(|&value| i64::from(value)).collect::<Vec<_>>();
    let per_sequence =
        |value: &dyn Fn(usize) -> i64| (0..batch.len()).flat_map(|at| std::iter::repeat_n(value(at), batch.sequence_len(at))).collect::<Vec<_>>();
    let cut: Vec<bool> = per_sequence(&|at| i64::from(batch.truncated[at])).into_iter().map(|cut| cut == 1).collect();
    table::frame_of(vec![
        column("sequence", per_sequence(&|at| i64::try_from(at).unwrap_or(i64::MAX))),
        column("id", wide(&batch.ids)),
        column("type_id", wide(&batch.type_ids)),
        Series::new("special".into(), batch.special.clone()),
        Series::new("word".into(), batch.word_ids.iter().map(|word| word.map(i64::from)).collect::<Vec<_>>()),
        column("start", batch.char_offsets.iter().map(|offsets| i64::from(offsets.0)).collect()),
        column("end", batch.char_offsets.iter().map(|offsets| i64::from(offsets.1)).collect()),
        Series::new("truncated".into(), cut),
    ])
}
