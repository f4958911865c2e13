//! Suggestions for names that are missing.

/// The name most similar to one that is missing, if any is similar at all.
pub fn nearest<'a>(missing: &str, there: impl Iterator<Item = &'a String>) -> Option<String> {
    there
        .map(|name| (strsim::jaro_winkler(missing, name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_distant_one_is_not_offered() {
        let there = ["encoder.weight".to_owned(), "encoder.bias".to_owned()];
        assert_eq!(nearest("encoder.weights", there.iter()).as_deref(), Some("encoder.weight"));
        assert_eq!(nearest("zzz", there.iter()), None);
    }
}
