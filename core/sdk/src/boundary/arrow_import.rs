//! Tables of the host, checked before a cell is read.
//!
//! Texts and numbers are read where they stand. The lengths of buffers are no part of the interface: what can be checked is that all else agrees.

use std::collections::HashSet;
use std::ffi::{CStr, c_void};
use std::sync::Arc;

use lmprobe_abi::{ArrowArray, ArrowSchema, lmprobe_table};

use crate::bits::Bits;
use crate::boundary::buffer::{Buffer, Foreign};
use crate::column::{Column, Values};
use crate::{Error, Result, Table};

const MAX_COLUMNS: i64 = 4_096;
const MAX_LENGTH: i64 = 1 << 40;

/// Takes over a table of the host: it is released when the last column over it is gone, and at once if it is not what it should be.
///
/// # Safety
/// `table` is valid for writes and holds a table as the Arrow C data interface describes it, or a released one.
pub(crate) unsafe fn take(table: *mut lmprobe_table) -> Result<Table> {
    if table.is_null() {
        return Err(Error::input("the table is missing"));
    }
    // SAFETY: the pointer is valid; after both releases are emptied, the copy is the only owner.
    let owned = unsafe {
        let owned = table.read();
        (*table).schema.release = None;
        (*table).array.release = None;
        owned
    };
    if owned.schema.release.is_none() || owned.array.release.is_none() {
        drop(Foreign::Table(owned));
        return Err(Error::input("the table was released before the call"));
    }
    let keep = Arc::new(Foreign::Table(owned));
    let Foreign::Table(owned) = &*keep else { unreachable!("it was made above") };
    // SAFETY: the structs are alive as long as `keep`.
    unsafe { read_root(&owned.schema, &owned.array, &keep) }
}

/// # Safety
/// Both structs are alive as long as `keep`.
unsafe fn read_root(schema: &ArrowSchema, array: &ArrowArray, keep: &Arc<Foreign>) -> Result<Table> {
    // SAFETY: a living schema has a format or null.
    if unsafe { format_of(schema) }? != b"+s" {
        return Err(Error::input("the table is no struct of columns"));
    }
    if !(0..=MAX_COLUMNS).contains(&schema.n_children) || schema.n_children != array.n_children {
        return Err(Error::input(format!("the table has {} types and {} columns", schema.n_children, array.n_children)));
    }
    let (offset, length) = (whole(array.offset)?, whole(array.length)?);
    // SAFETY: a living array has as many buffers as it says.
    if let Some(filled) = unsafe { filled_of(array, offset, length, keep) }?
        && filled.count_zeros() > 0
    {
        return Err(Error::input("the table has empty rows"));
    }
    let mut columns = Vec::new();
    let mut names = HashSet::new();
    for child in 0..whole(schema.n_children)? {
        // SAFETY: `child` is below the number of children.
        let (schema, array) = unsafe { (child_of(schema.children, child)?, child_of(array.children, child)?) };
        if schema.name.is_null() {
            return Err(Error::input(format!("column {child} has no name")));
        }
        // SAFETY: a name that is not null ends with a zero byte.
        let name = unsafe { CStr::from_ptr(schema.name) }.to_str().map_err(|_| Error::input(format!("the name of column {child} is not UTF-8")))?;
        if !names.insert(name) {
            return Err(Error::input(format!("the column `{name}` comes twice")).at(name));
        }
        // SAFETY: children live as long as their parents.
        let column = unsafe { read_column(schema, array, offset, length, true, keep) }
            .map_err(|error| Error::input(format!("column `{name}`: {}", error.message())).at(name))?;
        columns.push((name.to_owned(), column));
    }
    Ok(Table::from_columns(length, columns))
}

