//! One question to a child and its answer, with what comes in between: callbacks, cancellation, silence, death.

use std::io::{BufReader, Error as IoError, ErrorKind, Read, Result as IoResult, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use lmprobe_core::Error;

use super::command::ChildCommand;
use super::packet::{Packet, malformed};
use super::system;
use super::wire::{GREETING, Outcome, ToChild, ToHost};
use crate::{Response, Services};

/// How often the host looks whether to stop.
const TICK: Duration = Duration::from_millis(50);
/// How long a child may take to answer once it was asked to stop.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);
/// How long a child that is no longer needed may take to end by itself.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// How much of what a child wrote to standard error is kept for the message about its end.
const LAST_WORDS_BYTES: usize = 2048;
/// How much may stand before the greeting.
const MAX_BANNER_BYTES: usize = 1 << 16;

/// Who asks what, for messages and callbacks.
pub(super) struct Question<'a> {
    pub(super) services: &'a dyn Services,
    /// Plugin and component.
    pub(super) origin: &'a str,
    /// The function that is called.
    pub(super) function: &'static str,
    pub(super) silence_limit: Duration,
}

/// Why there is no response.
pub(super) enum Refusal {
    /// The child said so and can be asked again.
    Answered(Error),
    /// The child is gone.
    Ended(Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Answered(error) | Refusal::Ended(error) => error,
        }
    }
}

/// A running child. Dropping it ends it.
pub(super) struct Process {
    child: Child,
    /// `None` once the child was told to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// `None` once the child closed it.
    errors: Option<ChildStderr>,
    last_words: Vec<u8>,
    greeted: bool,
}

impl Process {
    pub(super) fn start(command: &ChildCommand) -> IoResult<Self> {
        let mut child = command.start()?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(IoError::other("a child without pipes"));
        };
        let process = Self { child, input: Some(input), output: BufReader::new(output), errors: Some(errors), last_words: Vec::new(), greeted: false };
        if let (Some(input), Some(errors)) = (&process.input, &process.errors) {
            system::do_not_block(input)?;
            system::do_not_block(process.output.get_ref())?;
            system::do_not_block(errors)?;
            system::widen(input);
            system::widen(process.output.get_ref());
        }
        Ok(process)
    }

    /// Whether the child ended while nobody asked it anything.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks, serves callbacks until the answer is there, and returns it.
    pub(super) fn ask(&mut self, message: ToChild, question: &Question) -> Result<Response, Refusal> {
        let packet = message.pack().map_err(|error| {
            let message = format!("what `{}` should get cannot be sent to its process ({error})", question.function);
            Refusal::Answered(Error::plugin(question.origin, message))
        })?;
        self.last_words.clear();
        let now = Instant::now();
        let mut exchange =
            Exchange { process: self, question, heard: now, ticked: now, cancelled: None, cancel_due: false, sending: false, has_exited: false, verdict: None };
        match exchange.run(&packet) {
            Ok(outcome) => outcome.map_err(|failure| Refusal::Answered(failure.into_error(&format!("{}: `{}`", question.origin, question.function)))),
            Err(error) => {
                let verdict = exchange.verdict.take();
                Err(Refusal::Ended(self.end(verdict, &error, question)))
            }
        }
    }

    /// Ends a child that failed and says why.
    fn end(&mut self, verdict: Option<Verdict>, error: &IoError, question: &Question) -> Error {
        let function = question.function;
        let what = match verdict {
            Some(Verdict::IgnoredCancel) => {
                self.kill();
                tracing::warn!("{}: was asked to stop `{function}`, did not within {} s and was ended", question.origin, CANCEL_LIMIT.as_secs());
                return Error::Cancelled;
            }
            Some(Verdict::Silent) => {
                self.kill();
                let limit = question.silence_limit.as_secs_f64();
                format!("gave no sign of life for {limit} s in `{function}` and was ended; raise `timeout` if it needs longer")
            }
            None if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe) => {
                if let Some(status) = self.wait(FAREWELL_LIMIT) {
                    format!("{} in `{function}`", cause_of(status))
                } else {
                    self.kill();
                    format!("closed the connection to its host in `{function}` and was ended")
                }
            }
            None => {
                self.kill();
                format!("sent its host {error} in `{function}` and was ended; something in its process writes to the host's pipe or over memory")
            }
        };
        self.hear_errors(question.origin);
        let words = self.last_words();
        Error::plugin(question.origin, if words.is_empty() { what } else { format!("{what}; it last wrote: {words}") })
    }

    /// The last whole lines on standard error, or the end of one that is too long.
    fn last_words(&self) -> String {
        let cut = self.last_words.len().saturating_sub(LAST_WORDS_BYTES);
        let mut words = &self.last_words[cut..];
        if cut > 0
            && let Some(end_of_line) = words.iter().position(|byte| *byte == b'\n').filter(|end| end + 1 < words.len())
        {
            words = &words[end_of_line + 1..];
        }
        String::from_utf8_lossy(words).trim().to_owned()
    }

    /// Reads what stands on standard error: for the last words, and lest the child waits for it to be read.
    fn hear_errors(&mut self, origin: &str) {
        let mut chunk = [0; 4096];
        // A child that writes without end must not keep the host here.
        for _ in 0..64 {
            match self.errors.as_mut().map(|errors| errors.read(&mut chunk)) {
                Some(Ok(n)) if n > 0 => {
                    tracing::debug!("{origin}: {}", String::from_utf8_lossy(&chunk[..n]).trim_end());
                    self.last_words.extend(&chunk[..n]);
                    let surplus = self.last_words.len().saturating_sub(2 * LAST_WORDS_BYTES);
                    self.last_words.drain(..surplus);
                }
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    self.errors = None;
                    return;
                }
            }
        }
    }

    fn kill(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            system::kill_group(self.child.id());
        }
        // A process that was killed ends; one that had ended was waited for above.
        let _ = self.child.wait();
    }

    /// How the child ended, if it does so in time.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if start.elapsed() >= limit {
                return None;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child destroys its instance and ends when its input does.
        self.input = None;
        if self.wait(FAREWELL_LIMIT).is_none() {
            self.kill();
        }
    }
}

