//! Log lines on standard error: `RUST_LOG` decides, else `-q` and `-v`.

use tracing_subscriber::EnvFilter;

use crate::arguments::Global;
use crate::console::Console;

/// Starts logging.
pub(crate) fn start(global: &Global, console: Console) {
    let default = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "lmprobe=info,lmprobe_core=info,lmprobe_registry=info,lmprobe_plugins=info,warn",
        (false, 2) => "lmprobe=debug,lmprobe_core=debug,lmprobe_registry=debug,lmprobe_plugins=debug,info",
        _ => "trace",
    };
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    let filter = match asked.as_deref().map(EnvFilter::try_new) {
        None => EnvFilter::new(default),
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            console.warning(&format!("RUST_LOG is not understood ({error}); using `{default}`"));
            EnvFilter::new(default)
        }
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(console.is_colored());
    // Only fails if a subscriber is already set, which nobody but this line does.
    let _ = subscriber.try_init();
}
