//! Reading the files of vectors by hand: an array of numpy, a safetensors file, a table.

use std::collections::BTreeMap;
use std::path::Path;

use polars::prelude::{DataFrame, ParquetReader, SerReader};

/// An array with its element type as the file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Array {
    /// Bits of the numbers, so that equal means equal.
    pub(crate) fn f32_bits(&self) -> Vec<u32> {
        assert!(["<f4", "F32"].contains(&self.dtype.as_str()), "{}", self.dtype);
        self.bytes.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
    }

    pub(crate) fn i64s(&self) -> Vec<i64> {
        assert!(["<i8", "I64"].contains(&self.dtype.as_str()), "{}", self.dtype);
        self.bytes.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes"))).collect()
    }
}

pub(crate) fn npy(path: &Path) -> Array {
    let bytes = std::fs::read(path).expect("an array");
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let length = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(length % 64, 0, "numpy aligns its data");
    let header = std::str::from_utf8(&bytes[10..length]).expect("a header in ASCII");
    assert!(header.ends_with('\n') && header.contains("'fortran_order': False"), "{header}");
    let between = |from: &str, to: &str| header.split_once(from).and_then(|(_, rest)| rest.split_once(to)).expect("a field").0.to_owned();
    let shape: Vec<usize> = between("'shape': (", ")").split(',').filter_map(|size| size.trim().parse().ok()).collect();
    let array = Array { dtype: between("'descr': '", "'"), shape, bytes: bytes[length..].to_vec() };
    let size = if array.dtype == "<f4" { 4 } else { 8 };
    assert_eq!(array.bytes.len(), array.shape.iter().product::<usize>() * size, "{:?}", array.shape);
    array
}

/// Tensors by name, and the metadata. Holds the file to the format: no holes, nothing behind the last tensor.
pub(crate) fn safetensors(path: &Path) -> (BTreeMap<String, Array>, serde_json::Value) {
    let bytes = std::fs::read(path).expect("a file of tensors");
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))).expect("a length");
    assert_eq!(length % 8, 0, "data is aligned");
    assert_eq!(bytes[8], b'{');
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let mut metadata = serde_json::Value::Null;
    let (mut tensors, mut places) = (BTreeMap::new(), Vec::new());
    for (name, entry) in header {
        if name == "__metadata__" {
            metadata = entry;
            continue;
        }
        let numbers = |key: &str| -> Vec<usize> {
            let list = entry[key].as_array().expect("a list").iter();
            list.map(|number| usize::try_from(number.as_u64().expect("a number")).expect("a size")).collect()
        };
        let (place, shape, dtype) = (numbers("data_offsets"), numbers("shape"), entry["dtype"].as_str().expect("a type").to_owned());
        let size = ["U8", "", "", "", "F32", "", "", "", "I64"].iter().position(|name| *name == dtype).expect("a known type").max(1);
        assert_eq!(place[1] - place[0], shape.iter().product::<usize>() * size, "{name}");
        places.push((place[0], place[1]));
        tensors.insert(name, Array { dtype, shape, bytes: bytes[8 + length + place[0]..8 + length + place[1]].to_vec() });
    }
    places.sort_unstable();
    let mut end = 0;
    for (start, next) in places {
        assert_eq!(start, end, "a hole in the file");
        end = next;
    }
    assert_eq!(end, bytes.len() - 8 - length);
    (tensors, metadata)
}

pub(crate) fn parquet(path: &Path) -> DataFrame {
    ParquetReader::new(std::fs::File::open(path).expect("a table")).finish().expect("a Parquet file")
}

/// The column of vectors as one array.
pub(crate) fn vectors(frame: &DataFrame) -> Array {
    let column = frame.column("embedding").expect("vectors").array().expect("arrays of equal length");
    let inner = column.get_inner();
    let values = inner.f32().expect("numbers");
    let bytes = values.iter().flat_map(|value| value.expect("no gap").to_le_bytes()).collect();
    Array { dtype: "F32".into(), shape: vec![frame.height(), column.width()], bytes }
}
