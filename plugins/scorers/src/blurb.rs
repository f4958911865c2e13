//! The BLURB score (Gu et al. 2021, <https://arxiv.org/abs/2007.15779>): the mean over six kinds of tasks of the mean within each.

use serde::Serialize;

use crate::{Error, Result};

/// The kinds of tasks, in the order of the leaderboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Named entities, entity F1.
    NamedEntities,
    /// PICO elements, word-level macro F1.
    Pico,
    /// Relations, micro F1 without the negative class.
    Relations,
    /// Sentence similarity, Pearson's r.
    Similarity,
    /// Documents, micro F1.
    Documents,
    /// Questions, accuracy.
    Questions,
}

impl Group {
    const ALL: [Self; 6] = [Self::NamedEntities, Self::Pico, Self::Relations, Self::Similarity, Self::Documents, Self::Questions];

    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NamedEntities => "named entities",
            Self::Pico => "PICO",
            Self::Relations => "relations",
            Self::Similarity => "similarity",
            Self::Documents => "documents",
            Self::Questions => "questions",
        }
    }
}

/// The thirteen data sets.
pub const SETS: [(&str, Group); 13] = [
    ("BC5-chem", Group::NamedEntities),
    ("BC5-disease", Group::NamedEntities),
    ("NCBI-disease", Group::NamedEntities),
    ("BC2GM", Group::NamedEntities),
    ("JNLPBA", Group::NamedEntities),
    ("EBM PICO", Group::Pico),
    ("ChemProt", Group::Relations),
    ("DDI", Group::Relations),
    ("GAD", Group::Relations),
    ("BIOSSES", Group::Similarity),
    ("HoC", Group::Documents),
    ("PubMedQA", Group::Questions),
    ("BioASQ", Group::Questions),
];

/// Other names of the same sets, as [`key`] writes them.
const ALIASES: [(&str, &str); 4] = [("bc5cdrchem", "BC5-chem"), ("bc5cdrdisease", "BC5-disease"), ("ebmnlp", "EBM PICO"), ("pico", "EBM PICO")];

/// Results by data set, in the order of [`SETS`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results([Option<f64>; SETS.len()]);

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlurbScore {
    /// The mean over the groups that have a result.
    pub score: f64,
    /// The mean of each such group, and how many of its sets have a result.
    pub groups: Vec<GroupMean>,
    /// Sets without a result; with any, `score` is no BLURB score.
    pub missing: Vec<&'static str>,
}

/// The mean within a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupMean {
    /// Which group.
    pub group: Group,
    /// The mean of the sets that have a result.
    pub mean: f64,
    /// How many have one.
    pub n: usize,
    /// How many there are.
    pub of: usize,
}

impl Results {
    /// Takes the result of a set, in the unit of all others. Case, blanks and hyphens of the name do not matter.
    ///
    /// # Errors
    ///
    /// If there is no such set, it has a result already, or the value is no score.
    pub fn insert(&mut self, name: &str, value: f64) -> Result<()> {
        let place = place(name)?;
        if !(-100.0..=100.0).contains(&value) {
            return Err(Error::Value(format!("the result of {} is {value}; expected a fraction or a percentage", SETS[place].0)));
        }
        if self.0[place].is_some() {
            return Err(Error::Value(format!("{} has two results", SETS[place].0)));
        }
        self.0[place] = Some(value);
        Ok(())
    }

    /// Sets without a result.
    pub fn missing(&self) -> Vec<&'static str> {
        SETS.iter().zip(&self.0).filter(|(_, value)| value.is_none()).map(|((name, _), _)| *name).collect()
    }

    /// The BLURB score.
    ///
    /// # Errors
    ///
    /// If a result is missing, or some are fractions and some percentages.
    pub fn score(&self) -> Result<BlurbScore> {
        let missing = self.missing();
        if missing.is_empty() { self.partial() } else { Err(Error::MissingSets { names: missing, needed: SETS.len() }) }
    }

    /// The same mean over what is there, which is no BLURB score while something is missing.
    ///
    /// # Errors
    ///
    /// If nothing is there, or some results are fractions and some percentages.
    pub fn partial(&self) -> Result<BlurbScore> {
        let there = || SETS.iter().zip(&self.0).filter_map(|((name, _), value)| Some((name, (*value)?)));
        let (fractions, percentages): (Vec<_>, Vec<_>) = there().partition(|(_, value)| value.abs() <= 1.0);
        if let ([(fraction, a), ..], [(percentage, b), ..]) = (&fractions[..], &percentages[..]) {
            return Err(Error::Value(format!("{percentage} is {b}, a percentage, and {fraction} is {a}, a fraction; give all results in one unit")));
        }
        let groups: Vec<GroupMean> = Group::ALL.into_iter().filter_map(|group| self.group(group)).collect();
        if groups.is_empty() {
            return Err(Error::MissingSets { names: self.missing(), needed: SETS.len() });
        }
        Ok(BlurbScore { score: mean(groups.iter().map(|group| group.mean)), groups, missing: self.missing() })
    }

    fn group(&self, group: Group) -> Option<GroupMean> {
        let sets = || SETS.iter().zip(&self.0).filter(move |((_, of), _)| *of == group);
        let values: Vec<f64> = sets().filter_map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| GroupMean { group, mean: mean(values.iter().copied()), n: values.len(), of: sets().count() })
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are thirteen")]
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The data set of this name, as the table of BLURB writes it.
///
/// # Errors
///
/// If there is no such set.
pub fn set(name: &str) -> Result<&'static str> {
    place(name).map(|place| SETS[place].0)
}

