//! Entities of tagged words, with their places in the text.

use lmprobe_core::{Error, Result};
use lmprobe_scorers::entities::{Scheme, Spans};
use serde_json::{Value, json};

use super::words::{Word, slice};

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

/// The entities of a text whose words have these tags, read as `conlleval` reads them.
pub(crate) fn mentions(text: &str, words: &[Word], tags: &[String], scores: &[f64]) -> Result<Vec<Mention>> {
    let spans = Spans::read(tags, Scheme::Conlleval).map_err(|error| Error::Unsupported(format!("the predicted tags: {error}")))?;
    let mention = |kind: String, first: usize, end: usize| {
        let (from, to) = (words[first].start, words[end - 1].end);
        #[expect(clippy::cast_precision_loss, reason = "a handful of words")]
        let score = scores[first..end].iter().sum::<f64>() / (end - first) as f64;
        Mention { start: from, end: to, kind, text: slice(text, from, to), score }
    };
    Ok(spans.entities.into_iter().map(|entity| mention(entity.kind, entity.start, entity.end)).collect())
}

impl Mention {
    pub(crate) fn json(&self) -> Value {
        json!({"start": self.start, "end": self.end, "type": self.kind, "text": self.text, "score": self.score})
    }

    /// A line of a BRAT file, for an entity `number` of a document in which the text begins at `offset`.
    pub(crate) fn brat(&self, number: usize, offset: usize) -> String {
        let kind = if self.kind.is_empty() { "Entity" } else { &self.kind };
        format!("T{number}\t{kind} {} {}\t{}\n", self.start + offset, self.end + offset, self.text)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(found[1].brat(2, 100), "T2\tDisease 122 128\tcancer\n");
        assert_eq!(found[1].json(), json!({"start": 22, "end": 28, "type": "Disease", "text": "cancer", "score": 0.25}));
    }
}
