//! The run scripts of LinkBERT: a recipe a data set, for either size.

#[cfg(test)]
use std::fmt::Write;

use lmprobe_core::serde_json::{Map, Value};
use lmprobe_core::{Error, Problem, Result};

use super::{Preset, answers_in_windows, ground, meant, normal, not_covered, quoted, values};

/// The values for the data set that the run file names.
///
/// # Errors
/// If it names none, an unknown one, or one of another problem than the task's.
pub(super) fn recipe(preset: Preset, dataset: Option<&str>, problem: Option<Problem>) -> Result<Map<String, Value>> {
    let preset_word = preset.word();
    let names: Vec<&str> = LINK_BERT.iter().filter(|row| problem.is_none_or(|problem| row.problem == problem)).map(|row| row.dataset).collect();
    if let Some(problem) = problem.filter(|_| names.is_empty()) {
        return Err(not_covered(preset, problem));
    }
    let of_problem = problem.map(|problem| format!(" of {problem}")).unwrap_or_default();
    let all = format!("data sets{of_problem}: {}", quoted(&names));
    let Some(name) = dataset else {
        return Err(Error::Config(format!("preset `{preset_word}` depends on the data set: name it with `dataset`; {all}")));
    };
    if ASKED_ONLY.contains(&normal(name).as_str()) {
        return Err(Error::Config(format!(
            "preset `{preset_word}`: LinkBERT was not trained on `{name}`, it was asked after a training on MedQA; write `dataset: medqa` and give the task of `{name}` a run of its own"
        )));
    }
    let Some(row) = LINK_BERT.iter().find(|row| row.is_called(name)) else {
        return Err(Error::Config(format!("preset `{preset_word}`: unknown `dataset` `{name}`; {}{all}", meant(name, &names))));
    };
    if let Some(problem) = problem.filter(|&problem| problem != row.problem) {
        return Err(Error::Config(format!("preset `{preset_word}`: `dataset` `{name}` is one of {}, the task is one of {problem}; {all}", row.problem)));
    }
    Ok(row.recipe(preset))
}

/// The values for every data set of a problem.
pub(super) fn recipes(preset: Preset, problem: Problem) -> Vec<Map<String, Value>> {
    LINK_BERT.iter().filter(|row| row.problem == problem).map(|row| row.recipe(preset)).collect()
}

/// Every data set with what its two scripts say, as rows of a Markdown table.
#[cfg(test)]
pub(super) fn table_rows() -> String {
    let row = |row: &LinkBertRow| format!("| `{}` | {} | {} | {} |\n", row.dataset, row.problem, row.base.summary(), row.large.summary());
    LINK_BERT.iter().map(row).collect()
}

/// A data set that LinkBERT was fine-tuned on.
struct LinkBertRow {
    dataset: &'static str,
    /// Other names of it, without case and separators.
    aliases: &'static [&'static str],
    problem: Problem,
    base: Script,
    large: Script,
}

impl LinkBertRow {
    fn recipe(&self, preset: Preset) -> Map<String, Value> {
        trained_by(if preset == Preset::LinkBertLarge { &self.large } else { &self.base }, self.problem)
    }

    fn is_called(&self, name: &str) -> bool {
        let name = normal(name);
        normal(self.dataset) == name || self.aliases.contains(&name.as_str())
    }
}

/// What a run script says.
struct Script {
    /// Examples a batch, and batches a step.
    batch: (u64, u64),
    learning_rate: f64,
    warmup: Warmup,
    epochs: u64,
    max_length: u64,
    /// Whether it takes the optimiser of RoBERTa: weight decay 0.01, beta2 0.98, epsilon 1e-6.
    roberta: bool,
    /// The seed it fixes, for the manual: a seed draws other numbers here.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is told in the manual, which a test compares"))]
    seed: u64,
}

impl Script {
    const fn with_roberta_optimiser(self) -> Self {
        Self { roberta: true, ..self }
    }

    const fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    #[cfg(test)]
    fn summary(&self) -> String {
        let (batch_size, accumulation) = self.batch;
        let warmup = match self.warmup {
            Warmup::None => "0".to_owned(),
            Warmup::Steps(steps) => format!("{steps} steps"),
            Warmup::Share(share) => format!("share {share}"),
        };
        let rate = super::shown(&self.learning_rate.into());
        let mut summary = format!("{batch_size} x {accumulation} / {rate} / {warmup} / {} / {}", self.epochs, self.max_length);
        if self.roberta {
            summary.push_str("; `weight_decay` 0.01, `beta2` 0.98, `epsilon` 1e-6");
        }
        if self.seed != TRAINER_SEED {
            write!(summary, "; script has seed {}", self.seed).expect("writing to a text");
        }
        summary
    }
}

#[derive(Clone, Copy)]
enum Warmup {
    None,
    Steps(u64),
    Share(f64),
}

