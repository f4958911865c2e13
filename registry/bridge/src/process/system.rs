//! What the standard library does not offer: pipes that do not block, and the ties between a program and its child.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Makes reading from or writing to a pipe return at once.
pub(super) fn do_not_block(pipe: &impl AsFd) -> Result<()> {
    let descriptor = pipe.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as it is borrowed, and these commands touch no memory.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    if flags < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Lets a pipe hold more, so that big tensors take fewer turns. A system that refuses gives a slower pipe, nothing else. Not more than this: the system gives
/// a user 64 MiB for all pipes before it makes new ones tiny.
pub(super) fn widen(pipe: &impl AsFd) {
    #[cfg(target_os = "linux")]
    // SAFETY: the descriptor is open for as long as it is borrowed, and this command touches no memory.
    unsafe {
        libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, 256 << 10);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// Waits until one of the pipes can go on; `false` if none could in time.
pub(super) fn wait(readable: &[BorrowedFd], writable: &[BorrowedFd], limit: Duration) -> Result<bool> {
    let polled = |pipe: &BorrowedFd, events| libc::pollfd { fd: pipe.as_raw_fd(), events, revents: 0 };
    let mut pipes: Vec<libc::pollfd> =
        readable.iter().map(|pipe| polled(pipe, libc::POLLIN)).chain(writable.iter().map(|pipe| polled(pipe, libc::POLLOUT))).collect();
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the length are those of a vector that nobody else has.
    match unsafe { libc::poll(pipes.as_mut_ptr(), pipes.len() as libc::nfds_t, limit) } {
        -1 if Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => Ok(true),
        -1 => Err(Error::last_os_error()),
        n => Ok(n > 0),
    }
}

/// Ends a child and whatever it started. The child must lead its own process group and must not have been waited for.
pub(super) fn kill_group(leader: u32) {
    if let Ok(leader) = libc::pid_t::try_from(leader) {
        // SAFETY: touches no memory. The group still is the child's: its number is not given away before the child was waited for.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

/// In a child: asks the system to end this process when the thread that started it ends, which lives as long as its process.
///
/// The child does this itself instead of `pre_exec`: starting a process from a program that holds a big model is then cheap, as the system need not copy the
/// tables of its memory. If the program ended earlier, the closed pipe tells.
pub(super) fn end_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: this option takes a number and touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
    }
}

/// In a child: takes standard input and output for itself. What a plugin prints goes to standard error from here on, and it has nothing to read.
pub(super) fn take_standard_streams() -> Result<(File, File)> {
    // The duplicates are closed in processes that a plugin may start.
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    let nothing = File::open("/dev/null")?;
    // SAFETY: all four descriptors are open. The standard library never closes 0 and 1, so nobody's descriptor is taken away.
    let moved = unsafe { [libc::dup2(nothing.as_raw_fd(), 0), libc::dup2(2, 1)] };
    if moved.contains(&-1) { Err(Error::last_os_error()) } else { Ok((input.into(), output.into())) }
}

/// Ends this process without running anything else: a plugin may still be busy on another thread.
pub(super) fn leave() -> ! {
    // SAFETY: does not return, and runs no code of this process.
    unsafe { libc::_exit(0) }
}
