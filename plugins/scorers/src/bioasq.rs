//! Phase B of BioASQ: exact answers of yes/no, factoid and list questions.
//!
//! Three readings are offered by name, because the evaluator that most papers used leaves questions out that a system did not answer, and compares texts
//! letter by letter: see [`Variant`].

use std::collections::HashMap;
use std::ops::AddAssign;

use serde::Serialize;

use crate::answers::normalize;
pub use crate::bioasq_files::{Exact, Kind, Question, read_gold, read_system};
use crate::counts::ratio;
use crate::java_double::double_text;
use crate::{Counts, Scores};

/// Entries of a factoid answer that the guidelines allow.
pub const FACTOID_ENTRIES: usize = 5;

/// How answers are compared and what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// As the evaluator of BioASQ (`-phaseB -e 5`, in the version that biobert-pytorch bundles): gold questions that the system does not have are left out,
    /// factoid lists are read to their end, texts must be equal but for case, and a yes/no question without a clear answer counts against both labels.
    Official,
    /// Every gold question counts, one that is not answered as wrong; factoid lists are cut at [`FACTOID_ENTRIES`]; texts must be equal but for case.
    Complete,
    /// As `Complete`, and texts are compared without ASCII punctuation, articles and surplus blanks.
    Normalized,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Official, Self::Complete, Self::Normalized];

    /// What stands beside its numbers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Complete => "complete",
            Self::Normalized => "normalized",
        }
    }
}

/// What of a system's answers cannot be scored as it was meant: ids of questions, in the order of their file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Misfits {
    /// Questions whose answer has another form than they ask for: a text for a factoid or list question, a list or another word than yes and no for a yes/no
    /// question. Every [`Variant`] counts them as wrong.
    pub wrong_form: Vec<String>,
    /// Questions that the system has without an `exact_answer`. Every variant counts them as wrong.
    pub no_answer: Vec<String>,
    /// Answers to questions that the gold does not have. They do not count.
    pub unknown: Vec<String>,
}

impl Misfits {
    /// Looks for them. Summaries have no exact answer.
    pub fn of(gold: &[Question], system: &[Question]) -> Self {
        let kinds: HashMap<&str, Option<Kind>> = gold.iter().map(|question| (question.id.as_str(), question.kind)).collect();
        let mut misfits = Self::default();
        for Question { id, exact, .. } in system {
            let list = match (kinds.get(id.as_str()), exact) {
                (None, _) => &mut misfits.unknown,
                (Some(Some(Kind::Summary)), _) | (Some(Some(Kind::YesNo)), Exact::YesNo(Some(_))) => continue,
                (Some(_), Exact::None) => &mut misfits.no_answer,
                (Some(kind), Exact::Entries(_)) if *kind != Some(Kind::YesNo) => continue,
                (Some(_), _) => &mut misfits.wrong_form,
            };
            list.push(id.clone());
        }
        misfits
    }
}

/// Sums over questions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PhaseB {
    /// Yes/no questions whose answer is yes.
    pub yes: Counts,
    /// Yes/no questions whose answer is no.
    pub no: Counts,
    /// Factoid questions.
    pub factoid: FactoidSums,
    /// List questions.
    pub list: ListSums,
    /// Questions that the system does not have.
    pub missing: u64,
    /// Factoid answers that were cut.
    pub cut: u64,
}

/// Sums over factoid questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct FactoidSums {
    /// Questions.
    pub n: u64,
    /// Right in the first place.
    pub strict: u64,
    /// Right in any place.
    pub lenient: u64,
    /// The sum of the reciprocal ranks of the first right entry.
    pub reciprocal_rank: f64,
}

/// Sums over list questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ListSums {
    /// Questions.
    pub n: u64,
    /// The sums of precision, recall and F1 of each question.
    pub sums: Scores,
}

impl PhaseB {
    /// Counts the questions of the gold, answered by a system.
    pub fn of(gold: &[Question], system: &[Question], variant: Variant) -> Self {
        let answers: HashMap<&str, &Question> = system.iter().map(|question| (question.id.as_str(), question)).collect();
        let mut sums = Self::default();
        for question in gold {
            let answer = answers.get(question.id.as_str()).map(|answer| &answer.exact);
            sums += Self::of_question(question, answer, variant);
        }
        sums
    }

