//! The functions and types that a pickle may name, and what "calling" them means: building a description of a tensor, never running code.
//!
//! Signatures are those of <https://github.com/pytorch/pytorch/blob/v2.4.0/torch/_utils.py>.

use crate::dtype::Dtype;
use crate::error::Parsed;
use crate::pickle::{Id, Storage, Tensor, Value};
use crate::pickle_machine::Machine;

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV3,
    RebuildParameter,
    Size,
    Device,
    /// A class of storages (or of tensors); `None` is bytes without a type.
    StorageClass(Option<Dtype>),
    Dtype(Dtype),
}

impl Global {
    /// The global of this name, if it is one that a state dict needs.
    pub(crate) fn named(module: &str, name: &str) -> Parsed<Self> {
        let known = match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            // The first is the name before PyTorch 0.4; it lacks only arguments that are not used here.
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Self::RebuildTensorV3),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", "Size") => Some(Self::Size),
            ("torch", "device") => Some(Self::Device),
            ("torch.storage" | "torch", "UntypedStorage" | "_UntypedStorage") => Some(Self::StorageClass(None)),
            ("torch", name) => {
                Dtype::of_torch_storage(name).map(|dtype| Self::StorageClass(Some(dtype))).or_else(|| Dtype::of_torch_dtype(name).map(Self::Dtype))
            }
            _ => None,
        };
        known.ok_or_else(|| {
            let name: String = format!("{module}.{name}").chars().take(120).flat_map(char::escape_default).collect();
            format!("the pickle asks to call `{name}`: files that run code are not read; save only the state dict (`torch.save(model.state_dict(), ..)`)")
        })
    }
}

/// What a call gives.
pub(crate) enum Called {
    Value(Value),
    /// One of its arguments.
    Same(Id),
}

/// What calling `global` gives.
pub(crate) fn call(machine: &mut Machine<'_>, global: Global, arguments: &[Id]) -> Parsed<Called> {
    match (global, arguments) {
        (Global::OrderedDict, []) => Ok(Called::Value(Value::Dict(Vec::new()))),
        (Global::OrderedDict, &[pairs]) => ordered_dict(machine, pairs).map(Called::Value),
        (Global::Size, &[sizes]) => Ok(Called::Same(sizes)),
        (Global::Device, _) => Ok(Called::Value(Value::Other)),
        (Global::RebuildParameter, &[tensor, ..]) => Ok(Called::Same(tensor)),
        (Global::RebuildTensor, &[storage, offset, shape, stride, ..]) => rebuild(machine, [storage, offset, shape, stride], None),
        (Global::RebuildTensorV3, &[storage, offset, shape, stride, _, _, dtype, ..]) => {
            let Value::Global(Global::Dtype(dtype)) = *machine.value(dtype) else {
                return Err("the pickle has a tensor whose dtype is not one".to_owned());
            };
            rebuild(machine, [storage, offset, shape, stride], Some(dtype))
        }
        _ => Err(format!("the pickle calls {global:?} with {} arguments; the file is damaged", arguments.len())),
    }
}

/// `OrderedDict([[key, value], ..])`, as Python 2 wrote it.
fn ordered_dict(machine: &mut Machine<'_>, pairs: Id) -> Parsed<Value> {
    let wrong = || "the pickle makes a dictionary of something that is not a list of pairs".to_owned();
    let (Value::List(pairs) | Value::Tuple(pairs)) = machine.value(pairs) else { return Err(wrong()) };
    let length = pairs.len();
    let pair = |id: &Id| match machine.value(*id) {
        Value::List(pair) | Value::Tuple(pair) => <[Id; 2]>::try_from(pair.as_slice()).map(|[key, value]| (key, value)).map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    let pairs = pairs.iter().map(pair).collect::<Parsed<Vec<_>>>()?;
    machine.pay(length)?;
    Ok(Value::Dict(pairs))
}

fn rebuild(machine: &mut Machine<'_>, [storage, offset, shape, stride]: [Id; 4], dtype: Option<Dtype>) -> Parsed<Called> {
    let Value::Storage(storage) = *machine.value(storage) else {
        return Err("the pickle has a tensor without a storage".to_owned());
    };
    let Some(dtype) = dtype.or(storage.dtype) else {
        return Err("the pickle has a tensor without a dtype".to_owned());
    };
    let offset = machine.size(offset)?;
    let (shape, stride) = (machine.sizes(shape)?, machine.sizes(stride)?);
    if shape.len() != stride.len() {
        return Err(format!("the pickle has a tensor of shape {shape:?} with strides {stride:?}"));
    }
    Ok(Called::Value(Value::Tensor(Box::new(Tensor { storage, dtype, offset, shape, stride }))))
}

impl Storage {
    /// Its length in bytes.
    pub(crate) fn bytes(self) -> Option<usize> {
        self.count.checked_mul(self.dtype.map_or(1, Dtype::size))
    }
}
