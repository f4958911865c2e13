//! Tables on their way from a plugin: checked, then copied.

use std::ffi::CStr;
use std::ops::Range;

use lmprobe_abi::{ArrowArray, ArrowSchema};
use lmprobe_core::polars::prelude::{
    BooleanChunkedBuilder, ChunkedBuilder, Column, DataFrame, DataType, Float64Type, Int64Type, IntoColumn, IntoSeries, ListBuilderTrait,
    ListPrimitiveChunkedBuilder, ListStringChunkedBuilder, NamedFrom, Series, StringChunkedBuilder,
};
use lmprobe_core::{ColumnType, Error, FrameSchema, Result, table};
use lmprobe_loader::OwnedTable;

/// Copies a table of a plugin. 32-bit numbers become 64-bit ones.
///
/// # Errors
/// If the table is malformed.
pub(crate) fn import(table: &mut OwnedTable, name: &'static str, origin: &str) -> Result<DataFrame> {
    let fail = |message: String| Error::Frame { origin: origin.to_owned(), schema: name, message };
    let rows = table.check().map_err(|error| fail(error.to_string()))?;
    let table = table.as_raw();
    let n = usize::try_from(table.schema.n_children).unwrap_or(0);
    let columns = (0..n)
        .map(|index| {
            // SAFETY: the check found `n` children that are not null, in both trees.
            let (schema, array) = unsafe { (&**table.schema.children.add(index), &**table.array.children.add(index)) };
            // The cells of a struct with an offset begin at that offset of each child.
            let first = usize::try_from(table.array.offset).unwrap_or(0);
            series(schema, array, first..first + rows).map(IntoColumn::into_column)
        })
        .collect::<Result<Vec<Column>>>()?;
    DataFrame::new(rows, columns).map_err(|error| fail(error.to_string()))
}

/// A table of a plugin in the types of its declared schema: whole numbers that are counts, floats.
///
/// # Errors
/// If a count is negative. What is missing or has another type is for [`FrameSchema::check`] to say.
pub(crate) fn typed(mut frame: DataFrame, schema: &FrameSchema, origin: &str) -> Result<DataFrame> {
    let height = frame.height();
    for index in 0..frame.width() {
        let column = &frame.columns()[index];
        let wanted = schema.columns.iter().find(|declared| declared.name == column.name().as_str()).map(|declared| declared.kind);
        let replaced = match (wanted, column.dtype()) {
            (Some(ColumnType::Count), DataType::Int64) => {
                let numbers = column.i64()?;
                if let Some(negative) = numbers.iter().flatten().find(|value| *value < 0) {
                    let message = format!("column `{}` holds {negative}, and a count is not negative", column.name());
                    return Err(Error::Frame { origin: origin.to_owned(), schema: schema.name, message });
                }
                if numbers.null_count() == 0 {
                    Series::new(column.name().clone(), numbers.iter().flatten().map(i64::cast_unsigned).collect::<Vec<_>>())
                } else {
                    Series::new(column.name().clone(), numbers.iter().map(|value| value.map(i64::cast_unsigned)).collect::<Vec<_>>())
                }
            }
            // A column without a cell that is not empty has no type of its own in some languages.
            (Some(ColumnType::Real), DataType::Int64) if column.null_count() == column.len() => {
                column.cast(&DataType::Float64)?.as_materialized_series().clone()
            }
            _ => continue,
        };
        frame.replace_column(index, replaced.into_column())?;
    }
    schema.check(&frame, origin)?;
    // Declared columns first and in their order, as a built-in plugin returns them.
    if frame.columns().iter().map(|column| column.name().as_str()).take(schema.columns.len()).eq(schema.columns.iter().map(|column| column.name)) {
        return Ok(frame);
    }
    let declared = schema.columns.iter().map(|column| column.name);
    let more: Vec<String> =
        frame.get_column_names().iter().map(ToString::to_string).filter(|name| schema.columns.iter().all(|column| column.name != name)).collect();
    let ordered: Vec<Column> = declared.map(str::to_owned).chain(more).map(|name| frame.column(&name).cloned()).collect::<Result<_, _>>()?;
    Ok(DataFrame::new(height, ordered)?)
}

