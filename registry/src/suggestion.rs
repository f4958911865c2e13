//! What was probably meant.

/// How similar two words must be for one to be suggested for the other.
const SIMILAR: f64 = 0.8;

/// The most similar candidate, if one is similar enough.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// Words in backticks, separated by commas.
pub(crate) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What to say beside an unknown word: the probable meaning, or everything that would have been right.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, all: &str) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(meant) => Some(format!("did you mean `{meant}`?")),
        None if candidates.is_empty() => None,
        None => Some(format!("{all}: {}", quoted(candidates))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognised_and_nonsense_is_not() {
        assert_eq!(nearest("fil-mask", ["contrastive", "fill-mask"]), Some("fill-mask"));
        assert_eq!(nearest("Fill_Mask", ["contrastive", "fill-mask"]), Some("fill-mask"));
        assert_eq!(nearest("xyz", ["contrastive", "fill-mask"]), None);
    }

    #[test]
    fn without_a_probable_meaning_everything_is_listed() {
        assert_eq!(hint("xyz", ["a", "b"], "known keys").as_deref(), Some("known keys: `a`, `b`"));
        assert_eq!(hint("xyz", [], "known keys"), None);
    }
}
