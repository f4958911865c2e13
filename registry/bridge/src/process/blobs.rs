//! Bulk values as bytes: tables as Arrow IPC, numbers little-endian, texts one behind the other.

use std::io::{Cursor, Error, Result};

use lmprobe_core::contained;
use lmprobe_core::polars::prelude::{DataFrame, IpcReader, IpcWriter, SerReader, SerWriter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::packet::malformed;
use crate::{NamedTensor, TensorValues};

/// What stands in the head of a tensor's packet; the values are a blob.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TensorHead {
    name: String,
    shape: Vec<usize>,
    values: ValueType,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum ValueType {
    F32,
    I64,
    U32,
    U8,
}

/// Blobs on the way out, in the order in which they are put.
#[derive(Debug, Default)]
pub(super) struct Outgoing(pub(super) Vec<Vec<u8>>);

impl Outgoing {
    pub(super) fn u32s(&mut self, values: &[u32]) {
        self.0.push(to_bytes(values, u32::to_le_bytes));
    }

    pub(super) fn u64s(&mut self, values: &[u64]) {
        self.0.push(to_bytes(values, u64::to_le_bytes));
    }

    pub(super) fn f64s(&mut self, values: &[f64]) {
        self.0.push(to_bytes(values, f64::to_le_bytes));
    }

    pub(super) fn texts(&mut self, texts: &[String]) {
        self.u64s(&texts.iter().map(|text| text.len() as u64).collect::<Vec<_>>());
        self.0.push(texts.concat().into_bytes());
    }

    pub(super) fn table(&mut self, mut frame: DataFrame) -> Result<()> {
        let mut bytes = Vec::new();
        IpcWriter::new(&mut bytes).finish(&mut frame).map_err(Error::other)?;
        bytes.extend(checksum(&bytes).to_le_bytes());
        self.0.push(bytes);
        Ok(())
    }

    pub(super) fn tensors(&mut self, tensors: Vec<NamedTensor>) -> Vec<TensorHead> {
        tensors
            .into_iter()
            .map(|NamedTensor { name, shape, values }| {
                let (values, bytes) = match values {
                    TensorValues::F32(values) => (ValueType::F32, to_bytes(&values, f32::to_le_bytes)),
                    TensorValues::I64(values) => (ValueType::I64, to_bytes(&values, i64::to_le_bytes)),
                    TensorValues::U32(values) => (ValueType::U32, to_bytes(&values, u32::to_le_bytes)),
                    TensorValues::U8(values) => (ValueType::U8, values),
                };
                self.0.push(bytes);
                TensorHead { name, shape, values }
            })
            .collect()
    }

    /// JSON for the head. Its floats travel as bytes: without a costly feature, the JSON library reads some of them back one bit away.
    pub(super) fn json(&mut self, mut value: Value) -> Value {
        let mut floats = Vec::new();
        for_each_float(&mut value, &mut |number| {
            floats.push(number.as_f64().unwrap_or_default());
            *number = Value::from(0.5);
        });
        self.f64s(&floats);
        value
    }
}

/// Blobs that came, taken in the order in which they were put.
pub(super) struct Incoming(std::vec::IntoIter<Vec<u8>>);

impl Incoming {
    pub(super) fn new(blobs: Vec<Vec<u8>>) -> Self {
        Self(blobs.into_iter())
    }

    /// Nothing may be left.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.0.next().is_some() { Err(malformed("more blobs than the head speaks of")) } else { Ok(()) }
    }

    fn next(&mut self) -> Result<Vec<u8>> {
        self.0.next().ok_or_else(|| malformed("fewer blobs than the head speaks of"))
    }

    pub(super) fn u32s(&mut self) -> Result<Vec<u32>> {
        from_bytes(&self.next()?, u32::from_le_bytes)
    }

    pub(super) fn u64s(&mut self) -> Result<Vec<u64>> {
        from_bytes(&self.next()?, u64::from_le_bytes)
    }

    pub(super) fn f64s(&mut self) -> Result<Vec<f64>> {
        from_bytes(&self.next()?, f64::from_le_bytes)
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>> {
        let lengths = self.u64s()?;
        let bytes = self.next()?;
        let mut rest = bytes.as_slice();
        let texts = lengths
            .into_iter()
            .map(|length| {
                let (text, behind) =
                    usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)).ok_or_else(|| malformed("texts that end early"))?;
                rest = behind;
                str::from_utf8(text).map(str::to_owned).map_err(|error| malformed(format!("a text that is not UTF-8 ({error})")))
            })
            .collect::<Result<_>>()?;
        if rest.is_empty() { Ok(texts) } else { Err(malformed("texts with bytes behind them")) }
    }

    pub(super) fn table(&mut self) -> Result<DataFrame> {
        let mut bytes = self.next()?;
        // The library takes lengths inside of a table at their word: a damaged one may ask for all memory there is, which ends the program.
        let sent = bytes.split_off(bytes.len().saturating_sub(8));
        if sent != checksum(&bytes).to_le_bytes() {
            return Err(malformed("a table that cannot be read (its checksum is wrong)"));
        }
        let read = || Ok(IpcReader::new(Cursor::new(bytes)).finish()?);
        contained("reading a table", read).map_err(|error| malformed(format!("a table that cannot be read ({error})")))
    }

    pub(super) fn tensors(&mut self, heads: Vec<TensorHead>) -> Result<Vec<NamedTensor>> {
        heads
            .into_iter()
            .map(|TensorHead { name, shape, values }| {
                let bytes = self.next()?;
                let values = match values {
                    ValueType::F32 => TensorValues::F32(from_bytes(&bytes, f32::from_le_bytes)?),
                    ValueType::I64 => TensorValues::I64(from_bytes(&bytes, i64::from_le_bytes)?),
                    ValueType::U32 => TensorValues::U32(from_bytes(&bytes, u32::from_le_bytes)?),
                    ValueType::U8 => TensorValues::U8(bytes),
                };
                let expected = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
                if expected != Some(values.len()) {
                    return Err(malformed(format!("tensor `{name}` of shape {shape:?} with {} values", values.len())));
                }
                Ok(NamedTensor { name, shape, values })
            })
            .collect()
    }

    pub(super) fn json(&mut self, mut value: Value) -> Result<Value> {
        let mut floats = self.f64s()?.into_iter();
        let mut missing = false;
        for_each_float(&mut value, &mut |number| match floats.next() {
            Some(float) => *number = Value::from(float),
            None => missing = true,
        });
        if missing || floats.next().is_some() { Err(malformed("JSON with another number of floats than were sent")) } else { Ok(value) }
    }
}

