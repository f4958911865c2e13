//! `lmprobe predict`: the answers of a fine-tuned checkpoint to new inputs.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use lmprobe_core::{Build, BuildContext, CallContext, Encoder, Error, Kind, Prober, Problem, Seed, TaskHeadInfo, check_predictions};
use serde_json::json;

use crate::console::Console;
use crate::embed::{Columns, IdColumn};
use crate::exit::{Exit, UsageError};
use crate::interrupt::Interrupt;
use crate::models::{ComputeIn, ReadAs, unless_reader_left};
use crate::predict::{Format, Inputs, Targets, Writer, check_tags};
use crate::progress::Display;
use crate::run_file::{count, shown};
use crate::threads;

/// Arguments of `lmprobe predict`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(crate) struct PredictArgs {
    /// The checkpoint: a folder that fine-tuning has left, or any with a head for a task
    model: String,
    /// The inputs: texts (.txt, .csv, .tsv, .jsonl, .parquet; `-` reads lines), words (.conll, .iob, .bio; to tag, .tsv too unless --column is given) or
    /// questions (.jsonl)
    input: String,
    /// The file to write; without it, answers go to standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The format [default: by the ending of FILE; jsonl]
    #[arg(long)]
    format: Option<Format>,
    /// Column of the texts [default: `text`, or the only one]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Column of the second text of a pair
    #[arg(long, value_name = "NAME")]
    pair_column: Option<String>,
    /// Column or field of the ids, texts or numbers [default: `id`, where there is one, else the number of the line or row]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,
    /// Read at most N inputs
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    read_as: ReadAs,
    #[command(flatten)]
    compute: ComputeIn,
    /// Worker threads [default: `SLURM_CPUS_PER_TASK`, else `RAYON_NUM_THREADS`, else `OMP_NUM_THREADS`, else all]
    #[arg(long, value_name = "N", help_heading = "Speed")]
    threads: Option<NonZeroUsize>,
}

