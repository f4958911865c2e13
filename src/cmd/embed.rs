//! `lmprobe embed`: texts to vectors.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lmprobe_core::{CallContext, Encoder, Error, Seed, Tokenization, hash_files};

use crate::console::Console;
use crate::embed::{Columns, Empty, Format, Layers, Order, Passes, Pooling, Records, Shape, Stream, Summary, Target, Texts, Totals, open};
use crate::exit::{Exit, UsageError};
use crate::interrupt::Interrupt;
use crate::models::{ComputeIn, ReadAs, unless_reader_left};
use crate::progress::Display;
use crate::run_file::{count, shown};
use crate::threads;

/// Longest text of `extract_features.py`.
const BERT_MAX_LENGTH: usize = 128;

/// Arguments of `lmprobe embed`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(crate) struct EmbedArgs {
    /// The model: a folder or a hub id
    model: String,
    /// The texts: one a line, or the rows of .csv, .tsv, .jsonl or .parquet; `-` reads lines from standard input
    input: String,
    /// The file to write; without it, jsonl goes to standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The format [default: by the ending of FILE]
    #[arg(long)]
    format: Option<Format>,
    /// Hidden states: `all`, or numbers with commas; 0 is the embeddings, -1 the last block [default: -1; jsonl: -1,-2,-3,-4]
    #[arg(long, allow_hyphen_values = true, value_name = "LAYERS")]
    layers: Option<Layers>,
    /// How tokens become vectors [default: mean; jsonl: tokens]
    #[arg(long)]
    pooling: Option<Pooling>,
    /// Column of the texts [default: `text`, or the only one]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Column of a second text, to embed pairs
    #[arg(long, value_name = "NAME")]
    pair_column: Option<String>,
    /// Repeat the texts in the table (parquet, pooled)
    #[arg(long)]
    with_text: bool,
    /// Longest text in tokens, special ones included; longer ones are cut and counted [default: the model's limit; jsonl: 128]
    #[arg(long, value_name = "N")]
    max_length: Option<NonZeroUsize>,
    /// Leave out texts that are empty or blank, and count them
    #[arg(long)]
    skip_empty: bool,
    /// Read at most N records
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    read_as: ReadAs,
    #[command(flatten)]
    compute: ComputeIn,
    /// Tokens that go through the model at once; changes no number, but for last bits in toy models
    #[arg(long, value_name = "N", default_value = "2048", help_heading = "Speed")]
    batch_tokens: NonZeroUsize,
    /// Texts that go through the model at once, at most; changes no number either
    #[arg(long, value_name = "N", help_heading = "Speed")]
    batch_size: Option<NonZeroUsize>,
    /// Worker threads [default: `SLURM_CPUS_PER_TASK`, else `RAYON_NUM_THREADS`, else `OMP_NUM_THREADS`, else all]
    #[arg(long, value_name = "N", help_heading = "Speed")]
    threads: Option<NonZeroUsize>,
}

const NOTES: &str = "\
What is written:
  parquet      pooled: index, layer, embedding; a token: index, token_index, token, id, word, start, end, special, layer, embedding
  safetensors  embeddings (texts, [layers,] hidden); a token: (tokens, [layers,] hidden) with offsets, ids, special
  npy          embeddings as above; with a vector a token, OUT.offsets.npy (texts + 1)
  jsonl        the lines of BERT's extract_features.py: its lines are stripped, `A ||| B` is a pair, its numbers are rounded to six decimals.
               Layers are numbered as everywhere here: its layer 0 is layer 1; negative numbers agree.
OUT.json says how the file was made. `index` counts records from 0; with --skip-empty, safetensors and npy keep it too (OUT.index.npy).";

/// What is wanted, with the defaults of its format filled in.
struct Wanted {
    target: Target,
    format: Format,
    layers: Layers,
    pooling: Pooling,
}

/// Runs the command.
pub(crate) fn execute(arguments: &EmbedArgs, console: Console) -> anyhow::Result<Exit> {
    lmprobe_kernels::simd_from_environment().map_err(UsageError)?;
    let wanted = arguments.wanted()?;
    threads::arrange(arguments.threads);
    let interrupt = Interrupt::listen()?;
    if !arguments.force {
        wanted.target.check()?;
    }
    let columns = Columns { text: arguments.column.clone(), pair: arguments.pair_column.clone(), ..Columns::default() };
    let mut records = open(&arguments.input, &columns)?;
    let model = arguments.read_as.open(&arguments.model, arguments.compute.dtype.as_deref(), console)?;
    let info = model.source.info();
    let layers = wanted.layers.of(info).map_err(|error| UsageError(format!("{error}; choose with --layers")))?;
    let shape = Shape { layers, hidden: info.hidden, pooling: wanted.pooling };
    let max_length = arguments.max_length(wanted.format, info.max_length)?;
    let hash = hash_files(&model.source.report().files)?;
    let encoder = model.source.load_for_inference(Seed(0))?;
    for warning in &encoder.info().warnings {
        console.warning(warning);
    }
    if encoder.info().random_init {
        console.warning("the weights are random (drawn from seed 0): the vectors mean nothing");
    }
    let summary = Summary {
        model: &model.label,
        family: &info.family,
        hash: &hash,
        dtype: info.dtype,
        shape: &shape,
        max_length,
        input: &arguments.input,
        column: arguments.column.as_deref(),
        pair_column: arguments.pair_column.as_deref(),
        format: wanted.format,
        command: std::env::args().collect(),
    };
    let display = Arc::new(Display::of_work(console, &format!("embedding {}", arguments.input)));
    let cancel = interrupt.begin(display.clone()).clone();
    let embedded = arguments.embed(&wanted, &summary, encoder.as_ref(), records.as_mut(), &CallContext::new(Seed(0), display.as_ref(), cancel));
    display.close();
    match embedded {
        Ok(totals) => {
            tell(&wanted, &totals, max_length, console);
            Ok(Exit::Done)
        }
        Err(Error::Cancelled) => {
            console.error("stopped on request; nothing was written");
            Ok(interrupt.exit())
        }
        Err(error) => unless_reader_left(error),
    }
}

