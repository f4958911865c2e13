//! Recipes of fine-tuning: those of the published programs, and one to start from.

#[cfg(test)]
use std::fmt::Write;

use lmprobe_core::serde_json::{Map, Value};
use lmprobe_core::{Error, Problem, Result};

mod link_bert;

/// The values that the preset of a run file sets, keys of the recipe and of the objective; what the user wrote replaces them later.
///
/// `written` is what the run file says, of which `preset` and `dataset` are read. Of `window_overlap` and `window_step`, two ways to say the same, the one that it has
/// takes away what the preset says of the other. Without a problem the values are those that all problems of the preset share.
///
/// # Errors
/// If the preset is unknown or does not cover the problem, or if `dataset` is missing, unknown, of another problem, or of no use to the preset.
pub(super) fn recipe(written: &Map<String, Value>, problem: Option<Problem>) -> Result<Map<String, Value>> {
    let mut recipe = preset_recipe(written, problem)?;
    let windows = ["window_overlap", "window_step"];
    for (key, other) in windows.into_iter().zip(windows.into_iter().rev()) {
        if written.get(key).is_some_and(|value| !value.is_null()) {
            recipe.remove(other);
        }
    }
    Ok(recipe)
}

fn preset_recipe(written: &Map<String, Value>, problem: Option<Problem>) -> Result<Map<String, Value>> {
    let preset = match text(written, "preset")? {
        None => Preset::Recommended,
        Some(name) => Preset::named(name)?,
    };
    let dataset = text(written, "dataset")?;
    if preset.is_link_bert() {
        return link_bert::recipe(preset, dataset, problem);
    }
    if dataset.is_some() {
        let readers = [Preset::LinkBertBase, Preset::LinkBertLarge].map(Preset::word);
        return Err(Error::Config(format!(
            "preset `{}` is the same for every data set: remove `dataset`, which the presets {} read",
            preset.word(),
            quoted(&readers)
        )));
    }
    match problem {
        Some(problem) if preset.problems().contains(&problem) => Ok(preset.values(problem)),
        // That nothing can be learned from a cloze is the host's to say.
        None | Some(Problem::Cloze) => Ok(shared(&preset.problems().iter().map(|&problem| preset.values(problem)).collect::<Vec<_>>())),
        Some(problem) => Err(not_covered(preset, problem)),
    }
}

/// Every preset with every value it sets, as Markdown: what stands in the manual.
#[cfg(test)]
fn table() -> String {
    let mut out = String::from("| key |");
    for preset in Preset::ALL {
        write!(out, " `{}` |", preset.word()).expect("writing to a text");
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(Preset::ALL.len()));
    for key in KEYS {
        write!(out, "\n| `{key}` |").expect("writing to a text");
        for preset in Preset::ALL {
            write!(out, " {} |", cell(preset, key)).expect("writing to a text");
        }
    }
    out.push_str("\n\nBy data set: `batch_size` x `gradient_accumulation` / `learning_rate` / warm-up / `epochs` / `max_length`\n\n");
    out.push_str("| `dataset` | problem | `linkbert-base` | `linkbert-large` |\n|---|---|---|---|\n");
    out.push_str(&link_bert::table_rows());
    out
}

