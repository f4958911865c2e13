//! How many threads a run uses.
//!
//! Rayon, the tensor library and the table library each read the number from the environment when they first need it, and
//! the tensor library's element-wise pool reads it from nowhere else: configuring rayon's global pool would leave that pool
//! at one thread per core of the machine. A process cannot change its own environment safely, so the program starts itself
//! anew with the variables set, in the same process, before anything else happens.

use std::num::NonZeroUsize;

/// Variables that name a wish, most specific first.
const WISHES: [&str; 3] = ["SLURM_CPUS_PER_TASK", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"];

/// Variables the libraries read.
const READ_BY_LIBRARIES: [&str; 3] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "POLARS_MAX_THREADS"];

/// Arranges for a number of threads: the one asked for, else what the environment wishes, else all the system allows.
///
/// Returns the number in force. Replaces the running program by itself if the environment says otherwise.
pub(crate) fn arrange(asked: Option<NonZeroUsize>) -> usize {
    let wanted = wanted(asked);
    let text = wanted.to_string();
    if READ_BY_LIBRARIES.iter().any(|name| std::env::var(name).ok().as_deref() != Some(&text)) {
        start_anew(&text);
    }
    wanted
}

/// The number of threads that would be in force, without arranging for it.
pub(crate) fn wanted(asked: Option<NonZeroUsize>) -> usize {
    let number = |name: &&str| std::env::var(name).ok().and_then(|value| value.trim().parse::<NonZeroUsize>().ok());
    let all = || std::thread::available_parallelism().ok();
    asked.or_else(|| WISHES.iter().find_map(number)).or_else(all).map_or(1, NonZeroUsize::get)
}

/// Only returns if the system refuses.
#[cfg(unix)]
fn start_anew(threads: &str) {
    use std::os::unix::process::CommandExt;

    let mut arguments = std::env::args_os();
    let Ok(program) = std::env::current_exe() else {
        return tracing::warn!("cannot find this program's own file; the libraries choose the number of threads");
    };
    let mut command = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).envs(READ_BY_LIBRARIES.map(|name| (name, threads))).exec();
    tracing::warn!("cannot set the number of threads ({error}); the libraries choose it");
}

#[cfg(not(unix))]
fn start_anew(threads: &str) {
    tracing::warn!("set RAYON_NUM_THREADS={threads} to choose the number of threads on this system");
}
