//! What is asked of an encoder, in both directions.

use std::ptr;

use lmprobe_abi as abi;

use crate::boundary::text;
use crate::{Error, Result, Side, TokenBatch, Tokenization, Want};

/// Size of a request in 1.0, frozen.
const SMALLEST: usize = 112;

/// A request without anything in it.
pub(crate) fn blank() -> abi::lmprobe_encode_req {
    #[expect(clippy::cast_possible_truncation, reason = "112 bytes")]
    let struct_size = size_of::<abi::lmprobe_encode_req>() as u32;
    abi::lmprobe_encode_req {
        struct_size,
        reserved: 0,
        want: 0,
        n_texts: 0,
        texts: ptr::null(),
        pairs: ptr::null(),
        max_len: 0,
        n_layers: 0,
        layers: ptr::null(),
        n_sequences: 0,
        offsets: ptr::null(),
        ids: ptr::null(),
        type_ids: ptr::null(),
        n_rows: 0,
        rows: ptr::null(),
        flags: 0,
        reserved2: 0,
    }
}

/// Copies a request of a host, which may know fewer or more fields.
///
/// # Safety
/// `request` is null or points to as many bytes as it says.
pub(crate) unsafe fn copied(request: *const abi::lmprobe_encode_req) -> Result<abi::lmprobe_encode_req> {
    let mut mine = blank();
    // SAFETY: the caller holds that the bytes are there; every bit pattern is a request.
    unsafe { prefix(request.cast(), (&raw mut mine).cast(), SMALLEST, size_of_val(&mine)) }?;
    Ok(mine)
}

/// Copies the smaller of what a table of the host says of its size and `size` bytes; `smallest` is the size of 1.0.
///
/// # Safety
/// `from` is null or points to as many bytes as its first four say; `to` is valid for `size` bytes.
pub(crate) unsafe fn prefix(from: *const u32, to: *mut u8, smallest: usize, size: usize) -> Result<()> {
    if from.is_null() {
        return Err(Error::internal("a table of the host is missing"));
    }
    // SAFETY: every table begins with its size.
    let theirs = unsafe { from.read() } as usize;
    if !(smallest..=65_536).contains(&theirs) {
        return Err(Error::internal(format!("a table of the host has {theirs} bytes, expected at least {smallest}")));
    }
    // SAFETY: their side is valid for the size it says, ours for `size`, and both were made apart.
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to, theirs.min(size)) };
    Ok(())
}

/// The texts of a request.
///
/// # Safety
/// The request's arrays are as long as it says and readable for `'a`.
pub(crate) unsafe fn texts<'a>(request: &abi::lmprobe_encode_req) -> Result<Vec<(&'a str, Option<&'a str>)>> {
    // SAFETY: the caller holds what is asked for.
    unsafe {
        let texts = slice(request.texts, request.n_texts)?;
        let pairs = if request.pairs.is_null() { None } else { Some(slice(request.pairs, request.n_texts)?) };
        let pair = |index: usize| match pairs.map(|pairs: &[abi::lmprobe_str]| pairs[index]) {
            Some(pair) if !pair.ptr.is_null() => text::read(pair).map(Some),
            _ => Ok(None),
        };
        texts.iter().enumerate().map(|(index, &first)| Ok((text::read(first)?, pair(index)?))).collect()
    }
}

/// How the texts of a request become tokens.
pub(crate) fn tokenization(request: &abi::lmprobe_encode_req) -> Tokenization {
    Tokenization {
        max_length: (request.max_len > 0).then_some(request.max_len as usize),
        cut: if request.flags & abi::LMPROBE_ENCODE_CUT_LEFT == 0 { Side::Right } else { Side::Left },
        pieces: request.flags & abi::LMPROBE_ENCODE_PIECES != 0,
    }
}

