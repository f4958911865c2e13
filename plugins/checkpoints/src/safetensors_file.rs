//! `model.safetensors`: a header in JSON, then the values.
//!
//! The first eight bytes are the length of the header; it gives each tensor's dtype, shape and place among the bytes after the header.
//! <https://huggingface.co/docs/safetensors/index#format>

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::dtype::Dtype;
use crate::error::Parsed;
use crate::limits;
use crate::mapped_file::MappedFile;
use crate::values::TensorView;

/// The length of the length.
const PREFIX_BYTES: usize = 8;

/// A safetensors file.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    pub(crate) tensors: BTreeMap<String, SafeTensor>,
    pub(crate) file: MappedFile,
}

/// One tensor of a header.
#[derive(Debug)]
pub(crate) struct SafeTensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Its bytes in the file.
    place: Range<usize>,
}

impl SafetensorsFile {
    /// Reads the header of a file.
    pub(crate) fn new(file: &MappedFile) -> Parsed<Self> {
        Ok(Self { tensors: header(file.as_ref()).map_err(|message| format!("not a safetensors file: {message}"))?, file: file.clone() })
    }

    /// A tensor and its bytes.
    pub(crate) fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let SafeTensor { dtype, shape, place } = self.tensors.get(name)?;
        Some(TensorView { dtype: *dtype, shape, stride: None, offset: 0, storage: &self.file.as_ref()[place.clone()] })
    }
}

/// The tensors of the header at the start of `bytes`, each checked to lie within `bytes`.
pub(crate) fn header(bytes: &[u8]) -> Parsed<BTreeMap<String, SafeTensor>> {
    let size = bytes.len();
    let length = bytes.first_chunk().ok_or_else(|| format!("it has {size} bytes, a header needs {PREFIX_BYTES}"))?;
    let length = u64::from_le_bytes(*length);
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(PREFIX_BYTES));
    let Some(end) = end.filter(|end| *end <= size) else {
        return Err(format!("its header claims {length} bytes of a file of {size}; the file is damaged or cut off"));
    };
    if end > limits::HEADER_BYTES {
        return Err(format!("its header has {length} bytes, more than the {} that are read", limits::HEADER_BYTES));
    }
    let json = &bytes[PREFIX_BYTES..end];
    let Header(claims) = serde_json::from_slice(json).map_err(|error| format!("its header is not right ({error}); the file is damaged"))?;
    let data = size - end;
    claims
        .into_iter()
        .map(|(name, claim)| {
            let tensor = claim.check(end, data).map_err(|message| format!("tensor `{name}`: {message}"))?;
            Ok((name, tensor))
        })
        .collect()
}

/// The JSON of a header.
struct Header(BTreeMap<String, Claim>);

/// What a header says of a tensor.
#[derive(Deserialize)]
struct Claim {
    dtype: DtypeName,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// The name of a type; short, whatever the header says.
#[derive(Deserialize)]
#[serde(try_from = "&str")]
struct DtypeName(Dtype);

/// Few numbers, however many the header has.
struct Shape(Vec<usize>);

impl Claim {
    fn check(self, start: usize, data: usize) -> Parsed<SafeTensor> {
        let (DtypeName(dtype), Shape(shape), (first, end)) = (self.dtype, self.shape, self.data_offsets);
        let bytes = limits::elements(&shape).and_then(|count| count.checked_mul(dtype.size()));
        let bytes = bytes.ok_or_else(|| format!("its shape {shape:?} has more values than can be counted; the file is damaged"))?;
        if first > end || end > data as u64 {
            return Err(format!("its bytes {first}..{end} are not among the {data} of the file; the file is damaged or cut off"));
        }
        if end - first != bytes as u64 {
            return Err(format!("its shape {shape:?} of {dtype} takes {bytes} bytes, but it has {}; the file is damaged", end - first));
        }
        let offset = |place: u64| usize::try_from(place).map(|place| start + place).map_err(|_| "its place is larger than can be counted".to_owned());
        Ok(SafeTensor { dtype, shape, place: offset(first)?..offset(end)? })
    }
}

impl TryFrom<&str> for DtypeName {
    type Error = String;

    fn try_from(name: &str) -> Result<Self, String> {
        Dtype::of_safetensors(name).map(Self).ok_or_else(|| format!("the dtype `{}` is not known", name.chars().take(20).collect::<String>()))
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a shape of at most {} dimensions", limits::DIMENSIONS)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(size) = sizes.next_element()? {
                    if shape.len() == limits::DIMENSIONS {
                        return Err(A::Error::invalid_length(shape.len() + 1, &self));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Claims;
        impl<'de> Visitor<'de> for Claims {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with a dtype, a shape and data_offsets for each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut claims = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    match claims.entry(name) {
                        btree_map::Entry::Occupied(entry) => return Err(A::Error::custom(format!("tensor `{}` is there twice", entry.key()))),
                        btree_map::Entry::Vacant(entry) => entry.insert(map.next_value()?),
                    };
                    if claims.len() > limits::TENSORS {
                        return Err(A::Error::custom(format!("it has more than {} tensors", limits::TENSORS)));
                    }
                }
                Ok(Header(claims))
            }
        }
        deserializer.deserialize_map(Claims)
    }
}
