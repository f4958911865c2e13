//! What a plugin gives and we free, exactly once.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr;

use lmprobe_abi::{ArrowArray, ArrowSchema, DLManagedTensorVersioned, lmprobe_buf, lmprobe_named_tensor, lmprobe_str, lmprobe_table, lmprobe_tensors};

use crate::floating_point::guarded;
use crate::foreign_text::copied;
use crate::table_check::{self, TableError};
use crate::tensor_check::{TensorError, TensorView, view};

const MOST_TENSORS: usize = 4096;
const NAME_BYTES: usize = 4096;

/// A table that is ours to release. An empty one is a place for a plugin to fill.
#[derive(Debug)]
pub struct OwnedTable(lmprobe_table);

impl OwnedTable {
    /// An empty table.
    pub fn new() -> Self {
        let schema = ArrowSchema {
            format: ptr::null(),
            name: ptr::null(),
            metadata: ptr::null(),
            flags: 0,
            n_children: 0,
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private_data: ptr::null_mut(),
        };
        let array = ArrowArray {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: ptr::null_mut(),
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private_data: ptr::null_mut(),
        };
        Self(lmprobe_table { schema, array })
    }

    /// Takes over a table.
    ///
    /// # Safety
    /// Nobody else releases it, and its `release` functions are what Arrow says.
    pub unsafe fn from_raw(table: lmprobe_table) -> Self {
        Self(table)
    }

    /// For an argument of a call: an output to fill, or an input that the plugin may take, after which only what it left is released here.
    pub fn as_mut_ptr(&mut self) -> *mut lmprobe_table {
        &raw mut self.0
    }

    /// The table, to be read after [`Self::check`].
    pub fn as_raw(&self) -> &lmprobe_table {
        &self.0
    }

    /// Whether nothing was filled in, or everything was taken.
    pub fn is_empty(&self) -> bool {
        self.0.schema.release.is_none() && self.0.array.release.is_none()
    }

    /// Checks that every cell can be read, counts empty cells where their number was left open, and gives the number of rows.
    ///
    /// # Errors
    /// If a column could not be read, with its name.
    pub fn check(&mut self) -> Result<usize, TableError> {
        // SAFETY: what a plugin fills in has the buffers it says, by the interface.
        unsafe {
            let rows = table_check::check(&self.0)?;
            table_check::count_nulls(&mut self.0);
            Ok(rows)
        }
    }

    /// Gives the table away. Who gets it releases it.
    pub fn into_raw(self) -> lmprobe_table {
        let kept = ManuallyDrop::new(self);
        // SAFETY: a copy of a value that is never used again.
        unsafe { ptr::read(&raw const kept.0) }
    }
}

impl Default for OwnedTable {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OwnedTable {
    fn drop(&mut self) {
        // SAFETY: what is not null has not been called; a plugin that took a part set it to null.
        unsafe {
            if let Some(release) = self.0.array.release {
                guarded(|| release(&raw mut self.0.array));
            }
            if let Some(release) = self.0.schema.release {
                guarded(|| release(&raw mut self.0.schema));
            }
        }
    }
}

// SAFETY: by the interface any function of a plugin may be called on any thread, `release` included.
unsafe impl Send for OwnedTable {}

/// Tensors that are ours to release. An empty list is a place for a plugin to fill.
#[derive(Debug)]
pub struct OwnedTensors(lmprobe_tensors);

impl OwnedTensors {
    /// An empty list.
    pub fn new() -> Self {
        Self(lmprobe_tensors { items: ptr::null_mut(), len: 0, ctx: ptr::null_mut(), release: None })
    }

    /// Takes over a list.
    ///
    /// # Safety
    /// Nobody else releases it; `items` is null or points to `len` tensors of which each is null or has a deleter that may be called.
    pub unsafe fn from_raw(tensors: lmprobe_tensors) -> Self {
        Self(tensors)
    }

    /// For an argument of a call.
    pub fn as_mut_ptr(&mut self) -> *mut lmprobe_tensors {
        &raw mut self.0
    }

    /// Whether nothing was filled in.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0 && self.0.release.is_none()
    }

