//! Which plugin is being called: for the message of a crash, and for a call that says nothing for long.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Seconds without a sign of life after which a person is told.
const SILENCE_S: u64 = 60;

/// A call that lasts.
#[derive(Debug)]
pub(crate) struct Watched {
    entrance: Entrance,
    /// Milliseconds of [`clock`] at the newest sign of life.
    newest: AtomicU64,
    told: AtomicBool,
}

impl Watched {
    /// The plugin does something.
    pub(crate) fn sign_of_life(&self) {
        self.newest.store(clock(), Ordering::Relaxed);
    }
}

fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

static CALLS: Mutex<Vec<Arc<Watched>>> = Mutex::new(Vec::new());

/// What a crash is blamed on if the crashing thread is none that called a plugin: the call that was begun last of those that last. Points at a text that lives for
/// ever and ends with a line feed, or is null. Changes only while [`CALLS`] is locked, so that it never names a call that has ended.
static ENTERED: AtomicPtr<&'static str> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// What a crash of this thread is blamed on.
    static HERE: Cell<*const &'static str> = const { Cell::new(std::ptr::null()) };
}

/// Whether this process exists for a plugin.
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// Whether the program itself is about to end.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// This process exists for a plugin: a crash of it is no crash of the program.
pub(crate) fn in_child() {
    IN_CHILD.store(true, Ordering::Relaxed);
}

/// The program itself is about to end, whatever plugin is being called: that is nobody's fault.
pub fn leaving() {
    HERE.set(std::ptr::null());
    LEAVING.store(true, Ordering::SeqCst);
}

/// A function of a plugin that calls can be entered of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entrance {
    origin: &'static str,
    blame: &'static &'static str,
}

impl Entrance {
    /// The entrance of this origin: the plugin, component and function as messages name them. Its texts live for ever, so there is one for each origin.
    pub(crate) fn new(origin: &str) -> Self {
        static ALL: Mutex<BTreeMap<&'static str, Entrance>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(origin) {
            return *known;
        }
        let blame = format!("error: lmprobe crashed inside {origin}; with `isolation: process` such a crash fails its job only\n");
        let origin: &'static str = Box::leak(origin.to_owned().into_boxed_str());
        let entrance = Self { origin, blame: Box::leak(Box::new(&*Box::leak(blame.into_boxed_str()))) };
        all.insert(origin, entrance);
        entrance
    }

    /// The plugin, component and function.
    pub(crate) fn origin(&self) -> &'static str {
        self.origin
    }

    /// Runs a call and watches it.
    pub(crate) fn enter<T>(&self, call: impl FnOnce(&Watched) -> T) -> T {
        start();
        let watched = Arc::new(Watched { entrance: *self, newest: AtomicU64::new(clock()), told: AtomicBool::new(false) });
        change_calls(|calls| calls.push(watched.clone()));
        // Also if the call unwinds.
        let inside = Inside { before: HERE.replace(self.blame), watched };
        call(&inside.watched)
    }
}

/// A call that lasts for as long as this lives.
struct Inside {
    before: *const &'static str,
    watched: Arc<Watched>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.set(self.before);
        change_calls(|calls| calls.retain(|other| !Arc::ptr_eq(other, &self.watched)));
    }
}

/// Begins or ends a call.
fn change_calls(change: impl FnOnce(&mut Vec<Arc<Watched>>)) {
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut calls);
    let blame = calls.last().map_or(std::ptr::null(), |call| std::ptr::from_ref(call.entrance.blame));
    ENTERED.store(blame.cast_mut(), Ordering::SeqCst);
}

/// Begins to watch, once.
fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        // The parent of such a process tells what became of it.
        if !IN_CHILD.load(Ordering::Relaxed) {
            blame_crashes();
        }
        let watch = || loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = clock();
            for call in CALLS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let silent_s = now.saturating_sub(call.newest.load(Ordering::Relaxed)) / 1000;
                if silent_s >= SILENCE_S && !call.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{} has given no sign of life for {SILENCE_S} s", call.entrance.origin);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("plugin-watch".into()).spawn(watch) {
            tracing::warn!("cannot watch over plugins: {error}");
        }
    });
}

/// Makes the last line of a crash name the plugin that was being called, and keeps a plugin from ending the program as if all were well.
#[cfg(unix)]
fn blame_crashes() {
    /// Writes the blame, if a plugin is being called. Only what is allowed in a signal handler.
    fn write_blame() -> bool {
        // A thread that is about to end has no such variable any more.
        let here = HERE.try_with(Cell::get).unwrap_or(std::ptr::null());
        let entered = if here.is_null() { ENTERED.load(Ordering::SeqCst).cast_const() } else { here };
        if entered.is_null() {
            return false;
        }
        // SAFETY: whatever is stored there lives for ever.
        let blame: &str = unsafe { *entered };
        // SAFETY: `write` may be called in a signal handler; the text is live.
        let _ = unsafe { libc::write(2, blame.as_ptr().cast(), blame.len()) };
        true
    }
    extern "C" fn crashed(signal: libc::c_int) {
        write_blame();
        // SAFETY: both functions may be called in a signal handler. The default action ends the process with this very signal.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    extern "C" fn ended() {
        if !LEAVING.load(Ordering::SeqCst) && write_blame() {
            // SAFETY: ends the process at once, with the code of a bug instead of the one the plugin chose.
            unsafe { libc::_exit(1) };
        }
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
        // SAFETY: the handler does only what is allowed there; SA_ONSTACK takes the signal stack that the standard library gives every thread of its own,
        // so that an overflowing stack is reported too.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = crashed as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    // SAFETY: the function lives as long as the program.
    unsafe { libc::atexit(ended) };
}

#[cfg(not(unix))]
fn blame_crashes() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_overlap_leave_nobody_to_blame() {
        let (one, other) = (Entrance::new("one"), Entrance::new("other"));
        // Each waits for the other to be inside, and the first to enter is the first to leave.
        let barrier = std::sync::Barrier::new(2);
        let left = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                one.enter(|_| barrier.wait());
                left.wait();
            });
            scope.spawn(|| {
                other.enter(|_| {
                    barrier.wait();
                    left.wait();
                });
            });
        });
        assert!(ENTERED.load(Ordering::SeqCst).is_null());
        one.enter(|_| {
            other.enter(|_| assert!(HERE.get() == std::ptr::from_ref(other.blame)));
            assert!(HERE.get() == std::ptr::from_ref(one.blame));
        });
        assert!(HERE.get().is_null() && ENTERED.load(Ordering::SeqCst).is_null());
    }
}
