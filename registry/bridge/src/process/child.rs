//! The child's end: answers what the program asks until it closes the pipe.

use std::fs::File;
use std::io::{BufReader, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lmprobe_core::{Error, Result, contained};
use serde_json::Value;

use super::packet::Packet;
use super::system;
use super::wire::{GREETING, Limits, ToChild, ToHost};
use crate::{Instance, Request, Response, Services};

/// Stack of the thread that runs the plugin: code that goes deep in the main thread of another program should not fail here.
const STACK_BYTES: usize = 64 << 20;
/// How long a plugin may be busy after the program closed the pipe.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often the program hears that the plugin is alive, in milliseconds.
const ALIVE_MS: u64 = 1000;
/// How often the program hears of the same phase.
const PROGRESS: Duration = Duration::from_millis(20);

/// The library that a child serves.
pub trait ComponentFactory: Sync {
    /// What the library is and has.
    ///
    /// # Errors
    /// If it cannot be loaded.
    fn describe(&self) -> Result<Value>;

    /// Creates a component; `kind` is one of `LMPROBE_KIND_*`.
    ///
    /// # Errors
    /// Those of the constructor.
    fn create(&self, kind: u32, id: &str, params: &Value, services: &dyn Services) -> Result<Box<dyn Instance>>;
}

/// Serves the program that started this process until it closes the pipe. Called before anything else: standard input and output belong to the two from here
/// on, and what is printed later goes to standard error.
///
/// # Errors
/// If this process was not started as a child.
pub fn serve(factory: &dyn ComponentFactory) -> Result<()> {
    let failed = |error: std::io::Error| Error::plugin("process of a plugin", format!("cannot speak with the program that started it ({error})"));
    system::end_with_parent();
    let (input, mut output) = system::take_standard_streams().map_err(failed)?;
    output.write_all(GREETING).map_err(failed)?;
    let (reply_sender, replies) = mpsc::channel();
    let (question_sender, questions) = mpsc::channel();
    let link = Arc::new(Link {
        output: Mutex::new(output),
        replies: Mutex::new(replies),
        is_cancelled: AtomicBool::new(false),
        start: Instant::now(),
        alive_ms: AtomicU64::new(0),
        newest_progress: Mutex::new(None),
    });
    let of_reader = Arc::clone(&link);
    thread::Builder::new().name("plugin-reader".to_owned()).spawn(move || read(input, &of_reader, &question_sender, &reply_sender)).map_err(failed)?;
    thread::scope(|scope| {
        let link = &link;
        let work = move || answer_all(factory, questions, link);
        let plugin = thread::Builder::new().name("plugin".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, work).map_err(failed)?;
        plugin.join().map_err(|_| Error::plugin("process of a plugin", "the loop that answers panicked; this is a bug of lmprobe"))
    })
}

/// Receives until the pipe is closed, also while the plugin works.
fn read(input: File, link: &Link, questions: &Sender<ToChild>, replies: &Sender<ToChild>) {
    let mut input = BufReader::with_capacity(1 << 16, input);
    loop {
        let message = match Packet::read(&mut input).and_then(|packet| packet.map(ToChild::unpack).transpose()) {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(error) => {
                eprintln!("the program sent {error}");
                break;
            }
        };
        let sent = match message {
            ToChild::Cancel => {
                link.is_cancelled.store(true, Ordering::SeqCst);
                Ok(())
            }
            ToChild::Reply(_) => replies.send(message),
            // A request to stop that came too late was meant for the call before.
            ToChild::Describe | ToChild::Create { .. } | ToChild::Call { .. } => {
                link.is_cancelled.store(false, Ordering::SeqCst);
                questions.send(message)
            }
        };
        if sent.is_err() {
            break;
        }
    }
    thread::spawn(|| {
        thread::sleep(FAREWELL);
        system::leave();
    });
}

/// Answers one question after the other. The instance is destroyed at the end.
fn answer_all(factory: &dyn ComponentFactory, questions: Receiver<ToChild>, link: &Link) {
    let mut instance: Option<Box<dyn Instance>> = None;
    for question in questions {
        // The program knows the plugin's name and puts it in.
        let result = contained("", || match question {
            ToChild::Describe => factory.describe().map(Response::Json),
            ToChild::Create { kind, id, params, limits } => {
                instance = Some(factory.create(kind, &id, &params, &Remote { link, limits })?);
                Ok(Response::Nothing)
            }
            ToChild::Call { request, limits } => match &instance {
                Some(instance) => instance.call(request, &Remote { link, limits }),
                None => Err(Error::plugin("", "was called before it was created; this is a bug of lmprobe")),
            },
            ToChild::Cancel | ToChild::Reply(_) => Err(Error::plugin("", "got a reply that nobody asked for; this is a bug of lmprobe")),
        });
        let packet = ToHost::Answer(result.map_err(Into::into)).pack().or_else(|error| {
            let failure = Error::plugin("", format!("what it answered cannot be sent to the program ({error})"));
            ToHost::Answer(Err(failure.into())).pack()
        });
        match packet {
            Ok(packet) => link.write(&packet),
            Err(_) => system::leave(),
        }
    }
}

/// The way to the program.
struct Link {
    output: Mutex<File>,
    /// Locked from the request to its reply: one thread at a time asks.
    replies: Mutex<Receiver<ToChild>>,
    is_cancelled: AtomicBool,
    start: Instant,
    /// When the program last heard that the plugin is alive, in milliseconds since the start.
    alive_ms: AtomicU64,
    newest_progress: Mutex<Option<(String, Instant)>>,
}

impl Link {
    fn write(&self, packet: &Packet) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if packet.write(&mut *output).is_err() {
            // Nobody is left to work for.
            system::leave();
        }
    }

    fn tell(&self, message: ToHost) {
        // Only what was asked for can be too long to send; of a message a person can do without.
        if let Ok(packet) = message.pack() {
            self.write(&packet);
        }
    }

    fn ask(&self, message: ToHost, what: &str) -> Result<Response> {
        let packet = message.pack().map_err(|error| Error::plugin("", format!("its request to {what} cannot be sent to the program ({error})")))?;
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&packet);
        match replies.recv() {
            Ok(ToChild::Reply(outcome)) => outcome.map_err(|failure| failure.into_error("")),
            _ => system::leave(),
        }
    }
}

