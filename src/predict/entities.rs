//! Entities of tagged words, with their places in the text.

use lmprobe_core::{Error, Result, TaskHead};
use lmprobe_scorers::entities::{Scheme, Spans};
use serde_json::{Value, json};

use super::words::{Word, slice};

/// Labels that no word gets: those of padding, further pieces and special tokens in BioBERT's scheme (`label_scheme: biobert`), which the prober reads as outside.
const OF_NO_WORD: [&str; 4] = ["[PAD]", "X", "[CLS]", "[SEP]"];

/// An entity, in characters of its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mention {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The type of its tags; empty where they have none.
    pub(crate) kind: String,
    pub(crate) text: String,
    /// Mean probability of its words' tags.
    pub(crate) score: f64,
}

/// The entities of a text whose words have these tags, read as `conlleval` reads them; `U` and `L` of BILOU are `S` and `E`.
pub(crate) fn mentions(text: &str, words: &[Word], tags: &[String], scores: &[f64]) -> Result<Vec<Mention>> {
    let tags: Vec<String> = tags.iter().map(|tag| iobes(tag)).collect();
    let spans = Spans::read(&tags, Scheme::Conlleval).map_err(|error| Error::Unsupported(format!("the predicted tags: {error}")))?;
    let mention = |kind: String, first: usize, end: usize| {
        let (from, to) = (words[first].start, words[end - 1].end);
        #[expect(clippy::cast_precision_loss, reason = "a handful of words")]
        let score = scores[first..end].iter().sum::<f64>() / (end - first) as f64;
        Mention { start: from, end: to, kind, text: slice(text, from, to), score }
    };
    Ok(spans.entities.into_iter().map(|entity| mention(entity.kind, entity.start, entity.end)).collect())
}

/// Whether the labels of a head are tags of which entities can be read.
///
/// # Errors
/// The message that says which are not.
pub(crate) fn check_tags(head: &TaskHead) -> std::result::Result<(), String> {
    let biobert = head.settings.get("label_scheme").and_then(Value::as_str) == Some("biobert");
    let of_words = head.info.labels.iter().filter(|label| !(biobert && OF_NO_WORD.contains(&label.as_str())));
    let unreadable: Vec<String> = of_words.filter(|label| letter_and_kind(label).is_none()).map(|label| format!("`{label}`")).collect();
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(format!(
        "no entities can be read from the labels {} of the head: tags are `O`, and `B`, `I`, `E`, `S`, `L` or `U`, alone or with a hyphen and a type behind; \
         give the checkpoint such labels (`id2label` of config.json), or write its labels as they are with --format conll",
        unreadable.join(", ")
    ))
}

/// The letter of a tag, and the rest with its hyphen; none if it is no tag.
fn letter_and_kind(tag: &str) -> Option<(char, &str)> {
    let letter = tag.chars().next().filter(|letter| "OBIESLU".contains(*letter))?;
    let rest = &tag[1..];
    (rest.is_empty() || rest.starts_with('-') && rest.len() > 1).then_some((letter, rest))
}

/// A tag in the letters of IOBES.
fn iobes(tag: &str) -> String {
    match letter_and_kind(tag) {
        Some(('U', kind)) => format!("S{kind}"),
        Some(('L', kind)) => format!("E{kind}"),
        _ => tag.to_owned(),
    }
}

impl Mention {
    pub(crate) fn json(&self) -> Value {
        json!({"start": self.start, "end": self.end, "type": self.kind, "text": self.text, "score": self.score})
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::{Problem, TaskHeadInfo};

    use super::*;
    use crate::predict::words::words;

    #[test]
    fn tags_become_places_in_the_text() {
        let text = "Mutated BRCA-1 causes cancer .";
        let words = words(text);
        let tags = ["O", "B-Gene", "I-Gene", "I-Gene", "O", "B-Disease", "O"].map(str::to_owned);
        let found = mentions(text, &words, &tags, &[1.0, 0.5, 0.7, 0.9, 1.0, 0.25, 1.0]).unwrap();
        assert_eq!(
            found.iter().map(|mention| (mention.start, mention.end, mention.text.as_str())).collect::<Vec<_>>(),
            [(8, 14, "BRCA-1"), (22, 28, "cancer")]
        );
        assert!((found[0].score - 0.7).abs() < 1e-12);
        assert_eq!(found[1].json(), json!({"start": 22, "end": 28, "type": "Disease", "text": "cancer", "score": 0.25}));
    }

    /// The entities of `a b c d` with these tags, as `type text`.
    fn of(tags: [&str; 4]) -> Vec<String> {
        let text = "a b c d";
        let found = mentions(text, &words(text), &tags.map(str::to_owned), &[1.0; 4]).unwrap();
        found.into_iter().map(|mention| format!("{} {}", mention.kind, mention.text)).collect()
    }

    #[test]
    fn bilou_is_read_as_iobes() {
        assert_eq!(of(["B-X", "L-X", "U-X", "U-X"]), ["X a b", "X c", "X d"]);
        assert_eq!(of(["U-X", "B-X", "I-X", "L-X"]), ["X a", "X b c d"]);
        assert_eq!(of(["B", "L", "U", "O"]), [" a b", " c"]);
        assert_eq!(of(["B-X", "E-X", "S-X", "O"]), ["X a b", "X c"]);
    }

    fn refusal(labels: &[&str], settings: Value) -> Option<String> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        check_tags(&TaskHead { info: TaskHeadInfo { problem: Problem::TokenClassification, labels }, settings, tensors: Vec::new() }).err()
    }

    #[test]
    fn labels_that_are_no_tags_are_refused() {
        for labels in [&["O", "B", "I"][..], &["O", "B-Cell line", "I-Cell line"], &["U-X", "L-X", "O"], &["S", "E", "O-MISC"]] {
            assert_eq!(refusal(labels, Value::Null), None, "{labels:?}");
        }
        let said = "no entities can be read from the labels `LABEL_0`, `b-X`, `B-`, `M-X` of the head: tags are `O`, and `B`, `I`, `E`, `S`, `L` or `U`, alone or \
                    with a hyphen and a type behind; give the checkpoint such labels (`id2label` of config.json), or write its labels as they are with --format conll";
        assert_eq!(refusal(&["LABEL_0", "O", "b-X", "B-", "M-X"], Value::Null).as_deref(), Some(said));
        let seven = ["[PAD]", "B", "I", "O", "X", "[CLS]", "[SEP]"];
        assert_eq!(refusal(&seven, json!({"label_scheme": "biobert"})), None);
        assert!(
            refusal(&seven, json!({"label_scheme": "words"})).unwrap().starts_with("no entities can be read from the labels `[PAD]`, `X`, `[CLS]`, `[SEP]` of")
        );
    }
}