/// Keys that presets set, in reading order.
#[cfg(test)]
const KEYS: [&str; 36] = [
    "epochs",
    "batch_size",
    "gradient_accumulation",
    "last_batch",
    "shuffle",
    "learning_rate",
    "schedule",
    "warmup_steps",
    "warmup_share",
    "weight_decay",
    "weight_decay_on",
    "beta1",
    "beta2",
    "epsilon",
    "bias_correction",
    "epsilon_hat",
    "max_grad_norm",
    "dropout",
    "loss",
    "max_length",
    "long_inputs",
    "window_overlap",
    "window_step",
    "windows_without_answer",
    "max_query_length",
    "max_answer_length",
    "n_best",
    "label_position",
    "label_scheme",
    "segments",
    "pair_separator",
    "head",
    "checkpoint",
    "patience",
    "hold_out",
    "overlap",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preset {
    Recommended,
    BioBert,
    LinkBertBase,
    LinkBertLarge,
    Bonfigli,
}

impl Preset {
    const ALL: [Self; 5] = [Self::Recommended, Self::BioBert, Self::LinkBertBase, Self::LinkBertLarge, Self::Bonfigli];

    fn word(self) -> &'static str {
        match self {
            Self::Recommended => "recommended",
            Self::BioBert => "biobert",
            Self::LinkBertBase => "linkbert-base",
            Self::LinkBertLarge => "linkbert-large",
            Self::Bonfigli => "bonfigli",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let known = Self::ALL.map(Self::word);
        Self::ALL
            .into_iter()
            .find(|preset| normal(preset.word()) == normal(name))
            .ok_or_else(|| Error::Config(format!("unknown preset `{name}`; {}known presets: {}", meant(name, &known), quoted(&known))))
    }

    fn is_link_bert(self) -> bool {
        matches!(self, Self::LinkBertBase | Self::LinkBertLarge)
    }

    /// The problems it has values for.
    fn problems(self) -> &'static [Problem] {
        match self {
            Self::Recommended | Self::LinkBertBase | Self::LinkBertLarge => &Problem::LABELLED,
            Self::BioBert => &[Problem::TokenClassification, Problem::SequenceClassification, Problem::ExtractiveQa],
            Self::Bonfigli => &[Problem::TokenClassification, Problem::SequenceClassification],
        }
    }

    /// The values for one of its problems. Those of LinkBERT depend on the data set: here are the ones that all data sets of the problem share.
    fn values(self, problem: Problem) -> Map<String, Value> {
        match self {
            Self::Recommended => recommended(problem),
            Self::BioBert => bio_bert(problem),
            Self::Bonfigli => bonfigli(problem),
            Self::LinkBertBase | Self::LinkBertLarge => shared(&link_bert::recipes(self, problem)),
        }
    }
}

/// What all recipes agree on.
fn ground() -> Map<String, Value> {
    values([
        ("gradient_accumulation", 1.into()),
        ("last_batch", "keep".into()),
        ("shuffle", true.into()),
        ("warmup_steps", 0.into()),
        ("warmup_share", Value::Null),
        ("weight_decay_on", "matrices".into()),
        ("beta1", 0.9.into()),
        ("beta2", 0.999.into()),
        ("epsilon", 1e-8.into()),
        ("bias_correction", true.into()),
        ("epsilon_hat", false.into()),
        ("dropout", true.into()),
        ("loss", "mean".into()),
        ("segments", true.into()),
        ("pair_separator", "end-of-text".into()),
        ("head", "fresh".into()),
        ("checkpoint", "last".into()),
        ("patience", Value::Null),
        ("hold_out", 10.0.into()),
        ("overlap", "leave-out".into()),
    ])
}

/// What the field settled on: Devlin et al. 2019 (arXiv:1810.04805), with the warm-up and the longer training of Mosbach et al. 2021 (arXiv:2006.04884), and
/// the best of the epochs by the development split.
fn recommended(problem: Problem) -> Map<String, Value> {
    let mut all = ground();
    all.extend(values([
        ("epochs", 5.into()),
        ("batch_size", 16.into()),
        ("learning_rate", 2e-5.into()),
        ("schedule", "linear".into()),
        ("warmup_share", 0.1.into()),
        ("weight_decay", 0.01.into()),
        ("max_grad_norm", 1.0.into()),
        ("checkpoint", "best".into()),
        ("patience", 2.into()),
    ]));
    all.extend(match problem {
        Problem::TokenClassification => {
            values([("max_length", 256.into()), ("long_inputs", "window".into()), ("label_position", "auto".into()), ("label_scheme", "words".into())])
        }
        Problem::ExtractiveQa => {
            let mut windows = answers_in_windows(("window_overlap", 128));
            windows.extend(values([("max_query_length", 64.into())]));
            windows
        }
        Problem::MultiLabel | Problem::MultipleChoice => values([("max_length", 512.into()), ("long_inputs", "window".into())]),
        Problem::SequenceClassification | Problem::Regression | Problem::Cloze => values([("max_length", 256.into()), ("long_inputs", "window".into())]),
    });
    all
}

