//! The loop: read some records, tokenize, encode, write, forget.

use lmprobe_core::{CallContext, Encoder, Error, Result, TokenBatch, Tokenization};

use super::format::{Part, Shape, Sink};
use super::records::{Record, Records};
use super::vectors;

/// Records and bytes of text that are tokenized together. Groups of similar length are made among them, so more would save little.
const RECORDS: usize = 4_096;
const BYTES: usize = 512 << 10;

/// Bytes of vectors that wait to be written.
const VECTOR_BYTES: usize = 32 << 20;

/// How much goes through the model at once. No number depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passes {
    pub(crate) tokens: usize,
    pub(crate) sequences: Option<usize>,
}

/// What is done with texts that hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// They are texts like others.
    Keep,
    /// They are left out and counted.
    Skip,
}

/// What one run over an input needs.
pub(crate) struct Stream<'a> {
    pub(crate) encoder: &'a dyn Encoder,
    pub(crate) shape: &'a Shape,
    pub(crate) how: Tokenization,
    pub(crate) passes: Passes,
    pub(crate) empty: Empty,
    /// Whether a line is stripped and `A ||| B` is a pair, as BERT's `extract_features.py` has it.
    pub(crate) bert_lines: bool,
    /// Records to read.
    pub(crate) limit: Option<u64>,
    pub(crate) cx: &'a CallContext<'a>,
}

/// Counts over the whole input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Records that have vectors.
    pub(crate) texts: u64,
    /// Records that were left out because they were empty.
    pub(crate) skipped: u64,
    /// Texts that lost tokens to the length limit.
    pub(crate) truncated: u64,
    /// Tokens, special ones included.
    pub(crate) tokens: u64,
}

/// How far the chunk in hand is. It was read at once, but takes long to encode: its part of the input counts as its tokens pass.
pub(crate) struct Progress<'a> {
    pub(crate) cx: &'a CallContext<'a>,
    before: u64,
    after: (&'static str, u64, Option<u64>),
    of: usize,
    passed: usize,
}

impl Progress<'_> {
    /// Counts tokens that went through the model.
    pub(crate) fn passed(&mut self, tokens: usize) {
        self.passed += tokens;
        let (unit, after, total) = self.after;
        let fraction = (self.passed as u64 * (after - self.before)).checked_div(self.of as u64).unwrap_or(0);
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        // No total is zero: whoever shows it knows that the end is unknown.
        self.cx.progress.advanced(unit, number(self.before + fraction), total.map_or(0, number));
    }
}

