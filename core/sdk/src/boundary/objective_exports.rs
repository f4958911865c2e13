//! Exported functions of objectives.

use lmprobe_abi as abi;
use serde_json::json;

use crate::boundary::exports::instance_of;
use crate::boundary::guard::{contained, guarded};
use crate::boundary::{arrow_export, arrow_import, request, tensor_list, text};
use crate::{Call, Column, Error, LossInputs, Objective, Result, Table, TokenBatch};

pub(crate) unsafe extern "C" fn prepare<C: Objective>(
    instance: *mut abi::lmprobe_instance,
    call: *const abi::lmprobe_call,
    texts: *mut abi::lmprobe_table,
    examples: *mut *mut abi::lmprobe_examples,
    report: *mut abi::lmprobe_buf,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: the host holds what the interface says of the arguments; likewise below.
    unsafe {
        guarded(error, || {
            let texts = arrow_import::take(texts);
            let (objective, call) = (instance_of::<C>(instance)?, Call::enter(call)?);
            let texts = texts?.texts("text")?.iter().map(str::to_owned).collect();
            let prepared = objective.prepare(texts, &call)?;
            let told = text::give(json!({"examples": prepared.count, "notes": prepared.notes}).to_string());
            examples.write(Box::into_raw(Box::new(prepared.examples)).cast());
            report.write(told);
            Ok(())
        })
    }
}

pub(crate) unsafe extern "C" fn destroy_examples<C: Objective>(examples: *mut abi::lmprobe_examples) {
    contained(|| {
        if !examples.is_null() {
            // SAFETY: the interface says that this is called once, with what this plugin made.
            drop(unsafe { Box::from_raw(examples.cast::<C::Examples>()) });
        }
    });
}

pub(crate) unsafe extern "C" fn batch<C: Objective>(
    examples: *mut abi::lmprobe_examples,
    call: *const abi::lmprobe_call,
    n: usize,
    chosen: *const u64,
    inputs: *mut abi::lmprobe_table,
    targets: *mut abi::lmprobe_tensors,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: as in `prepare`.
    unsafe {
        guarded(error, || {
            let examples = examples.cast::<C::Examples>().as_ref().ok_or_else(|| Error::internal("the examples are missing"))?;
            let chosen: Vec<usize> = request::slice(chosen, n)?.iter().map(|&index| usize::try_from(index).unwrap_or(usize::MAX)).collect();
            let batch = C::batch(examples, &chosen, &Call::enter(call)?)?;
            inputs.write(arrow_export::give(inputs_table(&batch.inputs)?)?);
            targets.write(tensor_list::give(batch.targets));
            Ok(())
        })
    }
}

/// The inputs of a batch as they cross, one row a token.
fn inputs_table(batches: &[TokenBatch]) -> Result<Table> {
    let (mut inputs, mut sequences, mut ids, mut type_ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (input, batch) in (0i64..).zip(batches) {
        for (sequence, index) in (0i64..).zip(0..batch.len()) {
            for position in batch.range(index) {
                inputs.push(input);
                sequences.push(sequence);
                ids.push(i64::from(batch.ids[position]));
                type_ids.push(i64::from(batch.type_ids[position]));
            }
        }
    }
    Table::new()
        .with("input", Column::i64s(inputs))?
        .with("sequence", Column::i64s(sequences))?
        .with("id", Column::i64s(ids))?
        .with("type_id", Column::i64s(type_ids))
}

pub(crate) unsafe extern "C" fn value_and_grad<C: Objective>(
    instance: *mut abi::lmprobe_instance,
    call: *const abi::lmprobe_call,
    n: usize,
    inputs: *const abi::lmprobe_named_tensor,
    need_grad: u64,
    value: *mut f64,
    gradients: *mut abi::lmprobe_tensors,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: as in `prepare`.
    unsafe {
        guarded(error, || {
            let inputs = LossInputs::new(tensor_list::lent(inputs, n)?, need_grad);
            let loss = instance_of::<C>(instance)?.value_and_grad(&inputs, &Call::enter(call)?)?;
            let asked = inputs.asked(loss.gradients)?;
            value.write(loss.value);
            gradients.write(tensor_list::give(asked));
            Ok(())
        })
    }
}
