//! What this program offers to a plugin during one call.

use std::path::Path;
use std::sync::Mutex;

use lmprobe_abi::{LMPROBE_LOG_INFO, LMPROBE_LOG_WARN};
use lmprobe_core::{CallContext, Cancel, Encoder, Error, Quiet, Result, Seed};

use crate::host_encoder;
use crate::instance::Services;
use crate::request::{Request, Response};

/// The services of a call of the run.
pub(crate) struct HostServices<'a> {
    pub(crate) cx: &'a CallContext<'a>,
    pub(crate) encoders: &'a [&'a dyn Encoder],
}

impl Services for HostServices<'_> {
    fn log(&self, level: u32, message: &str) {
        match level {
            0..=LMPROBE_LOG_WARN => self.cx.warn(message),
            LMPROBE_LOG_INFO => tracing::info!("{message}"),
            _ => tracing::debug!("{message}"),
        }
    }

    fn progress(&self, phase: &str, done: u64, total: u64) {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.cx.progress.advanced(phase, size(done), size(total));
    }

    fn is_cancelled(&self) -> bool {
        self.cx.cancel.is_requested()
    }

    fn seed(&self) -> u64 {
        self.cx.seed.0
    }

    fn threads(&self) -> u32 {
        threads()
    }

    fn record_input(&self, path: &str) -> Result<()> {
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(Error::Config(format!("`{}` is not an absolute path", path.display())));
        }
        self.cx.record_input(path)
    }

    fn encoder(&self, slot: u32, request: Request) -> Result<Response> {
        let encoder = usize::try_from(slot).ok().and_then(|slot| self.encoders.get(slot));
        let encoder = encoder.ok_or_else(|| Error::Config(format!("there is no encoder in slot {slot}; this call has {}", self.encoders.len())))?;
        host_encoder::answer(*encoder, request, self.cx)
    }
}

/// The threads this program was given: the number its libraries read from the environment, else all.
fn threads() -> u32 {
    let given = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    given.or_else(|| std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok())).unwrap_or(1)
}

/// Warnings of calls that have no place to show them, kept for the next call that has.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Vec<String>>);

impl Kept {
    /// Runs a call outside of a job.
    pub(crate) fn outside<T>(&self, seed: Seed, encoders: &[&dyn Encoder], call: impl FnOnce(&dyn Services) -> Result<T>) -> Result<T> {
        let cx = CallContext::new(seed, &Quiet, Cancel::default());
        let result = call(&HostServices { cx: &cx, encoders });
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(cx.warnings());
        result
    }

    /// Runs a call of a job, which hears first what was kept.
    pub(crate) fn inside<T>(&self, cx: &CallContext<'_>, encoders: &[&dyn Encoder], call: impl FnOnce(&dyn Services) -> Result<T>) -> Result<T> {
        for warning in self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            cx.warn(warning);
        }
        call(&HostServices { cx, encoders })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_file_stands_with_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, "").unwrap();
        let cx = CallContext::new(Seed(3), &Quiet, Cancel::default());
        let services = HostServices { cx: &cx, encoders: &[] };
        services.record_input(path.to_str().unwrap()).unwrap();
        assert_eq!(cx.inputs()[&path], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"); // of nothing
        assert!(services.record_input("table.csv").unwrap_err().to_string().contains("is not an absolute path"));
        assert!(services.record_input("/nowhere/table.csv").is_err());
        assert_eq!(services.seed(), 3);
    }

    #[test]
    fn a_slot_without_an_encoder_is_told() {
        let cx = CallContext::new(Seed(0), &Quiet, Cancel::default());
        let services = HostServices { cx: &cx, encoders: &[] };
        assert_eq!(services.encoder(1, Request::Describe).unwrap_err().to_string(), "there is no encoder in slot 1; this call has 0");
    }

    #[test]
    fn a_warning_without_a_job_waits_for_one() {
        let kept = Kept::default();
        kept.outside(Seed(0), &[], |services| {
            services.log(LMPROBE_LOG_WARN, "early");
            Ok(())
        })
        .unwrap();
        let cx = CallContext::new(Seed(0), &Quiet, Cancel::default());
        kept.inside(&cx, &[], |_| Ok(())).unwrap();
        kept.inside(&cx, &[], |_| Ok(())).unwrap();
        assert_eq!(cx.warnings(), ["early"]);
    }
}