impl Stream<'_> {
    /// Embeds every record and reports progress after each pass.
    ///
    /// # Errors
    /// If a record cannot be read or embedded, a file cannot be written, or a stop was requested.
    pub(crate) fn run(&self, records: &mut dyn Records, sink: &mut dyn Sink) -> Result<Totals> {
        let (mut totals, mut read) = (Totals::default(), 0);
        loop {
            self.cx.check_cancelled()?;
            let before = records.progress().1;
            let (chunk, index) = self.chunk(records, &mut read, &mut totals)?;
            if chunk.is_empty() {
                return Ok(totals);
            }
            let texts: Vec<(&str, Option<&str>)> = chunk.iter().map(|record| (record.text.as_str(), record.pair.as_deref())).collect();
            let tokens = self.encoder.tokenize_pairs(&texts, self.how)?;
            let kept = self.kept(records, &chunk, &tokens, &mut totals)?;
            let mut progress = Progress { cx: self.cx, before, after: records.progress(), of: tokens.ids.len(), passed: 0 };
            for part in self.parts(&tokens, &kept) {
                self.cx.check_cancelled()?;
                let batch = tokens.select(part);
                let values = vectors::encode(self.encoder, &batch, self.shape, &self.passes, &mut progress)?;
                totals.texts += part.len() as u64;
                totals.tokens += batch.ids.len() as u64;
                totals.truncated += batch.truncated.iter().filter(|cut| **cut).count() as u64;
                let records: Vec<&Record> = part.iter().map(|&at| &chunk[at]).collect();
                let index: Vec<u64> = part.iter().map(|&at| index[at]).collect();
                sink.write(&Part { records: &records, index: &index, tokens: &batch, values: &values })?;
            }
        }
    }

    /// The next records that are not left out, with their numbers in the input.
    fn chunk(&self, records: &mut dyn Records, read: &mut u64, totals: &mut Totals) -> Result<(Vec<Record>, Vec<u64>)> {
        let (mut chunk, mut index, mut bytes) = (Vec::new(), Vec::new(), 0);
        while chunk.len() < RECORDS && bytes < BYTES && self.limit.is_none_or(|limit| *read < limit) {
            let Some(mut record) = records.next()? else { break };
            if self.bert_lines {
                record = bert_line(record);
            }
            *read += 1;
            let blank = record.text.trim().is_empty() && record.pair.as_deref().is_none_or(|pair| pair.trim().is_empty());
            if blank && self.empty == Empty::Skip {
                totals.skipped += 1;
                continue;
            }
            bytes += record.text.len() + record.pair.as_ref().map_or(0, String::len);
            chunk.push(record);
            index.push(*read - 1);
        }
        Ok((chunk, index))
    }

    /// The records that have vectors.
    fn kept(&self, records: &dyn Records, chunk: &[Record], tokens: &TokenBatch, totals: &mut Totals) -> Result<Vec<usize>> {
        let mut kept = Vec::with_capacity(chunk.len());
        for (at, record) in chunk.iter().enumerate() {
            let has_vector = self.shape.pooling.has_vector(tokens, at);
            if has_vector && (tokens.sequence_len(at) > 0 || self.empty == Empty::Keep) {
                kept.push(at);
            } else if self.empty == Empty::Skip {
                totals.skipped += 1;
            } else {
                let message = format!("this text gives no token to take the {} vector from; --skip-empty leaves such texts out", self.shape.pooling.name());
                return Err(Error::data(records.path(), record.line, message));
            }
        }
        Ok(kept)
    }

    /// Runs of records whose vectors fit the memory set aside for them.
    fn parts<'b>(&self, tokens: &TokenBatch, kept: &'b [usize]) -> Vec<&'b [usize]> {
        let rows = (VECTOR_BYTES / (self.shape.width() * size_of::<f32>())).max(1);
        let (mut parts, mut start, mut filled) = (Vec::new(), 0, 0);
        for (end, &at) in kept.iter().enumerate() {
            let more = self.shape.rows(tokens.sequence_len(at));
            if end > start && filled + more > rows {
                parts.push(&kept[start..end]);
                (start, filled) = (end, 0);
            }
            filled += more;
        }
        parts.extend((start < kept.len()).then(|| &kept[start..]));
        parts
    }
}

/// A line as `extract_features.py` reads it: stripped, and split at the last ` ||| `.
fn bert_line(record: Record) -> Record {
    // Python also strips the separators of ASCII.
    let text = record.text.trim_matches(|character: char| character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character));
    match (record.pair, text.rsplit_once(" ||| ")) {
        (None, Some((first, second))) => Record { text: first.to_owned(), pair: Some(second.to_owned()), ..record },
        (pair, _) => Record { text: text.to_owned(), pair, ..record },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (String, Option<String>) {
        let record = bert_line(Record { line: 1, offset: None, id: None, text: text.to_owned(), pair: None });
        (record.text, record.pair)
    }

    #[test]
    fn pairs_are_split_as_the_greedy_expression_does() {
        // ^(.*) \|\|\| (.*)$
        assert_eq!(split(" a ||| b ||| c \r"), ("a ||| b".into(), Some("c".into())));
        assert_eq!(split("a ||| ||| b"), ("a |||".into(), Some("b".into())));
        assert_eq!(split("a |||"), ("a |||".into(), None));
        assert_eq!(split("\u{a0}a|||b\u{1f}"), ("a|||b".into(), None));
    }
}
