//! How a child is started.

use std::ffi::OsString;
use std::io::{Error, Result};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;

/// The program that runs as a child, which calls [`serve`](super::serve) first thing.
#[derive(Debug, Clone)]
pub struct ChildCommand {
    program: OsString,
    args: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl ChildCommand {
    /// A program without arguments.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), args: Vec::new(), variables: Vec::new() }
    }

    /// With an argument more.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With an environment variable besides those of this process.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Starts a child with pipes, in a process group of its own: an interrupt from the keyboard is this program's to handle, which then asks the child to stop.
    pub(super) fn start(&self) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let Some(starter) = &*STARTER else { return command.spawn() };
        let (sender, receiver) = mpsc::sync_channel(1);
        starter.send((command, sender)).map_err(Error::other)?;
        receiver.recv().map_err(Error::other)?
    }
}

type Order = (Command, SyncSender<Result<Child>>);

/// A thread that starts every child and never ends. The system ends a child together with the *thread* that started it, and the caller may be a thread of a
/// pool that ends long before the instance.
static STARTER: LazyLock<Option<Sender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel::<Order>();
    let work = move || {
        for (mut command, answer) in orders {
            if let Err(mpsc::SendError(Ok(mut unwanted))) = answer.send(command.spawn()) {
                let _ = unwanted.kill();
                let _ = unwanted.wait();
            }
        }
    };
    thread::Builder::new().name("plugin-starter".to_owned()).spawn(work).ok().map(|_| sender)
});