/// What the host decided about a child that still runs.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Silent,
    IgnoredCancel,
}

/// The state of one question. Reading from it and writing to it waits for the child, and keeps watch meanwhile.
struct Exchange<'a> {
    process: &'a mut Process,
    question: &'a Question<'a>,
    /// When the child last gave a sign of life.
    heard: Instant,
    /// When the host last looked whether to stop.
    ticked: Instant,
    /// When the host was asked to stop.
    cancelled: Option<Instant>,
    /// Whether the child has yet to be told.
    cancel_due: bool,
    /// Whether part of a packet is on its way, into which no other may be written.
    sending: bool,
    has_exited: bool,
    verdict: Option<Verdict>,
}

impl Exchange<'_> {
    fn run(&mut self, packet: &Packet) -> IoResult<Outcome> {
        self.send(packet)?;
        if !self.process.greeted {
            self.skip_banner()?;
            self.process.greeted = true;
        }
        let services = self.question.services;
        loop {
            let packet = Packet::read(self)?.ok_or_else(ended)?;
            match ToHost::unpack(packet)? {
                ToHost::Alive => {}
                ToHost::Log { level, message } => services.log(level, &message),
                ToHost::Progress { phase, done, total } => services.progress(&phase, done, total),
                ToHost::RecordInput(path) => self.reply(services.record_input(&path).map(|()| Response::Nothing))?,
                ToHost::Encoder { slot, request } => self.reply(services.encoder(slot, request))?,
                ToHost::Answer(outcome) => return Ok(outcome),
            }
            // The time that the host took is not the child's.
            self.heard = Instant::now();
        }
    }

    fn reply(&mut self, result: lmprobe_core::Result<Response>) -> IoResult<()> {
        let packet = ToChild::Reply(result.map_err(Into::into)).pack().or_else(|error| {
            let failure = Error::plugin(self.question.origin, format!("the host's answer cannot be sent to its process ({error})"));
            ToChild::Reply(Err(failure.into())).pack()
        })?;
        self.send(&packet)
    }

    fn send(&mut self, packet: &Packet) -> IoResult<()> {
        self.sending = true;
        packet.write(self)?;
        self.sending = false;
        self.send_cancel()
    }

    /// Tells the child to stop if it has yet to be told. Never waits: a child that does not read is told at a later tick.
    fn send_cancel(&mut self) -> IoResult<()> {
        if self.cancel_due && !self.sending {
            let mut bytes = Vec::new();
            ToChild::Cancel.pack()?.write(&mut bytes)?;
            // So few bytes go into a pipe whole or not at all. That the child is gone is noticed where its answer is read.
            match self.process.input.as_mut().map(|input| input.write(&bytes)) {
                Some(Err(error)) if is_passing(&error) => {}
                _ => self.cancel_due = false,
            }
        }
        Ok(())
    }

    fn skip_banner(&mut self) -> IoResult<()> {
        let mut seen = Vec::new();
        while !seen.ends_with(GREETING) {
            if seen.len() >= MAX_BANNER_BYTES {
                return Err(malformed("bytes without the greeting of this version"));
            }
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            seen.extend(byte);
        }
        Ok(())
    }

    /// Waits until the child can be read from, or written to, but not beyond the next tick.
    fn wait(&mut self) -> IoResult<()> {
        let process = &mut *self.process;
        let errors = process.errors.as_ref().map(AsFd::as_fd);
        let input = process.input.as_ref().map(AsFd::as_fd).filter(|_| self.sending);
        let output = Some(process.output.get_ref().as_fd()).filter(|_| !self.sending);
        let readable: Vec<BorrowedFd> = errors.into_iter().chain(output).collect();
        let writable: Vec<BorrowedFd> = input.into_iter().collect();
        if system::wait(&readable, &writable, TICK)? {
            process.hear_errors(self.question.origin);
        } else if self.has_exited {
            // Something that the child started still holds the pipe open.
            return Err(ended());
        } else if process.has_ended() {
            // What it wrote before is read first.
            self.has_exited = true;
        }
        self.tick()
    }

    /// Looks whether to stop, and whether the child has been silent for too long.
    fn tick(&mut self) -> IoResult<()> {
        if self.ticked.elapsed() < TICK {
            return Ok(());
        }
        self.ticked = Instant::now();
        if self.cancelled.is_none() && self.question.services.is_cancelled() {
            self.cancelled = Some(self.ticked);
            self.cancel_due = true;
        }
        self.send_cancel()?;
        self.verdict = match self.cancelled {
            Some(since) if since.elapsed() >= CANCEL_LIMIT => Some(Verdict::IgnoredCancel),
            None if self.heard.elapsed() >= self.question.silence_limit => Some(Verdict::Silent),
            _ => return Ok(()),
        };
        Err(IoError::new(ErrorKind::TimedOut, "no answer in time"))
    }

    /// What became of an attempt to read or write: `None` is to try again.
    fn after(&mut self, attempt: IoResult<usize>) -> IoResult<Option<usize>> {
        match attempt {
            Ok(n) => {
                self.heard = Instant::now();
                // A child that talks without end must not keep the host from looking whether to stop.
                self.tick()?;
                Ok(Some(n))
            }
            Err(error) if is_passing(&error) => self.wait().map(|()| None),
            Err(error) => Err(error),
        }
    }
}

impl Read for Exchange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        loop {
            let attempt = self.process.output.read(buffer);
            if let Some(n) = self.after(attempt)? {
                return Ok(n);
            }
        }
    }
}

impl Write for Exchange<'_> {
    fn write(&mut self, buffer: &[u8]) -> IoResult<usize> {
        loop {
            let attempt = self.process.input.as_mut().ok_or_else(ended)?.write(buffer);
            if let Some(n) = self.after(attempt)? {
                return Ok(n);
            }
        }
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

fn is_passing(error: &IoError) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn ended() -> IoError {
    ErrorKind::UnexpectedEof.into()
}

/// How a process ended, as a person would say it.
fn cause_of(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("ended with exit code {}", status.code().unwrap_or_default());
    };
    let name = match signal {
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGABRT => " (SIGABRT: aborted)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGTRAP => " (SIGTRAP)",
        libc::SIGSYS => " (SIGSYS)",
        libc::SIGKILL => " (SIGKILL: by somebody, or by the system when memory ran out)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGHUP => " (SIGHUP)",
        libc::SIGXCPU => " (SIGXCPU)",
        _ => "",
    };
    format!("was killed by signal {signal}{name}")
}