/// The typed cells of a buffer.
///
/// # Safety
/// Buffer `index` holds values of type `T` in all of `range`.
unsafe fn cells<T: Copy>(array: &ArrowArray, index: usize, range: &Range<usize>) -> Vec<T> {
    if range.is_empty() {
        return Vec::new();
    }
    // SAFETY: by the caller's promise the buffer reaches to the end of the range; the read needs no alignment.
    unsafe {
        let buffer = (*array.buffers.add(index)).cast::<T>();
        range.clone().map(|at| buffer.add(at).read_unaligned()).collect()
    }
}

/// Bit `at` of a buffer.
///
/// # Safety
/// Buffer `index` is not null and holds bit `at`.
unsafe fn bit(array: &ArrowArray, index: usize, at: usize) -> bool {
    // SAFETY: by the caller's promise.
    let byte = unsafe { *(*array.buffers.add(index)).cast::<u8>().add(at / 8) };
    byte >> (at % 8) & 1 == 1
}

/// Which cells are there; `None` if all are.
fn presence(array: &ArrowArray, range: &Range<usize>) -> Option<Vec<bool>> {
    if array.null_count == 0 || array.n_buffers == 0 {
        return None;
    }
    // SAFETY: the check found at least one buffer.
    if unsafe { *array.buffers }.is_null() {
        return None;
    }
    // SAFETY: a validity bitmap that is not null covers offset and length.
    Some(range.clone().map(|at| unsafe { bit(array, 0, at) }).collect())
}

/// Boundaries in the values buffer, one more than cells.
///
/// # Safety
/// The array was checked to be of a format with offsets; `wide` says whether these are 64-bit ones.
unsafe fn bounds(array: &ArrowArray, range: &Range<usize>, wide: bool) -> Vec<usize> {
    if range.is_empty() {
        return vec![0];
    }
    let range = range.start..range.end + 1;
    if wide {
        // SAFETY: by the caller's promise.
        unsafe { cells::<i64>(array, 1, &range) }.into_iter().map(|bound| usize::try_from(bound).unwrap_or(0)).collect()
    } else {
        // SAFETY: by the caller's promise.
        unsafe { cells::<i32>(array, 1, &range) }.into_iter().map(|bound| usize::try_from(bound).unwrap_or(0)).collect()
    }
}

/// Calls `push` with each text of a range.
fn each_text(array: &ArrowArray, range: &Range<usize>, wide: bool, mut push: impl FnMut(Option<&str>)) {
    // SAFETY: the caller saw a text format.
    let bounds = unsafe { bounds(array, range, wide) };
    let present = presence(array, range);
    // SAFETY: the check found three buffers.
    let bytes = unsafe { *array.buffers.add(2) }.cast::<u8>();
    for cell in 0..range.len() {
        if present.as_ref().is_some_and(|present| !present[cell]) {
            push(None);
            continue;
        }
        let (first, last) = (bounds[cell], bounds[cell + 1]);
        // SAFETY: the check found ascending offsets and valid UTF-8 between them; an empty text may have no buffer.
        let text = if last > first { unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(bytes.add(first), last - first)) } } else { "" };
        push(Some(text));
    }
}

fn masked<T>(values: Vec<T>, present: Option<Vec<bool>>) -> Vec<Option<T>> {
    match present {
        None => values.into_iter().map(Some).collect(),
        Some(present) => values.into_iter().zip(present).map(|(value, present)| present.then_some(value)).collect(),
    }
}

fn whole_numbers(array: &ArrowArray, range: &Range<usize>, wide: bool) -> Vec<Option<i64>> {
    // SAFETY: the caller saw the format, and the check found its buffers.
    let values = unsafe { if wide { cells::<i64>(array, 1, range) } else { cells::<i32>(array, 1, range).into_iter().map(i64::from).collect() } };
    masked(values, presence(array, range))
}

fn floats(array: &ArrowArray, range: &Range<usize>, wide: bool) -> Vec<Option<f64>> {
    // SAFETY: the caller saw the format, and the check found its buffers.
    let values = unsafe { if wide { cells::<f64>(array, 1, range) } else { cells::<f32>(array, 1, range).into_iter().map(f64::from).collect() } };
    masked(values, presence(array, range))
}

