//! Fine-tuning and asking: against PyTorch (`goldens`), and what must hold whatever the numbers are (`properties`).
#![expect(clippy::unwrap_used, reason = "a test that cannot read its fixture has failed")]

mod fixtures;
mod goldens;
mod properties;