fn place(name: &str) -> Result<usize> {
    let wanted = key(name);
    let name_of = ALIASES.iter().find(|(alias, _)| *alias == wanted).map_or(wanted.clone(), |(_, set)| key(set));
    SETS.iter().position(|(set, _)| key(set) == name_of).ok_or_else(|| {
        let similarity = |set: &str| strsim::jaro_winkler(&wanted, &key(set));
        let near = SETS.iter().map(|(set, _)| *set).max_by(|a, b| similarity(a).total_cmp(&similarity(b))).filter(|set| similarity(set) > 0.8);
        Error::UnknownSet { name: name.to_owned(), near: near.map(str::to_owned), known: SETS.iter().map(|(set, _)| *set).collect() }
    })
}

/// A name without case and separators.
fn key(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Table 2 of the LinkBERT paper, arXiv:2203.15827.
    const BASE: [f64; 13] = [93.75, 86.10, 88.18, 84.90, 79.03, 73.97, 77.57, 82.72, 84.39, 93.25, 84.35, 70.20, 91.43];
    const LARGE: [f64; 13] = [94.04, 86.39, 88.76, 85.18, 80.06, 74.19, 79.98, 83.35, 84.90, 93.63, 84.87, 72.18, 94.82];

    fn results(values: [f64; 13]) -> Results {
        let mut results = Results::default();
        SETS.iter().zip(values).for_each(|((name, _), value)| results.insert(name, value).unwrap());
        results
    }

    #[test]
    fn published_scores_follow_from_their_tables() {
        for (values, score) in [(BASE, "83.39"), (LARGE, "84.30")] {
            assert_eq!(format!("{:.2}", results(values).score().unwrap().score), score);
        }
    }

    #[test]
    fn groups_weigh_the_same_however_many_sets_they_have() {
        let mut values = [0.5; 13];
        values[5] = 1.0;
        let score = results(values).score().unwrap();
        assert!((score.score - 3.5 / 6.0).abs() < 1e-15);
        assert_eq!(score.groups.iter().map(|group| group.n).collect::<Vec<_>>(), [5, 1, 3, 1, 1, 2]);
    }

    #[test]
    fn a_score_needs_all_thirteen() {
        let mut results = Results::default();
        results.insert("bc5cdr chem", 0.9).unwrap();
        results.insert("ddi", 0.8).unwrap();
        let error = results.score().unwrap_err().to_string();
        assert!(error.starts_with("no result of BC5-disease, NCBI-disease, ") && error.ends_with(", BioASQ; the score needs all 13"), "{error}");
        let partial = results.partial().unwrap();
        assert!((partial.score - 0.85).abs() < 1e-15);
        assert_eq!((partial.missing.len(), partial.groups.len(), partial.groups[0].of), (11, 2, 5));
        assert!(Results::default().partial().is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let mut results = Results::default();
        let error = results.insert("BC4-chem", 0.5).unwrap_err().to_string();
        assert!(error.starts_with("unknown data set `BC4-chem`; did you mean `BC5-chem`? (there are BC5-chem, "), "{error}");
        let error = results.insert("MedQA", 0.5).unwrap_err().to_string();
        assert!(error.starts_with("unknown data set `MedQA`"), "{error}");
        results.insert("GAD", 0.5).unwrap();
        assert_eq!(results.insert("gad", 0.6).unwrap_err().to_string(), "GAD has two results");
        assert_eq!(results.insert("HoC", 840.0).unwrap_err().to_string(), "the result of HoC is 840; expected a fraction or a percentage");
        results.insert("HoC", 84.0).unwrap();
        let error = results.partial().unwrap_err().to_string();
        assert_eq!(error, "HoC is 84, a percentage, and GAD is 0.5, a fraction; give all results in one unit");
    }
}
