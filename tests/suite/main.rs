//! What a user sees: the program is run as a user runs it, on the fixtures of this repository.

mod architecture;
mod array_files;
mod broken;
mod cli;
mod compute;
mod convert_describe;
mod embed;
mod embed_refusals;
mod fill_mask;
mod fine_tune;
mod hub;
mod plugins;
mod predict;
mod program;
mod quickstart;
mod registered;
mod resume;
mod running;
mod score;
