//! Whether texts are lower-cased, and how that is found out.

use std::collections::HashMap;
use std::path::Path;

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::{Error, Result};

/// Whether texts are lower-cased before they are tokenized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Casing {
    /// As the model folder says; if it says nothing, a vocabulary with upper-case pieces is cased.
    #[default]
    Auto,
    /// Texts stay as they are.
    Cased,
    /// Texts are lower-cased and lose their accents.
    Uncased,
    /// As `transformers` does: a folder that says nothing is lower-cased, whatever its vocabulary.
    Hf,
}

/// What was decided, and by whom.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) lowercase: bool,
    pub(super) source: &'static str,
    pub(super) warnings: Vec<String>,
}

impl Decision {
    fn new(lowercase: bool, source: &'static str) -> Self {
        Self { lowercase, source, warnings: Vec::new() }
    }

    /// Casing of a folder with `vocab.txt` only. Released biomedical models often lack the configuration that says they are cased,
    /// and `transformers` then lower-cases them in silence.
    pub(super) fn of_vocabulary(casing: Casing, stated: Option<bool>, vocab: &HashMap<String, u32>, path: &Path) -> Self {
        match (casing, stated) {
            (Casing::Cased, _) => Self::new(false, "the parameter `casing`"),
            (Casing::Uncased, _) => Self::new(true, "the parameter `casing`"),
            (_, Some(lowercase)) => Self::new(lowercase, "tokenizer_config.json"),
            (Casing::Hf, None) => Self::new(true, "the default of transformers"),
            (Casing::Auto, None) => {
                let is_text = |piece: &str| !(piece.starts_with('[') && piece.ends_with(']'));
                let cased = vocab.keys().any(|piece| is_text(piece) && piece.chars().any(char::is_uppercase));
                let found =
                    if cased { "has upper-case pieces, so the model is taken as cased" } else { "has no upper-case piece, so the model is taken as uncased" };
                let path = path.display();
                let warning = format!("{path}: no tokenizer_config.json says whether to lower-case; the vocabulary {found} (set `casing` to overrule)");
                Self { warnings: vec![warning], ..Self::new(!cased, "the vocabulary") }
            }
        }
    }

    /// Casing of a `tokenizer.json`: what its normalizer does, what was asked for, and whether the normalizer has a switch for it.
    pub(super) fn of_normalizer(casing: Casing, configured: Option<bool>, does: bool, has_switch: bool, path: &Path) -> Result<Self> {
        let asked = match casing {
            Casing::Cased => Some((false, "the parameter `casing`")),
            Casing::Uncased => Some((true, "the parameter `casing`")),
            // transformers lets `tokenizer_config.json` overrule the normalizer.
            Casing::Auto | Casing::Hf => configured.filter(|_| has_switch).map(|lowercase| (lowercase, "tokenizer_config.json")),
        };
        let Some((lowercase, source)) = asked else { return Ok(Self::new(does, "tokenizer.json")) };
        let mut decision = Self::new(lowercase, source);
        if lowercase != does {
            if !has_switch {
                let message =
                    format!("its normalizer {} and has no `lowercase` switch, so `casing` cannot be set; remove `casing` from the run file", verb(does));
                return Err(Error::model(path, message));
            }
            let path = path.display();
            decision.warnings.push(format!("{path}: tokenizer.json {} and {source} {}: {source} decides", verb(does), verb(lowercase)));
        }
        Ok(decision)
    }

    /// Casing of a kind of tokenizer that always keeps it.
    pub(super) fn always_cased(casing: Casing, path: &Path) -> Result<Self> {
        match casing {
            Casing::Uncased => Err(Error::model(path, "this kind of tokenizer keeps case; remove `casing: uncased` from the run file")),
            Casing::Cased => Ok(Self::new(false, "the parameter `casing`")),
            Casing::Auto | Casing::Hf => Ok(Self::new(false, "the kind of tokenizer")),
        }
    }
}

fn verb(lowercase: bool) -> &'static str {
    if lowercase { "lower-cases" } else { "keeps case" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_vocabulary(casing: Casing, stated: Option<bool>, pieces: &[&str]) -> (bool, &'static str) {
        let vocab = pieces.iter().zip(0..).map(|(piece, id)| ((*piece).to_owned(), id)).collect();
        let decision = Decision::of_vocabulary(casing, stated, &vocab, Path::new("vocab.txt"));
        (decision.lowercase, decision.source)
    }

    #[test]
    fn the_run_file_comes_before_the_configuration_and_that_before_the_vocabulary() {
        assert_eq!(of_vocabulary(Casing::Cased, Some(true), &["a"]), (false, "the parameter `casing`"));
        assert_eq!(of_vocabulary(Casing::Auto, Some(true), &["A"]), (true, "tokenizer_config.json"));
        assert_eq!(of_vocabulary(Casing::Auto, None, &["[CLS]", "a"]), (true, "the vocabulary"));
        assert_eq!(of_vocabulary(Casing::Auto, None, &["[CLS]", "A"]), (false, "the vocabulary"));
        assert_eq!(of_vocabulary(Casing::Hf, None, &["A"]), (true, "the default of transformers"));
    }

    #[test]
    fn a_normalizer_without_a_switch_cannot_be_overruled() {
        let decide = |casing, does, has_switch| Decision::of_normalizer(casing, None, does, has_switch, Path::new("tokenizer.json"));
        assert!(decide(Casing::Uncased, true, true).unwrap().warnings.is_empty());
        assert_eq!(decide(Casing::Uncased, false, true).unwrap().warnings.len(), 1);
        assert!(!decide(Casing::Cased, false, false).unwrap().lowercase);
        assert!(decide(Casing::Cased, true, false).unwrap_err().to_string().contains("lower-cases and has no `lowercase` switch"));
        assert!(Decision::always_cased(Casing::Uncased, Path::new("vocab.json")).is_err());
    }
}
