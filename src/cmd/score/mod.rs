//! `lmprobe score`: scores of files that other programs wrote, one file a scorer.

mod bioasq;
mod blurb;
mod blurb_run;
mod conll;
mod conll_strict;
mod input;
mod ner;
mod re;
mod squad;

use clap::{Args, Subcommand};

use crate::console::Console;
use crate::exit::Exit;

/// Arguments of `lmprobe score`.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(subcommand)]
    scorer: Scorer,
}

/// The scorers.
#[derive(Debug, Subcommand)]
enum Scorer {
    /// Phrases of tagged tokens: byte for byte as conlleval.pl (2004-01-26), or strictly with --strict
    Conll(conll::ConllArgs),
    /// Named entities that BioBERT predicted piece by piece: words put together, then conlleval
    Ner(ner::NerArgs),
    /// Relations that BioBERT predicted: as `re_eval.py` prints them
    Re(re::ReArgs),
    /// Answers to BioASQ's questions, phase B
    Bioasq(bioasq::BioasqArgs),
    /// Answers to questions in the form of SQuAD: exact match and F1
    Squad(squad::SquadArgs),
    /// The BLURB score of thirteen results
    Blurb(blurb::BlurbArgs),
}

/// Runs the command.
pub(crate) fn execute(arguments: &ScoreArgs, console: Console) -> anyhow::Result<Exit> {
    match &arguments.scorer {
        Scorer::Conll(arguments) => conll::execute(arguments, console),
        Scorer::Ner(arguments) => ner::execute(arguments, console),
        Scorer::Re(arguments) => re::execute(arguments, console),
        Scorer::Bioasq(arguments) => bioasq::execute(arguments, console),
        Scorer::Squad(arguments) => squad::execute(arguments, console),
        Scorer::Blurb(arguments) => blurb::execute(arguments, console),
    }
}