/// The programs of BioBERT (Lee et al. 2020, arXiv:1901.08746; `run_ner.py`, `run_re.py`, `run_qa.py` of github.com/dmis-lab/biobert at e283eaa): the defaults of
/// the first, and of the other two what its README runs.
fn bio_bert(problem: Problem) -> Map<String, Value> {
    let mut all = ground();
    all.extend(values([
        ("batch_size", 32.into()),
        ("last_batch", "carry".into()),
        ("schedule", "bert".into()),
        ("warmup_share", 0.1.into()),
        ("weight_decay", 0.01.into()),
        ("epsilon", 1e-6.into()),
        ("bias_correction", false.into()),
        ("max_grad_norm", 1.0.into()),
        ("overlap", "keep".into()),
    ]));
    all.extend(match problem {
        Problem::TokenClassification => values([
            ("epochs", 10.into()),
            ("learning_rate", 5e-5.into()),
            ("loss", "sum".into()),
            ("max_length", 128.into()),
            ("long_inputs", "cut".into()),
            ("label_position", "first".into()),
            ("label_scheme", "biobert".into()),
        ]),
        Problem::ExtractiveQa => {
            let mut windows = answers_in_windows(("window_step", 128));
            windows.extend(values([("epochs", 5.into()), ("batch_size", 12.into()), ("learning_rate", 5e-6.into()), ("max_query_length", 64.into())]));
            windows
        }
        _ => values([("epochs", 3.into()), ("learning_rate", 2e-5.into()), ("max_length", 128.into()), ("long_inputs", "cut".into())]),
    });
    all
}

/// The programs of Bonfigli et al. 2024 (doi:10.1016/j.artmed.2024.103003).
fn bonfigli(problem: Problem) -> Map<String, Value> {
    let mut all = ground();
    all.extend(values([
        ("schedule", "constant".into()),
        ("weight_decay", 0.0.into()),
        ("max_grad_norm", Value::Null),
        ("long_inputs", "cut".into()),
        ("segments", false.into()),
        ("pair_separator", "none".into()),
    ]));
    all.extend(match problem {
        Problem::TokenClassification => values([
            ("epochs", 5.into()),
            ("batch_size", 4.into()),
            ("learning_rate", 1e-5.into()),
            ("epsilon", 1e-6.into()),
            ("epsilon_hat", true.into()),
            ("max_length", 128.into()),
            ("label_position", "first".into()),
            ("label_scheme", "words".into()),
        ]),
        _ => values([("epochs", 3.into()), ("batch_size", 1.into()), ("shuffle", false.into()), ("learning_rate", 2e-5.into()), ("max_length", 512.into())]),
    });
    all
}

/// Windows over a context and the answers read from them, in the numbers that BERT, BioBERT and LinkBERT share; how far windows are apart they say in two ways.
fn answers_in_windows((key, pieces): (&'static str, u64)) -> Map<String, Value> {
    values([
        ("max_length", 384.into()),
        ("long_inputs", "window".into()),
        (key, pieces.into()),
        ("windows_without_answer", Value::Null),
        ("max_answer_length", 30.into()),
        ("n_best", 20.into()),
    ])
}

fn not_covered(preset: Preset, problem: Problem) -> Error {
    let covered = preset.problems().iter().map(|problem| problem.word()).collect::<Vec<_>>();
    Error::Config(format!("preset `{}` does not cover {problem}: it covers {}; `preset: recommended` covers all", preset.word(), covered.join(", ")))
}

/// What the run file says under a key, if that is a text.
fn text<'a>(written: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    match written.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::Config(format!("`{key}` is `{other}` and must be a name"))),
    }
}

