//! Where operations put gradients of variables instead of on candle's tape.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lmprobe_core::train::Gradients;
use lmprobe_core::{Error, Result, Variable};

/// The gradients of a model, and which of them belongs to which name.
pub struct GradientSink {
    gradients: Arc<Mutex<Gradients>>,
    indices: BTreeMap<String, usize>,
}

impl GradientSink {
    /// For the variables of a model, in their order.
    pub fn new(variables: &[Variable]) -> Self {
        let indices = variables.iter().enumerate().map(|(index, variable)| (variable.name.clone(), index)).collect();
        Self { gradients: Arc::new(Mutex::new(Gradients::new(variables))), indices }
    }

    /// The gradients, which the model's operations share.
    pub fn gradients(&self) -> &Arc<Mutex<Gradients>> {
        &self.gradients
    }

    /// The gradient of one variable.
    ///
    /// # Errors
    /// If there is no variable of this name.
    pub fn slot(&self, name: &str) -> Result<GradientSlot> {
        let index = self.indices.get(name).copied().ok_or_else(|| Error::Unsupported(format!("variable `{name}` is missing")))?;
        Ok(GradientSlot { gradients: self.gradients.clone(), index })
    }
}

/// The gradient of one variable.
#[derive(Clone)]
pub struct GradientSlot {
    gradients: Arc<Mutex<Gradients>>,
    /// Its number among the variables.
    pub index: usize,
}

impl GradientSlot {
    /// The gradients of all variables.
    pub fn lock(&self) -> MutexGuard<'_, Gradients> {
        self.gradients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