    /// The tensors with their names, which are unique.
    ///
    /// # Errors
    /// If one cannot be used, with its name.
    pub fn views(&self) -> Result<Vec<(String, TensorView<'_>)>, TensorError> {
        let mut views: Vec<(String, TensorView<'_>)> = Vec::new();
        for (number, item) in self.items()?.iter().enumerate() {
            if let Some(first) = self.items()?[..number].iter().position(|other| ptr::eq(other.tensor, item.tensor)) {
                return Err(TensorError::Twice { first, second: number, what: "address" });
            }
            // SAFETY: what a plugin fills in is readable, by the interface.
            let name = unsafe { name(item.name) }.map_err(|why| TensorError::Name { number, why })?;
            if let Some(first) = views.iter().position(|(other, _)| *other == name) {
                return Err(TensorError::Twice { first, second: number, what: "name" });
            }
            // SAFETY: as above; the view cannot outlive the list.
            match unsafe { view(item.tensor) } {
                Ok(view) => views.push((name, view)),
                Err(error) => return Err(TensorError::Of { name, error: Box::new(error) }),
            }
        }
        Ok(views)
    }

    fn items(&self) -> Result<&[lmprobe_named_tensor], TensorError> {
        match (self.0.items.is_null(), self.0.len) {
            (_, 0) => Ok(&[]),
            (true, _) => Err(TensorError::Null { field: "items" }),
            (false, len) if len > MOST_TENSORS => Err(TensorError::Count { found: len, limit: MOST_TENSORS }),
            // SAFETY: a plugin that fills in a length fills in as many.
            (false, len) => Ok(unsafe { std::slice::from_raw_parts(self.0.items, len) }),
        }
    }
}

/// # Safety
/// As of [`copied`].
unsafe fn name(text: lmprobe_str) -> Result<String, String> {
    // SAFETY: the caller promises the bytes.
    match unsafe { copied(text, NAME_BYTES) }? {
        name if name.is_empty() => Err("it is empty".to_owned()),
        name => Ok(name),
    }
}

impl Default for OwnedTensors {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OwnedTensors {
    fn drop(&mut self) {
        // A tensor that stands in the list twice must not be freed twice. Of a list of an absurd length nothing is touched.
        let mut tensors: Vec<*mut DLManagedTensorVersioned> = self.items().map(|items| items.iter().map(|item| item.tensor).collect()).unwrap_or_default();
        tensors.sort_unstable();
        tensors.dedup();
        for tensor in tensors.into_iter().filter(|tensor| !tensor.is_null()) {
            // SAFETY: the deleter stands at the same place in every version; each tensor is freed once, here.
            unsafe {
                if let Some(deleter) = (*tensor).deleter {
                    guarded(|| deleter(tensor));
                }
            }
        }
        if let Some(release) = self.0.release {
            // SAFETY: called once, here; the names are not used after it.
            guarded(|| unsafe { release(&raw mut self.0) });
        }
    }
}

// SAFETY: by the interface any function of a plugin may be called on any thread, `release` included.
unsafe impl Send for OwnedTensors {}

/// Bytes that are ours to release. Empty ones are a place for a plugin to fill.
#[derive(Debug)]
pub struct OwnedBuf(lmprobe_buf);

impl OwnedBuf {
    /// No bytes.
    pub fn new() -> Self {
        Self(lmprobe_buf { ptr: ptr::null_mut(), len: 0, ctx: ptr::null_mut(), release: None })
    }

    /// Takes over bytes.
    ///
    /// # Safety
    /// Nobody else releases them; `ptr` is null or points to `len` readable bytes.
    pub unsafe fn from_raw(buf: lmprobe_buf) -> Self {
        Self(buf)
    }

    /// For an argument of a call.
    pub fn as_mut_ptr(&mut self) -> *mut lmprobe_buf {
        &raw mut self.0
    }

    /// Whether nothing was filled in.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0 && self.0.release.is_none()
    }

    /// The bytes as text of at most `limit` bytes.
    ///
    /// # Errors
    /// What is wrong with them: a null pointer, their length, their encoding.
    pub fn text(&self, limit: usize) -> Result<String, String> {
        // SAFETY: a plugin that fills in a length fills in as many bytes.
        unsafe { copied(lmprobe_str { ptr: self.0.ptr, len: self.0.len }, limit) }
    }
}

impl Default for OwnedBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OwnedBuf {
    fn drop(&mut self) {
        release_buf(&mut self.0);
    }
}

// SAFETY: by the interface any function of a plugin may be called on any thread, `release` included.
unsafe impl Send for OwnedBuf {}

/// Releases bytes, and forgets how.
pub(crate) fn release_buf(buf: &mut lmprobe_buf) {
    if let Some(release) = buf.release {
        // SAFETY: not null, so not called before; below it is forgotten.
        guarded(|| unsafe { release(ptr::from_mut(buf)) });
    }
    *buf = lmprobe_buf { ptr: ptr::null_mut(), len: 0, ctx: ptr::null_mut::<c_void>(), release: None };
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::tensor_check::tests::foreign;

    unsafe fn count(context: *mut c_void) {
        // SAFETY: the tests give a counter.
        let counter = unsafe { &*context.cast::<Cell<u32>>() };
        counter.set(counter.get() + 1);
    }
    unsafe extern "C" fn release_tensors(tensors: *mut lmprobe_tensors) {
        // SAFETY: made by a test, with a counter.
        unsafe { count((*tensors).ctx) };
    }
    unsafe extern "C" fn release_bytes(buf: *mut lmprobe_buf) {
        // SAFETY: made by a test, with a counter.
        unsafe { count((*buf).ctx) };
    }
    unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
        // SAFETY: made by a test, with a counter.
        unsafe {
            count((*schema).private_data);
            (*schema).release = None;
        }
    }
    unsafe extern "C" fn release_array(array: *mut ArrowArray) {
        // SAFETY: made by a test, with a counter.
        unsafe {
            count((*array).private_data);
            (*array).release = None;
        }
    }

