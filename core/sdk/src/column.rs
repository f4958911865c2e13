//! A column of a table: how it is made, and how its cells are read.

use std::fmt;

use crate::bits::Bits;
use crate::boundary::buffer::{Buffer, checked_text};
use crate::{Error, Result};

/// A column: cells of one type, some of which may be empty.
#[derive(Debug, Clone)]
pub struct Column {
    pub(crate) len: usize,
    /// Which cells are filled; `None`: all are.
    pub(crate) filled: Option<Bits>,
    pub(crate) values: Values,
}

/// The cells.
///
/// **Invariant:** offsets have one entry more than the column has cells, never decrease, begin at 0 or later and end within the bytes or items; bytes
/// between the first and the last offset are UTF-8, and every offset stands on the border of a character.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Text { offsets: Buffer<i64>, bytes: Buffer<u8> },
    I64(Buffer<i64>),
    I32(Buffer<i32>),
    F64(Buffer<f64>),
    F32(Buffer<f32>),
    Flag(Bits),
    List { offsets: Buffer<i64>, items: Box<Column> },
}

impl Column {
    /// Texts.
    pub fn texts<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> Self {
        let (mut offsets, mut bytes) = (vec![0], Vec::new());
        for cell in cells {
            bytes.extend_from_slice(cell.as_ref().as_bytes());
            offsets.push(offset(bytes.len()));
        }
        Self { len: offsets.len() - 1, filled: None, values: Values::Text { offsets: offsets.into(), bytes: bytes.into() } }
    }

    /// Texts, some of which are empty cells.
    pub fn optional_texts<T: AsRef<str>>(cells: impl IntoIterator<Item = Option<T>>) -> Self {
        let mut filled = Vec::new();
        let cells = cells.into_iter().inspect(|cell| filled.push(cell.is_some()));
        let column = Self::texts(cells.map(|cell| cell.map_or_else(String::new, |text| text.as_ref().to_owned())));
        Self { filled: marks(&filled), ..column }
    }

    /// Whole numbers.
    pub fn i64s(cells: impl Into<Vec<i64>>) -> Self {
        let cells = cells.into();
        Self { len: cells.len(), filled: None, values: Values::I64(cells.into()) }
    }

    /// Whole numbers, some of which are empty cells.
    pub fn optional_i64s(cells: impl IntoIterator<Item = Option<i64>>) -> Self {
        let (filled, cells): (Vec<bool>, Vec<i64>) = cells.into_iter().map(|cell| (cell.is_some(), cell.unwrap_or_default())).unzip();
        Self { filled: marks(&filled), ..Self::i64s(cells) }
    }

    /// Whole numbers of 32 bits.
    pub fn i32s(cells: impl Into<Vec<i32>>) -> Self {
        let cells = cells.into();
        Self { len: cells.len(), filled: None, values: Values::I32(cells.into()) }
    }

    /// Floats.
    pub fn f64s(cells: impl Into<Vec<f64>>) -> Self {
        let cells = cells.into();
        Self { len: cells.len(), filled: None, values: Values::F64(cells.into()) }
    }

    /// Floats, some of which are empty cells.
    pub fn optional_f64s(cells: impl IntoIterator<Item = Option<f64>>) -> Self {
        let (filled, cells): (Vec<bool>, Vec<f64>) = cells.into_iter().map(|cell| (cell.is_some(), cell.unwrap_or_default())).unzip();
        Self { filled: marks(&filled), ..Self::f64s(cells) }
    }

    /// Floats of 32 bits.
    pub fn f32s(cells: impl Into<Vec<f32>>) -> Self {
        let cells = cells.into();
        Self { len: cells.len(), filled: None, values: Values::F32(cells.into()) }
    }

    /// Truth values.
    pub fn flags(cells: impl IntoIterator<Item = bool>) -> Self {
        let bits = Bits::collect(cells);
        Self { len: bits.len(), filled: None, values: Values::Flag(bits) }
    }

