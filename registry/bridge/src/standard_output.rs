//! Keeps what plugins print out of the program's own output.

use std::fs::File;
use std::io::{self, Write};
use std::sync::OnceLock;

use lmprobe_core::{Error, Result};

static OWN: OnceLock<File> = OnceLock::new();

/// From here on only [`own`] reaches the standard output of the program; whatever a plugin prints goes to standard error.
///
/// # Errors
/// If the system refuses.
#[cfg(unix)]
pub(crate) fn protect() -> Result<()> {
    use std::os::fd::AsFd;

    if OWN.get().is_some() {
        return Ok(());
    }
    let fail = |error: io::Error| Error::io("standard output")(error);
    io::stdout().flush().map_err(fail)?;
    let own = io::stdout().as_fd().try_clone_to_owned().map_err(fail)?;
    // SAFETY: both are the standard descriptors of this process, which nobody closes.
    if unsafe { libc::dup2(2, 1) } < 0 {
        return Err(fail(io::Error::last_os_error()));
    }
    // A second thread may have been here first; its copy is as good.
    let _ = OWN.set(File::from(own));
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn protect() -> Result<()> {
    Ok(())
}

/// The standard output of the program, also when plugins print to theirs.
pub fn own() -> Box<dyn Write> {
    match OWN.get() {
        Some(file) => Box::new(file),
        None => Box::new(io::stdout().lock()),
    }
}
