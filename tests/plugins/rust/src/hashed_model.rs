//! The arithmetic of a toy language model whose weights are hashes. Plain numbers, no files: the same on every machine.

/// Padding; no sequence holds it.
pub const PAD: u32 = 0;
/// The first token of a sequence.
pub const CLS: u32 = 1;
/// The token behind each text.
pub const SEP: u32 = 2;
/// The mask token.
pub const MASK: u32 = 4;
/// The first id of a word.
pub const FIRST_WORD: u32 = 8;

/// Sizes of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashedModel {
    /// Width of a hidden state.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Vocabulary entries, more than [`FIRST_WORD`].
    pub vocab: u32,
}

/// Attention heads of every block.
pub const HEADS: usize = 2;

impl HashedModel {
    /// The id of a word: `[MASK]` is itself, others are hashed (FNV-1a).
    pub fn word_id(&self, word: &str) -> u32 {
        if word == "[MASK]" {
            return MASK;
        }
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        FIRST_WORD + (hash % u64::from(self.vocab - FIRST_WORD)) as u32
    }

    /// The text of a vocabulary entry.
    pub fn token(&self, id: u32) -> Option<String> {
        match id {
            PAD => Some("[PAD]".to_owned()),
            CLS => Some("[CLS]".to_owned()),
            SEP => Some("[SEP]".to_owned()),
            MASK => Some("[MASK]".to_owned()),
            _ if id < self.vocab => Some(format!("w{id}")),
            _ => None,
        }
    }

    /// The state of a vocabulary entry before the first block, `(hidden)`.
    pub fn embedding(&self, id: u32) -> Vec<f32> {
        (0..self.hidden as u64)
            .map(|dimension| {
                // 24 bits fit an f32 exactly.
                let bits = split_mix_64(u64::from(id) << 32 | dimension) >> 40;
                (bits as f64 / f64::from(1 << 23) - 1.0) as f32
            })
            .collect()
    }

    /// The states of every layer of one sequence, `(layers + 1)` times `(tokens, hidden)`.
    pub fn hidden_states(&self, ids: &[u32]) -> Vec<Vec<f32>> {
        let mut states = vec![ids.iter().flat_map(|&id| self.embedding(id)).collect::<Vec<f32>>()];
        for layer in 0..self.layers {
            let below = &states[layer];
            let mean: Vec<f64> = (0..self.hidden)
                .map(|dimension| {
                    let sum: f64 = (0..ids.len()).map(|token| f64::from(below[token * self.hidden + dimension])).sum();
                    sum / ids.len() as f64
                })
                .collect();
            states.push(below.iter().enumerate().map(|(cell, &state)| (0.5 * f64::from(state) + 0.5 * mean[cell % self.hidden]) as f32).collect());
        }
        states
    }

    /// Attention probabilities of one block of one sequence, `(heads, query, key)`: every token looks at all alike.
    pub fn attentions(&self, tokens: usize) -> Vec<f32> {
        vec![(1.0 / tokens as f64) as f32; HEADS * tokens * tokens]
    }

    /// The embeddings of all vocabulary entries, `(vocab, hidden)`.
    pub fn embeddings(&self) -> Vec<f32> {
        (0..self.vocab).flat_map(|id| self.embedding(id)).collect()
    }

    /// The logits of one state: its inner product with every embedding, `(vocab)`.
    pub fn mlm_logits(&self, state: &[f32], embeddings: &[f32]) -> Vec<f32> {
        embeddings.chunks(self.hidden).map(|embedding| state.iter().zip(embedding).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>() as f32).collect()
    }
}

/// One number of SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix_64(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
