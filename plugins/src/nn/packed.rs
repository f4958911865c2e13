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

/// The tokens for which something of the state behind block `last` is wanted, ascending; nothing if that is all of them.
///
/// # Errors
/// If a sequence whose first token is wanted is empty, or a position is not in the batch.
pub fn last_rows(want: &Want, last: usize, tokens: &TokenBatch) -> Result<Option<Vec<usize>>> {
    if last == 0 {
        return Ok(None);
    }
    let hidden = want.hidden.contains(&last).then_some(&want.hidden_rows);
    let mut positions = Vec::new();
    for rows in [hidden, want.mlm_logits.as_ref(), want.lm_logits.as_ref()].into_iter().flatten() {
        match rows {
            TokenRows::All => return Ok(None),
            TokenRows::At(rows) => positions.extend_from_slice(rows),
        }
    }
    if want.pooled {
        positions.extend(first_tokens(tokens)?.into_iter().map(|position| position as usize));
    }
    positions.sort_unstable();
    positions.dedup();
    match positions.last() {
        Some(&position) if position >= tokens.ids.len() => Err(outside(position, tokens)),
        _ => Ok(Some(positions)),
    }
}

/// What the last block that was run gave.
pub struct LastState {
    /// `(rows, hidden)`.
    pub x: Tensor,
    /// Which tokens its rows are, ascending; nothing if they are all.
    pub rows: Option<Vec<usize>>,
}

impl LastState {
    /// Its rows for some tokens, in their order.
    ///
    /// # Errors
    /// If one was not computed.
    pub fn at(&self, wanted: &TokenRows, tokens: &TokenBatch) -> Result<Tensor> {
        let Some(rows) = &self.rows else { return wanted_rows(&self.x, wanted, tokens) };
        let TokenRows::At(positions) = wanted else {
            return Err(Error::Unsupported("a state of some tokens was asked for all of them".into()));
        };
        let place = |position: &usize| {
            let place = rows.binary_search(position).map_err(|_| outside(*position, tokens))?;
            u32::try_from(place).map_err(|_| outside(*position, tokens))
        };
        Ok(ops::gather(&self.x, &positions.iter().map(place).collect::<Result<Vec<u32>>>()?)?)
    }
}

fn outside(position: usize, tokens: &TokenBatch) -> Error {
    Error::Unsupported(format!("something was asked at position {position} of a batch of {} tokens", tokens.ids.len()))
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
                return Err(outside(*position, tokens));
            }
            let positions: Vec<u32> = positions.iter().map(|&position| u32::try_from(position).unwrap_or(u32::MAX)).collect();
            Ok(ops::gather(x, &positions)?)
        }
    }
}