/// Visits the floats of a JSON value in order.
fn for_each_float(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| for_each_float(item, visit)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| for_each_float(entry, visit)),
        Value::Number(number) if number.is_f64() => visit(value),
        _ => {}
    }
}

/// Tells damage, not malice. In the manner of FNV, but eight bytes at a time.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (words, rest) = bytes.as_chunks();
    let sum = words.iter().fold(bytes.len() as u64, |sum, word| step(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)))
}

fn to_bytes<const N: usize, T: Copy>(values: &[T], encode: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * N];
    for (cell, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *cell = encode(*value);
    }
    bytes
}

fn from_bytes<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
    match bytes.as_chunks() {
        (cells, []) => Ok(cells.iter().map(|cell| decode(*cell)).collect()),
        _ => Err(malformed(format!("{} bytes of {N}-byte numbers", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::Seed;
    use serde_json::json;

    use super::*;

    fn error<T>(result: Result<T>) -> String {
        result.err().expect("an error").to_string()
    }

    #[test]
    fn floats_in_json_keep_every_bit() {
        let mut random = Seed(3).random();
        let floats: Vec<f64> = (0..5000).map(|_| f64::from_bits(random.next_u64())).filter(|float| float.is_finite()).collect();
        let value = json!({ "a": floats, "b": [1, -0.0, u64::MAX, i64::MIN, { "c": 0.1, "d": 0.5 }], "e": "0.5", "f": null });
        let mut out = Outgoing::default();
        let head = serde_json::to_vec(&out.json(value.clone())).unwrap();
        let back = Incoming::new(out.0).json(serde_json::from_slice(&head).unwrap()).unwrap();
        assert_eq!(back, value);
        assert_eq!(back.to_string(), value.to_string(), "with the sign of zero");
    }

    #[test]
    fn what_does_not_fit_its_head_is_an_error() {
        assert_eq!(error(Incoming::new(vec![]).u32s()), "fewer blobs than the head speaks of");
        assert_eq!(error(Incoming::new(vec![vec![]]).finish()), "more blobs than the head speaks of");
        assert_eq!(error(Incoming::new(vec![vec![0; 7]]).u32s()), "7 bytes of 4-byte numbers");
        let lengths = |lengths: &[u64]| to_bytes(lengths, u64::to_le_bytes);
        assert_eq!(error(Incoming::new(vec![lengths(&[2, u64::MAX]), b"abc".to_vec()]).texts()), "texts that end early");
        assert_eq!(error(Incoming::new(vec![lengths(&[2]), b"abc".to_vec()]).texts()), "texts with bytes behind them");
        assert!(error(Incoming::new(vec![lengths(&[1]), vec![255]]).texts()).starts_with("a text that is not UTF-8"));
        assert_eq!(error(Incoming::new(vec![vec![]]).json(json!([0.5]))), "JSON with another number of floats than were sent");
        let head = |shape: Vec<usize>| vec![TensorHead { name: "x".into(), shape, values: ValueType::U8 }];
        assert_eq!(error(Incoming::new(vec![vec![1, 2]]).tensors(head(vec![3]))), "tensor `x` of shape [3] with 2 values");
        let overflow = vec![usize::MAX, 2];
        assert!(error(Incoming::new(vec![vec![]]).tensors(head(overflow))).contains("with 0 values"));
    }

    #[test]
    fn a_damaged_table_is_an_error() {
        let mut out = Outgoing::default();
        let texts: Vec<String> = (0..50).map(|i| format!("a text of more than twelve bytes {i}")).collect();
        out.table(lmprobe_core::polars::df!["a" => texts, "b" => (0..50u64).collect::<Vec<_>>()].unwrap()).unwrap();
        let whole = out.0.remove(0);
        let refused = |bytes: Vec<u8>| error(Incoming::new(vec![bytes]).table()).starts_with("a table that cannot be read");
        for length in 0..whole.len() {
            assert!(refused(whole[..length].to_vec()), "{length}");
        }
        let mut random = Seed(4).random();
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] = u8::try_from(random.below(256)).unwrap();
            }
            assert!(bytes == whole || refused(bytes));
        }
        // With a checksum, but no table.
        for content in [vec![], vec![1; 500]] {
            let sum = checksum(&content).to_le_bytes();
            assert!(refused([&content[..], &sum].concat()));
        }
    }
}
