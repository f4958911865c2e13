//! What every network asks of a packed batch: positions, first tokens, rows of logits.

use candle_core::Tensor;
use lmprobe_core::{Error, Result, TokenBatch, TokenRows, Want};

use super::ops;

/// How many blocks have to run.
///
/// # Errors
/// If a hidden state is wanted that the network does not have.
pub fn last_needed(want: &Want, layers: usize) -> Result<usize> {
    if let Some(layer) = want.hidden.iter().find(|&&layer| layer > layers) {
        return Err(Error::Unsupported(format!("hidden state {layer} was asked of a model with hidden states 0 to {layers}")));
    }
    let all = want.attentions || want.pooled || want.mlm_logits.is_some() || want.lm_logits.is_some();
    Ok(if all { layers } else { want.hidden.iter().copied().max().unwrap_or(0) })
}

/// Whether every sequence fits.
///
/// # Errors
/// If one is longer than the model allows.
pub fn check_lengths(tokens: &TokenBatch, most: usize) -> Result<()> {
    let longest = (0..tokens.len()).map(|index| tokens.sequence_len(index)).max().unwrap_or(0);
    if longest > most {
        return Err(Error::Unsupported(format!("a sequence of {longest} tokens was given to a model of at most {most}")));
    }
    Ok(())
}

/// The row of the position embeddings of each token, `(tokens)`, when the first token of a sequence has row `first`.
pub fn positions(tokens: &TokenBatch, first: usize) -> Vec<u32> {
    let row = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    tokens.offsets.windows(2).flat_map(|ends| row(first)..row(first + ends[1] - ends[0])).collect()
}

/// Packed position of the first token of each sequence.
///
/// # Errors
/// If a sequence is empty.
pub fn first_tokens(tokens: &TokenBatch) -> Result<Vec<u32>> {
    tokens
        .offsets
        .windows(2)
        .map(|ends| {
            if ends[0] == ends[1] {
                return Err(Error::Unsupported("a sequence without tokens has no first token".into()));
            }
            u32::try_from(ends[0]).map_err(|_| Error::Unsupported("a batch of more than 2^32 tokens".into()))
        })
        .collect()
}

/// The wanted rows of `x (tokens, hidden)`.
///
/// # Errors
/// If a position is not in the batch.
pub fn wanted_rows(x: &Tensor, rows: &TokenRows, tokens: &TokenBatch) -> Result<Tensor> {
    match rows {
        TokenRows::All => Ok(x.clone()),
        TokenRows::At(positions) => {
            if let Some(position) = positions.iter().find(|&&position| position >= tokens.ids.len()) {
                return Err(Error::Unsupported(format!("something was asked at position {position} of a batch of {} tokens", tokens.ids.len())));
            }
            let positions: Vec<u32> = positions.iter().map(|&position| u32::try_from(position).unwrap_or(u32::MAX)).collect();
            Ok(ops::gather(x, &positions)?)
        }
    }
}