    /// Lists: cell `i` holds `items` `boundaries[i]..boundaries[i + 1]`.
    ///
    /// # Errors
    /// If the boundaries decrease, do not begin at 0 or do not end at the number of items, or the items are lists themselves.
    pub fn lists(boundaries: &[usize], items: Self) -> Result<Self> {
        let fits = boundaries.first() == Some(&0) && boundaries.last() == Some(&items.len) && boundaries.is_sorted();
        if !fits || matches!(items.values, Values::List { .. }) {
            return Err(Error::internal(format!("{} items cannot be cut into lists at {boundaries:?}", items.len)));
        }
        let offsets: Vec<i64> = boundaries.iter().map(|&boundary| offset(boundary)).collect();
        Ok(Self { len: boundaries.len() - 1, filled: None, values: Values::List { offsets: offsets.into(), items: Box::new(items) } })
    }

    /// Lists of texts.
    pub fn text_lists<T: AsRef<str>>(cells: impl IntoIterator<Item = impl IntoIterator<Item = T>>) -> Self {
        let (mut offsets, mut ends, mut bytes) = (vec![0], vec![0], Vec::new());
        for cell in cells {
            for item in cell {
                bytes.extend_from_slice(item.as_ref().as_bytes());
                ends.push(offset(bytes.len()));
            }
            offsets.push(offset(ends.len() - 1));
        }
        let items = Self { len: ends.len() - 1, filled: None, values: Values::Text { offsets: ends.into(), bytes: bytes.into() } };
        Self { len: offsets.len() - 1, filled: None, values: Values::List { offsets: offsets.into(), items: Box::new(items) } }
    }

    /// Lists of floats.
    pub fn f64_lists(cells: impl IntoIterator<Item = impl IntoIterator<Item = f64>>) -> Self {
        let (offsets, items) = flattened(cells);
        Self { len: offsets.len() - 1, filled: None, values: Values::List { offsets: offsets.into(), items: Box::new(Self::f64s(items)) } }
    }

    /// Lists of whole numbers.
    pub fn i64_lists(cells: impl IntoIterator<Item = impl IntoIterator<Item = i64>>) -> Self {
        let (offsets, items) = flattened(cells);
        Self { len: offsets.len() - 1, filled: None, values: Values::List { offsets: offsets.into(), items: Box::new(Self::i64s(items)) } }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of empty cells.
    pub fn empty_cells(&self) -> usize {
        self.filled.as_ref().map_or(0, Bits::count_zeros)
    }

    /// What the cells are, for messages: `texts`.
    pub fn kind(&self) -> &'static str {
        match &self.values {
            Values::Text { .. } => "texts",
            Values::I64(_) => "64-bit whole numbers",
            Values::I32(_) => "32-bit whole numbers",
            Values::F64(_) => "64-bit floats",
            Values::F32(_) => "32-bit floats",
            Values::Flag(_) => "truth values",
            Values::List { items, .. } => match &items.values {
                Values::Text { .. } => "lists of texts",
                Values::I64(_) => "lists of 64-bit whole numbers",
                Values::I32(_) => "lists of 32-bit whole numbers",
                Values::F64(_) => "lists of 64-bit floats",
                Values::F32(_) => "lists of 32-bit floats",
                Values::Flag(_) => "lists of truth values",
                Values::List { .. } => "lists of lists",
            },
        }
    }

