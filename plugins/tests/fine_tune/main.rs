//! Fine-tuning and asking: against PyTorch (`goldens`), what must hold whatever the numbers are (`properties`), and trainings that are stopped or scored (`scored`).
#![expect(clippy::unwrap_used, reason = "a test that cannot read its fixture has failed")]

mod fixtures;
mod goldens;
mod properties;
mod scored;