/// The program's services, as a plugin in its own process sees them.
struct Remote<'a> {
    link: &'a Link,
    limits: Limits,
}

impl Services for Remote<'_> {
    fn log(&self, level: u32, message: &str) {
        self.link.tell(ToHost::Log { level, message: message.to_owned() });
    }

    /// Of a phase that advances quickly, not every step is passed on; its last one is.
    fn progress(&self, phase: &str, done: u64, total: u64) {
        let now = Instant::now();
        let mut newest = self.link.newest_progress.lock().unwrap_or_else(PoisonError::into_inner);
        if done < total
            && let Some((newest_phase, at)) = &*newest
            && newest_phase == phase
            && now.duration_since(*at) < PROGRESS
        {
            return;
        }
        *newest = Some((phase.to_owned(), now));
        drop(newest);
        self.link.tell(ToHost::Progress { phase: phase.to_owned(), done, total });
    }

    fn is_cancelled(&self) -> bool {
        let now = u64::try_from(self.link.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.link.alive_ms.load(Ordering::Relaxed);
        let is_due = now >= before.saturating_add(ALIVE_MS);
        if is_due && self.link.alive_ms.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.link.tell(ToHost::Alive);
        }
        self.link.is_cancelled.load(Ordering::SeqCst)
    }

    fn seed(&self) -> u64 {
        self.limits.seed
    }

    fn threads(&self) -> u32 {
        self.limits.threads
    }

    fn record_input(&self, path: &str) -> Result<()> {
        self.link.ask(ToHost::RecordInput(path.to_owned()), "record a file").map(drop)
    }

    fn encoder(&self, slot: u32, request: Request) -> Result<Response> {
        self.link.ask(ToHost::Encoder { slot, request }, "use an encoder")
    }
}
