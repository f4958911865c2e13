//! Tables on their way to a plugin: Arrow C data that owns everything it points to.

use std::ffi::{CString, c_void};
use std::ptr;

use lmprobe_abi::{ArrowArray, ArrowSchema, lmprobe_table};
use lmprobe_core::polars::prelude::{Column, DataFrame, DataType};
use lmprobe_core::{Error, Result};

/// Copies a table for a plugin. Unsigned whole numbers cross as 64-bit signed ones.
///
/// # Errors
/// If a column has a type that does not cross, or a number that does not fit.
pub(crate) fn export(frame: &DataFrame) -> Result<lmprobe_table> {
    let columns = frame.columns().iter().map(Node::of_column).collect::<Result<Vec<_>>>()?;
    let root = Node { format: "+s", name: String::new(), length: frame.height(), validity: None, buffers: Vec::new(), children: columns };
    let (schema, array) = root.into_c();
    Ok(lmprobe_table { schema, array })
}

/// The bytes of a buffer, aligned for its values.
enum Buffer {
    Bytes(Vec<u8>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    F64(Vec<f64>),
    F32(Vec<f32>),
}

impl Buffer {
    fn pointer(&self) -> *const c_void {
        match self {
            Self::Bytes(values) => values.as_ptr().cast(),
            Self::I64(values) => values.as_ptr().cast(),
            Self::I32(values) => values.as_ptr().cast(),
            Self::F64(values) => values.as_ptr().cast(),
            Self::F32(values) => values.as_ptr().cast(),
        }
    }
}

/// A column, the values of a list, or the whole table.
struct Node {
    format: &'static str,
    name: String,
    length: usize,
    /// A bitmap and the number of empty cells.
    validity: Option<(Vec<u8>, usize)>,
    buffers: Vec<Buffer>,
    children: Vec<Node>,
}

/// Collects which cells are empty.
#[derive(Default)]
struct Validity {
    bits: Vec<u8>,
    length: usize,
    empty: usize,
}

impl Validity {
    fn push(&mut self, present: bool) {
        if self.length.is_multiple_of(8) {
            self.bits.push(0);
        }
        if present {
            self.bits[self.length / 8] |= 1 << (self.length % 8);
        } else {
            self.empty += 1;
        }
        self.length += 1;
    }

    fn finish(self) -> Option<(Vec<u8>, usize)> {
        (self.empty > 0).then_some((self.bits, self.empty))
    }
}

impl Node {
    fn of_column(column: &Column) -> Result<Self> {
        let series = column.as_materialized_series();
        let dtype = series.dtype().clone();
        let mut node = Self { format: "", name: series.name().to_string(), length: series.len(), validity: None, buffers: Vec::new(), children: Vec::new() };
        let mut validity = Validity::default();
        match &dtype {
            DataType::String => {
                node.format = "U";
                node.buffers = texts(series.str()?.iter(), &mut validity);
            }
            DataType::Int64 => {
                node.format = "l";
                node.buffers = vec![Buffer::I64(values(series.i64()?.iter(), &mut validity))];
            }
            DataType::Int32 => {
                node.format = "i";
                node.buffers = vec![Buffer::I32(values(series.i32()?.iter(), &mut validity))];
            }
            DataType::UInt64 => {
                let signed = series.u64()?.iter().map(|value| value.map(|value| fits(&node.name, value)).transpose());
                let signed = signed.collect::<Result<Vec<_>>>()?;
                node.format = "l";
                node.buffers = vec![Buffer::I64(values(signed.into_iter(), &mut validity))];
            }
            DataType::UInt32 => {
                node.format = "l";
                node.buffers = vec![Buffer::I64(values(series.u32()?.iter().map(|value| value.map(i64::from)), &mut validity))];
            }
            DataType::Float64 => {
                node.format = "g";
                node.buffers = vec![Buffer::F64(values(series.f64()?.iter(), &mut validity))];
            }
            DataType::Float32 => {
                node.format = "f";
                node.buffers = vec![Buffer::F32(values(series.f32()?.iter(), &mut validity))];
            }
            DataType::Boolean => {
                let mut bits = Validity::default();
                for value in series.bool()?.iter() {
                    bits.push(value.unwrap_or(false));
                    validity.push(value.is_some());
                }
                node.format = "b";
                node.buffers = vec![Buffer::Bytes(bits.bits)];
            }
            DataType::List(_) => {
                let (offsets, cells) = list(series, &mut validity)?;
                node.format = "+L";
                node.buffers = vec![Buffer::I64(offsets)];
                node.children = vec![Self { name: "item".to_owned(), ..Self::of_column(&cells)? }];
                if !node.children[0].children.is_empty() {
                    return Err(does_not_cross(&node.name, &dtype));
                }
            }
            _ => return Err(does_not_cross(&node.name, &dtype)),
        }
        node.validity = validity.finish();
        Ok(node)
    }

