//! Running the program and looking at what it says.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The program, without what the surrounding environment would change in its output.
pub(crate) fn lmprobe(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lmprobe"));
    command.args(arguments);
    for name in
        ["RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE", "SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN"]
    {
        command.env_remove(name);
    }
    // No test asks the hub, unless it plays the hub itself, and none finds what is in the user's cache.
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", "/nonexistent");
    command
}

/// What a finished program left.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Runs a prepared command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Asserts the exit code and shows everything if it is another one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{}", self.stdout))
    }
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Finished {
    Finished::of(&mut lmprobe(arguments))
}

/// The folder of fixtures.
pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}