/// A column. `range` counts from the column's own offset.
fn series(schema: &ArrowSchema, array: &ArrowArray, range: Range<usize>) -> Result<Series> {
    let offset = usize::try_from(array.offset).unwrap_or(0);
    let range = range.start + offset..range.end + offset;
    // SAFETY: the check found both texts terminated and in UTF-8.
    let (format, name) = unsafe { (CStr::from_ptr(schema.format).to_bytes(), CStr::from_ptr(schema.name).to_str().unwrap_or_default()) };
    Ok(match format {
        b"U" | b"u" => {
            let mut builder = StringChunkedBuilder::new(name.into(), range.len());
            each_text(array, &range, format == b"U", |text| builder.append_option(text));
            builder.finish().into_series()
        }
        // SAFETY: the check found the buffer of numbers.
        b"l" if array.null_count == 0 => Series::new(name.into(), unsafe { cells::<i64>(array, 1, &range) }),
        // SAFETY: likewise.
        b"g" if array.null_count == 0 => Series::new(name.into(), unsafe { cells::<f64>(array, 1, &range) }),
        b"l" | b"i" => Series::new(name.into(), whole_numbers(array, &range, format == b"l")),
        b"g" | b"f" => Series::new(name.into(), floats(array, &range, format == b"g")),
        b"b" => {
            let present = presence(array, &range);
            let mut builder = BooleanChunkedBuilder::new(name.into(), range.len());
            for (cell, at) in range.enumerate() {
                let there = present.as_ref().is_none_or(|present| present[cell]);
                // SAFETY: the check found the buffer of truth values.
                builder.append_option(there.then(|| unsafe { bit(array, 1, at) }));
            }
            builder.finish().into_series()
        }
        _ => lists(schema, array, name, &range, format == b"+L")?,
    })
}

/// A column of lists.
fn lists(schema: &ArrowSchema, array: &ArrowArray, name: &str, range: &Range<usize>, wide: bool) -> Result<Series> {
    // SAFETY: every other format was seen by the caller and refused by the check, so this is a list with one child.
    let (bounds, item, values) = unsafe { (bounds(array, range, wide), &**schema.children, &**array.children) };
    let present = presence(array, range);
    let there = |cell: usize| present.as_ref().is_none_or(|present| present[cell]);
    let shift = usize::try_from(values.offset).unwrap_or(0);
    let cell_range = |cell: usize| bounds[cell] + shift..bounds[cell + 1] + shift;
    // SAFETY: the check found the text terminated.
    let format = unsafe { CStr::from_ptr(item.format) }.to_bytes();
    let n_values = bounds.last().copied().unwrap_or(0);
    Ok(match format {
        b"U" | b"u" => {
            let mut builder = ListStringChunkedBuilder::new(name.into(), range.len(), n_values);
            let mut texts: Vec<Option<String>> = Vec::new();
            for cell in 0..range.len() {
                if there(cell) {
                    texts.clear();
                    each_text(values, &cell_range(cell), format == b"U", |text| texts.push(text.map(str::to_owned)));
                    builder.append_trusted_len_iter(texts.iter().map(Option::as_deref));
                } else {
                    builder.append_null();
                }
            }
            builder.finish().into_series()
        }
        b"l" | b"i" => {
            let mut builder = ListPrimitiveChunkedBuilder::<Int64Type>::new(name.into(), range.len(), n_values, DataType::Int64);
            for cell in 0..range.len() {
                if there(cell) {
                    builder.append_iter(whole_numbers(values, &cell_range(cell), format == b"l").into_iter());
                } else {
                    builder.append_null();
                }
            }
            builder.finish().into_series()
        }
        b"g" | b"f" => {
            let mut builder = ListPrimitiveChunkedBuilder::<Float64Type>::new(name.into(), range.len(), n_values, DataType::Float64);
            for cell in 0..range.len() {
                if there(cell) {
                    builder.append_iter(floats(values, &cell_range(cell), format == b"g").into_iter());
                } else {
                    builder.append_null();
                }
            }
            builder.finish().into_series()
        }
        _ => {
            return Err(Error::Unsupported(format!("column `{name}` holds lists of truth values, which no table of this program has")));
        }
    })
}

/// The cells of a column of whole numbers, none of them empty.
///
/// # Errors
/// If there is no such column.
pub(crate) fn numbers(frame: &DataFrame, column: &str, origin: &str) -> Result<Vec<i64>> {
    let fail = |message: String| Error::Frame { origin: origin.to_owned(), schema: "tokens", message };
    let found = frame.column(column).map_err(|_| fail(format!("column `{column}` is missing")))?;
    let found = found.i64().map_err(|_| fail(format!("column `{column}` has type {}, expected i64", found.dtype())))?;
    found.iter().collect::<Option<_>>().ok_or_else(|| fail(format!("column `{column}` has empty cells")))
}

