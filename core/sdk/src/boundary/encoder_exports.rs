//! Exported functions of encoders.

use lmprobe_abi as abi;

use crate::boundary::exports::instance_of;
use crate::boundary::guard::guarded;
use crate::boundary::{arrow_export, request, tensor_list, text};
use crate::{Call, Encoder, Error, Tensor};

pub(crate) unsafe extern "C" fn tokenize<C: Encoder>(
    instance: *mut abi::lmprobe_instance,
    call: *const abi::lmprobe_call,
    request: *const abi::lmprobe_encode_req,
    tokens: *mut abi::lmprobe_table,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: the host holds what the interface says of the arguments; likewise below.
    unsafe {
        guarded(error, || {
            let request = request::copied(request)?;
            let batch = instance_of::<C>(instance)?.tokenize(&request::texts(&request)?, request::tokenization(&request), &Call::enter(call)?)?;
            if batch.len() != request.n_texts {
                return Err(Error::internal(format!("{} sequences were made of {} texts", batch.len(), request.n_texts)));
            }
            tokens.write(arrow_export::give(batch.into_table()?)?);
            Ok(())
        })
    }
}

pub(crate) unsafe extern "C" fn encode<C: Encoder>(
    instance: *mut abi::lmprobe_instance,
    call: *const abi::lmprobe_call,
    request: *const abi::lmprobe_encode_req,
    outputs: *mut abi::lmprobe_tensors,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: as in `tokenize`.
    unsafe {
        guarded(error, || {
            let request = request::copied(request)?;
            let (encoder, call) = (instance_of::<C>(instance)?, Call::enter(call)?);
            let mut tensors = Vec::new();
            let tokens = if let Some(tokens) = request::sequences(&request)? {
                tokens
            } else {
                // Whoever sends texts does not know where the sequences end.
                let tokens = encoder.tokenize(&request::texts(&request)?, request::tokenization(&request), &call)?;
                let offsets: Vec<i64> = tokens.offsets.iter().map(|&offset| i64::try_from(offset).unwrap_or(i64::MAX)).collect();
                tensors.push(("offsets".to_owned(), Tensor::i64s([offsets.len()], offsets)?));
                tokens
            };
            let want = request::want(&request, tokens.ids.len())?;
            tensors.extend(encoder.encode(&tokens, &want, &call)?.into_list());
            outputs.write(tensor_list::give(tensors));
            Ok(())
        })
    }
}

pub(crate) unsafe extern "C" fn load<C: Encoder>(instance: *mut abi::lmprobe_instance, call: *const abi::lmprobe_call, error: *mut abi::lmprobe_error) -> i32 {
    // SAFETY: as in `tokenize`.
    unsafe { guarded(error, || instance_of::<C>(instance)?.load(&Call::enter(call)?)) }
}

pub(crate) unsafe extern "C" fn token<C: Encoder>(
    instance: *mut abi::lmprobe_instance,
    id: u32,
    text: *mut abi::lmprobe_buf,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: as in `tokenize`.
    unsafe {
        guarded(error, || {
            text.write(text::give(instance_of::<C>(instance)?.token(id).unwrap_or_default()));
            Ok(())
        })
    }
}
