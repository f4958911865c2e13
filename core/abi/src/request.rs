//! What is asked of an encoder.

use crate::lmprobe_str;

/// Texts to tokenize, or packed sequences to encode. Where both are given, the sequences count.
#[repr(C)]
#[derive(Debug)]
pub struct lmprobe_encode_req {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// `LMPROBE_WANT_*`, for encoding.
    pub want: u64,
    /// Number of texts.
    pub n_texts: usize,
    /// The texts.
    pub texts: *const lmprobe_str,
    /// The second text of each pair, or null. A second text that is null or empty is none.
    pub pairs: *const lmprobe_str,
    /// Longest sequence in tokens, special tokens included; 0 is the encoder's own limit.
    pub max_len: u32,
    /// Number of layers.
    pub n_layers: u32,
    /// Hidden states that are wanted: 0 is the output of the embeddings.
    pub layers: *const u32,
    /// Number of packed sequences.
    pub n_sequences: usize,
    /// Their boundaries, `n_sequences + 1` numbers of which the first is 0.
    pub offsets: *const u64,
    /// Vocabulary ids, one a token, special tokens included.
    pub ids: *const u32,
    /// Segment ids, one a token.
    pub type_ids: *const u32,
    /// Number of `rows`.
    pub n_rows: usize,
    /// Packed positions for which logits are wanted, if `LMPROBE_ENCODE_SOME_ROWS` is set.
    pub rows: *const u64,
    /// `LMPROBE_ENCODE_*`.
    pub flags: u32,
    /// 0.
    pub reserved2: u32,
}