fn values<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The values that all of these have.
fn shared(recipes: &[Map<String, Value>]) -> Map<String, Value> {
    let Some((first, rest)) = recipes.split_first() else { return Map::new() };
    first.iter().filter(|(key, value)| rest.iter().all(|other| other.get(*key) == Some(*value))).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A preset's values of a key, with the problems that have them unless all do.
#[cfg(test)]
fn cell(preset: Preset, key: &str) -> String {
    let by_dataset = |&problem: &Problem| {
        let recipes = link_bert::recipes(preset, problem);
        recipes.iter().any(|recipe| recipe.get(key) != recipes[0].get(key))
    };
    if preset.is_link_bert() && preset.problems().iter().any(by_dataset) {
        return "by `dataset`".to_owned();
    }
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for &problem in preset.problems() {
        let (values, word) = (preset.values(problem), problem.word());
        let Some(value) = values.get(key).map(shown) else { continue };
        match found.iter_mut().find(|(other, _)| *other == value) {
            Some((_, problems)) => problems.push(word),
            None => found.push((value, vec![word])),
        }
    }
    match found.as_slice() {
        [] => "-".to_owned(),
        [(value, problems)] if problems.len() == preset.problems().len() => value.clone(),
        _ => found.iter().map(|(value, problems)| format!("{value} ({})", problems.join(", "))).collect::<Vec<_>>().join("; "),
    }
}

/// A value as a run file has it.
#[cfg(test)]
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // As a number of Rust, 1e-5 and not 0.00001.
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// A name without case and separators.
fn normal(name: &str) -> String {
    name.chars().filter(|character| !matches!(character, '-' | '_') && !character.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// The known name that is nearest, as a question, if one is near.
fn meant(name: &str, known: &[&str]) -> String {
    let name = normal(name);
    let distance = |candidate: &str| edits(&name, &normal(candidate));
    let nearest = known.iter().map(|candidate| (distance(candidate), candidate)).min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, candidate)) if distance <= name.len() / 3 => format!("did you mean `{candidate}`? "),
        _ => String::new(),
    }
}

