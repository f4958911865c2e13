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

/// What results are given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// From 0 to 100.
    Percent,
    /// From 0 to 1.
    Fraction,
}

/// A score and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlurbScore {
    /// What it is given in, as all results are.
    pub unit: Unit,
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

    /// The BLURB score. Without a unit it is taken from all results together.
    ///
    /// # Errors
    ///
    /// If a result is missing, or the results are not in one unit.
    pub fn score(&self, unit: Option<Unit>) -> Result<BlurbScore> {
        let missing = self.missing();
        if missing.is_empty() { self.partial(unit) } else { Err(Error::MissingSets { names: missing, needed: SETS.len() }) }
    }

    /// The same mean over what is there, which is no BLURB score while something is missing.
    ///
    /// # Errors
    ///
    /// If nothing is there, or the results are not in one unit.
    pub fn partial(&self, unit: Option<Unit>) -> Result<BlurbScore> {
        let unit = self.unit(unit)?;
        let groups: Vec<GroupMean> = Group::ALL.into_iter().filter_map(|group| self.group(group)).collect();
        if groups.is_empty() {
            return Err(Error::MissingSets { names: self.missing(), needed: SETS.len() });
        }
        Ok(BlurbScore { unit, score: mean(groups.iter().map(|group| group.mean)), groups, missing: self.missing() })
    }

    /// The unit of all results: the one that was named, or percent if one of them is more than a fraction can be. A 0 and a negative correlation are no sign of
    /// either unit; any other number in (0, 1] beside percentages is taken for a fraction, and refused.
    fn unit(&self, named: Option<Unit>) -> Result<Unit> {
        let there = || SETS.iter().zip(&self.0).filter_map(|((name, _), value)| Some((name, (*value)?)));
        let percentage = there().find(|(_, value)| value.abs() > 1.0);
        match (named, percentage) {
            (Some(Unit::Fraction), Some((name, value))) => Err(Error::Value(format!("{name} is {value}, which is no fraction"))),
            (Some(unit), _) => Ok(unit),
            (None, None) => Ok(Unit::Fraction),
            (None, Some((percentage, b))) => match there().find(|(_, value)| *value > 0.0 && *value <= 1.0) {
                Some((fraction, a)) => Err(Error::Value(format!(
                    "{percentage} is {b}, a percentage, and {fraction} is {a}, which looks like a fraction; give all results in one unit, and name it if this is it"
                ))),
                None => Ok(Unit::Percent),
            },
        }
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
            assert_eq!(format!("{:.2}", results(values).score(None).unwrap().score), score);
        }
    }

    #[test]
    fn groups_weigh_the_same_however_many_sets_they_have() {
        let mut values = [0.5; 13];
        values[5] = 1.0;
        let score = results(values).score(None).unwrap();
        assert!((score.score - 3.5 / 6.0).abs() < 1e-15);
        assert_eq!(score.groups.iter().map(|group| group.n).collect::<Vec<_>>(), [5, 1, 3, 1, 1, 2]);
    }

    #[test]
    fn a_score_needs_all_thirteen() {
        let mut results = Results::default();
        results.insert("bc5cdr chem", 0.9).unwrap();
        results.insert("ddi", 0.8).unwrap();
        let error = results.score(None).unwrap_err().to_string();
        assert!(error.starts_with("no result of BC5-disease, NCBI-disease, ") && error.ends_with(", BioASQ; the score needs all 13"), "{error}");
        let partial = results.partial(None).unwrap();
        assert!((partial.score - 0.85).abs() < 1e-15);
        assert_eq!((partial.missing.len(), partial.groups.len(), partial.groups[0].of), (11, 2, 5));
        assert!(Results::default().partial(None).is_err());
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
        let error = results.partial(None).unwrap_err().to_string();
        let said = "HoC is 84, a percentage, and GAD is 0.5, which looks like a fraction; give all results in one unit, and name it if this is it";
        assert_eq!(error, said);
        assert_eq!(results.partial(Some(Unit::Fraction)).unwrap_err().to_string(), "HoC is 84, which is no fraction");
    }

    #[test]
    fn the_unit_is_that_of_all_results_together() {
        let of = |values: &[(&str, f64)], unit: Option<Unit>| {
            let mut results = Results::default();
            for (name, value) in values {
                results.insert(name, *value).unwrap();
            }
            results.partial(unit).map(|score| (score.score, score.unit))
        };
        // No correlation, and a negative one, are percentages where the others are.
        assert_eq!(of(&[("GAD", 80.0), ("BIOSSES", 0.0)], None).unwrap(), (40.0, Unit::Percent));
        assert_eq!(of(&[("GAD", 80.0), ("BIOSSES", -0.5)], None).unwrap(), (39.75, Unit::Percent));
        assert_eq!(of(&[("GAD", 80.0), ("BIOSSES", -20.0)], None).unwrap(), (30.0, Unit::Percent));
        assert_eq!(of(&[("GAD", 0.75), ("BIOSSES", -0.25)], None).unwrap(), (0.25, Unit::Fraction));
        assert_eq!(of(&[("GAD", 0.0), ("BIOSSES", -1.0)], None).unwrap(), (-0.5, Unit::Fraction));
        // What cannot be told from the numbers can be said.
        assert!(of(&[("GAD", 80.0), ("BIOSSES", 1.0)], None).is_err());
        assert_eq!(of(&[("GAD", 80.0), ("BIOSSES", 1.0)], Some(Unit::Percent)).unwrap(), (40.5, Unit::Percent));
        assert_eq!(of(&[("GAD", 0.5), ("BIOSSES", 0.5)], Some(Unit::Percent)).unwrap(), (0.5, Unit::Percent));
    }
}
