//! How the tokens of a text become one vector.

use clap::ValueEnum;
use lmprobe_core::TokenBatch;

/// How tokens become vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pooling {
    /// One vector a token, special tokens included
    Tokens,
    /// The first token: `[CLS]` of BERT, `<s>` of RoBERTa
    Cls,
    /// The mean of all tokens, `[CLS]` and `[SEP]` included, as sentence-transformers has it
    Mean,
    /// The mean without special tokens, as biobert-pytorch has it
    MeanWords,
    /// The largest value of all tokens, each dimension by itself
    Max,
    /// The last token, which is the only one that has seen the whole text in a causal model; `[SEP]` of BERT
    Last,
}

impl Pooling {
    /// The word on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Cls => "cls",
            Self::Mean => "mean",
            Self::MeanWords => "mean-words",
            Self::Max => "max",
            Self::Last => "last",
        }
    }

    /// Whether sequence `index` has a token that this pooling can use.
    pub(crate) fn has_vector(self, tokens: &TokenBatch, index: usize) -> bool {
        match self {
            Self::Tokens => true,
            Self::MeanWords => tokens.range(index).any(|position| !tokens.special[position]),
            Self::Cls | Self::Mean | Self::Max | Self::Last => tokens.sequence_len(index) > 0,
        }
    }

    /// Writes the vector of a sequence, whose rows are `states` `(seq, hidden)`, into `pooled` `(hidden)`.
    pub(crate) fn pool(self, states: &[f32], special: &[bool], pooled: &mut [f32]) {
        let hidden = pooled.len();
        match self {
            Self::Tokens | Self::Cls => pooled.copy_from_slice(&states[..hidden]),
            Self::Last => pooled.copy_from_slice(&states[states.len() - hidden..]),
            Self::Max => {
                pooled.fill(f32::NEG_INFINITY);
                for row in states.chunks_exact(hidden) {
                    pooled.iter_mut().zip(row).for_each(|(largest, value)| *largest = largest.max(*value));
                }
            }
            Self::Mean => mean(states.chunks_exact(hidden), pooled),
            Self::MeanWords => mean(states.chunks_exact(hidden).zip(special).filter(|(_, special)| !**special).map(|(row, _)| row), pooled),
        }
    }
}

/// Sums in double precision, so that the mean of a long text is as exact as its parts.
fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>, pooled: &mut [f32]) {
    let (mut sums, mut n) = (vec![0.0f64; pooled.len()], 0u32);
    for row in rows {
        n += 1;
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    #[expect(clippy::cast_possible_truncation, reason = "vectors are f32")]
    pooled.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = (sum / f64::from(n)) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(pooling: Pooling) -> [f32; 2] {
        let mut vector = [0.0; 2];
        //            [CLS]       a           b          [SEP]
        let states = [8.0, 0.0, 1.0, 2.0, 3.0, -6.0, 0.0, 4.0];
        pooling.pool(&states, &[true, false, false, true], &mut vector);
        vector
    }

    #[test]
    fn each_pooling_is_what_its_name_says() {
        assert_eq!(pooled(Pooling::Cls), [8.0, 0.0]);
        assert_eq!(pooled(Pooling::Last), [0.0, 4.0]);
        assert_eq!(pooled(Pooling::Max), [8.0, 4.0]);
        assert_eq!(pooled(Pooling::Mean), [3.0, 0.0]); // 12 / 4, 0 / 4
        assert_eq!(pooled(Pooling::MeanWords), [2.0, -2.0]); // 4 / 2, -4 / 2
    }
}
