//! Columns of tables, written and read.

use polars::prelude::{
    DataFrame, Float64Type, IntoColumn, IntoSeries, ListBuilderTrait, ListPrimitiveChunkedBuilder, NamedFrom, PolarsNumericType, Series, UInt32Chunked,
    UInt64Type,
};

use crate::{FrameSchema, Result};

/// A column of optional texts.
pub fn text_column<'a>(name: &str, values: impl Iterator<Item = Option<&'a str>>) -> Series {
    Series::new(name.into(), values.collect::<Vec<_>>())
}

/// A column whose cells are lists of texts.
pub fn texts_column<T: AsRef<[String]>>(name: &str, cells: &[T]) -> Series {
    let mut builder = polars::prelude::ListStringChunkedBuilder::new(name.into(), cells.len(), cells.iter().map(|cell| cell.as_ref().len()).sum());
    for cell in cells {
        builder.append_values_iter(cell.as_ref().iter().map(String::as_str));
    }
    builder.finish().into_series()
}

/// A column whose cells are lists of floats.
pub fn reals_column(name: &str, cells: &[Vec<f64>]) -> Series {
    numbers_column::<Float64Type>(name, cells)
}

/// A column whose cells are lists of whole numbers.
pub fn counts_column(name: &str, cells: &[Vec<u64>]) -> Series {
    numbers_column::<UInt64Type>(name, cells)
}

fn numbers_column<T: PolarsNumericType>(name: &str, cells: &[Vec<T::Native>]) -> Series {
    let items = cells.iter().map(Vec::len).sum();
    let mut builder = ListPrimitiveChunkedBuilder::<T>::new(name.into(), cells.len(), items, T::get_static_dtype());
    for cell in cells {
        builder.append_slice(cell);
    }
    builder.finish().into_series()
}

/// The cells of a column of lists of floats.
///
/// # Errors
/// If there is no such column.
pub fn real_lists(frame: &DataFrame, name: &str) -> Result<Vec<Vec<f64>>> {
    lists(frame, name, |cell| Ok(cell.f64()?.iter().flatten().collect()))
}

/// The cells of a column of lists of whole numbers.
///
/// # Errors
/// If there is no such column.
pub fn count_lists(frame: &DataFrame, name: &str) -> Result<Vec<Vec<u64>>> {
    lists(frame, name, |cell| Ok(cell.u64()?.iter().flatten().collect()))
}

/// The cells of a text column; an empty cell is `None`.
///
/// # Errors
/// If there is no such column of texts.
pub fn optional_texts<'a>(frame: &'a DataFrame, name: &str) -> Result<Vec<Option<&'a str>>> {
    Ok(frame.column(name)?.str()?.iter().collect())
}

/// The cells of a column of floats; an empty cell is `None`.
///
/// # Errors
/// If there is no such column of floats.
pub fn optional_reals(frame: &DataFrame, name: &str) -> Result<Vec<Option<f64>>> {
    Ok(frame.column(name)?.f64()?.iter().collect())
}

/// A table without rows of a schema.
///
/// # Errors
/// If the table library refuses the columns.
pub fn empty(schema: &FrameSchema) -> Result<DataFrame> {
    frame_of(schema.columns.iter().map(|column| Series::new_empty(column.name.into(), &column.kind.dtype())).collect())
}

/// The cells of a text column that has no empty cell; an empty cell reads as an empty text.
///
/// # Errors
/// If there is no such column of texts.
pub fn texts<'a>(frame: &'a DataFrame, name: &str) -> Result<Vec<&'a str>> {
    Ok(frame.column(name)?.str()?.iter().map(Option::unwrap_or_default).collect())
}

/// The cells of a column of lists of texts.
///
/// # Errors
/// If there is no such column.
pub fn text_lists(frame: &DataFrame, name: &str) -> Result<Vec<Vec<String>>> {
    lists(frame, name, |cell| Ok(cell.str()?.iter().flatten().map(str::to_owned).collect()))
}

/// The cells of a column of lists; an empty cell reads as an empty list.
fn lists<T>(frame: &DataFrame, name: &str, items: impl Fn(&Series) -> Result<Vec<T>>) -> Result<Vec<Vec<T>>> {
    let column = frame.column(name)?.list()?;
    (0..column.len()).map(|row| column.get_as_series(row).map_or_else(|| Ok(Vec::new()), |cell| items(&cell))).collect()
}

/// These rows of a table, in this order.
///
/// # Errors
/// If there is no such row.
pub fn rows(frame: &DataFrame, rows: &[usize]) -> Result<DataFrame> {
    let rows: Vec<u32> = rows.iter().map(|&row| u32::try_from(row).expect("a table of examples has fewer than 2^32 rows")).collect();
    Ok(frame.take(&UInt32Chunked::from_vec("row".into(), rows))?)
}

/// A table from columns of one length.
///
/// # Errors
/// If lengths differ or a name comes twice.
pub fn frame_of(columns: Vec<Series>) -> Result<DataFrame> {
    let height = columns.first().map_or(0, |column| column.len());
    Ok(DataFrame::new(height, columns.into_iter().map(IntoColumn::into_column).collect())?)
}
