//! Exit codes: what a script can tell apart.

use std::io::ErrorKind;
use std::path::Path;

use lmprobe_core::Error;
use lmprobe_registry::Invalid;

use crate::run_file::shown;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done,
    /// A bug of ours.
    Bug,
    /// Wrong usage, or an invalid run file.
    Usage,
    /// A model or data file is missing or malformed.
    Input,
    /// The run finished, but some jobs failed.
    SomeFailed,
    /// Needs the network, which it may not use.
    Offline,
    /// Not enough memory, or no such device.
    Resources,
    /// Stopped by SIGTERM or SIGUSR1; can be resumed.
    Stopped,
    /// Stopped by Ctrl-C; can be resumed.
    Interrupted,
    /// What a program that is imitated to the byte ends with.
    Original(u8),
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Input => 3,
            Self::SomeFailed => 4,
            Self::Offline => 5,
            Self::Resources => 6,
            Self::Stopped => 75,
            Self::Interrupted => 130,
            Self::Original(code) => code,
        }
    }

    /// The exit code of an error that ends a command.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(invalid) = error.downcast_ref::<Invalid>() {
            return match invalid {
                Invalid { lacks_network: true, .. } => Self::Offline,
                Invalid { lacks_device: true, .. } => Self::Resources,
                Invalid { .. } => Self::Usage,
            };
        }
        if error.chain().any(<dyn std::error::Error + 'static>::is::<lmprobe_scorers::Error>) {
            return Self::Input;
        }
        if error.is::<UsageError>() {
            return Self::Usage;
        }
        if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<Error>()) {
            return Self::of_core(error);
        }
        match error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()) {
            Some(error) if error.kind() == ErrorKind::OutOfMemory => Self::Resources,
            Some(_) => Self::Input,
            None => Self::Bug,
        }
    }

    fn of_core(error: &Error) -> Self {
        match error {
            Error::Io { source, .. } if source.kind() == ErrorKind::OutOfMemory => Self::Resources,
            Error::Io { .. } | Error::Data { .. } | Error::Model { .. } | Error::MissingTensors { .. } | Error::Plugin { .. } => Self::Input,
            Error::Config(_) | Error::Unsupported(_) | Error::Locked(_) => Self::Usage,
            Error::Device(_) => Self::Resources,
            Error::Cancelled => Self::Stopped,
            Error::Tensor(source) if source.to_string().to_lowercase().contains("out of memory") => Self::Resources,
            _ => Self::Bug,
        }
    }
}

/// A mistake in how a command was called that clap cannot see.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl UsageError {
    /// Refuses to replace a file that is there, unless that was asked for.
    pub(crate) fn unless_replaceable(path: &Path, force: bool) -> Result<(), Self> {
        if force || !path.exists() { Ok(()) } else { Err(Self(format!("{} is there already; --force replaces it", shown(path)))) }
    }
}

impl std::fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_can_mend_is_not_called_a_bug() {
        let not_found = Error::io("model")(ErrorKind::NotFound.into());
        assert_eq!(Exit::of(&not_found.into()), Exit::Input);
        assert_eq!(Exit::of(&Error::model("model", "no config.json").into()), Exit::Input);
        assert_eq!(Exit::of(&Error::Config("no cell is left".into()).into()), Exit::Usage);
        assert_eq!(Exit::of(&Error::Device("no card".into()).into()), Exit::Resources);
        assert_eq!(Exit::of(&UsageError("no such plugin".into()).into()), Exit::Usage);
    }

    #[test]
    fn context_does_not_hide_the_cause() {
        let error = anyhow::Error::from(Error::data("facts.csv", 3, "two columns")).context("reading the task");
        assert_eq!(Exit::of(&error), Exit::Input);
    }

    #[test]
    fn what_nobody_foresaw_is_a_bug() {
        assert_eq!(Exit::of(&anyhow::anyhow!("impossible")), Exit::Bug);
    }
}