    fn into_c(self) -> (ArrowSchema, ArrowArray) {
        let Self { format, name, length, validity, buffers, children } = self;
        let (mut schemas, mut arrays): (Vec<*mut ArrowSchema>, Vec<*mut ArrowArray>) = (Vec::new(), Vec::new());
        for child in children {
            let (schema, array) = child.into_c();
            schemas.push(Box::into_raw(Box::new(schema)));
            arrays.push(Box::into_raw(Box::new(array)));
        }
        let has_validity = format != "+s" || validity.is_some();
        let (bits, empty) = validity.map_or((None, 0), |(bits, empty)| (Some(bits), empty));
        let mut pointers: Vec<*const c_void> = Vec::new();
        if has_validity || format == "+s" {
            pointers.push(bits.as_ref().map_or(ptr::null(), |bits| bits.as_ptr().cast()));
        }
        pointers.extend(buffers.iter().map(Buffer::pointer));
        // A name with a zero byte cannot be one of ours; cut there it is still a name.
        let name = CString::new(name.split('\0').next().unwrap_or_default()).unwrap_or_default();
        let format = CString::new(format).unwrap_or_default();
        let n_children = i64::try_from(schemas.len()).unwrap_or(i64::MAX);
        let mut schema_parts = Box::new(SchemaParts { format, name, children: schemas });
        let mut array_parts = Box::new(ArrayParts { pointers, children: arrays, _bits: bits, _buffers: buffers });
        let schema = ArrowSchema {
            format: schema_parts.format.as_ptr(),
            name: schema_parts.name.as_ptr(),
            metadata: ptr::null(),
            flags: NULLABLE,
            n_children,
            children: schema_parts.children.as_mut_ptr(),
            dictionary: ptr::null_mut(),
            release: Some(release_schema),
            private_data: Box::into_raw(schema_parts).cast(),
        };
        let array = ArrowArray {
            length: i64::try_from(length).unwrap_or(i64::MAX),
            null_count: i64::try_from(empty).unwrap_or(i64::MAX),
            offset: 0,
            n_buffers: i64::try_from(array_parts.pointers.len()).unwrap_or(i64::MAX),
            n_children,
            buffers: array_parts.pointers.as_mut_ptr(),
            children: array_parts.children.as_mut_ptr(),
            dictionary: ptr::null_mut(),
            release: Some(release_array),
            private_data: Box::into_raw(array_parts).cast(),
        };
        (schema, array)
    }
}

/// `ARROW_FLAG_NULLABLE`.
const NULLABLE: i64 = 2;

fn does_not_cross(name: &str, dtype: &DataType) -> Error {
    Error::Unsupported(format!(
        "column `{name}` has type {dtype}, which does not cross to a plugin; texts, whole numbers, floats, truth values and lists of them do"
    ))
}

fn fits(name: &str, value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::Unsupported(format!("column `{name}` holds {value}, which does not fit 63 bits")))
}

fn values<T: Default>(cells: impl Iterator<Item = Option<T>>, validity: &mut Validity) -> Vec<T> {
    cells
        .map(|cell| {
            validity.push(cell.is_some());
            cell.unwrap_or_default()
        })
        .collect()
}

fn texts<'a>(cells: impl Iterator<Item = Option<&'a str>>, validity: &mut Validity) -> Vec<Buffer> {
    let (mut offsets, mut bytes) = (vec![0], Vec::new());
    for cell in cells {
        validity.push(cell.is_some());
        bytes.extend_from_slice(cell.unwrap_or_default().as_bytes());
        offsets.push(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    }
    vec![Buffer::I64(offsets), Buffer::Bytes(bytes)]
}

/// The boundaries of a column's lists, and their values end to end.
fn list(series: &lmprobe_core::polars::prelude::Series, validity: &mut Validity) -> Result<(Vec<i64>, Column)> {
    let lists = series.list()?.rechunk();
    let mut offsets = Vec::with_capacity(lists.len() + 1);
    let (mut first, mut last) = (0, 0);
    for chunk in lists.downcast_iter() {
        let bounds = chunk.offsets();
        first = *bounds.first();
        last = *bounds.last();
        offsets.extend(bounds.iter().map(|bound| bound - first));
        for cell in 0..chunk.offsets().len_proxy() {
            validity.push(chunk.validity().is_none_or(|bits| bits.get_bit(cell)));
        }
    }
    if offsets.is_empty() {
        offsets.push(0);
    }
    let cells = lists.get_inner();
    let length = usize::try_from(last - first).unwrap_or(0);
    let cells = cells.slice(first, length);
    Ok((offsets, cells.into()))
}

struct SchemaParts {
    format: CString,
    name: CString,
    children: Vec<*mut ArrowSchema>,
}

struct ArrayParts {
    pointers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
    _bits: Option<Vec<u8>>,
    _buffers: Vec<Buffer>,
}

/// Frees a schema that [`Node::into_c`] made.
unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: by the Arrow specification the caller passes a live struct, and this function is called on it once because it sets `release` to null.
    let schema = unsafe { &mut *schema };
    schema.release = None;
    // SAFETY: `private_data` was made by `Box::into_raw` of this very type.
    let parts = unsafe { Box::from_raw(schema.private_data.cast::<SchemaParts>()) };
    for &child in &parts.children {
        // SAFETY: each child was made by `Box::into_raw`; a consumer that moved its content out has set its `release` to null.
        let mut child = unsafe { Box::from_raw(child) };
        if let Some(release) = child.release {
            // SAFETY: the child is live as its `release` is not null.
            unsafe { release(&raw mut *child) };
        }
    }
}

/// Frees an array that [`Node::into_c`] made.
unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: as in `release_schema`.
    let array = unsafe { &mut *array };
    array.release = None;
    // SAFETY: `private_data` was made by `Box::into_raw` of this very type.
    let parts = unsafe { Box::from_raw(array.private_data.cast::<ArrayParts>()) };
    for &child in &parts.children {
        // SAFETY: as in `release_schema`.
        let mut child = unsafe { Box::from_raw(child) };
        if let Some(release) = child.release {
            // SAFETY: the child is live as its `release` is not null.
            unsafe { release(&raw mut *child) };
        }
    }
}