    /// Counts one question; `None` if the system does not have it.
    pub fn of_question(gold: &Question, answer: Option<&Exact>, variant: Variant) -> Self {
        let mut sums = Self::default();
        if gold.kind == Some(Kind::Summary) {
            return sums;
        }
        sums.missing = u64::from(answer.is_none());
        if answer.is_none() && variant == Variant::Official {
            return sums;
        }
        match (&gold.exact, answer) {
            (Exact::YesNo(right), answer) => {
                let said = if let Some(Exact::YesNo(said)) = answer { *said } else { None };
                for (class, label) in [(&mut sums.yes, true), (&mut sums.no, false)] {
                    *class = Counts {
                        gold: u64::from(*right == Some(label)),
                        found: u64::from(said == Some(label)),
                        correct: u64::from(*right == Some(label) && said == Some(label)),
                    };
                }
            }
            (Exact::Entries(gold_entries), answer) => {
                let entries = if let Some(Exact::Entries(entries)) = answer { &entries[..] } else { &[] };
                // Only the first text of an entry of a system counts.
                let entries: Vec<String> = entries.iter().map(|synonyms| comparable(&synonyms[0], variant)).collect();
                let gold_entries: Vec<Vec<String>> =
                    gold_entries.iter().map(|synonyms| synonyms.iter().map(|synonym| comparable(synonym, variant)).collect()).collect();
                if gold.kind == Some(Kind::Factoid) {
                    sums.factoid(&gold_entries, entries, variant);
                } else {
                    sums.list(gold_entries, entries);
                }
            }
            (Exact::None, _) => {}
        }
        sums
    }

    /// Of yes/no questions those answered right; 0 if there are none.
    pub fn yes_no_accuracy(&self) -> f64 {
        ratio(self.yes.correct + self.no.correct, self.n_yes_no())
    }

    /// F1 of the answers yes and no.
    pub fn yes_no_f1(&self, variant: Variant) -> (f64, f64) {
        if variant != Variant::Official {
            return (self.yes.f1(), self.no.f1());
        }
        // The evaluator takes every wrong answer for the other label, even if it is neither.
        let wrong = self.n_yes_no() - self.yes.correct - self.no.correct;
        let f1 = |correct: u64| ratio(2 * correct, 2 * correct + wrong);
        (f1(self.yes.correct), f1(self.no.correct))
    }

    /// Yes/no questions.
    pub fn n_yes_no(&self) -> u64 {
        self.yes.gold + self.no.gold
    }

    /// All measures, in the order of the evaluator.
    pub fn measures(&self, variant: Variant) -> Measures {
        let (yes, no) = self.yes_no_f1(variant);
        let FactoidSums { n, strict, lenient, reciprocal_rank } = self.factoid;
        Measures {
            yes_no_accuracy: self.yes_no_accuracy(),
            strict_accuracy: ratio(strict, n),
            lenient_accuracy: ratio(lenient, n),
            mrr: mean(reciprocal_rank, n),
            list_precision: mean(self.list.sums.precision, self.list.n),
            list_recall: mean(self.list.sums.recall, self.list.n),
            list_f1: mean(self.list.sums.f1, self.list.n),
            yes_no_macro_f1: f64::midpoint(yes, no),
            f1_yes: yes,
            f1_no: no,
        }
    }

    fn factoid(&mut self, gold: &[Vec<String>], mut entries: Vec<String>, variant: Variant) {
        if variant != Variant::Official && entries.len() > FACTOID_ENTRIES {
            entries.truncate(FACTOID_ENTRIES);
            self.cut = 1;
        }
        let right = |entry: &String| gold.iter().any(|synonyms| synonyms.contains(entry));
        let rank = entries.iter().position(right);
        #[expect(clippy::cast_precision_loss, reason = "lists are short")]
        let reciprocal_rank = rank.map_or(0.0, |rank| 1.0 / (rank + 1) as f64);
        self.factoid = FactoidSums { n: 1, strict: u64::from(rank == Some(0)), lenient: u64::from(rank.is_some()), reciprocal_rank };
    }

