//! A pickle as data: its values, none of which was made by running code.
//!
//! **Invariant:** values live in one arena and refer to each other by index, so that no stream, however deep or cyclic, leads to recursion; text stays in
//! the stream. [`crate::pickle_machine`] fills the arena and bounds it.

use crate::dtype::Dtype;
use crate::error::Parsed;
use crate::pickle_global::Global;
use crate::pickle_machine::Machine;

/// A value's place in the arena.
pub(crate) type Id = u32;

/// Bytes of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// One value of a stream.
#[derive(Debug)]
pub(crate) enum Value {
    /// `None`, numbers with a point or of more than 64 bits, bytes: what no tensor is made of.
    Other,
    Bool(bool),
    Int(i64),
    Text(Span),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Box<Tensor>),
}

/// The memory of tensors, kept outside the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage {
    /// `None` for bytes without a type.
    pub(crate) dtype: Option<Dtype>,
    pub(crate) key: Span,
    /// Number of values, of bytes if there is no type.
    pub(crate) count: usize,
}

/// A tensor as its pickle describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub(crate) storage: Storage,
    pub(crate) dtype: Dtype,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) stride: Vec<usize>,
}

/// A stream that was read to its end.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    pub(crate) stream: &'a [u8],
    pub(crate) values: Vec<Value>,
    pub(crate) root: Id,
    /// Bytes up to and with the last opcode.
    pub(crate) length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `stream`.
    pub(crate) fn read(stream: &'a [u8]) -> Parsed<Self> {
        Machine::new(stream).run()
    }

    /// The value that was pickled.
    pub(crate) fn root(&self) -> &Value {
        self.value(self.root)
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    pub(crate) fn text(&self, span: Span) -> Parsed<&'a str> {
        text(self.stream, span)
    }

    pub(crate) fn bytes(&self, span: Span) -> &'a [u8] {
        &self.stream[span.start..span.end]
    }
}

/// Text of the stream.
pub(crate) fn text(stream: &[u8], span: Span) -> Parsed<&str> {
    std::str::from_utf8(&stream[span.start..span.end]).map_err(|_| "the pickle has a name that is not UTF-8; the file is damaged".to_owned())
}
