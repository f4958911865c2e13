//! Checks a table from foreign memory before anyone imports it.
//!
//! Libraries that import Arrow tables trust them: a text that is not UTF-8 becomes a `&str` all the same, and offsets that decrease become reads of foreign memory.
//! After this check every cell can be read, as far as that can be known: the interface carries no lengths of buffers, so a last offset beyond the data is found
//! only if it is absurd.

use std::ffi::CStr;
use std::slice::from_raw_parts;

use lmprobe_abi::{ArrowArray, ArrowSchema, lmprobe_table};

const MOST_COLUMNS: i64 = 4096;
/// Rows, and items of all lists of a column.
const MOST_CELLS: i64 = 1 << 40;
/// Bytes of all texts of a column.
const MOST_BYTES: i64 = 1 << 36;
const NAME_BYTES: usize = 4096;

/// A table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", place.as_ref().map_or_else(String::new, |place| format!("{place}: ")))]
pub struct TableError {
    /// Which column, if it is one.
    pub place: Option<String>,
    /// What is wrong.
    pub fault: TableFault,
}

/// What is wrong with a table or a column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// Nobody can free it, or it was not filled in.
    #[error("the {part} has no `release`; a table that was filled in has one")]
    Release {
        /// `schema` or `array`.
        part: &'static str,
    },
    /// A pointer is null.
    #[error("`{field}` is null")]
    Null {
        /// The field.
        field: &'static str,
    },
    /// The root is not a struct.
    #[error("the table has the format `{found}`; a table is a struct, `+s`")]
    Root {
        /// Its format.
        found: String,
    },
    /// The root has an offset or empty rows.
    #[error("the table has {what}; only columns have")]
    RootCells {
        /// What it has.
        what: &'static str,
    },
    /// The format is none of ours.
    #[error("the format `{found}` is not allowed; allowed are U, u, l, i, g, f, b and lists (+L, +l) of these")]
    Format {
        /// The format.
        found: String,
    },
    /// Values by number of a dictionary.
    #[error("dictionaries are not allowed; write out the values")]
    Dictionary,
    /// Schema and array say different numbers of children.
    #[error("has {found} {what}, but {expected} is right")]
    Number {
        /// Of what.
        what: &'static str,
        /// What it says.
        found: i64,
        /// What is right.
        expected: i64,
    },
    /// Too many columns, or a negative number.
    #[error("{found} columns; a table has 0 to {MOST_COLUMNS}")]
    Columns {
        /// How many it says.
        found: i64,
    },
    /// A name is no text.
    #[error("its name is not UTF-8 or has more than {NAME_BYTES} bytes")]
    Name,
    /// Two columns have the same name.
    #[error("has the name of column {first}")]
    Duplicate {
        /// The number of the earlier one.
        first: usize,
    },
    /// A length is negative or absurd.
    #[error("length {length} at offset {offset}; both are 0 or more, at most 2^40 together")]
    Length {
        /// The length.
        length: i64,
        /// The offset.
        offset: i64,
    },
    /// Columns of different lengths.
    #[error("has {found} rows, the table has {expected}")]
    Rows {
        /// Of the column.
        found: i64,
        /// Of the table.
        expected: i64,
    },
    /// A buffer is at an address where its values cannot be.
    #[error("its {buffer} are not aligned to {bytes} bytes")]
    Alignment {
        /// Which buffer.
        buffer: &'static str,
        /// The alignment.
        bytes: usize,
    },
    /// The number of empty cells is wrong.
    #[error("says it has {found} empty cells, but has {expected}")]
    NullCount {
        /// What it says.
        found: i64,
        /// What was counted.
        expected: i64,
    },
    /// Offsets decrease or begin below 0.
    #[error("offset {position} is {found}, after {before}; offsets are 0 or more and never decrease")]
    Offsets {
        /// Which.
        position: usize,
        /// Its value.
        found: i64,
        /// The value before it.
        before: i64,
    },
    /// The last offset is absurd.
    #[error("the last offset is {found}, beyond {limit}")]
    LastOffset {
        /// Its value.
        found: i64,
        /// The limit.
        limit: i64,
    },
    /// A text is not UTF-8.
    #[error("cell {cell} is not UTF-8 at byte {byte} of the column")]
    Utf8 {
        /// Which cell.
        cell: usize,
        /// Which byte.
        byte: usize,
    },
}

