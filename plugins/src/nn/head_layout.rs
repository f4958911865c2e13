//! What heads look like in each family of models, so that `transformers` opens our checkpoints and we open theirs.

use lmprobe_core::serde_json::{Map, Value, json};
use lmprobe_core::{Error, HeadActivation, HeadLayout, HeadReads, Problem, Result, TaskHead, TaskHeadInfo};

use super::blueprint::{Blueprint, NetworkConfig, Parts};

/// Families whose heads differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFamily {
    /// `transformers/models/bert/modeling_bert.py`: the pooler, then one layer.
    Bert,
    /// `transformers/models/roberta/modeling_roberta.py`: a classifier of two layers on the first token.
    Roberta,
    /// `transformers/models/distilbert/modeling_distilbert.py`: the same with a rectifier.
    DistilBert,
    /// `transformers/models/gpt2/modeling_gpt2.py`: one layer without bias on the last token.
    Gpt2,
    /// `transformers/models/biogpt/modeling_biogpt.py`: as GPT-2.
    BioGpt,
}

impl HeadFamily {
    fn class(self) -> &'static str {
        match self {
            Self::Bert => "Bert",
            Self::Roberta => "Roberta",
            Self::DistilBert => "DistilBert",
            Self::Gpt2 => "GPT2",
            Self::BioGpt => "BioGpt",
        }
    }

    fn is_decoder(self) -> bool {
        matches!(self, Self::Gpt2 | Self::BioGpt)
    }
}

/// The layout of a head. `config` is the model's `config.json`; `dropout` replaces all its rates.
///
/// # Errors
/// If the family has no class with such a head.
pub fn head_layout(blueprint: &Blueprint, parts: Parts, config: &Value, dropout: Option<f32>, problem: Problem) -> Result<HeadLayout> {
    let family = blueprint.files.heads;
    let hidden = match &blueprint.network {
        NetworkConfig::PostNorm(network) => network.hidden_dropout,
        NetworkConfig::PreNorm(network) => network.residual_dropout,
    };
    #[expect(clippy::cast_possible_truncation, reason = "rates are f32")]
    let rate = |key: &str, default: f32| dropout.unwrap_or_else(|| config[key].as_f64().map_or(default, |rate| rate as f32));
    // A decoder has no class for choices: each choice is scored as a text.
    let class_problem = if family.is_decoder() && problem == Problem::MultipleChoice { Problem::SequenceClassification } else { problem };
    let kind = match class_problem {
        Problem::TokenClassification => "TokenClassification",
        Problem::SequenceClassification | Problem::MultiLabel | Problem::Regression => "SequenceClassification",
        Problem::MultipleChoice => "MultipleChoice",
        Problem::ExtractiveQa => "QuestionAnswering",
        Problem::Cloze => return Err(Error::Unsupported("a cloze task has no head of its own: it is answered by the language model's".into())),
    };
    if family == HeadFamily::BioGpt && problem == Problem::ExtractiveQa {
        return Err(Error::Unsupported("BioGPT has no class with a head for extractive-qa tasks".into()));
    }
    let plain = HeadLayout {
        class: format!("{}For{kind}", family.class()),
        reads: HeadReads::EveryToken,
        dense: None,
        dropout: 0.0,
        dense_dropout: 0.0,
        output: "classifier".to_owned(),
        bias: true,
        initializer_range: blueprint.initializer_range,
    };
    Ok(match class_problem {
        Problem::TokenClassification => {
            let classifier = rate("classifier_dropout", if family == HeadFamily::Gpt2 { 0.1 } else { hidden });
            HeadLayout { dropout: if family == HeadFamily::DistilBert { hidden } else { classifier }, ..plain }
        }
        Problem::ExtractiveQa => {
            let dropout = if family == HeadFamily::DistilBert { rate("qa_dropout", 0.1) } else { 0.0 };
            HeadLayout { dropout, output: "qa_outputs".to_owned(), ..plain }
        }
        _ if family.is_decoder() => HeadLayout { reads: HeadReads::LastToken, output: "score".to_owned(), bias: false, ..plain },
        _ if family == HeadFamily::DistilBert => HeadLayout {
            reads: HeadReads::FirstToken,
            dense: Some(("pre_classifier".to_owned(), HeadActivation::Relu)),
            dense_dropout: rate("seq_classif_dropout", 0.2),
            ..plain
        },
        Problem::SequenceClassification | Problem::MultiLabel | Problem::Regression if family == HeadFamily::Roberta => {
            let rate = rate("classifier_dropout", hidden);
            HeadLayout {
                reads: HeadReads::FirstToken,
                dense: Some(("classifier.dense".to_owned(), HeadActivation::Tanh)),
                dropout: rate,
                dense_dropout: rate,
                output: "classifier.out_proj".to_owned(),
                ..plain
            }
        }
        _ => {
            let rate = rate("classifier_dropout", hidden);
            if parts.pooler {
                HeadLayout { reads: HeadReads::Pooled, dropout: rate, ..plain }
            } else {
                // A checkpoint without a pooler gets a fresh one: it is a layer of the head until it is stored where the pooler stands.
                let pooler = format!("{}pooler.dense", blueprint.files.prefix);
                HeadLayout { reads: HeadReads::FirstToken, dense: Some((pooler, HeadActivation::Tanh)), dense_dropout: rate, ..plain }
            }
        }
    })
}

