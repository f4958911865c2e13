//! Exported functions of all components, and those of metrics, probers and tasks.

use lmprobe_abi as abi;
use serde_json::{Value, json};

use crate::boundary::guard::{contained, guarded};
use crate::boundary::{arrow_export, arrow_import, text};
use crate::{Call, Candidates, Component, Error, Examples, Metric, Predictions, Prober, Result, Task};

/// The instance behind a pointer.
///
/// # Safety
/// `instance` is null or comes from [`create`] with the same `C` and was not destroyed.
pub(crate) unsafe fn instance_of<'a, C: Component>(instance: *mut abi::lmprobe_instance) -> Result<&'a C> {
    // SAFETY: the caller holds what is asked for; an instance is never written through.
    unsafe { instance.cast::<C>().as_ref() }.ok_or_else(|| Error::internal("the instance is missing"))
}

pub(crate) unsafe extern "C" fn create<C: Component>(
    call: *const abi::lmprobe_call,
    params: abi::lmprobe_str,
    instance: *mut *mut abi::lmprobe_instance,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: the host holds what the interface says of the arguments; likewise in every exported function.
    unsafe {
        guarded(error, || {
            let call = Call::enter(call)?;
            let params = serde_json::from_str(text::read(params)?).map_err(|error| Error::config(format!("the parameters cannot be read: {error}")))?;
            let component = C::build(params, &call)?;
            instance.write(Box::into_raw(Box::new(component)).cast());
            Ok(())
        })
    }
}

pub(crate) unsafe extern "C" fn destroy<C: Component>(instance: *mut abi::lmprobe_instance) {
    contained(|| {
        if !instance.is_null() {
            // SAFETY: the interface says that this is called once, with what this plugin made.
            drop(unsafe { Box::from_raw(instance.cast::<C>()) });
        }
    });
}

/// Describes an instance with a function of its kind.
unsafe fn describe<C: Component>(
    instance: *mut abi::lmprobe_instance,
    json: *mut abi::lmprobe_buf,
    error: *mut abi::lmprobe_error,
    describe: impl FnOnce(&C) -> Result<Value>,
) -> i32 {
    // SAFETY: as in `create`.
    unsafe {
        guarded(error, || {
            json.write(text::give(describe(instance_of::<C>(instance)?)?.to_string()));
            Ok(())
        })
    }
}

macro_rules! describes {
    ($($(#[$doc:meta])* $name:ident, $kind:path, $what:expr;)*) => {
        $($(#[$doc])*
        pub(crate) unsafe extern "C" fn $name<C: $kind>(instance: *mut abi::lmprobe_instance, json: *mut abi::lmprobe_buf, error: *mut abi::lmprobe_error) -> i32 {
            // SAFETY: as in `create`.
            unsafe { describe::<C>(instance, json, error, $what) }
        })*
    };
}

describes! {
    describe_metric, Metric, |metric| Ok(json!({"name": metric.name()}));
    describe_prober, Prober, |prober| Ok(json!({"needs": prober.needs()}));
    describe_task, Task, |task| Ok(json!({"default_metrics": task.default_metrics()}));
    describe_encoder, crate::Encoder, |encoder| Ok(serde_json::to_value(encoder.info())?);
    describe_objective, crate::Objective, |objective| {
        let samples: Vec<Value> = objective.samples().iter().map(|sample| crate::objective::sample_to_json(sample)).collect();
        Ok(json!({"needs": objective.needs(), "inputs": objective.inputs(), "want": objective.want().to_json(), "sample": samples}))
    };
}

pub(crate) unsafe extern "C" fn compute<C: Metric>(
    instance: *mut abi::lmprobe_instance,
    call: *const abi::lmprobe_call,
    predictions: *mut abi::lmprobe_table,
    rows: *mut abi::lmprobe_table,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: as in `create`.
    unsafe {
        guarded(error, || {
            // Inputs are taken first: whatever fails, they are released.
            let predictions = arrow_import::take(predictions);
            let (metric, call) = (instance_of::<C>(instance)?, Call::enter(call)?);
            let table = metric.compute(&Predictions::new(predictions?)?, &call)?;
            rows.write(arrow_export::give(table)?);
            Ok(())
        })
    }
}

pub(crate) unsafe extern "C" fn run<C: Prober>(
    instance: *mut abi::lmprobe_instance,
    call: *const abi::lmprobe_call,
    examples: *mut abi::lmprobe_table,
    candidates: *mut abi::lmprobe_table,
    predictions: *mut abi::lmprobe_table,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: as in `create`.
    unsafe {
        guarded(error, || {
            let (examples, candidates) = (arrow_import::take(examples), arrow_import::take(candidates));
            let (prober, call) = (instance_of::<C>(instance)?, Call::enter(call)?);
            let table = prober.run(&Examples::new(examples?)?, &Candidates::new(candidates?)?, &call)?;
            predictions.write(arrow_export::give(table)?);
            Ok(())
        })
    }
}

pub(crate) unsafe extern "C" fn examples<C: Task>(
    instance: *mut abi::lmprobe_instance,
    call: *const abi::lmprobe_call,
    examples: *mut abi::lmprobe_table,
    candidates: *mut abi::lmprobe_table,
    error: *mut abi::lmprobe_error,
) -> i32 {
    // SAFETY: as in `create`.
    unsafe {
        guarded(error, || {
            let (task, call) = (instance_of::<C>(instance)?, Call::enter(call)?);
            let (first, second) = task.examples(&call)?;
            // Both are made before either is written: a failure must leave both untouched.
            let first = arrow_export::Given::new(first)?;
            let second = arrow_export::Given::new(second)?;
            examples.write(first.into_inner());
            candidates.write(second.into_inner());
            Ok(())
        })
    }
}