impl From<TableFault> for TableError {
    fn from(fault: TableFault) -> Self {
        Self { place: None, fault }
    }
}

/// Checks a table, and gives the number of its rows.
///
/// # Errors
/// If a column could not be read, with its name.
///
/// # Safety
/// Pointers that are not null point to readable memory, of as many values as the lengths say where they are plausible.
pub unsafe fn check(table: &lmprobe_table) -> Result<usize, TableError> {
    let (schema, array) = (&table.schema, &table.array);
    for (part, there) in [("schema", schema.release.is_some()), ("array", array.release.is_some())] {
        if !there {
            return Err(TableFault::Release { part }.into());
        }
    }
    // SAFETY: the caller promises the memory.
    unsafe {
        let format = format(schema)?;
        if format != b"+s" {
            return Err(TableFault::Root { found: String::from_utf8_lossy(format).into_owned() }.into());
        }
        let rows = length(array)?;
        check_root(schema, array)?;
        let columns = usize::try_from(schema.n_children).expect("checked");
        let (schemas, arrays) = (children(schema.children, columns), children(array.children, columns));
        let mut names = Names::with_capacity(columns);
        for number in 0..columns {
            let at = |place: String, fault| TableError { place: Some(place), fault };
            let (Some(schema), Some(array)) = (schemas[number].as_ref(), arrays[number].as_ref()) else {
                return Err(at(format!("column {number}"), TableFault::Null { field: "children" }));
            };
            let name = name(schema).map_err(|fault| at(format!("column {number}"), fault))?;
            names.add(name, number).map_err(|fault| at(format!("column {number} `{name}`"), fault))?;
            let checked = if array.length == array_length(rows) {
                check_column(schema, array, Depth::Column)
            } else {
                Err(TableFault::Rows { found: array.length, expected: array_length(rows) })
            };
            checked.map_err(|fault| at(format!("column `{name}`"), fault))?;
        }
        Ok(rows)
    }
}

/// Writes the number of empty cells where it was left open: some importers take -1 for a number.
///
/// # Safety
/// [`check`] has accepted the table, and nobody else reads it now.
pub unsafe fn count_nulls(table: &mut lmprobe_table) {
    // SAFETY: every pointer was checked.
    unsafe {
        count_nulls_of(&raw mut table.array, 0);
    }
}

