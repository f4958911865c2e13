//! Tables on their way to a plugin: Arrow C data that owns everything it points to.

use std::ffi::{CStr, CString, c_void};
use std::ptr;

use lmprobe_abi::{ArrowArray, ArrowSchema, lmprobe_table};
use lmprobe_core::polars::prelude::{ChunkedArray, Column, DataFrame, DataType, PolarsNumericType, StringChunked};
use lmprobe_core::{Error, Result};

/// Copies a table for a plugin. Unsigned whole numbers cross as 64-bit signed ones.
///
/// # Errors
/// If a column has a type that does not cross, or a number that does not fit.
pub(crate) fn export(frame: &DataFrame) -> Result<lmprobe_table> {
    let columns = frame.columns().iter().map(Node::of_column).collect::<Result<Vec<_>>>()?;
    let root = Node { format: c"+s", name: CString::default(), length: frame.height(), validity: None, buffers: [None, None], children: columns };
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
    format: &'static CStr,
    name: CString,
    length: usize,
    /// A bitmap and the number of empty cells.
    validity: Option<(Vec<u8>, usize)>,
    buffers: [Option<Buffer>; 2],
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
        // A name with a zero byte cannot be one of ours; cut there it is still a name.
        let name = CString::new(series.name().split('\0').next().unwrap_or_default()).unwrap_or_default();
        let mut node = Self { format: c"", name, length: series.len(), validity: None, buffers: [None, None], children: Vec::new() };
        let mut validity = Validity::default();
        match &dtype {
            DataType::String => {
                node.format = c"U";
                node.buffers = texts(series.str()?, &mut validity);
            }
            DataType::Int64 => {
                node.format = c"l";
                node.buffers = [Some(Buffer::I64(values(series.i64()?, &mut validity))), None];
            }
            DataType::Int32 => {
                node.format = c"i";
                node.buffers = [Some(Buffer::I32(values(series.i32()?, &mut validity))), None];
            }
            DataType::UInt64 => {
                let numbers = series.u64()?;
                if let Some(large) = numbers.iter().flatten().find(|&value| i64::try_from(value).is_err()) {
                    return Err(Error::Unsupported(format!("column `{}` holds {large}, which does not fit 63 bits", series.name())));
                }
                node.format = c"l";
                let signed = if numbers.null_count() == 0 {
                    numbers.downcast_iter().flat_map(|chunk| chunk.values().iter().map(|value| value.cast_signed())).collect()
                } else {
                    optional(numbers.iter().map(|value| value.map(u64::cast_signed)), &mut validity)
                };
                node.buffers = [Some(Buffer::I64(signed)), None];
            }
            DataType::UInt32 => {
                node.format = c"l";
                node.buffers = [Some(Buffer::I64(optional(series.u32()?.iter().map(|value| value.map(i64::from)), &mut validity))), None];
            }
            DataType::Float64 => {
                node.format = c"g";
                node.buffers = [Some(Buffer::F64(values(series.f64()?, &mut validity))), None];
            }
            DataType::Float32 => {
                node.format = c"f";
                node.buffers = [Some(Buffer::F32(values(series.f32()?, &mut validity))), None];
            }
            DataType::Boolean => {
                let mut bits = Validity::default();
                for value in series.bool()?.iter() {
                    bits.push(value.unwrap_or(false));
                    validity.push(value.is_some());
                }
                node.format = c"b";
                node.buffers = [Some(Buffer::Bytes(bits.bits)), None];
            }
            DataType::List(_) => {
                let (offsets, cells) = list(series, &mut validity)?;
                node.format = c"+L";
                node.buffers = [Some(Buffer::I64(offsets)), None];
                node.children = vec![Self { name: c"item".to_owned(), ..Self::of_column(&cells)? }];
                if !node.children[0].children.is_empty() {
                    return Err(does_not_cross(series.name(), &dtype));
                }
            }
            _ => return Err(does_not_cross(series.name(), &dtype)),
        }
        node.validity = validity.finish();
        Ok(node)
    }

    fn into_c(self) -> (ArrowSchema, ArrowArray) {
        let Self { format, name, length, validity, buffers, children } = self;
        let (mut schemas, mut arrays): (Vec<ArrowSchema>, Vec<ArrowArray>) = children.into_iter().map(Self::into_c).unzip();
        // The pointers stay right when the vectors move into the parts: what they hold does not.
        let schema_pointers = schemas.iter_mut().map(ptr::from_mut).collect();
        let array_pointers = arrays.iter_mut().map(ptr::from_mut).collect();
        let (bits, empty) = validity.map_or((None, 0), |(bits, empty)| (Some(bits), empty));
        let mut pointers = [ptr::null(); 3];
        pointers[0] = bits.as_ref().map_or(ptr::null(), |bits| bits.as_ptr().cast());
        let mut n_buffers = 1;
        for buffer in buffers.iter().flatten() {
            pointers[n_buffers] = buffer.pointer();
            n_buffers += 1;
        }
        let n_children = i64::try_from(schemas.len()).unwrap_or(i64::MAX);
        let mut schema_parts = Box::new(SchemaParts { name, pointers: schema_pointers, children: schemas });
        let mut array_parts = Box::new(ArrayParts { pointers, child_pointers: array_pointers, children: arrays, _bits: bits, _buffers: buffers });
        let schema = ArrowSchema {
            format: format.as_ptr(),
            name: schema_parts.name.as_ptr(),
            metadata: ptr::null(),
            flags: NULLABLE,
            n_children,
            children: schema_parts.pointers.as_mut_ptr(),
            dictionary: ptr::null_mut(),
            release: Some(release_schema),
            private_data: Box::into_raw(schema_parts).cast(),
        };
        let array = ArrowArray {
            length: i64::try_from(length).unwrap_or(i64::MAX),
            null_count: i64::try_from(empty).unwrap_or(i64::MAX),
            offset: 0,
            n_buffers: i64::try_from(n_buffers).unwrap_or(i64::MAX),
            n_children,
            buffers: array_parts.pointers.as_mut_ptr(),
            children: array_parts.child_pointers.as_mut_ptr(),
            dictionary: ptr::null_mut(),
            release: Some(release_array),
            private_data: Box::into_raw(array_parts).cast(),
        };
        (schema, array)
    }
}

