//! Answers as text: exact match and F1 of words as SQuAD defines them (Rajpurkar et al. 2016, <https://arxiv.org/abs/1606.05250>).

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

static ARTICLES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(a|an|the)\b").expect("a valid pattern"));

/// The text in lower case, without ASCII punctuation and the articles `a`, `an` and `the`, single blanks between words.
pub fn normalize(text: &str) -> String {
    let bare: String = text.to_lowercase().chars().filter(|character| !character.is_ascii_punctuation()).collect();
    ARTICLES.replace_all(&bare, " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How well a prediction matches the best of its gold answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Match {
    /// Whether it is one of them after normalisation.
    pub exact: bool,
    /// The highest F1 of words, a fraction in [0, 1].
    pub f1: f64,
}

impl Match {
    /// Compares with every gold answer; that of a question that has no answer is the empty text. Without any, nothing is right.
    pub fn of<G: AsRef<str>>(prediction: &str, gold: &[G]) -> Self {
        let prediction = normalize(prediction);
        let mut best = Self::default();
        for gold in gold {
            let gold = normalize(gold.as_ref());
            best.exact |= gold == prediction;
            best.f1 = best.f1.max(word_f1(&prediction, &gold));
        }
        best
    }
}

/// F1 of two normalised texts as bags of words. If one is empty it is 1 or 0 as both are or not (SQuAD 2.0).
fn word_f1(prediction: &str, gold: &str) -> f64 {
    let (prediction, gold): (Vec<&str>, Vec<&str>) =
        (prediction.split(' ').filter(|word| !word.is_empty()).collect(), gold.split(' ').filter(|word| !word.is_empty()).collect());
    if prediction.is_empty() || gold.is_empty() {
        return if prediction.len() == gold.len() { 1.0 } else { 0.0 };
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &gold {
        *left.entry(word).or_default() += 1;
    }
    let mut counts = crate::Counts { correct: 0, found: prediction.len() as u64, gold: gold.len() as u64 };
    for word in prediction {
        if let Some(n) = left.get_mut(word).filter(|n| **n > 0) {
            *n -= 1;
            counts.correct += 1;
        }
    }
    counts.f1()
}

/// Matches of many questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AnswerCounts {
    /// Questions.
    pub n: u64,
    /// Exact matches.
    pub exact: u64,
    /// The sum of F1.
    pub f1_sum: f64,
}

impl AnswerCounts {
    /// Counts a question.
    pub fn add(&mut self, answer: Match) {
        self.n += 1;
        self.exact += u64::from(answer.exact);
        self.f1_sum += answer.f1;
    }

    /// Exact matches of all; 0 without questions.
    pub fn exact_match(&self) -> f64 {
        crate::counts::ratio(self.exact, self.n)
    }

    /// The mean F1; 0 without questions.
    #[expect(clippy::cast_precision_loss, reason = "counts of questions are far below 2^53")]
    pub fn f1(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.f1_sum / self.n as f64 }
    }
}

impl AddAssign for AnswerCounts {
    fn add_assign(&mut self, other: Self) {
        self.n += other.n;
        self.exact += other.exact;
        self.f1_sum += other.f1_sum;
    }
}

impl AddAssign<&Self> for AnswerCounts {
    fn add_assign(&mut self, other: &Self) {
        *self += *other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_drops_what_does_not_matter() {
        for (text, normal) in [
            ("The  TP53 gene.", "tp53 gene"),
            ("an anemia", "anemia"),
            ("IL-2", "il2"),
            ("a-b", "ab"),
            ("Vitamin A", "vitamin"),
            ("\tβ-Catenin (CTNNB1)\n", "βcatenin ctnnb1"),
            ("theater", "theater"),
            ("the", ""),
        ] {
            assert_eq!(normalize(text), normal);
        }
    }

    #[test]
    fn the_best_gold_answer_counts() {
        assert_eq!(Match::of("the IL-2 gene", &["IL2 gene", "interleukin"]), Match { exact: true, f1: 1.0 });
        // One of two predicted words, one of three gold words: 2 * 1/2 * 1/3 / (5/6).
        assert_eq!(Match::of("liver failure", &["acute liver disease", "nothing"]), Match { exact: false, f1: 0.4 });
        assert_eq!(Match::of("x", &["y"]), Match { exact: false, f1: 0.0 });
    }

    #[test]
    fn a_word_counts_as_often_as_it_is_in_both() {
        // 1 of 2 and 1 of 1.
        assert_eq!(Match::of("dose dose", &["dose"]).f1, 2.0 / 3.0);
    }

    #[test]
    fn no_answer_is_an_answer() {
        assert_eq!(Match::of("", &[""]), Match { exact: true, f1: 1.0 });
        assert_eq!(Match::of("", &["x"]), Match { exact: false, f1: 0.0 });
        assert_eq!(Match::of("x", &[""]), Match { exact: false, f1: 0.0 });
        assert_eq!(Match::of("", &[] as &[&str]), Match { exact: false, f1: 0.0 }, "without a gold nothing is right");
        assert_eq!(Match::of("the", &["a"]), Match { exact: true, f1: 1.0 });
    }

    #[test]
    fn counts_add_up() {
        let mut counts = AnswerCounts::default();
        assert_eq!((counts.exact_match(), counts.f1()), (0.0, 0.0));
        counts.add(Match { exact: true, f1: 1.0 });
        let mut sum = counts;
        counts.add(Match { exact: false, f1: 0.5 });
        assert_eq!((counts.exact_match(), counts.f1()), (0.5, 0.75));
        sum += &counts;
        assert_eq!((sum.n, sum.exact, sum.f1()), (3, 2, 2.5 / 3.0));
    }
}
