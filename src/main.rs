//! `lmprobe`: asks language models what they know and shows how they know it.
//!
//! This crate knots the parts together: it reads the command line, hands the work to the libraries and shows what they
//! return. Results go to standard output, everything else to standard error.

mod arguments;
mod cmd;
mod console;
mod diagnostics;
mod downloads;
mod embed;
mod exit;
mod interrupt;
mod logging;
mod models;
mod panic;
mod pieces;
mod plugins;
mod predict;
mod progress;
mod report;
mod run_file;
mod threads;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::console::Console;
use crate::exit::Exit;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            // Help goes to standard output, errors to standard error; a closed pipe is nobody's mistake.
            let _ = message.print();
            return ExitCode::from(if message.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() });
        }
    };
    let console = Console::new(&arguments.global);
    logging::start(&arguments.global, console);
    let exit = panic::guard(console, || match cmd::execute(arguments.command, console) {
        Ok(exit) => exit,
        Err(error) => console.failure(&error),
    });
    lmprobe_registry::bridge::shutdown_all();
    ExitCode::from(exit.code())
}
