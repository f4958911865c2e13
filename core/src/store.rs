//! The run folder: files appear whole or not at all, and a finished job is never run again.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use polars::prelude::{CsvWriter, DataFrame, DataType, IntoColumn, IpcWriter, NamedFrom, ParquetReader, ParquetWriter, SerReader, SerWriter, Series};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, JobId, OutputFormat, Result};

/// A checkpoint that is being written or removed, and one in whose place a new one is put, in the folder of a training.
pub(crate) const TEMPORARY_CHECKPOINT: &str = ".tmp-checkpoint";
pub(crate) const REPLACED_CHECKPOINT: &str = ".tmp-replaced";

/// The folders of a run with a copy of a table for each job.
pub(crate) const TABLE_FOLDERS: [&str; 4] = ["predictions", "training", "evaluations", "subsets"];

/// What the name of a file begins with that is being written, and how many letters and digits follow.
const TEMPORARY_PREFIX: &str = ".tmp-";
const TEMPORARY_RANDOM: usize = 6;

/// Writes a file by temporary file, fsync and rename, so that a reader sees all of it or none, whenever the process dies.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).rand_bytes(TEMPORARY_RANDOM);
    // Temporary files are private by default; results are as readable as the user's mask makes other files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(Error::io(folder))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|error| Error::io(path)(error.error))?;
    sync_folder(folder)
}

/// Makes a rename inside the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))
}

/// A run folder, locked for this process.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    // Held for as long as the store lives; the system releases it when the process dies.
    _lock: File,
}

impl Store {
    /// Opens or makes a run folder, checks that it can be written and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process uses it.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(Error::io(root))?;
        let path = root.join(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(root.to_owned())),
            // A file system without locks: renames still keep every file whole.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        }
        remove_leftovers(root)?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// The run folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a job.
    pub fn job(&self, id: &JobId) -> JobFolder {
        JobFolder { jobs: self.root.join("jobs").join(&id.0), checkpoints: self.root.join("checkpoints").join(&id.0) }
    }

    /// Writes a JSON file of the run folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        write_json(&self.root.join(name), value)
    }

    /// Writes a table in the given formats and returns the files; `name` may contain folders.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_table(&self, name: &str, frame: &DataFrame, formats: &[OutputFormat]) -> Result<Vec<PathBuf>> {
        let mut written = Vec::with_capacity(formats.len());
        for format in formats {
            let ending = match format {
                OutputFormat::Parquet => "parquet",
                OutputFormat::Csv => "csv",
                OutputFormat::Ipc => "arrow",
            };
            let path = self.root.join(format!("{name}.{ending}"));
            match format {
                OutputFormat::Parquet => write_parquet(&path, frame)?,
                OutputFormat::Csv => write_csv(&path, frame)?,
                OutputFormat::Ipc => write_atomically(&path, |file| {
                    IpcWriter::new(file).finish(&mut frame.clone())?;
                    Ok(())
                })?,
            }
            written.push(path);
        }
        Ok(written)
    }

    /// Removes tables of `folder` that are not among `kept`: copies that an earlier form of the run file left, which a glob over the
    /// folder would mix with this run's. What the jobs themselves keep stays.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn keep_only(&self, folder: &str, kept: &[PathBuf]) -> Result<()> {
        let folder = self.root.join(folder);
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
        for entry in entries {
            let path = entry.map_err(Error::io(&folder))?.path();
            let is_table = path.extension().is_some_and(|ending| ["parquet", "csv", "arrow"].iter().any(|table| ending == *table));
            if is_table && !kept.contains(&path) {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }
}

/// Removes temporary files that a killed process left behind. They were never part of a result. Only the folders that this program writes in are looked at, and only
/// names that it makes are removed: what else lies in a run folder is somebody's.
fn remove_leftovers(root: &Path) -> Result<()> {
    remove_temporary_files(root)?;
    for name in TABLE_FOLDERS {
        remove_temporary_files(&root.join(name))?;
    }
    for job in job_folders(&root.join("jobs"))? {
        remove_temporary_files(&job)?;
    }
    for training in job_folders(&root.join("checkpoints"))? {
        for name in [TEMPORARY_CHECKPOINT, REPLACED_CHECKPOINT] {
            let path = training.join(name);
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                fs::remove_dir_all(&path).map_err(Error::io(&path))?;
            }
        }
    }
    Ok(())
}

/// The entries of a folder, none if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<std::io::Result<_>>().map_err(Error::io(folder)),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(Error::io(folder)(error)),
    }
}

/// The folders whose names are job ids, sixteen hexadecimal digits.
fn job_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_id = |name: &str| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let is_job = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(is_id) && entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries(folder)?.iter().filter(|entry| is_job(entry)).map(fs::DirEntry::path).collect())
}