/// Reads the cells `start..start + len` of a column.
///
/// # Safety
/// Both structs are alive as long as `keep`.
unsafe fn read_column(schema: &ArrowSchema, array: &ArrowArray, start: usize, len: usize, lists: bool, keep: &Arc<Foreign>) -> Result<Column> {
    if !schema.dictionary.is_null() || !array.dictionary.is_null() {
        return Err(Error::input("dictionaries are no part of the interface"));
    }
    if whole(array.length)? < start + len {
        return Err(Error::input(format!("it has {} cells, expected {}", array.length, start + len)));
    }
    let first = whole(array.offset)? + start;
    // SAFETY: a living schema has a format or null, and a living array as many buffers as it says; offsets and lengths were checked above. Buffers of the
    // types below hold `first + len` values, and one offset more.
    unsafe {
        let filled = filled_of(array, first, len, keep)?.filter(|filled| filled.count_zeros() > 0);
        let values = match format_of(schema)? {
            b"U" => read_texts(large_offsets(array, first, len, keep, 3)?, array, keep)?,
            b"u" => read_texts(small_offsets(array, first, len, 3)?, array, keep)?,
            b"l" => Values::I64(fixed(array, first, len, keep)?),
            b"i" => Values::I32(fixed(array, first, len, keep)?),
            b"g" => Values::F64(fixed(array, first, len, keep)?),
            b"f" => Values::F32(fixed(array, first, len, keep)?),
            b"b" => {
                let bytes = Buffer::foreign(buffer_of(array, 1, 2, len)?.cast::<u8>(), bytes_for(first, len), keep);
                Values::Flag(Bits::new(bytes, if len == 0 { 0 } else { first }, len))
            }
            b"+L" if lists => read_lists(large_offsets(array, first, len, keep, 2)?, schema, array, keep)?,
            b"+l" if lists => read_lists(small_offsets(array, first, len, 2)?, schema, array, keep)?,
            other => return Err(Error::input(format!("the type `{}` is no part of the interface", String::from_utf8_lossy(other)))),
        };
        Ok(Column { len, filled, values })
    }
}

/// # Safety
/// The last offset is within the buffer of bytes, of which `array` is the owner, alive as long as `keep`.
unsafe fn read_texts(offsets: Buffer<i64>, array: &ArrowArray, keep: &Arc<Foreign>) -> Result<Values> {
    let (first, last) = ends(&offsets)?;
    // SAFETY: the caller holds that `last` bytes are there.
    let bytes = unsafe { Buffer::foreign(buffer_of(array, 2, 3, last)?.cast::<u8>(), last, keep) };
    let used = &bytes[first..];
    if !used.is_ascii() {
        let text = std::str::from_utf8(used).map_err(|error| Error::input(format!("byte {} is not UTF-8", first + error.valid_up_to())))?;
        if let Some(&split) = offsets.iter().find(|&&offset| !usize::try_from(offset).is_ok_and(|offset| text.is_char_boundary(offset - first))) {
            return Err(Error::input(format!("offset {split} stands inside a character")));
        }
    }
    Ok(Values::Text { offsets, bytes })
}

/// # Safety
/// Both structs are alive as long as `keep`.
unsafe fn read_lists(offsets: Buffer<i64>, schema: &ArrowSchema, array: &ArrowArray, keep: &Arc<Foreign>) -> Result<Values> {
    let (first, last) = ends(&offsets)?;
    if schema.n_children != 1 || array.n_children != 1 {
        return Err(Error::input("a list needs one type of items"));
    }
    // SAFETY: there is one child, and it lives as long as its parent.
    let items = unsafe { read_column(child_of(schema.children, 0)?, child_of(array.children, 0)?, first, last - first, false, keep)? };
    let offsets = if first == 0 { offsets } else { offsets.iter().map(|offset| offset - offsets[0]).collect::<Vec<_>>().into() };
    Ok(Values::List { offsets, items: Box::new(items) })
}

/// First and last offset, once they are known never to decrease.
fn ends(offsets: &[i64]) -> Result<(usize, usize)> {
    let (first, last) = (whole(offsets[0])?, whole(offsets[offsets.len() - 1])?);
    // Counted, not searched: without an early end the compiler compares several at once.
    if offsets.windows(2).filter(|pair| pair[0] > pair[1]).count() > 0 {
        return Err(Error::input("offsets decrease"));
    }
    Ok((first, last))
}

/// # Safety
/// The second buffer of `array`, if it is not null, holds `first + len + 1` offsets as long as `keep` lives.
unsafe fn large_offsets(array: &ArrowArray, first: usize, len: usize, keep: &Arc<Foreign>, n_buffers: i64) -> Result<Buffer<i64>> {
    // An array without cells need not have offsets.
    if len == 0 {
        return Ok(vec![0].into());
    }
    // SAFETY: the caller holds what is asked for.
    unsafe { Ok(Buffer::foreign(buffer_of(array, 1, n_buffers, 1)?.cast::<i64>().add(first), len + 1, keep)) }
}

