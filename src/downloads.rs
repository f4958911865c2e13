//! What a person sees of a download: a bar on a terminal, otherwise plain lines.

use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lmprobe_registry::HubEvent;

use crate::console::Console;
use crate::progress::LINE_EVERY;

/// Shows the downloads of models on standard error.
pub(crate) struct Downloads {
    console: Console,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    newest_line: Instant,
}

impl Downloads {
    pub(crate) fn new(console: Console) -> Self {
        Self { console, bar: None, total: None, newest_line: Instant::now() }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: HubEvent) {
        match event {
            HubEvent::Start { file, bytes } => {
                self.total = bytes;
                self.newest_line = Instant::now();
                let size = bytes.map(|bytes| format!(" ({})", HumanBytes(bytes))).unwrap_or_default();
                if self.console.draws_bars() {
                    self.bar = Some(bar(&file, bytes));
                } else {
                    self.console.note(&format!("downloading {file}{size}"));
                }
            }
            HubEvent::Progress { file, received } => match &self.bar {
                Some(bar) => bar.set_position(received),
                None if self.newest_line.elapsed() >= LINE_EVERY => {
                    self.newest_line = Instant::now();
                    let of = self.total.map(|total| format!(" of {}", HumanBytes(total))).unwrap_or_default();
                    self.console.note(&format!("downloading {file}: {}{of}", HumanBytes(received)));
                }
                None => {}
            },
            HubEvent::Done { .. } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            HubEvent::Waiting { file } => self.tell(&format!("{file} is being downloaded by another process; waiting for it")),
            HubEvent::Restarted { file } => self.tell(&format!("what was there of {file} cannot be continued; it is fetched from its beginning")),
            HubEvent::UsingCache { reason } => self.console.warning(&format!("the hub was not asked, the newest commit in the cache is used: {reason}")),
            _ => {}
        }
    }

    fn tell(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.console.note(message)),
            None => self.console.note(message),
        }
    }
}

fn bar(file: &str, bytes: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
    let template = if bytes.is_some() { "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}" } else { "{prefix} {bytes} {bytes_per_sec}" };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(file.to_owned());
    bar
}