/// The sequences of a request; `None` if it has texts only.
///
/// # Safety
/// As [`texts`].
pub(crate) unsafe fn sequences(request: &abi::lmprobe_encode_req) -> Result<Option<TokenBatch>> {
    if request.offsets.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller holds what is asked for; there are as many ids as the last offset says.
    unsafe {
        let n = request.n_sequences.checked_add(1).ok_or_else(|| Error::input("the request has too many sequences"))?;
        let offsets: Vec<usize> = slice(request.offsets, n)?.iter().map(|&offset| index(offset)).collect::<Result<_>>()?;
        if offsets[0] != 0 || !offsets.is_sorted() {
            return Err(Error::input("the boundaries of the sequences do not begin at 0 or decrease"));
        }
        let tokens = offsets[n - 1];
        let ids = slice(request.ids, tokens)?;
        let type_ids = if request.type_ids.is_null() { None } else { Some(slice(request.type_ids, tokens)?) };
        Ok(Some(TokenBatch::from_ids(ids, type_ids, offsets)))
    }
}

/// What is wanted in a request about so many tokens.
///
/// # Safety
/// As [`texts`].
pub(crate) unsafe fn want(request: &abi::lmprobe_encode_req, tokens: usize) -> Result<Want> {
    let wanted = |flag: u64| request.want & flag != 0;
    // SAFETY: the caller holds what is asked for.
    let (layers, rows): (&[u32], &[u64]) = unsafe { (slice(request.layers, request.n_layers as usize)?, slice(request.rows, request.n_rows)?) };
    let rows = rows.iter().map(|&row| index(row).and_then(|row| if row < tokens { Ok(row) } else { Err(Error::input(format!("row {row} of {tokens}"))) }));
    let some = request.flags & abi::LMPROBE_ENCODE_SOME_ROWS != 0;
    Ok(Want {
        layers: if wanted(abi::LMPROBE_WANT_HIDDEN_STATES) { layers.to_vec() } else { Vec::new() },
        attentions: wanted(abi::LMPROBE_WANT_ATTENTIONS),
        pooled: wanted(abi::LMPROBE_WANT_POOLED),
        mlm_logits: wanted(abi::LMPROBE_WANT_MLM_LOGITS),
        lm_logits: wanted(abi::LMPROBE_WANT_LM_LOGITS),
        rows: if some { Some(rows.collect::<Result<_>>()?) } else { None },
    })
}

fn index(value: u64) -> Result<usize> {
    usize::try_from(value).map_err(|_| Error::input(format!("{value} is no position")))
}

/// # Safety
/// `values` is null or readable for `n` values for `'a`.
pub(crate) unsafe fn slice<'a, T>(values: *const T, n: usize) -> Result<&'a [T]> {
    if n == 0 {
        return Ok(&[]);
    }
    if values.is_null() || !values.is_aligned() || n > isize::MAX as usize / size_of::<T>() {
        return Err(Error::input("the request says it has values that are nowhere"));
    }
    // SAFETY: the pointer is not null and aligned, the length fits, and the caller holds that the values are readable.
    Ok(unsafe { std::slice::from_raw_parts(values, n) })
}