/// # Safety
/// The second buffer of `array`, if it is not null, holds `first + len + 1` offsets.
unsafe fn small_offsets(array: &ArrowArray, first: usize, len: usize, n_buffers: i64) -> Result<Buffer<i64>> {
    if len == 0 {
        return Ok(vec![0].into());
    }
    // SAFETY: the caller holds that the offsets are there.
    unsafe {
        let offsets = buffer_of(array, 1, n_buffers, 1)?.cast::<i32>().add(first);
        Ok((0..=len).map(|index| i64::from(offsets.add(index).read_unaligned())).collect::<Vec<_>>().into())
    }
}

/// # Safety
/// The second buffer of `array`, if it is not null, holds `first + len` values as long as `keep` lives.
unsafe fn fixed<T: Copy>(array: &ArrowArray, first: usize, len: usize, keep: &Arc<Foreign>) -> Result<Buffer<T>> {
    let values = buffer_of(array, 1, 2, len)?.cast::<T>();
    // SAFETY: the caller holds what is asked for; without cells nothing is read.
    unsafe { Ok(Buffer::foreign(if len == 0 { values } else { values.add(first) }, len, keep)) }
}

/// Which cells are filled; `None` if the array does not say.
///
/// # Safety
/// The first buffer of `array`, if it is not null, holds `first + len` bits as long as `keep` lives.
unsafe fn filled_of(array: &ArrowArray, first: usize, len: usize, keep: &Arc<Foreign>) -> Result<Option<Bits>> {
    if array.n_buffers < 1 || array.buffers.is_null() {
        return if array.n_buffers == 0 && array.null_count <= 0 { Ok(None) } else { Err(Error::input("buffers are missing")) };
    }
    // SAFETY: there is at least one buffer.
    let bits = unsafe { *array.buffers }.cast::<u8>();
    if bits.is_null() {
        return if array.null_count > 0 { Err(Error::input("it has empty cells but does not say which")) } else { Ok(None) };
    }
    if array.null_count == 0 || len == 0 {
        return Ok(None);
    }
    // SAFETY: the caller holds what is asked for.
    Ok(Some(Bits::new(unsafe { Buffer::foreign(bits, bytes_for(first, len), keep) }, first, len)))
}

/// Buffer `index` of an array that must have `n_buffers`; it may be null only if nothing of it is used.
fn buffer_of(array: &ArrowArray, index: usize, n_buffers: i64, used: usize) -> Result<*const c_void> {
    if array.n_buffers != n_buffers || array.buffers.is_null() {
        return Err(Error::input(format!("it has {} buffers, expected {n_buffers}", array.n_buffers)));
    }
    // SAFETY: `index` is below the number of buffers.
    let buffer = unsafe { *array.buffers.add(index) };
    if buffer.is_null() && used > 0 { Err(Error::input(format!("buffer {index} is missing"))) } else { Ok(buffer) }
}

/// # Safety
/// The schema is alive.
unsafe fn format_of(schema: &ArrowSchema) -> Result<&[u8]> {
    if schema.format.is_null() {
        return Err(Error::input("the type is missing"));
    }
    // SAFETY: a format that is not null ends with a zero byte and lives as long as its schema.
    Ok(unsafe { CStr::from_ptr(schema.format) }.to_bytes())
}

/// # Safety
/// `children` is null or has more than `index` entries, each null or alive for `'a`.
unsafe fn child_of<'a, T>(children: *mut *mut T, index: usize) -> Result<&'a T> {
    // SAFETY: the caller holds what is asked for.
    let child = if children.is_null() { None } else { unsafe { (*children.add(index)).as_ref() } };
    child.ok_or_else(|| Error::input(format!("child {index} is missing")))
}

fn bytes_for(first: usize, len: usize) -> usize {
    if len == 0 { 0 } else { (first + len).div_ceil(8) }
}

/// A length or an offset.
fn whole(value: i64) -> Result<usize> {
    if (0..=MAX_LENGTH).contains(&value) {
        Ok(usize::try_from(value).expect("it was checked to be in range"))
    } else {
        Err(Error::input(format!("{value} is no length")))
    }
}
