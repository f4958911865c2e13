//! Measures how long a checkpoint takes to open and to read: `speed FILE_OR_FOLDER`.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use lmprobe_checkpoints::{Checkpoint, Error, Result};
use rayon::prelude::*;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::new(Path::new("speed"), "needs the path of a file or folder"))?;
    let path = Path::new(&path);
    let start = Instant::now();
    let checkpoint = if path.is_dir() { Checkpoint::of_folder(path)? } else { Checkpoint::open(path)? };
    let opened_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let names: Vec<&String> = checkpoint.entries().iter().filter(|(_, entry)| entry.dtype.is_readable()).map(|(name, _)| name).collect();
    let values = names.par_iter().map(|name| checkpoint.read_f32(name).map(|values| values.len())).sum::<Result<usize>>()?;
    let read_s = start.elapsed().as_secs_f64();
    let mebibytes = values / (1 << 18);
    let report = format!("{}: {} tensors opened in {opened_s:.4} s, {mebibytes} MiB of f32 read in {read_s:.3} s\n", checkpoint.format(), names.len());
    std::io::stdout().write_all(report.as_bytes()).map_err(|error| Error::new(path, error.to_string()))
}
