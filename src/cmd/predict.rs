//! `lmprobe predict`: the answers of a fine-tuned checkpoint to new inputs.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lmprobe_core::{Build, BuildContext, CallContext, Encoder, Error, Kind, Prober, Seed, TaskHeadInfo, check_predictions};
use serde_json::json;

use crate::console::Console;
use crate::embed::Columns;
use crate::exit::{Exit, UsageError};
use crate::interrupt::Interrupt;
use crate::models::{ComputeIn, ReadAs, unless_reader_left};
use crate::predict::{Format, Inputs, Writer};
use crate::progress::Display;
use crate::run_file::{count, shown};
use crate::threads;

/// Arguments of `lmprobe predict`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(crate) struct PredictArgs {
    /// The checkpoint: a folder that fine-tuning has left, or any with a head for a task
    model: String,
    /// The inputs: texts (.txt, .csv, .tsv, .jsonl, .parquet; `-` reads lines), words (.tsv, .conll) or questions (.jsonl)
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
  entities (token classification)  a text a line, or a word a line with blank lines between sentences, or objects with `text` or `words`
  labels, numbers                  a text a line, or rows with a column `text` (and --pair-column for the second text)
  choices                          objects with `question` and `options` ({\"A\": ..}) or `choices` ([..])
  answers in a text                objects with `question` and `context`
What is written:
  jsonl   an object an input; entities with start, end (characters), type, text, score (mean probability of their tags)
  conll   a word and its tag a line
  brat    stand-off annotations; places count characters from the beginning of the input
  tsv     id, prediction, and the probability of every label";

/// Runs the command.
pub(crate) fn execute(arguments: &PredictArgs, console: Console) -> anyhow::Result<Exit> {
    lmprobe_kernels::simd_from_environment().map_err(UsageError)?;
    threads::arrange(arguments.threads);
    let interrupt = Interrupt::listen()?;
    let out = arguments.out.as_deref().filter(|out| out.as_os_str() != "-");
    if let Some(out) = out.filter(|out| !arguments.force && out.exists()) {
        return Err(UsageError(format!("{} is there already; --force replaces it", shown(out))).into());
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
    let columns = Columns { text: arguments.column.clone(), pair: arguments.pair_column.clone() };
    let mut inputs = Inputs::open(&arguments.input, &columns, head.problem)?;
    let registry = arguments.read_as.registry(console)?;
    let Build::Prober(build) = registry.find(Kind::Prober, "task-head").map_err(anyhow::Error::from)?.build else {
        unreachable!("it was looked up by its kind");
    };
    let prober = build(json!({}), &BuildContext::default())?;
    let encoder = model.source.load_for_inference(Seed(0))?;
    for warning in &encoder.info().warnings {
        console.warning(warning);
    }
    let display = Arc::new(Display::of_work(console, &format!("predicting {}", arguments.input)));
    let cancel = interrupt.begin(display.clone()).clone();
    let cx = CallContext::new(Seed(0), display.as_ref(), cancel);
    let written = arguments.answer(&mut inputs, encoder.as_ref(), prober.as_ref(), (&head, format), &cx);
    display.close();
    match written {
        Ok(n) => {
            if let Some(out) = out {
                console.note(&format!("{}: {} ({})", shown(out), count(n, "answer"), format.name()));
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
    fn answer(
        &self,
        inputs: &mut Inputs,
        encoder: &dyn Encoder,
        prober: &dyn Prober,
        (head, format): (&TaskHeadInfo, Format),
        cx: &CallContext<'_>,
    ) -> Result<usize, Error> {
        let out = self.out.as_deref().filter(|out| out.as_os_str() != "-");
        let mut writer = Writer::create(out, format, head.problem, &head.labels)?;
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
