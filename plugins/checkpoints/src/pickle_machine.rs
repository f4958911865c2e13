//! The machine that reads `torch.save` streams as data: nothing a stream asks for is ever called.
//!
//! The opcodes are those of protocols 2 to 5 that `torch.save` writes, as described in
//! <https://github.com/python/cpython/blob/v3.12.0/Lib/pickletools.py>. Globals are names from the short list of
//! [`crate::pickle_global`]; any other ends the reading.
//!
//! **Invariant:** every opcode and every copied element is paid from [`BUDGET`], which bounds memory to a few dozen MiB.

use std::collections::HashMap;

use crate::error::Parsed;
use crate::limits;
use crate::pickle::{Id, Pickle, Span, Storage, Value, text};
use crate::pickle_global::{Called, Global, call};

/// Most opcodes and copied elements of one stream. A tensor takes about fifty.
const BUDGET: usize = 1 << 19;

/// The state of reading.
pub(crate) struct Machine<'a> {
    stream: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    budget: usize,
}

impl<'a> Machine<'a> {
    /// A machine at the start of `stream`.
    pub(crate) fn new(stream: &'a [u8]) -> Self {
        Self { stream, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), budget: BUDGET }
    }

    /// Reads up to the end of the pickle.
    pub(crate) fn run(mut self) -> Parsed<Pickle<'a>> {
        loop {
            let place = self.at;
            let opcode = self.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { stream: self.stream, values: self.values, root, length: self.at });
            }
            self.pay(1)?;
            self.step(opcode).map_err(|message| format!("{message} (opcode 0x{opcode:02x} at byte {place} of the pickle)"))?;
        }
    }

    fn step(&mut self, opcode: u8) -> Parsed<()> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.take(8).map(|_| ()),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_to_mark().map(|_| ()),
            b'2' => self.top().map(|id| self.stack.push(id)),
            b'N' => self.push(Value::Other),
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88)),
            b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' => self.number(opcode),
            b'X' | 0x8c | 0x8d | b'U' | b'T' => {
                let span = self.counted(opcode)?;
                self.push(Value::Text(span))
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                self.counted(opcode)?;
                self.push(Value::Other)
            }
            b')' | 0x85..=0x87 | b't' => self.tuple(opcode),
            b']' | b'l' | b'a' | b'e' => self.list(opcode),
            b'}' | b'd' | b's' | b'u' => self.dict(opcode),
            b'q' | b'r' | b'h' | b'j' | 0x94 => self.remember(opcode),
            b'c' | 0x93 => self.global(opcode),
            b'R' => self.reduce(),
            // BUILD sets attributes, such as the `_metadata` of a state dict; no tensor is among them.
            b'b' => self.pop().and_then(|_| self.top()).map(|_| ()),
            b'Q' => self.persistent(),
            _ => Err("the pickle has an opcode that `torch.save` does not write; the file is damaged or not a state dict".to_owned()),
        }
    }

    fn protocol(&mut self) -> Parsed<()> {
        match self.byte()? {
            2..=5 => Ok(()),
            version => Err(format!("the pickle has protocol {version}; 2 to 5 are read")),
        }
    }

    fn number(&mut self, opcode: u8) -> Parsed<()> {
        let value = match opcode {
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'G' => self.take(8).map(|_| Value::Other)?,
            _ => {
                let length = if opcode == 0x8a { self.byte()?.into() } else { self.length::<4>()? };
                let span = self.take(length)?;
                self.long(span)
            }
        };
        self.push(value)
    }

    /// A little-endian number in two's complement of as few bytes as hold it.
    fn long(&self, span: Span) -> Value {
        let bytes = &self.stream[span.start..span.end];
        if bytes.len() > 8 {
            return Value::Other;
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Value::Int(i64::from_le_bytes(wide))
    }

    /// Text or bytes that follow their length.
    fn counted(&mut self, opcode: u8) -> Parsed<Span> {
        let length = match opcode {
            0x8c | b'U' | b'C' => self.byte()?.into(),
            b'X' | b'T' | b'B' => self.length::<4>()?,
            _ => self.length::<8>()?,
        };
        self.take(length)
    }

    fn tuple(&mut self, opcode: u8) -> Parsed<()> {
        let items = match opcode {
            b')' => Vec::new(),
            b't' => self.pop_to_mark()?,
            _ => {
                let mut items = (0x85..=opcode).map(|_| self.pop()).collect::<Parsed<Vec<_>>>()?;
                items.reverse();
                items
            }
        };
        self.push(Value::Tuple(items))
    }

    fn list(&mut self, opcode: u8) -> Parsed<()> {
        let items = match opcode {
            b']' => return self.push(Value::List(Vec::new())),
            b'a' => vec![self.pop()?],
            _ => self.pop_to_mark()?,
        };
        if opcode == b'l' {
            return self.push(Value::List(items));
        }
        let list = self.top()?;
        match &mut self.values[list as usize] {
            Value::List(there) => there.extend(items),
            _ => return Err("the pickle appends to something that is not a list".to_owned()),
        }
        Ok(())
    }

    fn dict(&mut self, opcode: u8) -> Parsed<()> {
        let items = match opcode {
            b'}' => return self.push(Value::Dict(Vec::new())),
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err("the pickle has a dictionary with a key but no value".to_owned());
        };
        let pairs = pairs.iter().map(|&[key, value]| (key, value));
        if opcode == b'd' {
            let pairs = pairs.collect();
            return self.push(Value::Dict(pairs));
        }
        let dict = self.top()?;
        match &mut self.values[dict as usize] {
            Value::Dict(there) => there.extend(pairs),
            _ => return Err("the pickle sets items of something that is not a dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, opcode: u8) -> Parsed<()> {
        let index = match opcode {
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => u32::try_from(self.memo.len()).map_err(|_| "the memo is full")?,
        };
        if matches!(opcode, b'h' | b'j') {
            let id = *self.memo.get(&index).ok_or_else(|| format!("the pickle asks for memo {index}, which it never set"))?;
            self.stack.push(id);
        } else {
            let id = self.top()?;
            self.memo.insert(index, id);
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Parsed<()> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            (self.text_of(module)?, self.text_of(name)?)
        };
        let global = Global::named(module, name)?;
        self.push(Value::Global(global))
    }

    fn reduce(&mut self) -> Parsed<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let Value::Global(global) = self.values[callable as usize] else {
            return Err("the pickle calls something that is not a function".to_owned());
        };
        let Value::Tuple(arguments) = &self.values[arguments as usize] else {
            return Err("the pickle calls a function with something that is not a tuple of arguments".to_owned());
        };
        // What is copied is read by its first few elements, a shape, or the pairs of a dictionary, which pay for themselves.
        let arguments = arguments.iter().copied().take(8).collect::<Vec<_>>();
        match call(self, global, &arguments)? {
            Called::Value(value) => self.push(value),
            Called::Same(id) => {
                self.stack.push(id);
                Ok(())
            }
        }
    }

    /// `("storage", class, key, device, count)`, and before PyTorch 1.6 the view on another storage.
    fn persistent(&mut self) -> Parsed<()> {
        let id = self.pop()?;
        let wrong = || "the pickle refers to something that is not a storage".to_owned();
        let Value::Tuple(items) = &self.values[id as usize] else { return Err(wrong()) };
        let (&[kind, class, key, _, count], view) = items.split_first_chunk::<5>().ok_or_else(wrong)?;
        if self.text_of(kind)? != "storage" {
            return Err(wrong());
        }
        let Value::Global(Global::StorageClass(dtype)) = self.values[class as usize] else { return Err(wrong()) };
        let Value::Text(key) = self.values[key as usize] else { return Err(wrong()) };
        if view.iter().any(|id| !matches!(self.values[*id as usize], Value::Other)) {
            return Err("the pickle has storages that are views of others, which is not read; save it with PyTorch 1.6 or later".to_owned());
        }
        let count = self.size(count)?;
        self.push(Value::Storage(Storage { dtype, key, count }))
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// A number that is a size or an offset.
    pub(crate) fn size(&self, id: Id) -> Parsed<usize> {
        match self.value(id) {
            Value::Int(value) => usize::try_from(*value).map_err(|_| format!("the pickle has a size of {value}")),
            _ => Err("the pickle has a size that is not a whole number".to_owned()),
        }
    }

    /// The numbers of a shape or of strides.
    pub(crate) fn sizes(&mut self, id: Id) -> Parsed<Vec<usize>> {
        let (Value::Tuple(items) | Value::List(items)) = self.value(id) else {
            return Err("the pickle has a tensor whose shape is not a tuple".to_owned());
        };
        if items.len() > limits::DIMENSIONS {
            return Err(format!("the pickle has a tensor with {} dimensions; {} are read", items.len(), limits::DIMENSIONS));
        }
        let sizes = items.iter().map(|id| self.size(*id)).collect::<Parsed<Vec<_>>>()?;
        self.pay(sizes.len())?;
        Ok(sizes)
    }

    /// Pays for copying so many elements.
    pub(crate) fn pay(&mut self, elements: usize) -> Parsed<()> {
        self.budget = self.budget.checked_sub(elements).ok_or_else(|| format!("the pickle is longer than {BUDGET} steps, which is more than a model needs"))?;
        Ok(())
    }

    fn text_of(&self, id: Id) -> Parsed<&'a str> {
        match self.value(id) {
            Value::Text(span) => text(self.stream, *span),
            _ => Err("the pickle has something other than text where a name belongs".to_owned()),
        }
    }

    fn push(&mut self, value: Value) -> Parsed<()> {
        let id = u32::try_from(self.values.len()).map_err(|_| "the pickle has too many values")?;
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    fn top(&self) -> Parsed<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.get(floor..).and_then(|values| values.last()).copied().ok_or_else(|| "the pickle takes a value that it never made".to_owned())
    }

    fn pop(&mut self) -> Parsed<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_to_mark(&mut self) -> Parsed<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| "the pickle goes back to a mark that it never set".to_owned())?;
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Parsed<u8> {
        self.take(1).map(|span| self.stream[span.start])
    }

    fn array<const SIZE: usize>(&mut self) -> Parsed<[u8; SIZE]> {
        let span = self.take(SIZE)?;
        Ok(*self.stream[span.start..].first_chunk().expect("as many bytes were taken"))
    }

    fn length<const SIZE: usize>(&mut self) -> Parsed<usize> {
        let mut wide = [0; 8];
        wide[..SIZE].copy_from_slice(&self.array::<SIZE>()?);
        Ok(usize::try_from(u64::from_le_bytes(wide)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Parsed<&'a str> {
        let rest = &self.stream[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("the pickle ends within a name; the file is cut off")?;
        let span = Span { start: self.at, end: self.at + length };
        self.at += length + 1;
        text(self.stream, span)
    }

    fn take(&mut self, length: usize) -> Parsed<Span> {
        let start = self.at;
        match start.checked_add(length) {
            Some(end) if end <= self.stream.len() => {
                self.at = end;
                Ok(Span { start, end })
            }
            _ => Err(format!("the pickle ends after {} bytes, {length} more were expected at byte {start}; the file is cut off", self.stream.len())),
        }
    }
}