/// # Safety
/// As [`count_nulls`].
unsafe fn count_nulls_of(array: *mut ArrowArray, depth: usize) {
    // SAFETY: every pointer was checked; below the root there is a column, below that a list's items, below that nothing.
    unsafe {
        if (*array).null_count < 0 {
            (*array).null_count = nulls(&*array);
        }
        if depth < 2 {
            for number in 0..usize::try_from((*array).n_children).expect("checked") {
                count_nulls_of(*(*array).children.add(number), depth + 1);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Column,
    Items,
}

/// # Safety
/// As [`check`].
unsafe fn check_root(schema: &ArrowSchema, array: &ArrowArray) -> Result<(), TableFault> {
    if !(0..=MOST_COLUMNS).contains(&schema.n_children) {
        return Err(TableFault::Columns { found: schema.n_children });
    }
    number("children", array.n_children, schema.n_children)?;
    if schema.n_children > 0 && (schema.children.is_null() || array.children.is_null()) {
        return Err(TableFault::Null { field: "children" });
    }
    if !schema.dictionary.is_null() || !array.dictionary.is_null() {
        return Err(TableFault::Dictionary);
    }
    number("buffers", array.n_buffers, 1)?;
    if array.buffers.is_null() {
        return Err(TableFault::Null { field: "buffers" });
    }
    if array.offset != 0 {
        return Err(TableFault::RootCells { what: "an offset" });
    }
    // SAFETY: there is one buffer, and the length was checked.
    unsafe { check_nulls(array)? };
    // SAFETY: as above.
    if unsafe { nulls(array) } > 0 { Err(TableFault::RootCells { what: "empty rows" }) } else { Ok(()) }
}

/// # Safety
/// As [`check`].
unsafe fn check_column(schema: &ArrowSchema, array: &ArrowArray, depth: Depth) -> Result<(), TableFault> {
    // SAFETY: the caller promises the memory.
    unsafe {
        let format = format(schema)?;
        let cells = length(array)?;
        if !schema.dictionary.is_null() || !array.dictionary.is_null() {
            return Err(TableFault::Dictionary);
        }
        let (buffers, items) = match format {
            b"U" | b"u" => (3, 0),
            b"l" | b"i" | b"g" | b"f" | b"b" => (2, 0),
            b"+L" | b"+l" if depth == Depth::Column => (2, 1),
            _ => return Err(TableFault::Format { found: String::from_utf8_lossy(format).into_owned() }),
        };
        number("buffers", array.n_buffers, buffers)?;
        number("children", schema.n_children, items)?;
        number("children", array.n_children, items)?;
        if array.buffers.is_null() {
            return Err(TableFault::Null { field: "buffers" });
        }
        check_nulls(array)?;
        match format {
            b"U" => check_texts::<i64>(array, cells),
            b"u" => check_texts::<i32>(array, cells),
            b"+L" => check_lists::<i64>(schema, array, cells),
            b"+l" => check_lists::<i32>(schema, array, cells),
            b"l" | b"g" => check_values(array, cells, 8),
            b"i" | b"f" => check_values(array, cells, 4),
            _ => check_values(array, cells, 1),
        }
    }
}

/// # Safety
/// There are two buffers.
unsafe fn check_values(array: &ArrowArray, cells: usize, bytes: usize) -> Result<(), TableFault> {
    // SAFETY: the caller promises them.
    let values = unsafe { *array.buffers.add(1) };
    if values.is_null() && cells > 0 {
        return Err(TableFault::Null { field: "values" });
    }
    aligned(values.addr(), bytes, "values")
}

/// # Safety
/// As [`check`], and there are three buffers.
unsafe fn check_texts<O: Offset>(array: &ArrowArray, cells: usize) -> Result<(), TableFault> {
    // SAFETY: the caller promises the buffers, and as many values as the lengths say.
    unsafe {
        let offsets = offsets::<O>(array, cells, MOST_BYTES)?;
        let (first, last) = (offsets[0].index(), offsets[cells].index());
        let data = (*array.buffers.add(2)).cast::<u8>();
        if last == first {
            return Ok(());
        }
        if data.is_null() {
            return Err(TableFault::Null { field: "values" });
        }
        let bytes = from_raw_parts(data.add(first), last - first);
        let cell_of = |byte: usize| offsets[1..].partition_point(|offset| offset.index() <= byte).min(cells.saturating_sub(1));
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let byte = first + error.valid_up_to();
            TableFault::Utf8 { cell: cell_of(byte), byte }
        })?;
        // Where every byte is a character every offset is a boundary.
        let inside = |offset: &O| !text.is_char_boundary(offset.index() - first);
        match if text.is_ascii() { None } else { offsets.iter().position(inside) } {
            Some(cell) => Err(TableFault::Utf8 { cell: cell - 1, byte: offsets[cell].index() }),
            None => Ok(()),
        }
    }
}

/// # Safety
/// As [`check`], there are two buffers, and schema and array say one child.
unsafe fn check_lists<O: Offset>(schema: &ArrowSchema, array: &ArrowArray, cells: usize) -> Result<(), TableFault> {
    // SAFETY: the caller promises the buffers, and as many values as the lengths say.
    unsafe {
        let offsets = offsets::<O>(array, cells, MOST_CELLS)?;
        if schema.children.is_null() || array.children.is_null() {
            return Err(TableFault::Null { field: "children" });
        }
        let (Some(schema), Some(items)) = ((*schema.children).as_ref(), (*array.children).as_ref()) else {
            return Err(TableFault::Null { field: "children" });
        };
        check_column(schema, items, Depth::Items)?;
        let last = offsets[cells].wide();
        if last > items.length { Err(TableFault::LastOffset { found: last, limit: items.length }) } else { Ok(()) }
    }
}

/// A boundary between cells.
trait Offset: Copy {
    fn wide(self) -> i64;

    /// Of an offset that was checked.
    fn index(self) -> usize {
        usize::try_from(self.wide()).expect("checked to be 0 or more")
    }
}

impl Offset for i64 {
    fn wide(self) -> i64 {
        self
    }
}

impl Offset for i32 {
    fn wide(self) -> i64 {
        self.into()
    }
}

/// The boundaries of the cells, one more than there are cells.
///
/// # Safety
/// As [`check`], and there are two buffers.
unsafe fn offsets<O: Offset>(array: &ArrowArray, cells: usize, limit: i64) -> Result<&[O], TableFault> {
    // SAFETY: the caller promises the buffers.
    let offsets = unsafe { *array.buffers.add(1) };
    if offsets.is_null() {
        return Err(TableFault::Null { field: "offsets" });
    }
    aligned(offsets.addr(), size_of::<O>(), "offsets")?;
    // SAFETY: the caller promises as many values as the lengths say, which are plausible.
    let offsets = unsafe { from_raw_parts(offsets.cast::<O>().add(usize::try_from(array.offset).expect("checked")), cells + 1) };
    if offsets[0].wide() < 0 {
        return Err(TableFault::Offsets { position: 0, found: offsets[0].wide(), before: 0 });
    }
    // Without a branch in the loop it runs on vectors; where it is wrong is found afterwards.
    let decreasing = offsets.windows(2).fold(false, |found, pair| found | (pair[1].wide() < pair[0].wide()));
    if decreasing {
        let at = offsets.windows(2).position(|pair| pair[1].wide() < pair[0].wide()).expect("one was found");
        return Err(TableFault::Offsets { position: at + 1, found: offsets[at + 1].wide(), before: offsets[at].wide() });
    }
    let found = offsets[cells].wide();
    if found > limit { Err(TableFault::LastOffset { found, limit }) } else { Ok(offsets) }
}

fn aligned(address: usize, bytes: usize, buffer: &'static str) -> Result<(), TableFault> {
    if address.is_multiple_of(bytes) { Ok(()) } else { Err(TableFault::Alignment { buffer, bytes }) }
}

/// # Safety
/// There is one buffer, and its bits are as many as the length says.
unsafe fn check_nulls(array: &ArrowArray) -> Result<(), TableFault> {
    // SAFETY: the caller promises the bits.
    let expected = unsafe { nulls(array) };
    if array.null_count == -1 || array.null_count == expected { Ok(()) } else { Err(TableFault::NullCount { found: array.null_count, expected }) }
}

/// Empty cells, counted.
///
/// # Safety
/// There is one buffer, and its bits are as many as the length says.
unsafe fn nulls(array: &ArrowArray) -> i64 {
    let (length, offset) = (usize::try_from(array.length).expect("checked"), usize::try_from(array.offset).expect("checked"));
    // SAFETY: the caller promises the buffer.
    let bits = unsafe { *array.buffers }.cast::<u8>();
    if bits.is_null() || length == 0 {
        return 0;
    }
    let (first, end) = (offset / 8, (offset + length).div_ceil(8));
    // SAFETY: the caller promises the bits.
    let bytes = unsafe { from_raw_parts(bits.add(first), end - first) };
    let mut ones: usize = bytes.iter().map(|byte| byte.count_ones() as usize).sum();
    // Bits of the first and the last byte that belong to no cell.
    let (before, after) = (offset % 8, end * 8 - offset - length);
    ones -= (bytes[0] & ((1u16 << before) - 1).to_le_bytes()[0]).count_ones() as usize;
    let spare = !(0xffu16 >> after).to_le_bytes()[0];
    ones -= (bytes[bytes.len() - 1] & spare).count_ones() as usize;
    array_length(length - ones)
}

fn length(array: &ArrowArray) -> Result<usize, TableFault> {
    let ArrowArray { length, offset, .. } = *array;
    match (usize::try_from(length), length.checked_add(offset)) {
        (Ok(cells), Some(end)) if offset >= 0 && end <= MOST_CELLS => Ok(cells),
        _ => Err(TableFault::Length { length, offset }),
    }
}

fn array_length(cells: usize) -> i64 {
    i64::try_from(cells).expect("at most 2^40")
}

fn number(what: &'static str, found: i64, expected: i64) -> Result<(), TableFault> {
    if found == expected { Ok(()) } else { Err(TableFault::Number { what, found, expected }) }
}

/// # Safety
/// The format is null or a text with a zero at its end.
unsafe fn format(schema: &ArrowSchema) -> Result<&[u8], TableFault> {
    if schema.format.is_null() {
        return Err(TableFault::Null { field: "format" });
    }
    // SAFETY: the caller promises a zero at the end.
    Ok(unsafe { CStr::from_ptr(schema.format) }.to_bytes())
}

/// # Safety
/// The name is null or a text with a zero at its end.
unsafe fn name(schema: &ArrowSchema) -> Result<&str, TableFault> {
    if schema.name.is_null() {
        return Err(TableFault::Null { field: "name" });
    }
    // SAFETY: the caller promises a zero at the end.
    let name = unsafe { CStr::from_ptr(schema.name) };
    name.to_str().ok().filter(|name| name.len() <= NAME_BYTES).ok_or(TableFault::Name)
}

/// # Safety
/// `count` pointers are there, or none are wanted.
unsafe fn children<'a, T>(children: *mut *mut T, count: usize) -> &'a [*mut T] {
    // SAFETY: the caller promises them.
    if count == 0 { &[] } else { unsafe { from_raw_parts(children, count) } }
}

/// Finds names that come twice. Few are compared with each other, which needs no memory.
struct Names<'a> {
    few: Vec<&'a str>,
    many: std::collections::HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    const FEW: usize = 32;

    fn with_capacity(columns: usize) -> Self {
        Self { few: Vec::with_capacity(columns.min(Self::FEW)), many: std::collections::HashMap::new() }
    }

    fn add(&mut self, name: &'a str, number: usize) -> Result<(), TableFault> {
        let first = self.few.iter().position(|other| *other == name).or_else(|| self.many.get(name).copied());
        if let Some(first) = first {
            return Err(TableFault::Duplicate { first });
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
        } else {
            self.many.insert(name, number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, c_void};
    use std::ptr;

    use super::*;
    use crate::OwnedTable;
    use crate::kept::{kept, kept_slice};

    /// A column under construction.
    #[derive(Clone)]
    struct Column {
        format: &'static str,
        name: Option<CString>,
        length: i64,
        null_count: i64,
        offset: i64,
        buffers: Vec<*const c_void>,
        children: Vec<Column>,
    }

    fn buffer<T: Clone>(values: &[T]) -> *const c_void {
        kept_slice(values.to_vec()).cast_const().cast()
    }

    fn column(format: &'static str, name: &str, length: i64, buffers: &[*const c_void]) -> Column {
        Column { format, name: Some(CString::new(name).unwrap()), length, null_count: 0, offset: 0, buffers: buffers.to_vec(), children: Vec::new() }
    }

    fn reals(name: &str, values: &[f64]) -> Column {
        column("g", name, i64::try_from(values.len()).unwrap(), &[ptr::null(), buffer(values)])
    }

    fn texts(offsets: &[i64], bytes: &[u8]) -> Column {
        column("U", "text", i64::try_from(offsets.len()).unwrap() - 1, &[ptr::null(), buffer(offsets), buffer(bytes)])
    }

    fn lists(offsets: &[i64], items: Column) -> Column {
        let list = column("+L", "list", i64::try_from(offsets.len()).unwrap() - 1, &[ptr::null(), buffer(offsets)]);
        Column { children: vec![items], ..list }
    }

    unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
        // SAFETY: a schema of these tests.
        unsafe { (*schema).release = None };
    }
    unsafe extern "C" fn release_array(array: *mut ArrowArray) {
        // SAFETY: an array of these tests.
        unsafe { (*array).release = None };
    }

    fn text(bytes: Vec<u8>) -> *const std::ffi::c_char {
        kept_slice(CString::new(bytes).unwrap().into_bytes_with_nul()).cast_const().cast()
    }

    fn made(column: &Column) -> (ArrowSchema, ArrowArray) {
        let (schemas, arrays): (Vec<_>, Vec<_>) = column.children.iter().map(made).map(|(s, a)| (kept(s), kept(a))).unzip();
        let n_children = i64::try_from(schemas.len()).unwrap();
        let schema = ArrowSchema {
            format: text(column.format.into()),
            name: column.name.as_ref().map_or(ptr::null(), |name| text(name.as_bytes().into())),
            metadata: ptr::null(),
            flags: 2,
            n_children,
            children: kept_slice(schemas),
            dictionary: ptr::null_mut(),
            release: Some(release_schema),
            private_data: ptr::null_mut(),
        };
        let array = ArrowArray {
            length: column.length,
            null_count: column.null_count,
            offset: column.offset,
            n_buffers: i64::try_from(column.buffers.len()).unwrap(),
            n_children,
            buffers: kept_slice(column.buffers.clone()),
            children: kept_slice(arrays),
            dictionary: ptr::null_mut(),
            release: Some(release_array),
            private_data: ptr::null_mut(),
        };
        (schema, array)
    }

    fn table(columns: &[Column]) -> lmprobe_table {
        let length = columns.first().map_or(0, |column| column.length);
        let (schema, array) = made(&Column { children: columns.to_vec(), ..column("+s", "", length, &[ptr::null()]) });
        lmprobe_table { schema, array }
    }

    fn checked(columns: &[Column]) -> Result<usize, String> {
        // SAFETY: the buffers are as long as the columns say, or null, unless the check must stop before it reads them.
        unsafe { check(&table(columns)) }.map_err(|error| error.to_string())
    }

    fn refused(change: impl FnOnce(&mut lmprobe_table)) -> String {
        let mut changed = table(&[reals("a", &[1.0, 2.0]), texts(&[0, 1, 3], b"abc")]);
        change(&mut changed);
        // SAFETY: as above.
        unsafe { check(&changed) }.unwrap_err().to_string()
    }

    #[test]
    fn every_format_that_crosses_is_accepted() {
        let null = ptr::null();
        let columns = [
            texts(&[0, 2, 2], "é".as_bytes()),
            column("u", "short", 2, &[null, buffer(&[1i32, 2, 3]), buffer(b"xyz")]),
            reals("real", &[1.0, f64::NAN]),
            column("l", "whole", 2, &[null, buffer(&[1i64, 2])]),
            column("i", "half", 2, &[null, buffer(&[1i32, 2])]),
            column("f", "single", 2, &[null, buffer(&[1f32, 2.0])]),
            column("b", "truth", 2, &[null, buffer(&[2u8])]),
            lists(&[0, 1, 3], column("U", "item", 3, &[null, buffer(&[0i64, 1, 2, 3]), buffer(b"abc")])),
            Column {
                name: Some(c"ints".into()),
                ..Column { format: "+l", buffers: vec![null, buffer(&[0i32, 0, 2])], ..lists(&[0, 0, 2], reals("item", &[1.0, 2.0])) }
            },
        ];
        assert_eq!(checked(&columns), Ok(2));
        assert_eq!(checked(&[]), Ok(0));
        assert_eq!(checked(&[texts(&[0], b""), column("g", "none", 0, &[null, null])]), Ok(0));
    }

    #[test]
    fn the_root_is_a_struct_that_can_be_released() {
        assert_eq!(refused(|table| table.schema.release = None), "the schema has no `release`; a table that was filled in has one");
        assert_eq!(refused(|table| table.array.release = None), "the array has no `release`; a table that was filled in has one");
        assert_eq!(refused(|table| table.schema.format = ptr::null()), "`format` is null");
        assert_eq!(refused(|table| table.schema.format = c"+l".as_ptr()), "the table has the format `+l`; a table is a struct, `+s`");
        assert_eq!(refused(|table| table.array.offset = 1), "the table has an offset; only columns have");
        assert_eq!(refused(|table| table.array.length = -1), "length -1 at offset 0; both are 0 or more, at most 2^40 together");
        assert_eq!(refused(|table| table.array.length = 1 << 50), "length 1125899906842624 at offset 0; both are 0 or more, at most 2^40 together");
        assert_eq!(refused(|table| table.array.offset = i64::MAX), "length 2 at offset 9223372036854775807; both are 0 or more, at most 2^40 together");
        assert_eq!(refused(|table| table.array.n_children = 1), "has 1 children, but 2 is right");
        assert_eq!(refused(|table| table.schema.n_children = 5000), "5000 columns; a table has 0 to 4096");
        assert_eq!(refused(|table| table.schema.n_children = -1), "-1 columns; a table has 0 to 4096");
        assert_eq!(refused(|table| table.schema.children = ptr::null_mut()), "`children` is null");
        assert_eq!(refused(|table| table.array.n_buffers = 0), "has 0 buffers, but 1 is right");
        assert_eq!(refused(|table| table.array.buffers = ptr::null_mut()), "`buffers` is null");
        // SAFETY: there is one buffer.
        let holes = refused(|table| unsafe {
            *table.array.buffers = buffer(&[1u8]);
            table.array.null_count = 1;
        });
        assert_eq!(holes, "the table has empty rows; only columns have");
        // SAFETY: there are two children.
        assert_eq!(refused(|table| unsafe { *table.array.children.add(1) = ptr::null_mut() }), "column 1: `children` is null");
        assert_eq!(refused(|table| table.array.dictionary = kept(made(&reals("", &[])).1)), "dictionaries are not allowed; write out the values");
    }

    #[test]
    fn columns_have_one_length_and_different_names() {
        let one = |change: &dyn Fn(&mut Column)| {
            let mut changed = reals("a", &[1.0, 2.0]);
            change(&mut changed);
            checked(&[reals("first", &[1.0, 2.0]), changed]).unwrap_err()
        };
        assert_eq!(one(&|column| column.length = 1), "column `a`: has 1 rows, the table has 2");
        assert_eq!(one(&|column| column.name = Some(c"first".into())), "column 1 `first`: has the name of column 0");
        assert_eq!(one(&|column| column.name = None), "column 1: `name` is null");
        assert_eq!(one(&|column| column.name = Some(CString::new(b"\xff".to_vec()).unwrap())), "column 1: its name is not UTF-8 or has more than 4096 bytes");
        assert_eq!(
            one(&|column| column.format = "vu"),
            "column `a`: the format `vu` is not allowed; allowed are U, u, l, i, g, f, b and lists (+L, +l) of these"
        );
        assert_eq!(one(&|column| column.offset = -1), "column `a`: length 2 at offset -1; both are 0 or more, at most 2^40 together");
        assert_eq!(one(&|column| column.buffers.push(ptr::null())), "column `a`: has 3 buffers, but 2 is right");
        assert_eq!(one(&|column| column.buffers[1] = ptr::null()), "column `a`: `values` is null");
        assert_eq!(one(&|column| column.buffers[1] = column.buffers[1].wrapping_byte_add(4)), "column `a`: its values are not aligned to 8 bytes");
        assert_eq!(one(&|column| column.null_count = 1), "column `a`: says it has 1 empty cells, but has 0");
        assert_eq!(one(&|column| column.null_count = -2), "column `a`: says it has -2 empty cells, but has 0");
        let many: Vec<Column> = (0..50).map(|number| reals(&format!("c{}", number % 45), &[])).collect();
        assert_eq!(checked(&many).unwrap_err(), "column 45 `c0`: has the name of column 0");
        let many: Vec<Column> = (0..80).map(|number| reals(&format!("c{}", if number == 79 { 40 } else { number }), &[])).collect();
        assert_eq!(checked(&many).unwrap_err(), "column 79 `c40`: has the name of column 40");
    }

    #[test]
    fn empty_cells_are_counted_within_the_offset() {
        let bits = [0b1110_1101u8, 0b1010_1010];
        let cells = |first: usize, length: usize| i64::try_from((first..first + length).filter(|bit| bits[bit / 8] >> (bit % 8) & 1 == 0).count()).unwrap();
        for (offset, length) in [(0, 0), (0, 1), (0, 8), (0, 16), (3, 10), (7, 1), (7, 2), (8, 8), (15, 1), (1, 6)] {
            let mut column = reals("a", &[0.0; 16]);
            column.buffers[0] = buffer(&bits);
            (column.offset, column.length) = (i64::try_from(offset).unwrap(), i64::try_from(length).unwrap());
            for null_count in [-1, cells(offset, length)] {
                assert_eq!(checked(&[Column { null_count, ..column.clone() }]), Ok(length));
            }
            assert!(checked(&[Column { null_count: cells(offset, length) + 1, ..column.clone() }]).is_err(), "{offset} {length}");
            // SAFETY: made here.
            let mut counted = unsafe { OwnedTable::from_raw(table(&[Column { null_count: -1, ..column }])) };
            counted.check().unwrap();
            // SAFETY: the table has one column.
            assert_eq!(unsafe { (**counted.into_raw().array.children).null_count }, cells(offset, length));
        }
    }

    #[test]
    fn texts_are_utf8_in_every_cell() {
        let fault = |offsets: &[i64], bytes: &[u8]| checked(&[texts(offsets, bytes)]).unwrap_err();
        assert_eq!(fault(&[0, 1, 3], b"ab\xff"), "column `text`: cell 1 is not UTF-8 at byte 2 of the column");
        // One character of two bytes, cut in the middle: the whole is UTF-8, the cells are not.
        assert_eq!(fault(&[0, 1, 2], "é".as_bytes()), "column `text`: cell 0 is not UTF-8 at byte 1 of the column");
        assert_eq!(fault(&[0, 2, 1], b"ab"), "column `text`: offset 2 is 1, after 2; offsets are 0 or more and never decrease");
        assert_eq!(fault(&[-1, 2, 2], b"ab"), "column `text`: offset 0 is -1, after 0; offsets are 0 or more and never decrease");
        assert_eq!(fault(&[0, i64::MAX], b"ab"), "column `text`: the last offset is 9223372036854775807, beyond 68719476736");
        let mut column = texts(&[0, 2], b"ab");
        column.buffers[2] = ptr::null();
        assert_eq!(checked(&[column.clone()]).unwrap_err(), "column `text`: `values` is null");
        column.buffers[1] = ptr::null();
        assert_eq!(checked(&[column.clone()]).unwrap_err(), "column `text`: `offsets` is null");
        column.buffers.pop();
        assert_eq!(checked(&[column]).unwrap_err(), "column `text`: has 2 buffers, but 3 is right");
        // Bytes outside of the cells do not matter.
        let cut = Column { offset: 1, length: 1, ..texts(&[0, 1, 3], b"\xffbc") };
        assert_eq!(checked(&[cut]), Ok(1));
    }

    #[test]
    fn lists_hold_values_and_no_lists() {
        let fault = |column: Column| checked(&[column]).unwrap_err();
        assert_eq!(fault(lists(&[0, 3], reals("item", &[1.0]))), "column `list`: the last offset is 3, beyond 1");
        assert_eq!(fault(lists(&[1, 0], reals("item", &[1.0]))), "column `list`: offset 1 is 0, after 1; offsets are 0 or more and never decrease");
        let deep = lists(&[0, 1], lists(&[0, 1], reals("item", &[1.0])));
        assert_eq!(fault(deep), "column `list`: the format `+L` is not allowed; allowed are U, u, l, i, g, f, b and lists (+L, +l) of these");
        assert_eq!(fault(Column { children: vec![], ..lists(&[0, 0], reals("item", &[])) }), "column `list`: has 0 children, but 1 is right");
        assert_eq!(fault(lists(&[0, 1], texts(&[0, 1], b"\xff"))), "column `list`: cell 0 is not UTF-8 at byte 0 of the column");
    }

    /// Not a benchmark: an order of magnitude too slow fails. It is on the path of every call.
    #[cfg(not(any(miri, debug_assertions)))]
    #[test]
    fn the_check_is_quick() {
        for (rows, limit) in [(1usize, 2_000), (1000, 30_000)] {
            let text: Vec<u8> = "naïve ".as_bytes().repeat(rows);
            let offsets: Vec<i64> = (0..=rows).map(|row| i64::try_from(row * 7).unwrap()).collect();
            let mut columns: Vec<Column> =
                (0..4).map(|number| Column { name: Some(CString::new(format!("t{number}")).unwrap()), ..texts(&offsets, &text) }).collect();
            columns.extend((0..6).map(|number| reals(&format!("r{number}"), &vec![1.0; rows])));
            let table = table(&columns);
            let mut times: Vec<u128> = (0..200)
                .map(|_| {
                    let start = std::time::Instant::now();
                    // SAFETY: made here.
                    unsafe { check(std::hint::black_box(&table)) }.unwrap();
                    start.elapsed().as_nanos()
                })
                .collect();
            times.sort_unstable();
            println!("{rows} rows: {} ns", times[100]);
            assert!(times[100] < limit, "{rows} rows x 10 columns take {} ns", times[100]);
        }
    }
}
