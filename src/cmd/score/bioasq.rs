//! `lmprobe score bioasq`: phase B of BioASQ.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use lmprobe_scorers::bioasq::{Misfits, PhaseB, Variant, read_gold, read_system};
use serde_json::{Map, Value, json};

use crate::cmd::score::input::Input;
use crate::console::Console;
use crate::exit::Exit;

/// Arguments of `lmprobe score bioasq`.
#[derive(Debug, Args)]
pub(crate) struct BioasqArgs {
    /// The questions with their answers
    gold: PathBuf,
    /// What a system answered
    system: PathBuf,
    /// Print the line of BioASQ's evaluator only (`-phaseB -e 5`), without a line end as it does
    #[arg(long, conflicts_with = "json")]
    official: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn execute(arguments: &BioasqArgs, console: Console) -> anyhow::Result<Exit> {
    let (gold_file, system) = (Input::read(Some(&arguments.gold))?, Input::read(Some(&arguments.system))?);
    let gold = read_gold(&gold_file.bytes, &gold_file.name)?;
    let system = read_system(&system.bytes, &system.name)?;
    let misfits = Misfits::of(&gold, &system);
    let scored = Variant::ALL.map(|variant| (variant, PhaseB::of(&gold, &system, variant)));
    let (official, complete) = (&scored[0].1, &scored[1].1);
    if complete.missing > 0 {
        console.warning(&format!("{} questions of the gold are not answered; `official` leaves them out, the others count them as wrong", complete.missing));
    }
    for (ids, what) in [
        (
            &misfits.wrong_form,
            "answers do not have the form that their question asks for (`\"yes\"` or `\"no\"`, or a list of lists of texts) and count as wrong",
        ),
        (&misfits.no_answer, "questions are there without an `exact_answer` and count as wrong"),
    ] {
        if let Some(first) = ids.first() {
            console.warning(&format!("{} {what}; the first is `{first}`", ids.len()));
        }
    }
    if let Some(first) = misfits.unknown.first() {
        let n = misfits.unknown.len();
        console.warning(&format!("{n} answers are to questions that {} does not have; they do not count; the first is `{first}`", gold_file.name));
    }
    if complete.cut > 0 {
        console.warning(&format!("{} factoid answers have more than five entries; `official` reads them all, the others the first five", complete.cut));
    }
    if arguments.official {
        console.result(&official.measures(Variant::Official).line())?;
    } else if arguments.json {
        let variants: Map<String, Value> = scored
            .iter()
            .map(|(variant, sums)| {
                let value = json!({"measures": sums.measures(*variant), "yes_no": sums.n_yes_no(), "factoid": sums.factoid.n, "list": sums.list.n});
                (variant.name().to_owned(), value)
            })
            .collect();
        console.json(&json!({"missing": complete.missing, "cut": complete.cut, "misfits": misfits, "variants": variants}))?;
    } else {
        console.result(&table(&scored))?;
    }
    Ok(Exit::Done)
}

/// A column a variant, a row a measure, as fractions.
fn table(scored: &[(Variant, PhaseB)]) -> String {
    let mut text = format!("{:<14}", "");
    for (variant, _) in scored {
        let _ = write!(text, "{:>12}", variant.name());
    }
    text.push('\n');
    let columns: Vec<_> = scored.iter().map(|(variant, sums)| sums.measures(*variant).named()).collect();
    for (row, (name, _)) in columns[0].iter().enumerate() {
        let _ = write!(text, "{name:<14}");
        for column in &columns {
            let _ = write!(text, "{:>12.4}", column[row].1);
        }
        text.push('\n');
    }
    for (name, count) in [("yes/no", PhaseB::n_yes_no as fn(&PhaseB) -> u64), ("factoid", |sums| sums.factoid.n), ("list", |sums| sums.list.n)] {
        let _ = write!(text, "{:<14}", format!("n {name}"));
        for (_, sums) in scored {
            let _ = write!(text, "{:>12}", count(sums));
        }
        text.push('\n');
    }
    text.push_str("\nofficial: as BioASQ's evaluator; complete: every gold question counts, factoid answers are cut at five entries; ");
    text.push_str("normalized: as complete, without case, punctuation and articles\n");
    text
}
