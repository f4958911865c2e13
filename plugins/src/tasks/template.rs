//! Prompt templates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lmprobe_core::{CallContext, Result};

use super::data_file::DataFile;

/// Where the subject stands in a template.
pub(crate) const SUBJECT: &str = "[X]";
/// Where the object stands in a template and in a prompt.
pub(crate) const OBJECT: &str = "[Y]";

/// A prompt with one `[X]` for the subject and one `[Y]` for the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(String);

impl Template {
    /// Checks that both places are there once; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        for place in [SUBJECT, OBJECT] {
            let n = text.matches(place).count();
            if n != 1 {
                return Err(format!("the template {text:?} holds `{place}` {n} times, expected once"));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The template of a relation that has none: its words between subject and object.
    pub(crate) fn from_words(relation: &str) -> Self {
        Self(format!("{SUBJECT} {} {OBJECT} .", relation.replace('_', " ")))
    }

    /// The prompt about a subject. What stands in the subject is never read as a place of the template.
    pub(crate) fn fill(&self, subject: &str) -> Result<String, String> {
        if subject.contains(OBJECT) {
            return Err(format!("the subject {subject:?} holds `{OBJECT}`, which marks the object in a prompt; rename it"));
        }
        Ok(self.0.replacen(SUBJECT, subject, 1))
    }
}

/// One template a relation.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    by_relation: BTreeMap<String, Template>,
}

impl Templates {
    /// Reads the templates in column `text`; the relation stands in `pid` or `relation`. A relation whose cell is blank has none.
    ///
    /// # Errors
    /// If a column is missing, a template malformed, or a relation has two.
    pub(crate) fn read(path: &Path, text: &str) -> Result<Self> {
        let file = DataFile::read(path)?;
        let relation = file.column(&["pid", "relation"], "relation")?;
        let text = file.column(&[text], "template")?;
        let mut by_relation = BTreeMap::new();
        for row in &file.rows {
            let label = row.text(&file, relation)?;
            let template = row.text(&file, text)?;
            if template.trim().is_empty() {
                continue;
            }
            let template = Template::parse(&template).map_err(|message| file.error(row, message))?;
            if by_relation.insert(label.clone(), template).is_some() {
                return Err(file.error(row, format!("a second template for the relation `{label}`; a relation is asked with one")));
            }
        }
        Ok(Self { by_relation })
    }

    /// Gives every relation its template. A relation without one is asked in its own words, with a warning.
    pub(crate) fn for_relations(&self, relations: &BTreeSet<&str>, cx: &CallContext<'_>) -> BTreeMap<String, Template> {
        let missing: Vec<&str> = relations.iter().copied().filter(|&relation| !self.by_relation.contains_key(relation)).collect();
        if let Some(first) = missing.first() {
            let Template(text) = Template::from_words(first);
            cx.warn(format!("no template for {}; asked in the relation's own words, `{text}`", listed(&missing)));
        }
        let template = |relation: &str| self.by_relation.get(relation).cloned().unwrap_or_else(|| Template::from_words(relation));
        relations.iter().map(|&relation| (relation.to_owned(), template(relation))).collect()
    }

    /// Warns of templates for relations that are not in the data: most likely the names differ.
    pub(crate) fn warn_of_strangers(&self, path: &Path, relations: &BTreeSet<&str>, cx: &CallContext<'_>) {
        let strangers: Vec<&str> = self.by_relation.keys().map(String::as_str).filter(|relation| !relations.contains(relation)).collect();
        if !strangers.is_empty() {
            cx.warn(format!("{}: templates for relations that are not in the data: {}", path.display(), listed(&strangers)));
        }
    }
}

/// Names in backticks, for messages.
pub(crate) fn listed(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use lmprobe_core::{Cancel, Quiet, Seed};

    use super::*;

    #[test]
    fn a_template_holds_both_places_once() {
        let template = Template::parse("[X] may treat [Y] .").unwrap();
        assert_eq!(template.fill("aspirin").unwrap(), "aspirin may treat [Y] .");
        assert_eq!(template.fill("[X]aspirin").unwrap(), "[X]aspirin may treat [Y] ."); // a mark in the subject stays as it is
        assert!(template.fill("a[Y]").unwrap_err().contains("holds `[Y]`"));
        assert!(Template::parse("[X] may treat").unwrap_err().contains("`[Y]` 0 times"));
        assert!(Template::parse("[X] and [X] treat [Y]").unwrap_err().contains("`[X]` 2 times"));
        assert_eq!(Template::from_words("may_treat"), Template("[X] may treat [Y] .".to_owned()));
    }

    #[test]
    fn a_relation_without_template_is_asked_in_its_own_words_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, "pid,template\nmay_treat,[X] helps against [Y] .\noccurs_after,\nold,[X] [Y]\n").unwrap();
        let templates = Templates::read(&path, "template").unwrap();
        let cx = CallContext::new(Seed(1), &Quiet, Cancel::default());
        let relations = BTreeSet::from(["may_treat", "occurs_after"]);
        let found = templates.for_relations(&relations, &cx);
        assert_eq!(found["may_treat"].fill("a").unwrap(), "a helps against [Y] .");
        assert_eq!(found["occurs_after"].fill("a").unwrap(), "a occurs after [Y] .");
        templates.warn_of_strangers(&path, &relations, &cx);
        let warnings = cx.warnings();
        assert_eq!(warnings[0], "no template for `occurs_after`; asked in the relation's own words, `[X] occurs after [Y] .`");
        assert!(warnings[1].ends_with("t.csv: templates for relations that are not in the data: `old`"));
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn two_templates_for_a_relation_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        std::fs::write(&path, "{\"relation\": \"P1\", \"template\": \"[X] a [Y]\"}\n{\"relation\": \"P1\", \"template\": \"[X] b [Y]\"}\n").unwrap();
        let message = Templates::read(&path, "template").unwrap_err().to_string();
        assert!(message.ends_with("t.jsonl:2: a second template for the relation `P1`; a relation is asked with one"), "{message}");
    }
}