    /// A gold entry is matched once. What is left unmatched is missed only if no entry of the system has it: so the evaluator treats synonyms in two entries.
    fn list(&mut self, mut gold: Vec<Vec<String>>, mut entries: Vec<String>) {
        self.list.n = 1;
        if entries.is_empty() {
            return;
        }
        let mut counts = Counts { correct: 0, found: entries.len() as u64, gold: 0 };
        for entry in &entries {
            if let Some(place) = gold.iter().position(|synonyms| synonyms.contains(entry)) {
                gold.remove(place);
                counts.correct += 1;
            }
        }
        counts.gold = counts.correct;
        for synonyms in gold {
            match entries.iter().position(|entry| synonyms.contains(entry)) {
                Some(place) => drop(entries.remove(place)),
                None => counts.gold += 1,
            }
        }
        let (precision, recall) = (counts.precision(), counts.recall());
        let f1 = if precision > 0.0 && recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        self.list.sums = Scores { precision, recall, f1 };
    }
}

impl AddAssign<&Self> for PhaseB {
    fn add_assign(&mut self, other: &Self) {
        self.yes += other.yes;
        self.no += other.no;
        self.factoid.n += other.factoid.n;
        self.factoid.strict += other.factoid.strict;
        self.factoid.lenient += other.factoid.lenient;
        self.factoid.reciprocal_rank += other.factoid.reciprocal_rank;
        self.list.n += other.list.n;
        self.list.sums.precision += other.list.sums.precision;
        self.list.sums.recall += other.list.sums.recall;
        self.list.sums.f1 += other.list.sums.f1;
        self.missing += other.missing;
        self.cut += other.cut;
    }
}

impl AddAssign for PhaseB {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

/// The ten numbers of phase B, fractions in [0, 1], in the order of the evaluator. A kind of question that does not occur has 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Measures {
    /// Yes/no questions answered right.
    pub yes_no_accuracy: f64,
    /// Factoid questions whose first entry is right (`SAcc`).
    pub strict_accuracy: f64,
    /// Factoid questions with a right entry (`LAcc`).
    pub lenient_accuracy: f64,
    /// Mean reciprocal rank of the first right entry.
    pub mrr: f64,
    /// Mean precision of list questions.
    pub list_precision: f64,
    /// Their mean recall.
    pub list_recall: f64,
    /// Their mean F1.
    pub list_f1: f64,
    /// The mean of the two F1 of yes/no questions.
    pub yes_no_macro_f1: f64,
    /// F1 of the answer yes.
    pub f1_yes: f64,
    /// F1 of the answer no.
    pub f1_no: f64,
}

