//! `lmprobe convert`: writes a model as a Hugging Face folder with one safetensors file.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use lmprobe_core::Error;

use crate::console::Console;
use crate::exit::{Exit, UsageError};
use crate::models::ReadAs;
use crate::run_file::{count, shown};

/// Arguments of `lmprobe convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The model: a folder or a hub id
    model: String,
    /// The folder to write
    #[arg(value_name = "OUT_DIR")]
    out: PathBuf,
    /// Replace `OUT_DIR` if it is a model folder
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    read_as: ReadAs,
}

/// Runs the command.
pub(crate) fn execute(arguments: &ConvertArgs, console: Console) -> anyhow::Result<Exit> {
    let out = std::path::absolute(&arguments.out).map_err(Error::io(&arguments.out))?;
    let model = arguments.read_as.open(&arguments.model, None, console)?;
    check(&out, &model.folder, arguments.force)?;
    for warning in &model.source.info().warnings {
        console.warning(warning);
    }
    let parent = out.parent().ok_or_else(|| UsageError(format!("{} cannot be a model folder", out.display())))?;
    std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    // The folder appears when it is whole. It is removed with this value if anything fails.
    let staging = tempfile::Builder::new().prefix(".tmp-").tempdir_in(parent).map_err(Error::io(parent))?;
    let fresh = staging.path().join("model");
    std::fs::create_dir(&fresh).map_err(Error::io(&fresh))?;
    model.source.export(&fresh)?;
    let written = Written::of(&fresh)?;
    // What was written is read again before anything is replaced.
    let n_tensors: usize = model.source.at(&fresh)?.report().dtypes.iter().map(|(_, n)| n).sum();
    put_in_place(&fresh, &out, &staging.path().join("earlier"))?;
    let mut text = format!("{}: {}, {}, {}\n", shown(&out), count(written.files.len(), "file"), count(n_tensors, "tensor"), HumanBytes(written.total()));
    for (name, size) in &written.files {
        let _ = writeln!(text, "  {name}  {}", HumanBytes(*size));
    }
    console.result(&text)?;
    Ok(Exit::Done)
}

/// Refuses what would lose something.
fn check(out: &Path, model: &Path, force: bool) -> Result<(), UsageError> {
    if !out.exists() {
        return Ok(());
    }
    if !force {
        return Err(UsageError(format!("{} is there already; --force replaces a model folder", shown(out))));
    }
    if !out.join("config.json").is_file() {
        return Err(UsageError(format!("{} is not a model folder (it holds no `config.json`), so --force does not replace it", shown(out))));
    }
    let (out_real, model_real) = (out.canonicalize(), model.canonicalize());
    if let (Ok(out_real), Ok(model_real)) = (out_real, model_real)
        && model_real.starts_with(&out_real)
    {
        return Err(UsageError(format!("{} is the model itself; write to another folder", shown(out))));
    }
    Ok(())
}

/// Renames the new folder to its place; an earlier one is moved away first and removed with the staging folder.
fn put_in_place(fresh: &Path, out: &Path, earlier: &Path) -> anyhow::Result<()> {
    if out.exists() {
        std::fs::rename(out, earlier).map_err(Error::io(out))?;
    }
    if let Err(error) = std::fs::rename(fresh, out) {
        if earlier.exists() {
            std::fs::rename(earlier, out).map_err(Error::io(out))?;
        }
        return Err(Error::io(out)(error).into());
    }
    Ok(())
}

/// What a folder holds.
struct Written {
    files: Vec<(String, u64)>,
}

impl Written {
    fn of(folder: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let entry = entry.map_err(Error::io(folder))?;
            let size = entry.metadata().map_err(Error::io(entry.path()))?.len();
            files.push((entry.file_name().to_string_lossy().into_owned(), size));
        }
        files.sort();
        Ok(Self { files })
    }

    fn total(&self) -> u64 {
        self.files.iter().map(|(_, size)| size).sum()
    }
}