/// A request with what it points to.
#[derive(Default)]
pub(crate) struct Outgoing<'a> {
    texts: Vec<abi::lmprobe_str>,
    pairs: Vec<abi::lmprobe_str>,
    offsets: Vec<u64>,
    rows: Vec<u64>,
    lent: Option<(&'a TokenBatch, &'a Want)>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn texts(texts: &'a [(&'a str, Option<&'a str>)]) -> Self {
        let absent = abi::lmprobe_str { ptr: ptr::null(), len: 0 };
        let pairs = texts.iter().any(|(_, pair)| pair.is_some());
        Self {
            texts: texts.iter().map(|(first, _)| text::lend(first)).collect(),
            pairs: if pairs { texts.iter().map(|(_, pair)| pair.map_or(absent, text::lend)).collect() } else { Vec::new() },
            ..Self::default()
        }
    }

    pub(crate) fn sequences(tokens: &'a TokenBatch, want: &'a Want) -> Self {
        Self {
            offsets: tokens.offsets.iter().map(|&offset| offset as u64).collect(),
            rows: want.rows.iter().flatten().map(|&row| row as u64).collect(),
            lent: Some((tokens, want)),
            ..Self::default()
        }
    }

    /// The request; it must not outlive `self`.
    pub(crate) fn request(&self, how: Tokenization) -> Result<abi::lmprobe_encode_req> {
        let mut request = blank();
        if let Some(length) = how.max_length {
            request.max_len = u32::try_from(length).map_err(|_| Error::config(format!("{length} tokens are too many")))?;
        }
        request.flags |= if how.cut == Side::Left { abi::LMPROBE_ENCODE_CUT_LEFT } else { 0 };
        request.flags |= if how.pieces { abi::LMPROBE_ENCODE_PIECES } else { 0 };
        request.n_texts = self.texts.len();
        request.texts = self.texts.as_ptr();
        request.pairs = if self.pairs.is_empty() { ptr::null() } else { self.pairs.as_ptr() };
        if let Some((tokens, want)) = self.lent {
            if tokens.type_ids.len() != tokens.ids.len() || tokens.offsets.last() != Some(&tokens.ids.len()) || !tokens.offsets.is_sorted() {
                return Err(Error::internal("the vectors of a batch of tokens have different lengths"));
            }
            request.n_sequences = tokens.len();
            request.offsets = self.offsets.as_ptr();
            request.ids = tokens.ids.as_ptr();
            request.type_ids = tokens.type_ids.as_ptr();
            request.n_layers = u32::try_from(want.layers.len()).map_err(|_| Error::config("too many layers are wanted"))?;
            request.layers = want.layers.as_ptr();
            let flag = |wanted: bool, flag: u64| if wanted { flag } else { 0 };
            request.want = flag(!want.layers.is_empty(), abi::LMPROBE_WANT_HIDDEN_STATES)
                | flag(want.attentions, abi::LMPROBE_WANT_ATTENTIONS)
                | flag(want.pooled, abi::LMPROBE_WANT_POOLED)
                | flag(want.mlm_logits, abi::LMPROBE_WANT_MLM_LOGITS)
                | flag(want.lm_logits, abi::LMPROBE_WANT_LM_LOGITS);
            request.flags |= if want.rows.is_some() { abi::LMPROBE_ENCODE_SOME_ROWS } else { 0 };
            request.n_rows = self.rows.len();
            request.rows = self.rows.as_ptr();
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_it_was_written() {
        let asked = [("a", Some("")), ("b", None)];
        let outgoing = Outgoing::texts(&asked);
        let how = Tokenization { max_length: Some(5), cut: Side::Left, pieces: true };
        let request = outgoing.request(how).unwrap();
        let mut tokens = TokenBatch::default();
        tokens.push([crate::Token { id: 7, type_id: 1, ..crate::Token::default() }], false);
        let wanted = Want { layers: vec![1, 0], mlm_logits: true, rows: Some(vec![0]), ..Want::default() };
        let second = Outgoing::sequences(&tokens, &wanted);
        let encode = second.request(Tokenization::default()).unwrap();
        // SAFETY: what the requests point to is alive.
        unsafe {
            let request = copied(&raw const request).unwrap();
            assert_eq!(texts(&request).unwrap(), [("a", Some("")), ("b", None)]);
            assert_eq!(tokenization(&request), how);
            assert!(sequences(&request).unwrap().is_none());
            let read = sequences(&encode).unwrap().unwrap();
            assert_eq!((read.ids, read.type_ids, read.offsets), (vec![7], vec![1], vec![0, 1]));
            assert_eq!(want(&encode, 1).unwrap(), wanted);
            assert!(want(&encode, 0).unwrap_err().message().contains("row 0 of 0"));
        }
    }
}