impl Measures {
    /// Each number with its name, in order.
    pub fn named(&self) -> [(&'static str, f64); 10] {
        [
            ("YesNoAcc", self.yes_no_accuracy),
            ("SAcc", self.strict_accuracy),
            ("LAcc", self.lenient_accuracy),
            ("MRR", self.mrr),
            ("ListP", self.list_precision),
            ("ListR", self.list_recall),
            ("ListF1", self.list_f1),
            ("YesNoMacroF1", self.yes_no_macro_f1),
            ("F1yes", self.f1_yes),
            ("F1no", self.f1_no),
        ]
    }

    /// The line of the evaluator: ten numbers as Java prints them, no line end.
    pub fn line(&self) -> String {
        self.named().map(|(_, value)| double_text(value)).join(" ")
    }
}

fn comparable(text: &str, variant: Variant) -> String {
    if variant == Variant::Normalized { normalize(text) } else { text.to_owned() }
}

#[expect(clippy::cast_precision_loss, reason = "counts of questions are far below 2^53")]
fn mean(sum: f64, n: u64) -> f64 {
    if n == 0 { 0.0 } else { sum / n as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(lists: &[&[&str]]) -> Exact {
        Exact::Entries(lists.iter().map(|synonyms| synonyms.iter().map(|synonym| (*synonym).to_owned()).collect()).collect())
    }

    fn question(id: &str, kind: Kind, exact: Exact) -> Question {
        Question { id: id.to_owned(), kind: Some(kind), exact }
    }

    fn measured(gold: &Question, answer: &Exact, variant: Variant) -> Measures {
        PhaseB::of_question(gold, Some(answer), variant).measures(variant)
    }

    #[test]
    fn factoids_are_ranked() {
        let gold = question("a", Kind::Factoid, entries(&[&["alpha", "alpha-1"], &["other"]]));
        for (answer, strict, lenient, mrr) in [
            (entries(&[&["alpha-1"], &["x"]]), 1.0, 1.0, 1.0),
            (entries(&[&["x"], &["other"]]), 0.0, 1.0, 0.5),
            (entries(&[&["x", "alpha"]]), 0.0, 0.0, 0.0),
            (entries(&[&["alpha "]]), 0.0, 0.0, 0.0),
            (entries(&[]), 0.0, 0.0, 0.0),
            (Exact::None, 0.0, 0.0, 0.0),
        ] {
            let measures = measured(&gold, &answer, Variant::Official);
            assert_eq!((measures.strict_accuracy, measures.lenient_accuracy, measures.mrr), (strict, lenient, mrr), "{answer:?}");
        }
    }

    #[test]
    fn the_official_reading_goes_beyond_five_entries_and_ours_does_not() {
        let gold = question("a", Kind::Factoid, entries(&[&["right"]]));
        let answer = entries(&[&["1"], &["2"], &["3"], &["4"], &["5"], &["right"]]);
        assert_eq!(measured(&gold, &answer, Variant::Official).mrr, 1.0 / 6.0);
        let sums = PhaseB::of_question(&gold, Some(&answer), Variant::Complete);
        assert_eq!((sums.measures(Variant::Complete).mrr, sums.cut), (0.0, 1));
    }

    #[test]
    fn normalisation_forgives_punctuation() {
        let gold = question("a", Kind::Factoid, entries(&[&["il-2 gene"]]));
        let answer = entries(&[&["the il2 gene."]]);
        let strict = Variant::ALL.map(|variant| measured(&gold, &answer, variant).strict_accuracy);
        assert_eq!(strict, [0.0, 0.0, 1.0]);
    }

    #[test]
    fn unanswered_questions_are_left_out_officially_and_count_as_wrong_with_us() {
        let gold = [question("a", Kind::Factoid, entries(&[&["x"]])), question("b", Kind::Factoid, entries(&[&["y"]]))];
        let system = [question("a", Kind::Factoid, entries(&[&["x"]]))];
        for (variant, accuracy) in [(Variant::Official, 1.0), (Variant::Complete, 0.5), (Variant::Normalized, 0.5)] {
            let sums = PhaseB::of(&gold, &system, variant);
            assert_eq!((sums.measures(variant).strict_accuracy, sums.missing), (accuracy, 1), "{}", variant.name());
        }
    }

    #[test]
    fn yes_and_no_have_their_f1() {
        let gold = |yes| question("a", Kind::YesNo, Exact::YesNo(Some(yes)));
        let mut sums = PhaseB::default();
        for (right, said) in [(true, Some(true)), (true, Some(true)), (true, Some(false)), (false, Some(false)), (false, None)] {
            sums += PhaseB::of_question(&gold(right), Some(&Exact::YesNo(said)), Variant::Complete);
        }
        // Yes: 2 of 2 said and of 3; no: 1 of 2 said and of 2.
        let measures = sums.measures(Variant::Complete);
        assert_eq!((measures.yes_no_accuracy, measures.f1_yes, measures.f1_no, measures.yes_no_macro_f1), (0.6, 0.8, 0.5, 0.65));
        // The evaluator counts the answer that is neither as one more `yes`: 4 / (4 + 2) and 2 / (2 + 2).
        let measures = sums.measures(Variant::Official);
        assert_eq!((measures.f1_yes, measures.f1_no), (2.0 / 3.0, 0.5));
    }

    #[test]
    fn an_entry_of_a_list_is_matched_once() {
        let gold = question("a", Kind::List, entries(&[&["a", "aa"], &["b"], &["c"]]));
        // `aa` finds its entry taken: 2 of 4 are right, `c` is missed.
        let measures = measured(&gold, &entries(&[&["a"], &["aa"], &["b"], &["x"]]), Variant::Official);
        assert_eq!((measures.list_precision, measures.list_recall), (0.5, 2.0 / 3.0));
        assert!((measures.list_f1 - 4.0 / 7.0).abs() < 1e-15);
        assert_eq!(measured(&gold, &entries(&[]), Variant::Official).list_f1, 0.0);
    }

    #[test]
    fn a_gold_entry_that_shares_its_synonym_with_a_matched_one_is_not_missed() {
        let gold = question("a", Kind::List, entries(&[&["a"], &["a", "b"]]));
        assert_eq!(measured(&gold, &entries(&[&["a"]]), Variant::Official).list_recall, 1.0);
    }

    #[test]
    fn answers_that_do_not_fit_their_question_are_named() {
        let gold = [
            question("f", Kind::Factoid, entries(&[&["brca1"]])),
            question("y", Kind::YesNo, Exact::YesNo(Some(true))),
            question("n", Kind::YesNo, Exact::YesNo(Some(false))),
            question("l", Kind::List, entries(&[&["a"]])),
            question("s", Kind::Summary, Exact::None),
        ];
        let answered = |id: &str, exact: Exact| Question { id: id.to_owned(), kind: None, exact };
        let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
        let system = [
            answered("f", Exact::YesNo(None)),
            answered("y", entries(&[&["yes"]])),
            answered("n", Exact::YesNo(None)),
            answered("l", Exact::None),
            answered("s", Exact::None),
            answered("z", entries(&[&["a"]])),
        ];
        let expected = Misfits { wrong_form: ids(&["f", "y", "n"]), no_answer: ids(&["l"]), unknown: ids(&["z"]) };
        assert_eq!(Misfits::of(&gold, &system), expected);
        // They are wrong in every reading.
        for variant in Variant::ALL {
            let measures = PhaseB::of(&gold, &system, variant).measures(variant);
            assert_eq!((measures.strict_accuracy, measures.yes_no_accuracy, measures.list_f1), (0.0, 0.0, 0.0), "{}", variant.name());
        }
        let fitting = [answered("f", entries(&[])), answered("y", Exact::YesNo(Some(false))), answered("l", entries(&[&["b"]]))];
        assert_eq!(Misfits::of(&gold, &fitting), Misfits::default());
    }

    #[test]
    fn summaries_do_not_count() {
        let gold = question("a", Kind::Summary, Exact::None);
        assert_eq!(PhaseB::of_question(&gold, None, Variant::Complete), PhaseB::default());
    }

    #[test]
    fn sums_add_up() {
        let gold = [question("a", Kind::Factoid, entries(&[&["x"]])), question("b", Kind::List, entries(&[&["y"]]))];
        let system = [question("a", Kind::Factoid, entries(&[&["x"]])), question("b", Kind::List, entries(&[&["y"], &["z"]]))];
        let mut sum = PhaseB::of(&gold[..1], &system, Variant::Complete);
        sum += PhaseB::of(&gold[1..], &system, Variant::Complete);
        assert_eq!(sum, PhaseB::of(&gold, &system, Variant::Complete));
    }

    #[test]
    fn the_cases_made_with_the_evaluator_agree() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/bioasq_phaseB_golden.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped: no {path}");
            return;
        };
        let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
        for case in cases.as_array().unwrap() {
            let read = |side: &str| serde_json::to_vec(&case[side]).unwrap();
            let (gold, system) = (read_gold(&read("gold"), "gold").unwrap(), read_system(&read("system"), "system").unwrap());
            let measures = PhaseB::of(&gold, &system, Variant::Official).measures(Variant::Official);
            assert_eq!(measures.line(), case["stdout"].as_str().unwrap());
        }
    }
}