    /// The cells as texts.
    ///
    /// # Errors
    /// If they are something else.
    pub fn as_texts(&self) -> Result<Texts<'_>> {
        match &self.values {
            Values::Text { offsets, bytes } => Ok(Texts { offsets, bytes, filled: self.filled.as_ref(), first: 0 }),
            _ => Err(self.misread("texts")),
        }
    }

    /// The cells as numbers or truth values of type `T`, exactly.
    ///
    /// # Errors
    /// If they are something else.
    pub fn as_numbers<T: Number>(&self) -> Result<Numbers<'_, T>> {
        let values = T::of(self).ok_or_else(|| self.misread(T::KIND))?;
        Ok(Numbers { values, filled: self.filled.as_ref(), first: 0 })
    }

    /// The cells as truth values.
    ///
    /// # Errors
    /// If they are something else.
    pub fn as_flags(&self) -> Result<Flags<'_>> {
        match &self.values {
            Values::Flag(bits) => Ok(Flags { bits, filled: self.filled.as_ref() }),
            _ => Err(self.misread("truth values")),
        }
    }

    /// The cells as lists of texts. An empty cell reads as an empty list.
    ///
    /// # Errors
    /// If they are something else.
    pub fn as_text_lists(&self) -> Result<TextLists<'_>> {
        match &self.values {
            Values::List { offsets, items } => match &items.values {
                Values::Text { .. } => Ok(TextLists { offsets, filled: self.filled.as_ref(), items: items.as_texts()? }),
                _ => Err(self.misread("lists of texts")),
            },
            _ => Err(self.misread("lists of texts")),
        }
    }

    /// The cells as lists of numbers. An empty cell reads as an empty list.
    ///
    /// # Errors
    /// If they are something else.
    pub fn as_number_lists<T: Number>(&self) -> Result<NumberLists<'_, T>> {
        match &self.values {
            Values::List { offsets, items } if T::of(items).is_some() => Ok(NumberLists { offsets, filled: self.filled.as_ref(), items: items.as_numbers()? }),
            _ => Err(self.misread(&format!("lists of {}", T::KIND))),
        }
    }

    fn misread(&self, expected: &str) -> Error {
        Error::input(format!("the column holds {}, expected {expected}", self.kind()))
    }
}

fn offset(value: usize) -> i64 {
    i64::try_from(value).expect("no allocation is longer than 2^63")
}

/// An offset of a column as an index. It was checked when the column was made.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "offsets are not negative, and systems have 64 bits")]
fn index(offset: i64) -> usize {
    offset as usize
}

fn marks(filled: &[bool]) -> Option<Bits> {
    filled.contains(&false).then(|| Bits::collect(filled.iter().copied()))
}

fn flattened<T>(cells: impl IntoIterator<Item = impl IntoIterator<Item = T>>) -> (Vec<i64>, Vec<T>) {
    let (mut offsets, mut items) = (vec![0], Vec::new());
    for cell in cells {
        items.extend(cell);
        offsets.push(offset(items.len()));
    }
    (offsets, items)
}

/// A type of numbers that stand in a column or a tensor as they are.
pub trait Number: Copy + fmt::Debug + 'static + private::Sealed {
    #[doc(hidden)]
    const KIND: &'static str;
    #[doc(hidden)]
    fn of(column: &Column) -> Option<&[Self]>;
}

mod private {
    pub trait Sealed {}
}

macro_rules! number {
    ($type:ty, $variant:ident, $kind:literal) => {
        impl private::Sealed for $type {}
        impl Number for $type {
            const KIND: &'static str = $kind;
            fn of(column: &Column) -> Option<&[Self]> {
                match &column.values {
                    Values::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}

number!(i64, I64, "64-bit whole numbers");
number!(i32, I32, "32-bit whole numbers");
number!(f64, F64, "64-bit floats");
number!(f32, F32, "32-bit floats");

/// The cells of a column of texts, or the items of one list of texts.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    offsets: &'a [i64],
    bytes: &'a [u8],
    filled: Option<&'a Bits>,
    /// The bit of the first cell.
    first: usize,
}

impl<'a> Texts<'a> {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell; an empty cell reads as an empty text.
    pub fn get(&self, row: usize) -> &'a str {
        let (start, end) = (index(self.offsets[row]), index(self.offsets[row + 1]));
        // SAFETY: the invariant of `Values` is exactly what is asked for.
        unsafe { checked_text(self.bytes, start, end) }
    }

    /// A cell, `None` if it is empty.
    pub fn optional(&self, row: usize) -> Option<&'a str> {
        let text = self.get(row);
        self.filled.is_none_or(|filled| filled.bit(self.first + row)).then_some(text)
    }

    /// All cells in order; an empty cell reads as an empty text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        let texts = *self;
        (0..self.len()).map(move |row| texts.get(row))
    }
}

/// The cells of a column of numbers.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a, T> {
    values: &'a [T],
    filled: Option<&'a Bits>,
    first: usize,
}

impl<'a, T: Number> Numbers<'a, T> {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A cell, `None` if it is empty.
    pub fn get(&self, row: usize) -> Option<T> {
        let value = self.values[row];
        self.filled.is_none_or(|filled| filled.bit(self.first + row)).then_some(value)
    }