/// How many characters must be put in, taken out or replaced to turn one name into the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, to) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lmprobe_core::serde_json::json;

    fn of(preset: &str, dataset: Option<&str>, problem: Option<Problem>) -> Result<Map<String, Value>> {
        recipe(&values([("preset", preset.into()), ("dataset", dataset.map_or(Value::Null, Value::from)), ("epochs", "not ours".into())]), problem)
    }

    fn mistake(preset: &str, dataset: Option<&str>, problem: Option<Problem>) -> String {
        of(preset, dataset, problem).unwrap_err().to_string()
    }

    /// What a recipe says of some keys, in the words of a run file.
    pub(super) fn said(recipe: &Map<String, Value>, keys: &[&str]) -> Value {
        keys.iter().map(|&key| recipe.get(key).cloned().unwrap_or_else(|| json!("unset"))).collect()
    }

    /// Every recipe there is.
    fn every() -> Vec<Map<String, Value>> {
        let mut all = Vec::new();
        for preset in Preset::ALL {
            if preset.is_link_bert() {
                all.extend(preset.problems().iter().flat_map(|&problem| link_bert::recipes(preset, problem)));
            } else {
                all.extend(preset.problems().iter().map(|&problem| of(preset.word(), None, Some(problem)).unwrap()));
            }
        }
        all
    }

    #[test]
    fn every_key_is_a_parameter_and_every_recipe_is_whole() {
        let everywhere: Vec<&str> = KEYS
            .into_iter()
            .filter(|key| {
                let of_some = [
                    "window_overlap",
                    "window_step",
                    "windows_without_answer",
                    "max_query_length",
                    "max_answer_length",
                    "n_best",
                    "label_position",
                    "label_scheme",
                ];
                !of_some.contains(key)
            })
            .collect();
        assert_eq!(every().len(), 6 + 3 + 2 + 2 * 20);
        for recipe in every() {
            assert!(recipe.keys().all(|key| KEYS.contains(&key.as_str())), "{recipe:?}");
            assert!(everywhere.iter().all(|key| recipe.contains_key(*key)), "{recipe:?}");
        }
        for key in KEYS {
            assert!(every().iter().any(|recipe| recipe.contains_key(key)), "no preset sets `{key}`");
        }
    }

    #[test]
    fn values_are_words_that_the_parameters_know() {
        let words = [
            ("last_batch", &["keep", "carry"][..]),
            ("schedule", &["constant", "linear", "cosine", "bert"]),
            ("weight_decay_on", &["all", "matrices"]),
            ("overlap", &["leave-out", "keep"]),
            ("long_inputs", &["window", "cut"]),
            ("label_position", &["auto", "first", "last", "mean"]),
            ("label_scheme", &["words", "biobert"]),
            ("loss", &["mean", "sum"]),
            ("checkpoint", &["best", "last"]),
            ("pair_separator", &["none", "end-of-text"]),
            ("head", &["fresh", "keep"]),
        ];
        for recipe in every() {
            for (key, value) in &recipe {
                if let Value::String(text) = value {
                    let (_, known) = words.iter().find(|(known, _)| known == key).unwrap();
                    assert!(known.contains(&text.as_str()), "{key}: {text}");
                }
            }
        }
    }

    #[test]
    fn linkbert_reads_answers_from_windows_that_overlap_and_biobert_from_windows_a_step_apart() {
        let keys = ["long_inputs", "window_overlap", "window_step", "n_best", "max_answer_length", "max_query_length", "max_length"];
        let link_bert = of("linkbert-base", Some("squad"), Some(Problem::ExtractiveQa)).unwrap();
        assert_eq!(said(&link_bert, &keys), json!(["window", 128, "unset", 20, 30, "unset", 384]));
        let bio_bert = of("biobert", None, Some(Problem::ExtractiveQa)).unwrap();
        assert_eq!(said(&bio_bert, &keys), json!(["window", "unset", 128, 20, 30, 64, 384]));
        assert_eq!(said(&bio_bert, &["batch_size", "learning_rate", "epochs", "loss"]), json!([12, 5e-6, 5, "mean"]));
    }

    #[test]
    fn one_way_to_say_how_far_windows_are_apart_replaces_the_other() {
        let of = |preset: &str, more: (&str, Value)| {
            let written = values([("preset", preset.into()), more]);
            let recipe = recipe(&written, Some(Problem::ExtractiveQa)).unwrap();
            said(&recipe, &["window_overlap", "window_step"])
        };
        assert_eq!(of("biobert", ("window_overlap", 64.into())), json!(["unset", "unset"]));
        assert_eq!(of("recommended", ("window_step", 64.into())), json!(["unset", "unset"]));
        assert_eq!(of("biobert", ("window_overlap", Value::Null)), json!(["unset", 128]));
        assert_eq!(of("biobert", ("window_step", 64.into())), json!(["unset", 128]), "what is written replaces it later");
    }

    #[test]
    fn the_optimiser_of_transformers_adds_epsilon_to_the_uncorrected_root() {
        let hat = |preset, dataset, problem| said(&of(preset, dataset, Some(problem)).unwrap(), &["epsilon_hat"]);
        for preset in ["linkbert-base", "linkbert-large"] {
            assert_eq!(hat(preset, Some("gad"), Problem::SequenceClassification), json!([true]));
            assert_eq!(hat(preset, Some("squad"), Problem::ExtractiveQa), json!([true]));
        }
        assert_eq!(hat("bonfigli", None, Problem::TokenClassification), json!([true]));
        assert_eq!(hat("bonfigli", None, Problem::SequenceClassification), json!([false]), "torch's Adam");
        assert_eq!(hat("recommended", None, Problem::Regression), json!([false]));
        assert_eq!(hat("biobert", None, Problem::TokenClassification), json!([false]));
    }

    #[test]
    fn biobert_trains_as_its_programs_do() {
        let keys = ["epochs", "batch_size", "learning_rate", "max_length", "loss", "label_scheme"];
        assert_eq!(said(&of("biobert", None, Some(Problem::TokenClassification)).unwrap(), &keys), json!([10, 32, 5e-5, 128, "sum", "biobert"]));
        assert_eq!(said(&of("biobert", None, Some(Problem::SequenceClassification)).unwrap(), &keys), json!([3, 32, 2e-5, 128, "mean", "unset"]));
        let optimiser =
            ["schedule", "warmup_share", "last_batch", "bias_correction", "weight_decay", "weight_decay_on", "epsilon", "max_grad_norm", "checkpoint"];
        for &problem in Preset::BioBert.problems() {
            let recipe = of("biobert", None, Some(problem)).unwrap();
            assert_eq!(said(&recipe, &optimiser), json!(["bert", 0.1, "carry", false, 0.01, "matrices", 1e-6, 1.0, "last"]));
        }
    }

    #[test]
    fn bonfigli_is_adam_without_decay_schedule_and_clipping() {
        let keys = ["epochs", "batch_size", "learning_rate", "epsilon", "shuffle", "max_length", "segments", "pair_separator"];
        assert_eq!(said(&of("bonfigli", None, Some(Problem::SequenceClassification)).unwrap(), &keys), json!([3, 1, 2e-5, 1e-8, false, 512, false, "none"]));
        let tokens = of("bonfigli", None, Some(Problem::TokenClassification)).unwrap();
        assert_eq!(said(&tokens, &keys[..6]), json!([5, 4, 1e-5, 1e-6, true, 128]));
        assert_eq!(said(&tokens, &["weight_decay", "schedule", "warmup_steps", "warmup_share", "max_grad_norm"]), json!([0.0, "constant", 0, null, null]));
    }

    #[test]
    fn without_a_preset_the_recommended_one_is_taken() {
        let recipe = |problem| recipe(&Map::new(), Some(problem)).unwrap();
        let keys = ["epochs", "batch_size", "learning_rate", "schedule", "warmup_share", "weight_decay", "max_grad_norm", "checkpoint", "patience", "overlap"];
        let others = ["gradient_accumulation", "last_batch", "shuffle", "beta2", "epsilon", "bias_correction", "loss", "segments", "pair_separator"];
        for problem in Problem::LABELLED {
            assert_eq!(said(&recipe(problem), &keys), json!([5, 16, 2e-5, "linear", 0.1, 0.01, 1.0, "best", 2, "leave-out"]));
            assert_eq!(said(&recipe(problem), &others), json!([1, "keep", true, 0.999, 1e-8, true, "mean", true, "end-of-text"]));
        }
        let length = |problem| said(&recipe(problem), &["max_length", "long_inputs", "window_overlap"]);
        assert_eq!(length(Problem::TokenClassification), json!([256, "window", "unset"]));
        assert_eq!(length(Problem::SequenceClassification), json!([256, "window", "unset"]));
        assert_eq!(length(Problem::Regression), json!([256, "window", "unset"]));
        assert_eq!(length(Problem::MultiLabel), json!([512, "window", "unset"]));
        assert_eq!(length(Problem::MultipleChoice), json!([512, "window", "unset"]));
        assert_eq!(length(Problem::ExtractiveQa), json!([384, "window", 128]));
    }

    #[test]
    fn the_manual_has_the_values_that_presets_set() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/objectives/fine_tune_presets.md");
        if std::env::var_os("LMPROBE_BLESS").is_some() {
            std::fs::write(&path, table()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), table(), "LMPROBE_BLESS=1 writes it anew");
    }

    #[test]
    fn recipes_agree_on_what_nobody_changes() {
        for recipe in every() {
            assert_eq!(said(&recipe, &["weight_decay_on", "beta1", "dropout", "head", "hold_out"]), json!(["matrices", 0.9, true, "fresh", 10.0]));
        }
    }

    #[test]
    fn published_programs_keep_what_is_also_asked_and_the_last_weights() {
        let keys = ["overlap", "checkpoint", "patience", "long_inputs"];
        assert_eq!(said(&of("biobert", None, Some(Problem::TokenClassification)).unwrap(), &keys), json!(["keep", "last", null, "cut"]));
        assert_eq!(said(&of("linkbert-base", Some("gad"), None).unwrap(), &keys), json!(["keep", "last", null, "cut"]));
        assert_eq!(said(&of("bonfigli", None, Some(Problem::TokenClassification)).unwrap(), &keys), json!(["leave-out", "last", null, "cut"]));
    }

    #[test]
    fn without_a_problem_only_what_all_problems_share_is_set() {
        let keys = ["epochs", "learning_rate", "schedule", "max_length"];
        assert_eq!(said(&recipe(&Map::new(), None).unwrap(), &keys), json!([5, 2e-5, "linear", "unset"]));
        assert_eq!(said(&of("biobert", None, None).unwrap(), &keys), json!(["unset", "unset", "bert", "unset"]));
        assert_eq!(recipe(&Map::new(), Some(Problem::Cloze)).unwrap(), recipe(&Map::new(), None).unwrap());
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        assert_eq!(
            mistake("biobrt", None, None),
            "unknown preset `biobrt`; did you mean `biobert`? known presets: `recommended`, `biobert`, `linkbert-base`, `linkbert-large`, `bonfigli`"
        );
        assert_eq!(
            mistake("fast", None, None),
            "unknown preset `fast`; known presets: `recommended`, `biobert`, `linkbert-base`, `linkbert-large`, `bonfigli`"
        );
        assert_eq!(recipe(&values([("preset", 3.into())]), None).unwrap_err().to_string(), "`preset` is `3` and must be a name");
        assert_eq!(
            mistake("biobert", None, Some(Problem::Regression)),
            "preset `biobert` does not cover regression: it covers token-classification, sequence-classification, extractive-qa; `preset: recommended` covers all"
        );
        assert_eq!(
            mistake("bonfigli", None, Some(Problem::MultiLabel)),
            "preset `bonfigli` does not cover multi-label: it covers token-classification, sequence-classification; `preset: recommended` covers all"
        );
        assert_eq!(
            mistake("recommended", Some("gad"), Some(Problem::SequenceClassification)),
            "preset `recommended` is the same for every data set: remove `dataset`, which the presets `linkbert-base`, `linkbert-large` read"
        );
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3); // k to s, e to i, and a g
        assert_eq!((edits("", "abc"), edits("abc", ""), edits("abc", "abc")), (3, 3, 0));
    }

    #[test]
    fn the_table_has_every_key_and_every_data_set() {
        let table = table();
        let line = |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no line {start}")).to_owned();
        assert_eq!(line("| `schedule` |"), "| `schedule` | linear | bert | linear | linear | constant |");
        assert_eq!(
            line("| `epochs` |"),
            "| `epochs` | 5 | 10 (token-classification); 3 (sequence-classification); 5 (extractive-qa) | by `dataset` | by `dataset` | 5 (token-classification); 3 \
             (sequence-classification) |"
        );
        assert_eq!(line("| `window_step` |"), "| `window_step` | - | 128 (extractive-qa) | - | - | - |");
        assert_eq!(line("| `max_grad_norm` |"), "| `max_grad_norm` | 1.0 | 1.0 | 1.0 | 1.0 | null |");
        assert_eq!(
            line("| `biosses` |"),
            "| `biosses` | regression | 16 x 1 / 1e-5 / 0 / 30 / 512; script has seed 5 | 8 x 4 / 3e-5 / share 0.5 / 100 / 512; `weight_decay` 0.01, `beta2` 0.98, \
             `epsilon` 1e-6 |"
        );
        assert_eq!(table.lines().filter(|line| line.starts_with("| `")).count(), KEYS.len() + 20 + 1, "and the head of the second table");
    }
}
