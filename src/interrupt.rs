//! Signals: the first one asks the run to stop at the next safe point, a second Ctrl-C stops at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use lmprobe_core::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::exit::Exit;
use crate::progress::Display;

/// Listens for signals while a run lasts.
pub(crate) struct Interrupt {
    cancel: Cancel,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Set once there is work that can be brought to a safe point.
    display: OnceLock<Arc<Display>>,
    /// Whether the first signal was Ctrl-C.
    by_keyboard: AtomicBool,
}

impl Interrupt {
    /// Starts to listen. Until [`Self::begin`] every signal ends the program at once: nothing is lost yet.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1]).context("listening for signals")?;
        let (cancel, state) = (Cancel::default(), Arc::new(State::default()));
        let (asked, shared) = (cancel.clone(), state.clone());
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    react(signal, &asked, &shared);
                }
            })
            .context("listening for signals")?;
        Ok(Self { cancel, state })
    }

    /// From here on the first signal lets the work reach a safe point.
    pub(crate) fn begin(&self, display: Arc<Display>) -> &Cancel {
        // A second call would tell the same person; the first display stays.
        let _ = self.state.display.set(display);
        &self.cancel
    }

    /// The exit code of a run that stopped on request.
    pub(crate) fn exit(&self) -> Exit {
        if self.state.by_keyboard.load(Ordering::SeqCst) { Exit::Interrupted } else { Exit::Stopped }
    }
}

fn react(signal: i32, cancel: &Cancel, state: &State) {
    let keyboard = signal == SIGINT;
    let exit = if keyboard { Exit::Interrupted } else { Exit::Stopped };
    let Some(display) = state.display.get() else {
        lmprobe_registry::bridge::leaving();
        std::process::exit(exit.code().into());
    };
    if !cancel.is_requested() {
        state.by_keyboard.store(keyboard, Ordering::SeqCst);
        cancel.request();
        let again = if keyboard { "; press Ctrl-C again to stop at once" } else { "" };
        display.tell(&format!("stopping at the next safe point{again}"));
    } else if keyboard {
        display.tell(&format!("stopped at once; {}", display.if_stopped()));
        lmprobe_registry::bridge::leaving();
        std::process::exit(exit.code().into());
    }
}