const NOTES: &str = "\
What is read, by what the head answers:
  entities (token classification)  a text a line, or a word a line with blank lines between sentences, or objects with either `text` or `words`;
                                   a .tsv holds words and tags, unless --column names its column of texts
  labels, numbers                  a text a line, or rows with a column `text` (and --pair-column for the second text)
  choices                          objects with `question` and `options` ({\"A\": ..}) or `choices` ([..])
  answers in a text                objects with `question` and `context`
What is written:
  jsonl   an object an input; entities with start, end (characters), type, text, score (mean probability of their tags)
  conll   a word and its tag a line
  brat    stand-off annotations; places count characters, those of line ends and a byte order mark too, from the beginning of an input of plain text;
          of every other input a .txt with a text a line is written beside the .ann, and they count in it
  tsv     id, prediction, and the probability of every label; tabs and line ends as \\t, \\n and \\r; cells of choices that a question does not have are empty
A .csv is read as RFC 4180 has it; in a .tsv a quote is a character as every other.";

/// Runs the command.
pub(crate) fn execute(arguments: &PredictArgs, console: Console) -> anyhow::Result<Exit> {
    lmprobe_kernels::simd_from_environment().map_err(UsageError)?;
    threads::arrange(arguments.threads);
    let interrupt = Interrupt::listen()?;
    let out = arguments.out.as_deref().filter(|out| out.as_os_str() != "-");
    if let Some(out) = out {
        UsageError::unless_replaceable(out, arguments.force)?;
    }
    let model = arguments.read_as.open(&arguments.model, arguments.compute.dtype.as_deref(), console)?;
    let Some(head) = model.source.info().task_head.clone() else {
        let mut message = format!("`{}` has no head for a task: name a checkpoint that `adapt: [{{use: fine-tune, ..}}]` has left", model.label);
        if let Some(warning) = model.source.info().warnings.iter().find(|warning| warning.contains("has no head")) {
            message = format!("{message}; {warning}");
        }
        return Err(UsageError(message).into());
    };
    let format = match (arguments.format, out) {
        (Some(format), _) => format,
        (None, None) => Format::Jsonl,
        (None, Some(out)) => {
            Format::of(out, head.problem).ok_or_else(|| UsageError(format!("{}: cannot tell the format from the ending; give --format", shown(out))))?
        }
    };
    if !format.fits(head.problem) {
        return Err(UsageError(format!("the format {} does not fit a {} head", format.name(), head.problem)).into());
    }
    let id = arguments.id_column.clone().map_or(IdColumn::IfThere, IdColumn::Named);
    let columns = Columns { text: arguments.column.clone(), pair: arguments.pair_column.clone(), id };
    let mut inputs = Inputs::open(&arguments.input, &columns, head.problem)?;
    let document = if format == Format::Brat && !inputs.is_plain_text() { Some(arguments.document(out)?) } else { None };
    let registry = arguments.read_as.registry(console)?;
    let Build::Prober(build) = registry.find(Kind::Prober, "task-head").map_err(anyhow::Error::from)?.build else {
        unreachable!("it was looked up by its kind");
    };
    let prober = build(json!({}), &BuildContext::default())?;
    let encoder = model.source.load_for_inference(Seed(0))?;
    for warning in &encoder.info().warnings {
        console.warning(warning);
    }
    if let Some(head) = encoder.task_head().filter(|_| matches!((format, head.problem), (Format::Jsonl | Format::Brat, Problem::TokenClassification))) {
        check_tags(head).map_err(UsageError)?;
    }
    let display = Arc::new(Display::of_work(console, &format!("predicting {}", arguments.input)));
    let cancel = interrupt.begin(display.clone()).clone();
    let cx = CallContext::new(Seed(0), display.as_ref(), cancel);
    let targets = Targets { out, document: document.as_deref() };
    let written = Writer::create(targets, format, head.problem, &head.labels)
        .and_then(|writer| arguments.answer(&mut inputs, (encoder.as_ref(), prober.as_ref()), &head, writer, &cx));
    display.close();
    match written {
        Ok(n) => {
            if let Some(out) = out {
                let texts = document.map(|document| format!("; the texts are in {}", shown(&document))).unwrap_or_default();
                console.note(&format!("{}: {} ({}){texts}", shown(out), count(n, "answer"), format.name()));
            }
            Ok(Exit::Done)
        }
        Err(Error::Cancelled) => {
            console.error("stopped on request; no file was written");
            Ok(interrupt.exit())
        }
        Err(error) => unless_reader_left(error),
    }
}

impl PredictArgs {
    /// The file of the texts that annotations are of, where these are no lines of a plain text.
    fn document(&self, out: Option<&Path>) -> Result<PathBuf, UsageError> {
        let Some(out) = out else {
            let message =
                "annotations stand off from a text, and this input is no plain text: name a file with -o, and the texts are written beside it as .txt";
            return Err(UsageError(format!("{}: {message}", self.input)));
        };
        let document = out.with_extension("txt");
        if document == out {
            return Err(UsageError(format!("{}: the texts are written as .txt beside the annotations; end their file in .ann", shown(out))));
        }
        UsageError::unless_replaceable(&document, self.force)?;
        Ok(document)
    }

    fn answer(
        &self,
        inputs: &mut Inputs,
        (encoder, prober): (&dyn Encoder, &dyn Prober),
        head: &TaskHeadInfo,
        mut writer: Writer,
        cx: &CallContext<'_>,
    ) -> Result<usize, Error> {
        let limit = self.limit.map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX));
        let mut n = 0;
        while let Some(chunk) = inputs.next(head, limit - n)? {
            cx.check_cancelled()?;
            let predictions = prober.probe(&[encoder], &chunk.examples, cx)?;
            check_predictions(&predictions, &chunk.examples, "prober `task-head`")?;
            writer.write(&chunk.asked, &predictions)?;
            n += chunk.asked.len();
        }
        if n == 0 {
            return Err(Error::data(&self.input, None, "there is nothing to answer in it"));
        }
        writer.finish()?;
        Ok(n)
    }
}
