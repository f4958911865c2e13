//! Tables of the plugin, handed over without a copy.

use std::ffi::{CString, c_void};
use std::mem::ManuallyDrop;
use std::ptr;

use lmprobe_abi::{ArrowArray, ArrowSchema, lmprobe_table};

use crate::bits::Bits;
use crate::boundary::buffer::{Buffer, Foreign};
use crate::column::{Column, Values};
use crate::{Error, Result, Table};

/// Hands over a table.
pub(crate) fn give(table: Table) -> Result<lmprobe_table> {
    let height = table.height();
    let mut schemas = Vec::new();
    for (name, column) in table.columns() {
        match schema_of(name, column) {
            Ok(schema) => schemas.push(schema),
            Err(error) => {
                schemas.into_iter().for_each(release_schema_value);
                return Err(error);
            }
        }
    }
    let children = table.into_columns().into_iter().map(|(_, column)| Box::into_raw(Box::new(array_of(column)))).collect();
    let array = ArrayParts { children, buffers: vec![ptr::null()], _kept: Kept::Nothing };
    Ok(lmprobe_table { schema: schema("+s", "", false, schemas)?, array: array.into_array(height, 0) })
}

/// A table that is on its way out, released if it does not get there.
pub(crate) struct Given(Foreign);

impl Given {
    pub(crate) fn new(table: Table) -> Result<Self> {
        give(table).map(|table| Self(Foreign::Table(table)))
    }

    pub(crate) fn into_inner(self) -> lmprobe_table {
        let given = ManuallyDrop::new(self);
        match &given.0 {
            // SAFETY: the original is never dropped.
            Foreign::Table(table) => unsafe { ptr::read(table) },
            Foreign::Tensor(_) => unreachable!("`new` makes tables"),
        }
    }
}

/// What a schema points to.
struct SchemaParts {
    format: CString,
    name: CString,
    children: Vec<*mut ArrowSchema>,
}

/// What an array points to.
struct ArrayParts {
    buffers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
    _kept: Kept,
}

/// The memory behind the buffers.
#[expect(dead_code, reason = "they are kept, not read")]
enum Kept {
    Nothing,
    Bits(Option<Buffer<u8>>, Buffer<u8>),
    Offsets(Option<Buffer<u8>>, Buffer<i64>),
    Text(Option<Buffer<u8>>, Buffer<i64>, Buffer<u8>),
    I64(Option<Buffer<u8>>, Buffer<i64>),
    I32(Option<Buffer<u8>>, Buffer<i32>),
    F64(Option<Buffer<u8>>, Buffer<f64>),
    F32(Option<Buffer<u8>>, Buffer<f32>),
}

fn schema_of(name: &str, column: &Column) -> Result<ArrowSchema> {
    let nullable = column.filled.is_some();
    match &column.values {
        Values::Text { .. } => schema("U", name, nullable, Vec::new()),
        Values::I64(_) => schema("l", name, nullable, Vec::new()),
        Values::I32(_) => schema("i", name, nullable, Vec::new()),
        Values::F64(_) => schema("g", name, nullable, Vec::new()),
        Values::F32(_) => schema("f", name, nullable, Vec::new()),
        Values::Flag(_) => schema("b", name, nullable, Vec::new()),
        Values::List { items, .. } => schema("+L", name, nullable, vec![schema_of("item", items)?]),
    }
}

fn schema(format: &str, name: &str, nullable: bool, children: Vec<ArrowSchema>) -> Result<ArrowSchema> {
    let text = |text: &str| CString::new(text).map_err(|_| Error::internal(format!("the name `{}` holds a zero byte", text.escape_default())));
    let (format, name) = match (text(format), text(name)) {
        (Ok(format), Ok(name)) => (format, name),
        (Err(error), _) | (_, Err(error)) => {
            children.into_iter().for_each(release_schema_value);
            return Err(error);
        }
    };
    let children = children.into_iter().map(|child| Box::into_raw(Box::new(child))).collect();
    let parts = Box::into_raw(Box::new(SchemaParts { format, name, children }));
    // SAFETY: the pointer was just made.
    let parts_now = unsafe { &mut *parts };
    Ok(ArrowSchema {
        format: parts_now.format.as_ptr(),
        name: parts_now.name.as_ptr(),
        metadata: ptr::null(),
        flags: if nullable { 2 } else { 0 },
        n_children: length(parts_now.children.len()),
        children: parts_now.children.as_mut_ptr(),
        dictionary: ptr::null_mut(),
        release: Some(release_schema),
        private_data: parts.cast(),
    })
}

