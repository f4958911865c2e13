//! Maps a plugin into this process and asks it for its components.

use std::path::{Path, PathBuf};

use lmprobe_abi::lmprobe_host;

use crate::{Library, LoadError, Pin, Refusal};

/// Which file is loaded.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// The file.
    pub path: PathBuf,
    /// The bytes it must have.
    pub pin: Pin,
    /// How the bytes reach the system's loader.
    pub via: Via,
}

/// How the bytes reach the system's loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Via {
    /// A sealed copy in memory; where the system has none or forbids to run it, as `PrivateFolder`.
    #[default]
    SealedMemory,
    /// A copy in a folder that only this user may enter.
    PrivateFolder,
    /// The file itself, so that debuggers and backtraces know its name. Who can change the file can change it after it was checked.
    Path,
}

impl LoadRequest {
    /// A request for a file, in the usual way.
    pub fn new(path: impl AsRef<Path>, pin: Pin) -> Self {
        Self { path: path.as_ref().to_owned(), pin, via: Via::default() }
    }
}

/// Loads a plugin, once: the same bytes again give the same library.
///
/// Load all plugins before starting threads: their constructors run here, and what they do to the floating-point unit is put back in this thread only.
///
/// # Errors
/// If the file is not loaded or breaks a rule. Then nothing of it is offered.
pub fn load(request: &LoadRequest, host: &'static lmprobe_host) -> Result<&'static Library, LoadError> {
    dynamic::load(request, host).map_err(|refusal| LoadError { path: request.path.clone(), refusal })
}

#[cfg(any(not(unix), target_feature = "crt-static"))]
mod dynamic {
    use super::{Library, LoadRequest, Refusal, lmprobe_host};

    /// A program with a C library of its own inside would have two of them with a plugin.
    pub(super) fn load(_: &LoadRequest, _: &'static lmprobe_host) -> Result<&'static Library, Refusal> {
        let why = if cfg!(unix) { "its C library is linked into it" } else { "only systems like Unix are supported" };
        Err(Refusal::NoDynamicLoading { why })
    }
}

#[cfg(all(unix, not(target_feature = "crt-static")))]
mod dynamic {
    use std::path::Path;
    use std::ptr;
    use std::sync::{Mutex, PoisonError};

    use lmprobe_abi::{LMPROBE_OK, entry, lmprobe_plugin};

    use super::{Library, LoadRequest, Pin, Refusal, Via, lmprobe_host};
    use crate::error::with_causes;
    use crate::inspect::{Inspection, Options, Permissions, read};
    use crate::library::LOADED;
    use crate::sealed_copy::SealedCopy;
    use crate::walk::{Offer, walk};
    use crate::{ErrorSlot, floating_point};

    const ENTRY: &str = "lmprobe_plugin_entry_v1";

    /// Every library that was mapped, those that were refused afterwards included, and the copy it was mapped from. Nothing is ever taken out.
    static MAPPED: Mutex<Vec<(libloading::os::unix::Library, Option<SealedCopy>)>> = Mutex::new(Vec::new());

    pub(super) fn load(request: &LoadRequest, host: &'static lmprobe_host) -> Result<&'static Library, Refusal> {
        let (inspection, bytes) = read(&request.path, Options { permissions: Permissions::Checked })?;
        let expected = request.pin.to_string();
        if request.pin != Pin::Unpinned && expected != inspection.sha256 {
            return Err(Refusal::Pin { expected, found: inspection.sha256 });
        }
        if !inspection.exports.iter().any(|name| name == ENTRY) {
            return Err(Refusal::NoEntry);
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.libraries.iter().find(|library| library.sha256 == inspection.sha256) {
            return Ok(library);
        }
        let ((entry, via), changed_by_opening) = {
            let (result, changed) = floating_point::guarded(|| open(request.via, &inspection.path, &bytes));
            (result?, changed)
        };
        let (offer, changed_by_entry) = floating_point::guarded(|| ask(entry, host));
        let Offer { name, version, license, build_info, components, skipped, shutdown } = offer?;
        let Inspection { path, sha256, abi, needed, .. } = inspection;
        let changed_floating_point = changed_by_opening || changed_by_entry;
        let library: &'static Library = Box::leak(Box::new(Library {
            name,
            version,
            license,
            build_info,
            abi,
            path,
            sha256,
            via,
            needed,
            components,
            skipped,
            changed_floating_point,
            shutdown,
        }));
        loaded.libraries.push(library);
        Ok(library)
    }

    /// Runs the constructors of the file.
    fn open(via: Via, path: &Path, bytes: &[u8]) -> Result<(entry, Via), Refusal> {
        let (mut copy, via) = match via {
            Via::SealedMemory => match SealedCopy::in_memory(bytes) {
                Ok(copy) => (Some(copy), via),
                Err(_) => (Some(SealedCopy::in_folder(bytes).map_err(Refusal::Copy)?), Via::PrivateFolder),
            },
            Via::PrivateFolder => (Some(SealedCopy::in_folder(bytes).map_err(Refusal::Copy)?), via),
            Via::Path => (None, via),
        };
        let path = copy.as_ref().map_or(path, |copy| &copy.path);
        // Everything is resolved now, so that a missing symbol is an error here and not the end of the process in the middle of a run.
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: that its code may run is what the user decided by naming the file, and the pin says which code.
        let library = unsafe { libloading::os::unix::Library::open(Some(path), flags) }.map_err(|error| Refusal::Open { causes: with_causes(&error) })?;
        if let Some(copy) = &mut copy {
            copy.clear_folder();
        }
        // SAFETY: the stamp says that a symbol of this name is such a function; below the library is kept for ever.
        let entry = unsafe { library.get::<entry>(ENTRY) }.map(|symbol| *symbol);
        MAPPED.lock().unwrap_or_else(PoisonError::into_inner).push((library, copy));
        Ok((entry.map_err(|_| Refusal::NoEntry)?, via))
    }

    fn ask(entry: entry, host: &'static lmprobe_host) -> Result<Offer, Refusal> {
        let mut plugin: *const lmprobe_plugin = ptr::null();
        let mut error = ErrorSlot::new();
        // SAFETY: the tables are valid for as long as the interface asks; the error is fresh.
        let status = unsafe { entry(ptr::from_ref(host), &raw mut plugin, error.as_mut_ptr()) };
        if status != LMPROBE_OK {
            return Err(Refusal::Entry { status, message: error.read().message });
        }
        if plugin.is_null() {
            return Err(Refusal::EntryGaveNothing);
        }
        // SAFETY: the entry succeeded, so its result is what the interface says.
        unsafe { walk(plugin) }
    }
}