/// Removes the files of a folder that [`write_atomically`] had not finished.
fn remove_temporary_files(folder: &Path) -> Result<()> {
    let is_ours = |name: &str| {
        name.strip_prefix(TEMPORARY_PREFIX).is_some_and(|random| random.len() == TEMPORARY_RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    for entry in entries(folder)? {
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(is_ours) && entry.file_type().map_err(Error::io(&path))?.is_file() {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// What a job keeps.
#[derive(Debug, Clone)]
pub struct JobFolder {
    jobs: PathBuf,
    checkpoints: PathBuf,
}

impl JobFolder {
    /// The record of the job if it is finished: exactly when `job.json` is in place.
    ///
    /// # Errors
    /// If the record is there but is not one.
    pub fn record<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let path = self.jobs.join("job.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Error::data(&path, None, format!("not a job record ({error}); remove the folder to run the job again"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    /// Marks the job as finished.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn finish(&self, record: &impl Serialize) -> Result<()> {
        write_json(&self.jobs.join("job.json"), record)
    }

    /// Writes a table of the job.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_table(&self, name: &str, frame: &DataFrame) -> Result<()> {
        write_parquet(&self.jobs.join(format!("{name}.parquet")), frame)
    }

    /// Whether the job has written a table of this name.
    pub fn has_table(&self, name: &str) -> bool {
        self.jobs.join(format!("{name}.parquet")).is_file()
    }

    /// Reads a table of the job.
    ///
    /// # Errors
    /// If it is not there or malformed.
    pub fn read_table(&self, name: &str) -> Result<DataFrame> {
        read_parquet(&self.jobs.join(format!("{name}.parquet")))
    }

    /// Where the job's checkpoints lie.
    pub fn checkpoints(&self) -> &Path {
        &self.checkpoints
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write_atomically(path, |file| file.write_all(&bytes).map_err(Error::io(path)))
}

/// Writes a table as one Parquet file.
pub(crate) fn write_parquet(path: &Path, frame: &DataFrame) -> Result<()> {
    write_atomically(path, |file| {
        ParquetWriter::new(file).finish(&mut frame.clone())?;
        Ok(())
    })
}

/// Reads a table from one Parquet file.
pub(crate) fn read_parquet(path: &Path) -> Result<DataFrame> {
    let file = File::open(path).map_err(Error::io(path))?;
    ParquetReader::new(file).finish().map_err(|error| Error::data(path, None, format!("not a Parquet table ({error})")))
}

/// CSV has no lists: their items are joined by ` || `, as MedLAMA writes them.
fn write_csv(path: &Path, frame: &DataFrame) -> Result<()> {
    let mut flat = frame.clone();
    for column in frame.columns() {
        if let DataType::List(_) = column.dtype() {
            let lists = column.list()?;
            let joined: Vec<Option<String>> = (0..lists.len())
                .map(|row| match lists.get_as_series(row) {
                    None => Ok(None),
                    Some(cell) => {
                        let items = cell.cast(&DataType::String)?;
                        Ok(Some(items.str()?.iter().flatten().collect::<Vec<_>>().join(" || ")))
                    }
                })
                .collect::<Result<_>>()?;
            flat.with_column(Series::new(column.name().clone(), joined).into_column())?;
        }
    }
    write_atomically(path, |file| {
        CsvWriter::new(file).finish(&mut flat)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    #[test]
    fn two_processes_cannot_share_a_run_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::open(folder.path()).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("another lmprobe process is using this run folder"), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_json(&path, &1).unwrap();
        let result = write_atomically(&path, |file| {
            file.write_all(b"half").unwrap();
            Err(Error::Cancelled)
        });
        assert!(result.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn a_job_is_finished_exactly_when_its_record_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let job = store.job(&JobId("a".into()));
        job.write_table("predictions", &df!["x" => [1i64]].unwrap()).unwrap();
        assert_eq!(job.record::<u32>().unwrap(), None);
        job.finish(&7).unwrap();
        assert_eq!(job.record::<u32>().unwrap(), Some(7));
        assert_eq!(job.read_table("predictions").unwrap().height(), 1);
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (job, training) = ("jobs/0123456789abcdef", "checkpoints/0123456789abcdef");
        let own = [".tmp-a1B2c3", "predictions/.tmp-a1B2c3", "subsets/.tmp-a1B2c3", &format!("{job}/.tmp-a1B2c3"), &format!("{training}/.tmp-checkpoint/a")]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("{training}/.tmp-replaced/a")]);
        let foreign = [
            ".tmp-mine",
            ".tmp-notes1/a",
            "mine/.tmp-a1B2c3",
            "jobs/.tmp-a1B2c3",
            "jobs/mine/.tmp-a1B2c3",
            "checkpoints/mine/.tmp-checkpoint/a",
            "predictions/mine/.tmp-a1B2c3",
            "originals/.tmp-a1B2c3",
        ];
        let (own, foreign): (Vec<PathBuf>, Vec<PathBuf>) =
            (own.map(|name| folder.path().join(name)).collect(), foreign.iter().map(|name| folder.path().join(name)).collect());
        for path in own.iter().chain(&foreign) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "half").unwrap();
        }
        let _store = Store::open(folder.path()).unwrap();
        assert_eq!(own.iter().filter(|path| path.exists()).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
        assert_eq!(foreign.iter().filter(|path| !path.exists()).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    }

    #[test]
    fn tables_of_an_earlier_run_file_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let frame = df!["x" => [1i64]].unwrap();
        store.write_table("predictions/old", &frame, &[OutputFormat::Parquet]).unwrap();
        let kept = store.write_table("predictions/new", &frame, &[OutputFormat::Parquet, OutputFormat::Csv]).unwrap();
        store.keep_only("predictions", &kept).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path().join("predictions")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["new.csv", "new.parquet"]);
    }

    #[test]
    fn csv_joins_lists() {
        let folder = tempfile::tempdir().unwrap();
        let frame = crate::table::frame_of(vec![
            crate::table::texts_column("a", &[vec!["x".to_owned(), "y".to_owned()], vec![]]),
            crate::table::reals_column("b", &[vec![1.5], vec![2.0, 3.0]]),
        ])
        .unwrap();
        let path = folder.path().join("t.csv");
        write_csv(&path, &frame).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a,b\nx || y,1.5\n\"\",2.0 || 3.0\n");
    }
}