fn array_of(column: Column) -> ArrowArray {
    let Column { len, filled, values } = column;
    let empty = filled.as_ref().map_or(0, Bits::count_zeros);
    let filled = filled.map(Bits::aligned);
    let marks = filled.as_ref().map_or(ptr::null(), pointer);
    let parts = |values: *const c_void, kept| ArrayParts { buffers: vec![marks, values], children: Vec::new(), _kept: kept };
    let parts = match values {
        Values::Text { offsets, bytes } => {
            ArrayParts { buffers: vec![marks, pointer(&offsets), pointer(&bytes)], children: Vec::new(), _kept: Kept::Text(filled, offsets, bytes) }
        }
        Values::I64(values) => parts(pointer(&values), Kept::I64(filled, values)),
        Values::I32(values) => parts(pointer(&values), Kept::I32(filled, values)),
        Values::F64(values) => parts(pointer(&values), Kept::F64(filled, values)),
        Values::F32(values) => parts(pointer(&values), Kept::F32(filled, values)),
        Values::Flag(bits) => {
            let bytes = bits.aligned();
            parts(pointer(&bytes), Kept::Bits(filled, bytes))
        }
        Values::List { offsets, items } => {
            let items = Box::into_raw(Box::new(array_of(*items)));
            ArrayParts { buffers: vec![marks, pointer(&offsets)], children: vec![items], _kept: Kept::Offsets(filled, offsets) }
        }
    };
    parts.into_array(len, empty)
}

/// The first value; its address stays when the buffer is moved.
fn pointer<T>(values: &Buffer<T>) -> *const c_void {
    values.as_ptr().cast()
}

impl ArrayParts {
    fn into_array(self, len: usize, empty: usize) -> ArrowArray {
        let parts = Box::into_raw(Box::new(self));
        // SAFETY: the pointer was just made.
        let parts_now = unsafe { &mut *parts };
        ArrowArray {
            length: length(len),
            null_count: length(empty),
            offset: 0,
            n_buffers: length(parts_now.buffers.len()),
            n_children: length(parts_now.children.len()),
            buffers: parts_now.buffers.as_mut_ptr(),
            children: parts_now.children.as_mut_ptr(),
            dictionary: ptr::null_mut(),
            release: Some(release_array),
            private_data: parts.cast(),
        }
    }
}

fn length(value: usize) -> i64 {
    i64::try_from(value).expect("no allocation is longer than 2^63")
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: the interface says that this is called once with a valid struct that `schema` made; children that were moved out have no release.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        for &child in &parts.children {
            let mut child = Box::from_raw(child);
            if let Some(release) = child.release {
                release(&raw mut *child);
            }
        }
        (*schema).release = None;
        (*schema).private_data = ptr::null_mut();
    }
}