impl EmbedArgs {
    /// Checks what clap cannot see.
    fn wanted(&self) -> Result<Wanted, UsageError> {
        let target = self.out.clone().filter(|out| out.as_os_str() != "-").map_or(Target::StandardOutput, Target::File);
        let format = match (&target, self.format) {
            (_, Some(format)) => format,
            (Target::StandardOutput, None) => {
                return Err(UsageError("name the file to write with -o, or give --format jsonl to write to standard output".into()));
            }
            (Target::File(out), None) => Format::of(out).ok_or_else(|| {
                UsageError(format!(
                    "{}: cannot tell the format from the ending; end it in .parquet, .safetensors, .npy or .jsonl, or give --format",
                    out.display()
                ))
            })?,
        };
        let refuse = |message: String| Err(UsageError(message));
        if target == Target::StandardOutput && format != Format::Jsonl {
            return refuse(format!("{} cannot be written to standard output; name a file with -o", format.name()));
        }
        let default = if format == Format::Jsonl { Pooling::Tokens } else { Pooling::Mean };
        let pooling = self.pooling.unwrap_or(default);
        if format == Format::Jsonl && pooling != Pooling::Tokens {
            return refuse(format!("jsonl holds a vector a token, so --pooling {} does not fit; write parquet, safetensors or npy", pooling.name()));
        }
        if self.with_text && (format != Format::Parquet || pooling == Pooling::Tokens) {
            return refuse("--with-text fits pooled parquet only".into());
        }
        let layers = if format == Format::Jsonl { vec![-1, -2, -3, -4] } else { vec![-1] };
        Ok(Wanted { target, format, layers: self.layers.clone().unwrap_or(Layers::These(layers)), pooling })
    }

    fn max_length(&self, format: Format, limit: usize) -> Result<usize, UsageError> {
        match self.max_length.map(NonZeroUsize::get) {
            Some(asked) if asked > limit => Err(UsageError(format!("--max-length {asked}: the model reads at most {limit} tokens"))),
            Some(asked) => Ok(asked),
            None if format == Format::Jsonl => Ok(BERT_MAX_LENGTH.min(limit)),
            None => Ok(limit),
        }
    }

    /// Embeds everything and puts the files in place.
    fn embed(&self, wanted: &Wanted, summary: &Summary<'_>, encoder: &dyn Encoder, records: &mut dyn Records, cx: &CallContext<'_>) -> Result<Totals, Error> {
        let empty = if self.skip_empty { Empty::Skip } else { Empty::Keep };
        let texts = match (self.with_text, &self.pair_column) {
            (false, _) => Texts::None,
            (true, None) => Texts::Single,
            (true, Some(_)) => Texts::Pair,
        };
        let metadata = summary.metadata();
        let mut sink = wanted.target.open(wanted.format, &Order { shape: summary.shape, encoder, empty, texts, metadata: &metadata })?;
        let stream = Stream {
            encoder,
            shape: summary.shape,
            how: Tokenization::at_most(summary.max_length),
            passes: Passes { tokens: self.batch_tokens.get(), sequences: self.batch_size.map(NonZeroUsize::get) },
            empty,
            bert_lines: wanted.format == Format::Jsonl,
            limit: self.limit.map(NonZeroU64::get),
            cx,
        };
        let totals = stream.run(records, sink.as_mut())?;
        let finished = sink.finish()?;
        if let Target::File(out) = &wanted.target {
            summary.finish(finished, &totals, out)?;
        }
        Ok(totals)
    }
}

/// What a person should know of the whole.
fn tell(wanted: &Wanted, totals: &Totals, max_length: usize, console: Console) {
    let Totals { texts, skipped, truncated, tokens } = totals;
    if *truncated > 0 {
        console.note(&format!("cut: {truncated} of {texts} texts were longer than {max_length} tokens"));
    }
    if *skipped > 0 {
        console.note(&format!("left out: {skipped} empty texts"));
    }
    if let Target::File(out) = &wanted.target {
        console.note(&format!(
            "{}: {}, {tokens} tokens, {} ({})",
            shown(out),
            count(usize::try_from(*texts).unwrap_or(usize::MAX), "text"),
            wanted.pooling.name(),
            wanted.format.name()
        ));
    }
}