    fn context(counter: &Cell<u32>) -> *mut c_void {
        ptr::from_ref(counter).cast_mut().cast()
    }

    #[test]
    fn a_table_is_released_once_or_given_away() {
        let counter = Cell::new(0);
        let filled = || {
            let mut table = OwnedTable::new();
            table.0.schema.release = Some(release_schema);
            table.0.schema.private_data = context(&counter);
            table.0.array.release = Some(release_array);
            table.0.array.private_data = context(&counter);
            table
        };
        drop(filled());
        assert_eq!(counter.get(), 2);
        let raw = filled().into_raw();
        assert_eq!(counter.get(), 2);
        // SAFETY: given away just before.
        drop(unsafe { OwnedTable::from_raw(raw) });
        assert_eq!(counter.get(), 4);
        let mut taken = filled();
        // SAFETY: as a plugin that takes the cells and leaves the schema.
        unsafe { release_array(&raw mut taken.0.array) };
        assert!(!taken.is_empty());
        drop(taken);
        assert_eq!(counter.get(), 6);
        assert!(OwnedTable::new().is_empty());
    }

    fn list(items: &mut [lmprobe_named_tensor], counter: &Cell<u32>) -> OwnedTensors {
        OwnedTensors(lmprobe_tensors { items: items.as_mut_ptr(), len: items.len(), ctx: context(counter), release: Some(release_tensors) })
    }

    fn named(name: &'static str, tensor: *mut DLManagedTensorVersioned) -> lmprobe_named_tensor {
        lmprobe_named_tensor { name: lmprobe_str { ptr: name.as_ptr(), len: name.len() }, tensor }
    }

    #[test]
    fn tensors_and_their_list_are_released_once() {
        let counter = Cell::new(0);
        let (a, b) = (foreign(&[1f32], 2, 32, &[1]), foreign(&[2f32, 3.0], 2, 32, &[2]));
        let mut items = [named("a", a.raw), named("b", b.raw)];
        let tensors = list(&mut items, &counter);
        let shapes: Vec<_> = tensors.views().unwrap().into_iter().map(|(name, view)| (name, view.shape)).collect();
        assert_eq!(shapes, [("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])]);
        drop(tensors);
        assert_eq!((a.deleted(), b.deleted(), counter.get()), (1, 1, 1));
    }

    #[test]
    fn a_tensor_that_comes_twice_is_refused_and_freed_once() {
        let counter = Cell::new(0);
        let a = foreign(&[1f32], 2, 32, &[1]);
        let pointer = a.raw;
        let mut items = [named("a", pointer), named("b", pointer)];
        let tensors = list(&mut items, &counter);
        assert_eq!(tensors.views().unwrap_err().to_string(), "tensors 0 and 1 have the same address");
        drop(tensors);
        assert_eq!((a.deleted(), counter.get()), (1, 1));
    }

    #[test]
    fn names_of_tensors_are_unique_texts() {
        let counter = Cell::new(0);
        let (a, b) = (foreign(&[1f32], 2, 32, &[1]), foreign(&[1f32], 2, 32, &[1]));
        let mut items = [named("a", a.raw), named("a", b.raw)];
        assert_eq!(list(&mut items, &counter).views().unwrap_err().to_string(), "tensors 0 and 1 have the same name");
        let mut items = [named("", a.raw)];
        assert_eq!(list(&mut items, &counter).views().unwrap_err().to_string(), "tensor 0 has an unreadable name: it is empty");
        let mut items = [named("a", ptr::null_mut())];
        assert_eq!(list(&mut items, &counter).views().unwrap_err().to_string(), "tensor `a`: `tensor` is null");
    }

    #[test]
    fn an_absurd_list_is_not_touched() {
        let counter = Cell::new(0);
        let mut tensors = list(&mut [], &counter);
        tensors.0.len = 5000;
        assert_eq!(tensors.views().unwrap_err().to_string(), "the list has 5000 tensors; 0 to 4096 are allowed");
        tensors.0.items = ptr::null_mut();
        assert_eq!(tensors.views().unwrap_err().to_string(), "`items` is null");
        drop(tensors);
        assert_eq!(counter.get(), 1);
    }

    #[test]
    fn bytes_are_read_and_released_once() {
        let counter = Cell::new(0);
        let mut bytes = *b"{}\xff";
        let mut buf = OwnedBuf(lmprobe_buf { ptr: bytes.as_mut_ptr(), len: 2, ctx: context(&counter), release: Some(release_bytes) });
        assert_eq!(buf.text(2), Ok("{}".to_owned()));
        assert_eq!(buf.text(1), Err("it has 2 bytes; 1 is the most".to_owned()));
        buf.0.len = 3;
        assert_eq!(buf.text(3), Err("byte 2 is not UTF-8".to_owned()));
        drop(buf);
        assert_eq!(counter.get(), 1);
    }
}