    /// All cells in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<T>> + Clone + use<'a, T> {
        let numbers = *self;
        (0..self.len()).map(move |row| numbers.get(row))
    }

    /// All cells; what stands in an empty cell is not defined.
    pub fn values(&self) -> &'a [T] {
        self.values
    }
}

/// The cells of a column of truth values.
#[derive(Debug, Clone, Copy)]
pub struct Flags<'a> {
    bits: &'a Bits,
    filled: Option<&'a Bits>,
}

impl Flags<'_> {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.bits.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell, `None` if it is empty.
    pub fn get(&self, row: usize) -> Option<bool> {
        let value = self.bits.bit(row);
        self.filled.is_none_or(|filled| filled.bit(row)).then_some(value)
    }
}

/// The cells of a column of lists of texts.
#[derive(Debug, Clone, Copy)]
pub struct TextLists<'a> {
    offsets: &'a [i64],
    filled: Option<&'a Bits>,
    items: Texts<'a>,
}

impl<'a> TextLists<'a> {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The texts of a cell.
    pub fn get(&self, row: usize) -> Texts<'a> {
        let (start, end) = list_bounds(self.offsets, self.filled, row);
        Texts { offsets: &self.items.offsets[start..=end], first: start, ..self.items }
    }
}

/// The cells of a column of lists of numbers.
#[derive(Debug, Clone, Copy)]
pub struct NumberLists<'a, T> {
    offsets: &'a [i64],
    filled: Option<&'a Bits>,
    items: Numbers<'a, T>,
}

impl<'a, T: Number> NumberLists<'a, T> {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of a cell.
    pub fn get(&self, row: usize) -> Numbers<'a, T> {
        let (start, end) = list_bounds(self.offsets, self.filled, row);
        Numbers { values: &self.items.values[start..end], first: start, ..self.items }
    }
}

fn list_bounds(offsets: &[i64], filled: Option<&Bits>, row: usize) -> (usize, usize) {
    let (start, end) = (index(offsets[row]), index(offsets[row + 1]));
    if filled.is_none_or(|filled| filled.bit(row)) { (start, end) } else { (start, start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_read_as_they_were_written() {
        let texts = Column::optional_texts([Some("gout"), None, Some("süß")]);
        assert_eq!((texts.len(), texts.empty_cells()), (3, 1));
        let view = texts.as_texts().unwrap();
        assert_eq!((0..3).map(|row| view.optional(row)).collect::<Vec<_>>(), [Some("gout"), None, Some("süß")]);
        assert_eq!(view.iter().collect::<Vec<_>>(), ["gout", "", "süß"]);
        let numbers = Column::optional_i64s([Some(3), None]);
        assert_eq!(numbers.as_numbers::<i64>().unwrap().iter().collect::<Vec<_>>(), [Some(3), None]);
        let flags = Column::flags([true, false]);
        assert_eq!((flags.as_flags().unwrap().get(0), flags.as_flags().unwrap().get(1)), (Some(true), Some(false)));
    }

    #[test]
    fn lists_read_as_they_were_written() {
        let lists = Column::text_lists([vec!["a", "b"], vec![], vec!["c"]]);
        let view = lists.as_text_lists().unwrap();
        let cells: Vec<Vec<&str>> = (0..view.len()).map(|row| view.get(row).iter().collect()).collect();
        assert_eq!(cells, [vec!["a", "b"], vec![], vec!["c"]]);
        let numbers = Column::f64_lists([vec![0.5], vec![]]);
        assert_eq!(numbers.as_number_lists::<f64>().unwrap().get(0).values(), [0.5]);
        assert!(numbers.as_number_lists::<f64>().unwrap().get(1).is_empty());
        assert!(Column::lists(&[0, 2], Column::i64s([1])).is_err());
    }

    #[test]
    fn another_type_is_named() {
        let message = Column::f64s([0.5]).as_numbers::<i64>().unwrap_err().to_string();
        assert_eq!(message, "the column holds 64-bit floats, expected 64-bit whole numbers");
        assert!(Column::i64s([1]).as_texts().is_err());
    }
}