/// What the head of a checkpoint answers, by its class name and labels; nothing if the class has none.
pub fn stored_head(architectures: &[String], config: &Value) -> Option<TaskHeadInfo> {
    let class = architectures.first()?;
    let labels = || {
        let of = config["id2label"].as_object()?;
        let mut labels: Vec<(usize, String)> = of.iter().map(|(id, label)| Some((id.parse().ok()?, label.as_str()?.to_owned()))).collect::<Option<_>>()?;
        labels.sort_unstable();
        labels.iter().enumerate().all(|(index, (id, _))| index == *id).then(|| labels.into_iter().map(|(_, label)| label).collect::<Vec<_>>())
    };
    let numbered = |n: usize| (0..n).map(|label| format!("LABEL_{label}")).collect::<Vec<_>>();
    // What `transformers` takes where nothing is said.
    let labels = || labels().unwrap_or_else(|| numbered(config["num_labels"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(2)));
    // Only our own checkpoints say this; others are told by their class.
    let own = config["lmprobe"]["problem"].clone();
    if let Ok(problem) = lmprobe_core::serde_json::from_value::<Problem>(own) {
        let labels = if matches!(problem, Problem::Regression | Problem::MultipleChoice | Problem::ExtractiveQa) { Vec::new() } else { labels() };
        return Some(TaskHeadInfo { problem, labels });
    }
    let (_, kind) = class.split_once("For")?;
    let problem = match kind {
        "TokenClassification" => Problem::TokenClassification,
        "MultipleChoice" => Problem::MultipleChoice,
        "QuestionAnswering" => Problem::ExtractiveQa,
        "SequenceClassification" => match config["problem_type"].as_str() {
            Some("regression") => Problem::Regression,
            Some("multi_label_classification") => Problem::MultiLabel,
            None if labels().len() == 1 => Problem::Regression,
            _ => Problem::SequenceClassification,
        },
        _ => return None,
    };
    let has_labels = matches!(problem, Problem::TokenClassification | Problem::SequenceClassification | Problem::MultiLabel);
    Some(TaskHeadInfo { problem, labels: if has_labels { labels() } else { Vec::new() } })
}

/// Writes into `config.json` what says that a checkpoint has this head.
pub fn describe_head(config: &mut Value, head: &TaskHead, layout: &HeadLayout) {
    config["architectures"] = json!([layout.class]);
    let labels: Vec<String> = match head.info.problem {
        Problem::TokenClassification | Problem::SequenceClassification | Problem::MultiLabel => head.info.labels.clone(),
        Problem::ExtractiveQa => vec!["LABEL_0".into(), "LABEL_1".into()],
        Problem::Regression | Problem::MultipleChoice | Problem::Cloze => vec!["LABEL_0".into()],
    };
    config["id2label"] = Value::Object(labels.iter().enumerate().map(|(id, label)| (id.to_string(), json!(label))).collect());
    config["label2id"] = Value::Object(labels.iter().enumerate().map(|(id, label)| (label.clone(), json!(id))).collect::<Map<_, _>>());
    let problem_type = match head.info.problem {
        Problem::SequenceClassification => Some("single_label_classification"),
        Problem::MultiLabel => Some("multi_label_classification"),
        Problem::Regression => Some("regression"),
        _ => None,
    };
    match (problem_type, config.as_object_mut()) {
        (Some(problem_type), _) => config["problem_type"] = json!(problem_type),
        (None, Some(config)) => {
            config.remove("problem_type");
        }
        (None, None) => {}
    }
    config["lmprobe"] = json!({"problem": head.info.problem, "settings": head.settings});
}
