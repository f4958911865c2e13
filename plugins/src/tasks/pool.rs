//! What a task that asks for entities hands to a prober: its questions, and the candidates they are answered from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lmprobe_core::{Error, Examples, Result, table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which names compete for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Candidates {
    /// Every subject and object of every relation.
    Global,
    /// Every subject and object of the question's relation.
    Relation,
    /// Every object of the question's relation.
    Tails,
}

/// A question.
#[derive(Debug)]
pub(crate) struct Question {
    /// Stable and unique in the task.
    pub(crate) id: String,
    pub(crate) relation: String,
    pub(crate) subject: String,
    /// With `[Y]` where the object stands.
    pub(crate) prompt: String,
    /// Every right answer.
    pub(crate) golds: Vec<String>,
}

/// Collects candidates: distinct names, in byte order.
#[derive(Debug)]
pub(crate) struct PoolBuilder {
    candidates: Candidates,
    pools: BTreeMap<String, BTreeSet<String>>,
}

impl PoolBuilder {
    /// No candidate yet.
    pub(crate) fn new(candidates: Candidates) -> Self {
        Self { candidates, pools: BTreeMap::new() }
    }

    /// Adds the names of a fact.
    pub(crate) fn add<'a>(&mut self, relation: &str, subject: &str, objects: impl IntoIterator<Item = &'a String>) {
        let pool = self.pools.entry(self.pool_of(relation).to_owned()).or_default();
        if self.candidates != Candidates::Tails && !pool.contains(subject) {
            pool.insert(subject.to_owned());
        }
        for object in objects {
            if !pool.contains(object) {
                pool.insert(object.clone());
            }
        }
    }

    /// The questions with the pools that at least one of them is answered from.
    ///
    /// # Errors
    /// If two questions have the same identifier.
    pub(crate) fn examples(&self, questions: &[Question]) -> Result<Examples> {
        let mut seen = HashMap::with_capacity(questions.len());
        for question in questions {
            if let Some(other) = seen.insert(question.id.as_str(), question) {
                return Err(Error::Config(format!(
                    "two questions have the identifier `{}`: {} of `{}` and {} of `{}`",
                    question.id, other.relation, other.subject, question.relation, question.subject
                )));
            }
        }
        let golds: Vec<&[String]> = questions.iter().map(|question| question.golds.as_slice()).collect();
        let examples = table::frame_of(vec![
            table::text_column("example_id", questions.iter().map(|question| Some(question.id.as_str()))),
            table::text_column("relation", questions.iter().map(|question| Some(question.relation.as_str()))),
            table::text_column("subject", questions.iter().map(|question| Some(question.subject.as_str()))),
            table::text_column("prompt", questions.iter().map(|question| Some(question.prompt.as_str()))),
            table::texts_column("golds", &golds),
            table::text_column("pool", questions.iter().map(|question| Some(self.pool_of(&question.relation)))),
        ])?;
        let used: BTreeSet<&str> = questions.iter().map(|question| self.pool_of(&question.relation)).collect();
        let rows: Vec<(&str, &str)> = self
            .pools
            .iter()
            .filter(|(pool, _)| used.contains(pool.as_str()))
            .flat_map(|(pool, names)| names.iter().map(|name| (pool.as_str(), name.as_str())))
            .collect();
        let candidates = table::frame_of(vec![
            table::text_column("pool", rows.iter().map(|row| Some(row.0))),
            table::text_column("name", rows.iter().map(|row| Some(row.1))),
        ])?;
        Examples::cloze(examples, candidates)
    }

    fn pool_of<'a>(&self, relation: &'a str) -> &'a str {
        match self.candidates {
            Candidates::Global => "global",
            Candidates::Relation | Candidates::Tails => relation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: &str, relation: &str) -> Question {
        Question { id: id.to_owned(), relation: relation.to_owned(), subject: "s".to_owned(), prompt: "s [Y] .".to_owned(), golds: vec!["g".to_owned()] }
    }

    fn pools(candidates: Candidates, relations: &[&str]) -> Vec<(String, String)> {
        let mut builder = PoolBuilder::new(candidates);
        builder.add("treats", "aspirin", &["pain".to_owned(), "Fever".to_owned()]);
        builder.add("treats", "ibuprofen", &["pain".to_owned()]);
        builder.add("causes", "virus", &["Fever".to_owned()]);
        let questions: Vec<Question> = relations.iter().map(|relation| question(relation, relation)).collect();
        let examples = builder.examples(&questions).unwrap();
        table::EXAMPLES.check(&examples.examples, "task").unwrap();
        table::CANDIDATES.check(&examples.candidates, "task").unwrap();
        let column = |name| table::texts(&examples.candidates, name).unwrap();
        column("pool").into_iter().zip(column("name")).map(|(pool, name)| (pool.to_owned(), name.to_owned())).collect()
    }

    fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        rows.iter().map(|row| (row.0.to_owned(), row.1.to_owned())).collect()
    }

    #[test]
    fn names_are_distinct_and_in_byte_order() {
        let names = ["Fever", "aspirin", "ibuprofen", "pain", "virus"].map(|name| ("global", name));
        assert_eq!(pools(Candidates::Global, &["treats", "causes"]), rows(&names));
    }

    #[test]
    fn a_relation_has_its_subjects_and_objects_or_its_objects_only() {
        let with_subjects = [("causes", "Fever"), ("causes", "virus"), ("treats", "Fever"), ("treats", "aspirin"), ("treats", "ibuprofen"), ("treats", "pain")];
        assert_eq!(pools(Candidates::Relation, &["treats", "causes"]), rows(&with_subjects));
        assert_eq!(pools(Candidates::Tails, &["treats", "causes"]), rows(&[("causes", "Fever"), ("treats", "Fever"), ("treats", "pain")]));
    }

    #[test]
    fn a_pool_nobody_is_asked_from_is_left_out_but_a_global_pool_stays_whole() {
        assert_eq!(pools(Candidates::Tails, &["causes"]), rows(&[("causes", "Fever")]));
        assert_eq!(pools(Candidates::Global, &["causes"]).len(), 5);
    }

    #[test]
    fn an_identifier_that_comes_twice_is_an_error() {
        let message = PoolBuilder::new(Candidates::Tails).examples(&[question("x", "treats"), question("x", "causes")]).unwrap_err().to_string();
        assert!(message.contains("two questions have the identifier `x`: treats of `s` and causes of `s`"), "{message}");
    }
}
