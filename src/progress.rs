//! What a person sees of a run while it runs: a bar on a terminal, otherwise plain lines.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lmprobe_core::Progress;

use crate::console::Console;

/// A log file should not grow by more than a line a minute.
pub(crate) const LINE_EVERY: Duration = Duration::from_mins(1);

/// Shows a run on standard error.
pub(crate) struct Display {
    console: Console,
    /// Empty if lines are shown.
    bar: Option<ProgressBar>,
    /// Which jobs an earlier run finished; nothing is said of them.
    finished_before: Vec<bool>,
    /// What a person who stops the program at once has to know.
    if_stopped: &'static str,
    state: Mutex<State>,
}

struct State {
    /// `[3/12] label`.
    job: String,
    total: usize,
    phase: String,
    job_started: Instant,
    phase_started: Instant,
    /// What was done when the phase began: a phase may be taken up again, or go on where an earlier run stopped.
    phase_from: usize,
    newest_line: Instant,
    warned: HashSet<String>,
}

impl Display {
    /// A display for a run of which some jobs are finished.
    pub(crate) fn new(console: Console, finished_before: Vec<bool>) -> Self {
        let now = Instant::now();
        let state = State {
            job: String::new(),
            total: finished_before.len(),
            phase: String::new(),
            job_started: now,
            phase_started: now,
            phase_from: 0,
            newest_line: now,
            warned: HashSet::new(),
        };
        let if_stopped = "the same command goes on from the last finished job or checkpoint";
        Self { console, bar: console.draws_bars().then(bar), finished_before, if_stopped, state: Mutex::new(state) }
    }

    /// A display for one piece of work that is done or not, but never half.
    pub(crate) fn of_work(console: Console, label: &str) -> Self {
        let display = Self { if_stopped: "nothing was written", ..Self::new(console, vec![]) };
        label.clone_into(&mut display.state().job);
        if let Some(bar) = &display.bar {
            bar.set_prefix(label.to_owned());
        }
        display
    }

    /// What a person who stops the program at once has to know.
    pub(crate) fn if_stopped(&self) -> &'static str {
        self.if_stopped
    }

    /// Writes a line without tearing the bar.
    pub(crate) fn tell(&self, message: &str) {
        self.beside_bar(|| self.console.note(message));
    }

    /// Takes the bar away.
    pub(crate) fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn beside_bar(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_finished(&self, index: usize) -> bool {
        self.finished_before.get(index).copied().unwrap_or(false)
    }
}

impl Progress for Display {
    fn job_started(&self, index: usize, total: usize, label: &str) {
        let mut state = self.state();
        let now = Instant::now();
        state.job = format!("[{}/{total}] {label}", index + 1);
        state.total = total;
        state.phase.clear();
        (state.job_started, state.phase_started, state.newest_line) = (now, now, now);
        if self.was_finished(index) {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(state.job.clone());
                bar.set_length(0);
                bar.set_position(0);
                bar.set_message("");
                bar.reset_elapsed();
                bar.tick();
            }
            None => self.console.note(&state.job),
        }
    }

    fn advanced(&self, phase: &str, done: usize, total: usize) {
        let mut state = self.state();
        let now = Instant::now();
        let fresh = state.phase != phase;
        if fresh {
            phase.clone_into(&mut state.phase);
            (state.phase_started, state.phase_from) = (now, done);
        }
        if let Some(bar) = &self.bar {
            if fresh {
                bar.reset_eta();
                bar.set_message(phase.to_owned());
            }
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        } else if now.duration_since(state.newest_line) >= LINE_EVERY {
            state.newest_line = now;
            let left = time_left(state.phase_started.elapsed(), state.phase_from, done, total).map(|left| format!(", about {} left", time(left)));
            // Whoever reads from a pipe cannot know the end.
            let of = if total == 0 { String::new() } else { format!(" of {total}") };
            self.console.note(&format!("{}: {done}{of} {phase}{}", state.job, left.unwrap_or_default()));
        }
    }

    fn job_finished(&self, index: usize, _: &str, error: Option<&str>, reused: bool) {
        let state = self.state();
        if let Some(error) = error {
            self.beside_bar(|| self.console.error(&format!("{}: {error}", state.job)));
        } else if !reused {
            self.tell(&format!("{}: done in {}", state.job, time(state.job_started.elapsed())));
        } else if !self.was_finished(index) {
            self.tell(&format!("{}: finished by an earlier run", state.job));
        }
    }

    fn warning(&self, message: &str) {
        if self.state().warned.insert(message.to_owned()) {
            self.beside_bar(|| self.console.warning(message));
        }
    }

    fn found(&self, message: &str) {
        let state = self.state();
        self.tell(&format!("{}: {message}", state.job));
    }
}

fn bar() -> ProgressBar {
    let template = "{prefix} {wide_bar} {pos}/{len} {msg} {eta}";
    // The template is a constant; if the library ever refuses it, its default bar does.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style);
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

/// The time a phase still takes at its speed since it began with `from` done.
fn time_left(elapsed: Duration, from: usize, done: usize, total: usize) -> Option<Duration> {
    let (done, left) = (u32::try_from(done.checked_sub(from)?).ok()?, u32::try_from(total.checked_sub(done)?).ok()?);
    (done > 0).then(|| Duration::from_secs_f64(elapsed.as_secs_f64() / f64::from(done) * f64::from(left)))
}

/// A duration as a person says it: `0.4 s`, `3 min 20 s`, `2 h 5 min`.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_speech() {
        assert_eq!(time(Duration::from_millis(420)), "0.4 s");
        assert_eq!(time(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(time(Duration::from_mins(125)), "2 h 5 min");
    }

    #[test]
    fn what_is_left_follows_the_speed_so_far() {
        let left = time_left(Duration::from_secs(10), 0, 20, 80).unwrap();
        assert_eq!(left.as_secs(), 30, "20 took 10 s, 60 take 30 s");
        assert_eq!(time_left(Duration::from_secs(10), 40, 60, 120), Some(left), "what was done before took no time");
        assert_eq!(time_left(Duration::from_secs(10), 5, 5, 80), None, "no speed yet");
    }
}