/// A table of texts with one column.
///
/// # Errors
/// If the table library refuses it.
pub(crate) fn one_column(name: &str, texts: &[String]) -> Result<DataFrame> {
    table::frame_of(vec![table::text_column(name, texts.iter().map(|text| Some(text.as_str())))])
}

#[cfg(test)]
mod tests {
    use lmprobe_abi::lmprobe_table;
    use lmprobe_core::polars::prelude::df;

    use super::*;
    use crate::table_export::export;

    fn crossed(frame: &DataFrame) -> Result<DataFrame> {
        let table: lmprobe_table = export(frame)?;
        // SAFETY: it was just made, and nobody else releases it.
        let mut table = unsafe { OwnedTable::from_raw(table) };
        import(&mut table, "demo", "a test")
    }

    fn frame() -> DataFrame {
        let mut frame = df![
            "text" => [Some("naïve"), None, Some(""), Some("x")],
            "whole" => [Some(1i64), None, Some(-3), Some(i64::MIN)],
            "real" => [Some(0.1f64), Some(f64::NEG_INFINITY), None, Some(-0.0)],
            "flag" => [Some(true), None, Some(false), Some(true)],
        ]
        .unwrap();
        let texts = vec![vec!["a".to_owned(), String::new()], vec![], vec!["ß".to_owned()], vec!["b".to_owned(), "c".to_owned(), "d".to_owned()]];
        frame.with_column(table::texts_column("texts", &texts).into_column()).unwrap();
        frame.with_column(table::reals_column("reals", &[vec![1.5], vec![], vec![f64::MAX, -2.0], vec![0.0]]).into_column()).unwrap();
        frame
    }

    #[test]
    fn tables_come_back_as_they_went() {
        assert!(crossed(&frame()).unwrap().equals_missing(&frame()));
        let nothing = frame().head(Some(0));
        assert_eq!((crossed(&nothing).unwrap().height(), crossed(&nothing).unwrap().width()), (0, 6));
    }

    #[test]
    fn a_part_of_a_table_is_that_part() {
        for (offset, length) in [(1, 2), (3, 1), (2, 0)] {
            let part = frame().slice(offset, length);
            assert!(crossed(&part).unwrap().equals_missing(&part), "{offset} {length}");
        }
        let stacked = frame().vstack(&frame().slice(1, 3)).unwrap();
        assert!(crossed(&stacked).unwrap().equals_missing(&stacked), "several chunks");
    }

    #[test]
    fn an_empty_list_cell_is_not_an_empty_list() {
        let list = frame().column("texts").unwrap().clone();
        let missing = list.shift(1); // the first cell is empty now
        let frame = DataFrame::new(4, vec![missing]).unwrap();
        let back = crossed(&frame).unwrap();
        assert!(back.equals_missing(&frame));
        assert_eq!(back.column("texts").unwrap().null_count(), 1);
    }

    #[test]
    fn counts_cross_as_signed_numbers_and_come_back() {
        const SCHEMA: FrameSchema = FrameSchema {
            name: "demo",
            doc: "",
            columns: &[
                lmprobe_core::Column { name: "n", kind: ColumnType::Count, nullable: true, doc: "" },
                lmprobe_core::Column { name: "id", kind: ColumnType::Text, nullable: false, doc: "" },
            ],
        };
        let counts = df!["more" => [1i64, 2], "id" => ["a", "b"], "n" => [Some(7u64), None]].unwrap();
        let back = typed(crossed(&counts).unwrap(), &SCHEMA, "a test").unwrap();
        assert!(back.equals_missing(&counts.select(["n", "id", "more"]).unwrap()), "in the order of the schema");
        let negative = df!["n" => [-1i64], "id" => ["a"]].unwrap();
        assert!(typed(negative, &SCHEMA, "a test").unwrap_err().to_string().contains("column `n` holds -1, and a count is not negative"));
        let large = df!["n" => [u64::MAX]].unwrap();
        assert!(crossed(&large).unwrap_err().to_string().contains("does not fit 63 bits"));
    }

    #[test]
    fn a_type_that_does_not_cross_is_named() {
        let frame = DataFrame::new(1, vec![Series::full_null("when".into(), 1, &DataType::Null).into_column()]).unwrap();
        assert!(crossed(&frame).unwrap_err().to_string().contains("column `when` has type null, which does not cross to a plugin"));
    }
}