fn release_schema_value(mut schema: ArrowSchema) {
    // SAFETY: `schema` made it, and it is released once.
    unsafe { release_schema(&raw mut schema) };
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: the interface says that this is called once with a valid struct that `into_array` made; children that were moved out have no release.
    unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        for &child in &parts.children {
            let mut child = Box::from_raw(child);
            if let Some(release) = child.release {
                release(&raw mut *child);
            }
        }
        (*array).release = None;
        (*array).private_data = ptr::null_mut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::arrow_import;

    fn full() -> Table {
        let rows = Table::new()
            .with("text", Column::optional_texts([Some("gout"), None, Some("süß")]))
            .and_then(|table| table.with("i64", Column::optional_i64s([None, Some(2), Some(-3)])))
            .and_then(|table| table.with("i32", Column::i32s([1, 2, 3])))
            .and_then(|table| table.with("f64", Column::f64s([0.5, 1.5, f64::NAN])))
            .and_then(|table| table.with("f32", Column::f32s([0.5, 1.5, 2.5])))
            .and_then(|table| table.with("flag", Column::flags([true, false, true])))
            .and_then(|table| table.with("texts", Column::text_lists([vec!["a", "ü"], vec![], vec!["b"]])))
            .and_then(|table| table.with("reals", Column::f64_lists([vec![0.5], vec![1.0, 2.0], vec![]])));
        rows.unwrap()
    }

    /// Hands a table over and takes it back, with its structs changed in between.
    fn crossed(table: Table, change: impl FnOnce(&mut lmprobe_table)) -> Result<Table> {
        let mut table = give(table)?;
        change(&mut table);
        // SAFETY: `give` made the table; what tests change about it is refused before any memory is read through it.
        let taken = unsafe { arrow_import::take(&raw mut table) };
        assert!(table.array.release.is_none() && table.schema.release.is_none());
        taken
    }

    fn child(table: &mut lmprobe_table, index: usize) -> &mut ArrowArray {
        // SAFETY: the table has that many children, and nobody else looks at them.
        unsafe { &mut **table.array.children.add(index) }
    }

    #[test]
    fn a_table_crosses_unchanged() {
        let table = crossed(full(), |_| ()).unwrap();
        assert_eq!(table.names().collect::<Vec<_>>(), ["text", "i64", "i32", "f64", "f32", "flag", "texts", "reals"]);
        let texts = table.texts("text").unwrap();
        assert_eq!((0..3).map(|row| texts.optional(row)).collect::<Vec<_>>(), [Some("gout"), None, Some("süß")]);
        assert_eq!(table.numbers::<i64>("i64").unwrap().iter().collect::<Vec<_>>(), [None, Some(2), Some(-3)]);
        assert_eq!(table.numbers::<i32>("i32").unwrap().values(), [1, 2, 3]);
        assert_eq!(table.numbers::<f64>("f64").unwrap().values()[1], 1.5);
        assert_eq!(table.numbers::<f32>("f32").unwrap().values(), [0.5, 1.5, 2.5]);
        assert_eq!(table.flags("flag").unwrap().get(1), Some(false));
        assert_eq!(table.text_lists("texts").unwrap().get(0).iter().collect::<Vec<_>>(), ["a", "ü"]);
        assert_eq!(table.number_lists::<f64>("reals").unwrap().get(1).values(), [1.0, 2.0]);
        let again = crossed(table, |_| ()).unwrap(); // a column of the other side goes back without a copy
        assert_eq!(again.texts("text").unwrap().get(2), "süß");
    }

    #[test]
    fn an_offset_skips_rows_in_every_buffer() {
        let table = crossed(full(), |table| {
            table.array.offset = 1;
            table.array.length = 2;
        })
        .unwrap();
        assert_eq!(table.height(), 2);
        assert_eq!(table.texts("text").unwrap().optional(0), None);
        assert_eq!(table.texts("text").unwrap().optional(1), Some("süß"));
        assert_eq!(table.flags("flag").unwrap().get(1), Some(true));
        let texts = table.text_lists("texts").unwrap();
        assert!(texts.get(0).is_empty() && texts.get(1).get(0) == "b");
        let again = crossed(table, |_| ()).unwrap();
        assert_eq!(again.texts("text").unwrap().optional(0), None);
        assert_eq!(again.text_lists("texts").unwrap().get(1).get(0), "b");
        assert_eq!(again.flags("flag").unwrap().get(0), Some(false));
    }

    #[test]
    fn tables_without_rows_or_columns_cross() {
        assert_eq!(crossed(Table::new(), |_| ()).unwrap().height(), 0);
        let none = Table::new().with("a", Column::texts::<&str>([])).unwrap().with("b", Column::text_lists::<&str>([] as [Vec<&str>; 0])).unwrap();
        let none = crossed(none, |table| {
            // SAFETY: each array has its buffers; arrays without rows may lack them.
            unsafe {
                *child(table, 0).buffers.add(1) = ptr::null();
                *child(table, 1).buffers.add(1) = ptr::null();
            }
        });
        assert_eq!(none.unwrap().height(), 0);
    }

    #[test]
    fn small_offsets_are_read() {
        let offsets: Vec<i32> = vec![0, 4, 4, 8];
        let table = Table::new().with("text", Column::texts(["gout", "", "pain"])).unwrap();
        let table = crossed(table, |table| {
            // SAFETY: the first column has a format and three buffers; the offsets outlive the read below.
            unsafe {
                (**table.schema.children).format = c"u".as_ptr();
                *child(table, 0).buffers.add(1) = offsets.as_ptr().cast();
            }
        });
        assert_eq!(table.unwrap().texts("text").unwrap().iter().collect::<Vec<_>>(), ["gout", "", "pain"]);
    }

    #[test]
    fn a_malformed_table_is_refused_and_released() {
        static DECREASING: [i64; 4] = [0, 9, 4, 9];
        static SPLITTING: [i64; 4] = [0, 4, 6, 9]; // byte 6 is the second one of `ü`
        static BYTES: [u8; 9] = [0xff; 9];
        let refused = |change: fn(&mut lmprobe_table)| crossed(full(), change).unwrap_err().to_string();
        assert_eq!(refused(|table| table.array.length = -1), "-1 is no length");
        assert_eq!(refused(|table| table.array.length = 1 << 50), "1125899906842624 is no length");
        assert!(refused(|table| table.array.length = 4).contains("it has 3 cells, expected 4"));
        assert!(refused(|table| table.schema.format = ptr::null()).contains("the type is missing"));
        assert!(refused(|table| table.schema.format = c"+l".as_ptr()).contains("no struct"));
        assert!(refused(|table| table.array.n_children = 2).contains("8 types and 2 columns"));
        assert!(refused(|table| child(table, 1).n_buffers = 3).contains("column `i64`: it has 3 buffers, expected 2"));
        assert!(refused(|table| child(table, 2).null_count = 1).contains("does not say which"));
        // SAFETY: the buffers and children exist and are not shared.
        unsafe {
            assert!(refused(|table| *child(table, 0).buffers.add(2) = ptr::null()).contains("buffer 2 is missing"));
            assert!(refused(|table| (**table.schema.children).format = c"vu".as_ptr()).contains("the type `vu` is no part"));
            assert!(refused(|table| (**table.schema.children.add(1)).name = (**table.schema.children).name).contains("comes twice"));
            assert!(refused(|table| *child(table, 0).buffers.add(1) = DECREASING.as_ptr().cast()).contains("offsets decrease"));
            assert!(refused(|table| *child(table, 0).buffers.add(1) = SPLITTING.as_ptr().cast()).contains("inside a character"));
            assert!(refused(|table| *child(table, 0).buffers.add(2) = BYTES.as_ptr().cast()).contains("byte 0 is not UTF-8"));
        }
    }

    #[test]
    fn a_released_table_is_refused() {
        let error = crossed(full(), |table| {
            // SAFETY: the table is alive.
            unsafe { release_array(&raw mut table.array) };
        });
        assert!(error.unwrap_err().message().contains("released before the call"));
    }
}
