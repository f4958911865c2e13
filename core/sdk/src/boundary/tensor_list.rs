//! Lists of tensors with names.

use std::ptr;

use lmprobe_abi as abi;

use crate::boundary::buffer::Foreign;
use crate::boundary::{dlpack, text};
use crate::tensor::ViewValues;
use crate::{Error, Result, Tensor};

/// What a list points to.
struct Parts {
    items: Vec<abi::lmprobe_named_tensor>,
    _names: Vec<String>,
}

/// Hands a list over.
pub(crate) fn give(tensors: Vec<(String, Tensor)>) -> abi::lmprobe_tensors {
    if tensors.is_empty() {
        return empty();
    }
    let (names, tensors): (Vec<String>, Vec<Tensor>) = tensors.into_iter().unzip();
    let items = names.iter().zip(tensors).map(|(name, tensor)| abi::lmprobe_named_tensor { name: text::lend(name), tensor: dlpack::give(tensor) }).collect();
    let parts = Box::into_raw(Box::new(Parts { items, _names: names }));
    // SAFETY: the pointer was just made.
    let items = unsafe { &mut (*parts).items };
    abi::lmprobe_tensors { items: items.as_mut_ptr(), len: items.len(), ctx: parts.cast(), release: Some(release) }
}

/// No tensors.
pub(crate) fn empty() -> abi::lmprobe_tensors {
    abi::lmprobe_tensors { items: ptr::null_mut(), len: 0, ctx: ptr::null_mut(), release: None }
}

unsafe extern "C" fn release(tensors: *mut abi::lmprobe_tensors) {
    // SAFETY: `give` made the list, and the interface says that this is called once.
    unsafe {
        drop(Box::from_raw((*tensors).ctx.cast::<Parts>()));
        *tensors = empty();
    }
}

/// Takes over a list of the host. What is not what it should be is freed with the rest.
///
/// # Safety
/// `tensors` is empty or alive, and nobody else frees it.
pub(crate) unsafe fn take(mut tensors: abi::lmprobe_tensors) -> Result<Vec<(String, Tensor)>> {
    let items = if tensors.items.is_null() || tensors.len == 0 {
        &[]
    } else {
        // SAFETY: a living list has as many items as it says.
        unsafe { std::slice::from_raw_parts(tensors.items, tensors.len) }
    };
    // SAFETY: names live as long as the list. A tensor whose name cannot be read is freed by its owner here.
    let named: Vec<Result<(String, *mut abi::DLManagedTensorVersioned)>> = items
        .iter()
        .map(|item| match unsafe { text::read(item.name) } {
            Ok(name) => Ok((name.to_owned(), item.tensor)),
            Err(error) => {
                if !item.tensor.is_null() {
                    drop(Foreign::Tensor(item.tensor));
                }
                Err(error)
            }
        })
        .collect();
    if let Some(release) = tensors.release {
        // SAFETY: this is the only release, and names were copied.
        unsafe { release(&raw mut tensors) };
    }
    // Every tensor is taken before the first failure is told, so that none is left behind.
    let taken: Vec<Result<(String, Tensor)>> = named
        .into_iter()
        .map(|item| {
            let (name, tensor) = item?;
            // SAFETY: the tensor is alive and ours.
            let tensor = unsafe { dlpack::take(tensor) }.map_err(|error| Error::with_status(error.status(), format!("`{name}`: {}", error.message())))?;
            Ok((name, tensor))
        })
        .collect();
    taken.into_iter().collect()
}

/// A tensor that is lent, with its name.
pub(crate) struct LentTensor<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: ViewValues<'a>,
}

/// Looks at tensors that are lent for `'a`.
///
/// # Safety
/// `items` has `n` entries that are alive for `'a`, and nobody writes to them.
pub(crate) unsafe fn lent<'a>(items: *const abi::lmprobe_named_tensor, n: usize) -> Result<Vec<LentTensor<'a>>> {
    if n > 0 && items.is_null() {
        return Err(Error::input("the tensors are missing"));
    }
    (0..n)
        .map(|index| {
            // SAFETY: the caller holds that there are `n` living entries.
            unsafe {
                let item = &*items.add(index);
                let name = text::read(item.name)?;
                let (shape, values) =
                    dlpack::lent(item.tensor).map_err(|error| Error::with_status(error.status(), format!("`{name}`: {}", error.message())))?;
                Ok(LentTensor { name, shape, values })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_cross_and_a_bad_tensor_frees_all() {
        let list = || vec![("a".to_owned(), Tensor::f32s([1], [0.5]).unwrap()), ("b".to_owned(), Tensor::i64s([2], [1, 2]).unwrap())];
        // SAFETY: every list is taken once; the tensor is alive until then.
        unsafe {
            let taken = take(give(list())).unwrap();
            assert_eq!((taken[0].0.as_str(), taken[1].1.as_i64s().unwrap()), ("a", &[1, 2][..]));
            let given = give(list());
            (*(*given.items).tensor).dl_tensor.ndim = -1;
            assert_eq!(take(given).unwrap_err().message(), "`a`: a tensor has -1 dimensions");
            assert!(take(empty()).unwrap().is_empty());
        }
    }
}