/// Bytes of a text to make room for; more room is made when it is needed.
const TYPICAL_BYTES: usize = 24;

/// `ARROW_FLAG_NULLABLE`.
const NULLABLE: i64 = 2;

fn does_not_cross(name: &str, dtype: &DataType) -> Error {
    Error::Unsupported(format!(
        "column `{name}` has type {dtype}, which does not cross to a plugin; texts, whole numbers, floats, truth values and lists of them do"
    ))
}

/// Numbers, most of which are not empty: then whole chunks are copied.
fn values<T: PolarsNumericType>(numbers: &ChunkedArray<T>, validity: &mut Validity) -> Vec<T::Native> {
    if numbers.null_count() > 0 {
        return optional(numbers.iter(), validity);
    }
    let mut values = Vec::with_capacity(numbers.len());
    for chunk in numbers.downcast_iter() {
        values.extend_from_slice(chunk.values());
    }
    values
}

fn optional<T: Default>(cells: impl Iterator<Item = Option<T>>, validity: &mut Validity) -> Vec<T> {
    cells
        .map(|cell| {
            validity.push(cell.is_some());
            cell.unwrap_or_default()
        })
        .collect()
}

fn texts(cells: &StringChunked, validity: &mut Validity) -> [Option<Buffer>; 2] {
    let has_empty = cells.null_count() > 0;
    let mut offsets = Vec::with_capacity(cells.len() + 1);
    let mut bytes = Vec::with_capacity(cells.len() * TYPICAL_BYTES);
    offsets.push(0);
    for chunk in cells.downcast_iter() {
        for cell in chunk {
            if has_empty {
                validity.push(cell.is_some());
            }
            bytes.extend_from_slice(cell.unwrap_or_default().as_bytes());
            offsets.push(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        }
    }
    [Some(Buffer::I64(offsets)), Some(Buffer::Bytes(bytes))]
}

/// The boundaries of a column's lists, and their values end to end.
fn list(series: &lmprobe_core::polars::prelude::Series, validity: &mut Validity) -> Result<(Vec<i64>, Column)> {
    let lists = series.list()?.rechunk();
    let has_empty = lists.null_count() > 0;
    let mut offsets = Vec::with_capacity(lists.len() + 1);
    let (mut first, mut last) = (0, 0);
    for chunk in lists.downcast_iter() {
        let bounds = chunk.offsets();
        first = *bounds.first();
        last = *bounds.last();
        offsets.extend(bounds.iter().map(|bound| bound - first));
        if has_empty {
            for cell in 0..bounds.len_proxy() {
                validity.push(chunk.validity().is_none_or(|bits| bits.get_bit(cell)));
            }
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
    name: CString,
    pointers: Vec<*mut ArrowSchema>,
    children: Vec<ArrowSchema>,
}

struct ArrayParts {
    pointers: [*const c_void; 3],
    child_pointers: Vec<*mut ArrowArray>,
    children: Vec<ArrowArray>,
    _bits: Option<Vec<u8>>,
    _buffers: [Option<Buffer>; 2],
}

/// Frees a schema that [`Node::into_c`] made.
unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: by the Arrow specification the caller passes a live struct, and this function is called on it once because it sets `release` to null.
    let schema = unsafe { &mut *schema };
    schema.release = None;
    // SAFETY: `private_data` was made by `Box::into_raw` of this very type.
    let mut parts = unsafe { Box::from_raw(schema.private_data.cast::<SchemaParts>()) };
    // A consumer that moved a child out has set its `release` to null.
    for child in &mut parts.children {
        if let Some(release) = child.release {
            // SAFETY: the child is live as its `release` is not null.
            unsafe { release(child) };
        }
    }
}

/// Frees an array that [`Node::into_c`] made.
unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: as in `release_schema`.
    let array = unsafe { &mut *array };
    array.release = None;
    // SAFETY: `private_data` was made by `Box::into_raw` of this very type.
    let mut parts = unsafe { Box::from_raw(array.private_data.cast::<ArrayParts>()) };
    // A consumer that moved a child out has set its `release` to null.
    for child in &mut parts.children {
        if let Some(release) = child.release {
            // SAFETY: the child is live as its `release` is not null.
            unsafe { release(child) };
        }
    }
}
