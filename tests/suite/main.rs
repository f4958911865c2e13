//! What a user sees: the program is run as a user runs it, on the fixtures of this repository.

mod architecture;
mod broken;
mod cli;
mod program;
mod quickstart;
mod registered;
mod resume;
mod running;