/// The seed of the trainer where a script names none. Seeds are the run's, so presets set none.
const TRAINER_SEED: u64 = 42;

const fn script(batch: (u64, u64), learning_rate: f64, warmup: Warmup, epochs: u64, max_length: u64) -> Script {
    Script { batch, learning_rate, warmup, epochs, max_length, roberta: false, seed: TRAINER_SEED }
}

const fn row(dataset: &'static str, aliases: &'static [&'static str], problem: Problem, base: Script, large: Script) -> LinkBertRow {
    LinkBertRow { dataset, aliases, problem, base, large }
}

/// The run scripts of LinkBERT (Yasunaga et al. 2022, arXiv:2203.15827; `src/run_examples_*.sh` of github.com/michiyasunaga/LinkBERT at 210bc47).
#[rustfmt::skip]
const LINK_BERT: [LinkBertRow; 20] = {
    use Problem::{ExtractiveQa, MultiLabel, MultipleChoice, Regression, SequenceClassification, TokenClassification};
    use Warmup::{None, Share, Steps};
    [
        row("pubmedqa", &[], SequenceClassification,
            script((16, 1), 2e-5, Steps(100), 30, 512), script((8, 4), 3e-5, Share(0.5), 23, 512)),
        row("bioasq", &[], SequenceClassification,
            script((16, 1), 2e-5, Steps(100), 20, 512), script((8, 4), 3e-5, Share(0.5), 30, 512)),
        row("biosses", &[], Regression,
            script((16, 1), 1e-5, None, 30, 512).with_seed(5), script((8, 4), 3e-5, Share(0.5), 100, 512).with_roberta_optimiser()),
        row("hoc", &[], MultiLabel,
            script((32, 1), 4e-5, None, 40, 512), script((8, 4), 3e-5, Share(0.5), 20, 512)),
        row("chemprot", &[], SequenceClassification,
            script((32, 1), 3e-5, None, 10, 256), script((16, 1), 2e-5, Share(0.5), 4, 256)),
        row("ddi", &[], SequenceClassification,
            script((32, 1), 2e-5, None, 5, 256), script((16, 1), 2e-5, Share(0.5), 3, 256)),
        row("gad", &[], SequenceClassification,
            script((32, 1), 3e-5, None, 10, 256), script((16, 1), 2e-5, Share(0.5), 5, 256)),
        row("ebm-pico", &["ebmnlp", "pico"], TokenClassification,
            script((32, 1), 5e-5, None, 1, 512), script((8, 2), 2e-5, Share(0.5), 1, 512)),
        row("jnlpba", &[], TokenClassification,
            script((16, 1), 1e-5, Share(0.1), 5, 512), script((8, 2), 3e-5, Share(0.5), 4, 512).with_roberta_optimiser().with_seed(3)),
        row("ncbi-disease", &[], TokenClassification,
            script((32, 1), 5e-5, Share(0.1), 20, 512), script((8, 2), 2e-5, Share(0.5), 10, 512)),
        row("bc2gm", &[], TokenClassification,
            script((32, 1), 6e-5, Share(0.1), 50, 512), script((8, 2), 2e-5, Share(0.5), 30, 512)),
        row("bc5cdr-disease", &["bc5disease"], TokenClassification,
            script((16, 1), 5e-5, Share(0.1), 8, 512), script((8, 4), 3e-5, Share(0.5), 20, 512)),
        row("bc5cdr-chem", &["bc5chem"], TokenClassification,
            script((32, 1), 5e-5, Share(0.1), 20, 512), script((8, 2), 2e-5, Share(0.5), 8, 512)),
        row("medqa", &["medqausmle"], MultipleChoice,
            script((4, 8), 2e-5, Steps(100), 2, 512), script((2, 32), 3e-5, Steps(500), 6, 512).with_roberta_optimiser()),
        row("hotpotqa", &["hotpot"], ExtractiveQa,
            script((12, 2), 3e-5, None, 4, 384), script((16, 1), 2e-5, None, 4, 384)),
        row("natural-questions", &["nq", "naturalqa"], ExtractiveQa,
            script((12, 2), 3e-5, None, 4, 384), script((16, 1), 2e-5, None, 4, 384)),
        row("triviaqa", &["trivia"], ExtractiveQa,
            script((12, 2), 3e-5, None, 4, 384), script((16, 1), 2e-5, None, 4, 384)),
        row("newsqa", &[], ExtractiveQa,
            script((12, 2), 3e-5, None, 4, 384), script((16, 1), 2e-5, None, 2, 384)),
        row("squad", &[], ExtractiveQa,
            script((12, 1), 3e-5, None, 2, 384), script((16, 1), 2e-5, None, 2, 384)),
        row("searchqa", &[], ExtractiveQa,
            script((12, 2), 3e-5, None, 1, 384), script((16, 1), 2e-5, None, 2, 384)),
    ]
};

/// Names of the set that LinkBERT is asked and never trained on, without case and separators.
const ASKED_ONLY: [&str; 3] = ["mmlu", "mmluprofessionalmedicine", "professionalmedicine"];

/// The trainer of LinkBERT (transformers 4.9.1), with what a script says.
fn trained_by(script: &Script, problem: Problem) -> Map<String, Value> {
    let (batch_size, gradient_accumulation) = script.batch;
    let mut all = ground();
    all.extend(values([
        ("epochs", script.epochs.into()),
        ("batch_size", batch_size.into()),
        ("gradient_accumulation", gradient_accumulation.into()),
        ("learning_rate", script.learning_rate.into()),
        ("schedule", "linear".into()),
        ("weight_decay", 0.0.into()),
        ("epsilon_hat", true.into()),
        ("max_grad_norm", 1.0.into()),
        ("overlap", "keep".into()),
    ]));
    all.extend(match problem {
        Problem::TokenClassification => values([("long_inputs", "cut".into()), ("label_position", "first".into()), ("label_scheme", "words".into())]),
        Problem::ExtractiveQa => answers_in_windows(("window_overlap", 128)),
        _ => values([("long_inputs", "cut".into())]),
    });
    all.extend(values([("max_length", script.max_length.into())]));
    all.extend(match script.warmup {
        Warmup::None => values([]),
        Warmup::Steps(steps) => values([("warmup_steps", steps.into())]),
        Warmup::Share(share) => values([("warmup_share", share.into())]),
    });
    if script.roberta {
        all.extend(values([("weight_decay", 0.01.into()), ("beta2", 0.98.into()), ("epsilon", 1e-6.into())]));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;
    use lmprobe_core::serde_json::json;

    fn mistake(preset: Preset, dataset: Option<&str>, problem: Option<Problem>) -> String {
        recipe(preset, dataset, problem).unwrap_err().to_string()
    }

    #[test]
    fn every_script_of_linkbert_has_its_numbers() {
        // Typed a second time from the scripts: batch, accumulation, rate, warm-up steps, warm-up share, epochs, length; base, then large.
        let expected = [
            ("PubMedQA", json!([16, 1, 2e-5, 100, null, 30, 512]), json!([8, 4, 3e-5, 0, 0.5, 23, 512])),
            ("BioASQ", json!([16, 1, 2e-5, 100, null, 20, 512]), json!([8, 4, 3e-5, 0, 0.5, 30, 512])),
            ("BIOSSES", json!([16, 1, 1e-5, 0, null, 30, 512]), json!([8, 4, 3e-5, 0, 0.5, 100, 512])),
            ("HoC", json!([32, 1, 4e-5, 0, null, 40, 512]), json!([8, 4, 3e-5, 0, 0.5, 20, 512])),
            ("ChemProt", json!([32, 1, 3e-5, 0, null, 10, 256]), json!([16, 1, 2e-5, 0, 0.5, 4, 256])),
            ("DDI", json!([32, 1, 2e-5, 0, null, 5, 256]), json!([16, 1, 2e-5, 0, 0.5, 3, 256])),
            ("GAD", json!([32, 1, 3e-5, 0, null, 10, 256]), json!([16, 1, 2e-5, 0, 0.5, 5, 256])),
            ("EBM PICO", json!([32, 1, 5e-5, 0, null, 1, 512]), json!([8, 2, 2e-5, 0, 0.5, 1, 512])),
            ("JNLPBA", json!([16, 1, 1e-5, 0, 0.1, 5, 512]), json!([8, 2, 3e-5, 0, 0.5, 4, 512])),
            ("NCBI_disease", json!([32, 1, 5e-5, 0, 0.1, 20, 512]), json!([8, 2, 2e-5, 0, 0.5, 10, 512])),
            ("BC2GM", json!([32, 1, 6e-5, 0, 0.1, 50, 512]), json!([8, 2, 2e-5, 0, 0.5, 30, 512])),
            ("BC5-disease", json!([16, 1, 5e-5, 0, 0.1, 8, 512]), json!([8, 4, 3e-5, 0, 0.5, 20, 512])),
            ("BC5CDR chem", json!([32, 1, 5e-5, 0, 0.1, 20, 512]), json!([8, 2, 2e-5, 0, 0.5, 8, 512])),
            ("MedQA", json!([4, 8, 2e-5, 100, null, 2, 512]), json!([2, 32, 3e-5, 500, null, 6, 512])),
            ("hotpot", json!([12, 2, 3e-5, 0, null, 4, 384]), json!([16, 1, 2e-5, 0, null, 4, 384])),
            ("NaturalQuestions", json!([12, 2, 3e-5, 0, null, 4, 384]), json!([16, 1, 2e-5, 0, null, 4, 384])),
            ("TriviaQA", json!([12, 2, 3e-5, 0, null, 4, 384]), json!([16, 1, 2e-5, 0, null, 4, 384])),
            ("NewsQA", json!([12, 2, 3e-5, 0, null, 4, 384]), json!([16, 1, 2e-5, 0, null, 2, 384])),
            ("SQuAD", json!([12, 1, 3e-5, 0, null, 2, 384]), json!([16, 1, 2e-5, 0, null, 2, 384])),
            ("SearchQA", json!([12, 2, 3e-5, 0, null, 1, 384]), json!([16, 1, 2e-5, 0, null, 2, 384])),
        ];
        let keys = ["batch_size", "gradient_accumulation", "learning_rate", "warmup_steps", "warmup_share", "epochs", "max_length"];
        assert_eq!(expected.len(), LINK_BERT.len());
        for ((dataset, base, large), row) in expected.iter().zip(&LINK_BERT) {
            assert!(row.is_called(dataset), "{dataset} stands where `{}` is", row.dataset);
            assert_eq!(said(&recipe(Preset::LinkBertBase, Some(dataset), None).unwrap(), &keys), *base, "{dataset}");
            assert_eq!(said(&recipe(Preset::LinkBertLarge, Some(dataset), Some(row.problem)).unwrap(), &keys), *large, "{dataset}");
        }
    }

    #[test]
    fn three_large_scripts_take_the_optimiser_of_roberta() {
        let keys = ["weight_decay", "beta2", "epsilon"];
        for row in &LINK_BERT {
            let optimiser = |preset| said(&row.recipe(preset), &keys);
            assert_eq!(optimiser(Preset::LinkBertBase), json!([0.0, 0.999, 1e-8]), "{}", row.dataset);
            let roberta = ["biosses", "jnlpba", "medqa"].contains(&row.dataset);
            assert_eq!(optimiser(Preset::LinkBertLarge), if roberta { json!([0.01, 0.98, 1e-6]) } else { json!([0.0, 0.999, 1e-8]) }, "{}", row.dataset);
        }
    }

    #[test]
    fn a_recipe_without_its_data_set_names_those_of_the_problem() {
        assert_eq!(
            mistake(Preset::LinkBertBase, None, Some(Problem::SequenceClassification)),
            "preset `linkbert-base` depends on the data set: name it with `dataset`; data sets of sequence-classification: `pubmedqa`, `bioasq`, `chemprot`, `ddi`, `gad`"
        );
        let all = mistake(Preset::LinkBertLarge, None, None);
        assert!(all.starts_with("preset `linkbert-large` depends on the data set: name it with `dataset`; data sets: `pubmedqa`, "), "{all}");
        assert!(LINK_BERT.iter().all(|row| all.contains(&format!("`{}`", row.dataset))), "{all}");
        assert_eq!(
            mistake(Preset::LinkBertBase, Some("ncbi-diseases"), Some(Problem::TokenClassification)),
            "preset `linkbert-base`: unknown `dataset` `ncbi-diseases`; did you mean `ncbi-disease`? data sets of token-classification: `ebm-pico`, `jnlpba`, \
             `ncbi-disease`, `bc2gm`, `bc5cdr-disease`, `bc5cdr-chem`"
        );
        assert_eq!(
            mistake(Preset::LinkBertBase, Some("conll"), Some(Problem::Regression)),
            "preset `linkbert-base`: unknown `dataset` `conll`; data sets of regression: `biosses`"
        );
        assert_eq!(
            mistake(Preset::LinkBertBase, Some("GAD"), Some(Problem::MultiLabel)),
            "preset `linkbert-base`: `dataset` `GAD` is one of sequence-classification, the task is one of multi-label; data sets of multi-label: `hoc`"
        );
        assert_eq!(
            mistake(Preset::LinkBertLarge, Some("MMLU"), Some(Problem::MultipleChoice)),
            "preset `linkbert-large`: LinkBERT was not trained on `MMLU`, it was asked after a training on MedQA; write `dataset: medqa` and give the task of `MMLU` a run of its own"
        );
        assert_eq!(
            mistake(Preset::LinkBertBase, Some("gad"), Some(Problem::Cloze)),
            "preset `linkbert-base` does not cover cloze: it covers token-classification, sequence-classification, multi-label, regression, multiple-choice, \
             extractive-qa; `preset: recommended` covers all"
        );
    }

    #[test]
    fn names_of_data_sets_are_told_apart() {
        for row in &LINK_BERT {
            let owners = |name: &str| LINK_BERT.iter().filter(|other| other.is_called(name)).count();
            assert!(row.aliases.iter().chain([&row.dataset]).all(|name| owners(name) == 1), "{}", row.dataset);
            assert!(row.aliases.iter().all(|alias| normal(alias) == *alias), "{}", row.dataset);
        }
    }
}
