//! The one place that writes to the terminal: results to standard output, everything else to standard error.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::Context;
use lmprobe_registry::Invalid;
use serde::Serialize;

use crate::arguments::{Color, Global};
use crate::diagnostics;
use crate::exit::Exit;

/// Where a program that fails by its own fault asks to be reported.
pub(crate) const REPORT_A_BUG: &str = "this is a bug of lmprobe: please report it with the command line, the run file and this message";

/// What the global flags ask: what may be shown and how, and whether the network may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    quiet: bool,
    verbose: u8,
    color: bool,
    offline: bool,
}

impl Console {
    /// Decides by flags, environment and terminal.
    pub(crate) fn new(global: &Global) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR") => false,
            Color::Auto => std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0") || is_interactive(),
        };
        Self { quiet: global.quiet, verbose: global.verbose, color, offline: global.offline }
    }

    /// Whether standard error gets colours and Unicode frames.
    pub(crate) fn is_colored(self) -> bool {
        self.color
    }

    /// Whether the network must not be used.
    pub(crate) fn is_offline(self) -> bool {
        self.offline
    }

    /// Whether a moving bar can be drawn on standard error. Details asked for with `-v` would tear it.
    pub(crate) fn draws_bars(self) -> bool {
        !self.quiet && self.verbose == 0 && is_interactive()
    }

    /// Writes a part of the result to standard output. A reader that has seen enough (`| head`) is no failure.
    pub(crate) fn result(self, text: &str) -> anyhow::Result<()> {
        self.result_bytes(text.as_bytes())
    }

    /// The same for text that need not be UTF-8.
    #[expect(clippy::unused_self, reason = "whoever may write holds a console")]
    pub(crate) fn result_bytes(self, text: &[u8]) -> anyhow::Result<()> {
        let mut stdout = lmprobe_registry::bridge::standard_output();
        match stdout.write_all(text).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.context("writing to standard output"),
        }
    }

    /// Writes a result as one indented JSON value.
    pub(crate) fn json(self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.result(&text)
    }

    /// Tells something that `-q` hides.
    pub(crate) fn note(self, message: &str) {
        if !self.quiet {
            line(message);
        }
    }

    /// Tells something a person should know that does not stop the program; `-q` hides it.
    pub(crate) fn warning(self, message: &str) {
        if !self.quiet {
            line(&format!("{} {message}", self.painted("1;33", "warning:")));
        }
    }

    /// Tells what went wrong.
    pub(crate) fn error(self, message: &str) {
        line(&format!("{} {message}", self.painted("1;31", "error:")));
    }

    /// Writes to standard error what a program that is imitated to the byte would write.
    #[expect(clippy::unused_self, reason = "whoever may write holds a console")]
    pub(crate) fn raw_error(self, text: &[u8]) {
        // Nobody can be told that standard error is closed.
        let _ = io::stderr().write_all(text);
    }

    /// Tells why a command ended early, and with which exit code it ends.
    pub(crate) fn failure(self, error: &anyhow::Error) -> Exit {
        if let Some(invalid) = error.downcast_ref::<Invalid>() {
            line(diagnostics::render(invalid, self.color).trim_end());
            return Exit::of(error);
        }
        let exit = Exit::of(error);
        self.error(&format!("{error:#}"));
        if exit == Exit::Bug {
            line(&format!("lmprobe {}: {REPORT_A_BUG}", env!("CARGO_PKG_VERSION")));
        }
        exit
    }

    /// The text in an ANSI style, if colours are wanted.
    fn painted(self, style: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Whether standard error is a terminal that can move its cursor.
fn is_interactive() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a line to standard error. There is nobody left to tell if that fails.
fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
