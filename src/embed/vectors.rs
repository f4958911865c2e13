//! Tokens to vectors: passes of similar length, vectors in the order of the input.

use lmprobe_core::{Encoder, Result, TokenBatch, Want};

use super::format::Shape;
use super::pooling::Pooling;
use super::stream::{Passes, Progress};

/// Encodes sequences and returns `(rows, layers, hidden)`; rows are tokens, or sequences if they are pooled.
///
/// # Errors
/// If the encoder fails or a stop was requested.
pub(crate) fn encode(encoder: &dyn Encoder, tokens: &TokenBatch, shape: &Shape, passes: &Passes, progress: &mut Progress<'_>) -> Result<Vec<f32>> {
    let (hidden, width) = (shape.hidden, shape.width());
    let rows = if shape.pooling == Pooling::Tokens { tokens.ids.len() } else { tokens.len() };
    let want = Want { hidden: shape.layers.iter().map(|(_, layer)| *layer).collect(), ..Want::default() };
    let mut values = vec![0.0; rows * width];
    for group in groups(tokens, passes) {
        progress.cx.check_cancelled()?;
        let pass = tokens.select(&group);
        let output = encoder.encode(&pass, &want, progress.cx)?;
        for (slot, (_, layer)) in shape.layers.iter().enumerate() {
            let states = output.layer(*layer)?.flatten_all()?.to_vec1::<f32>()?; // (tokens * hidden)
            let place = |row: usize| row * width + slot * hidden..row * width + (slot + 1) * hidden;
            for (at, &index) in group.iter().enumerate() {
                let range = pass.range(at);
                let of_sequence = &states[range.start * hidden..range.end * hidden];
                if shape.pooling == Pooling::Tokens {
                    tokens.range(index).zip(of_sequence.chunks_exact(hidden)).for_each(|(row, state)| values[place(row)].copy_from_slice(state));
                } else {
                    shape.pooling.pool(of_sequence, &pass.special[range], &mut values[place(index)]);
                }
            }
        }
        progress.passed(pass.ids.len());
    }
    Ok(values)
}

/// Sequences that go through the model together; what has no token goes through none.
fn groups(tokens: &TokenBatch, passes: &Passes) -> Vec<Vec<usize>> {
    let most = passes.sequences.unwrap_or(usize::MAX);
    let mut groups = Vec::new();
    for mut group in tokens.groups(passes.tokens) {
        group.retain(|&index| tokens.sequence_len(index) > 0);
        groups.extend(group.chunks(most).map(<[usize]>::to_vec));
    }
    groups
}
