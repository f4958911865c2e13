//! Scores as a person reads them: one table a task, a row for each way of asking, a column for each metric.

use crate::report::scores::{Aggregate, Score};
use crate::report::text_table::TextTable;

/// The scores of one task of one run, of one aggregate.
#[derive(Debug)]
pub(crate) struct ScoreTable {
    title: String,
    table: TextTable,
}

impl ScoreTable {
    /// For terminals, ending in a line break.
    pub(crate) fn plain(&self) -> String {
        format!("{}\n{}", self.title, self.table.plain())
    }

    /// For papers, ending in a line break.
    pub(crate) fn markdown(&self) -> String {
        format!("**{}**\n\n{}", self.title, self.table.markdown())
    }
}

/// The tables of these scores, by run, limit, task and aggregate, in the order of their first rows. `all` are the scores that they were chosen from: these tell
/// what a mean is over.
pub(crate) fn of(scores: &[&Score], all: &[Score]) -> Vec<ScoreTable> {
    let groups = group(scores, |score| (score.run.clone(), score.limit, score.task.clone(), score.aggregate));
    groups.into_iter().map(|(_, scores)| table(&scores, all)).collect()
}

fn table(scores: &[&Score], all: &[Score]) -> ScoreTable {
    let metrics = group(scores, |score| (score.metric.clone(), score.unit.clone()));
    let each = match scores[0].aggregate {
        Aggregate::Relation => Some("relation"),
        Aggregate::Label => Some("label"),
        Aggregate::Micro | Aggregate::Macro => None,
    };
    let seeded = scores.iter().any(|score| score.seed.is_some());
    let mut header = vec!["encoder".to_owned(), "prober".to_owned()];
    header.extend(seeded.then(|| "seed".to_owned()));
    header.extend(each.map(str::to_owned));
    header.extend(metrics.iter().map(|((metric, unit), _)| heading(metric, unit)));
    let mut table = TextTable::new(header);
    for (_, cells) in group(scores, |score| (score.job_id.clone(), encoder(score), score.prober.clone(), score.seed, score.relation.clone())) {
        let first = cells[0];
        let mut row = vec![encoder(first), first.prober.clone()];
        row.extend(seeded.then(|| first.seed.map_or_else(|| "-".to_owned(), |seed| seed.to_string())));
        row.extend(each.map(|_| first.relation.clone().unwrap_or_default()));
        row.extend(metrics.iter().map(|((metric, unit), _)| {
            cells.iter().find(|score| score.metric == *metric && score.unit == *unit).map_or_else(|| "-".to_owned(), |score| number(score))
        }));
        table.push(row);
    }
    ScoreTable { title: title(scores, all), table }
}

/// `medlama / facts: micro, n = 400, with 95 % intervals`. What `n` counts is the metric's affair: examples, positives, entities.
fn title(scores: &[&Score], all: &[Score]) -> String {
    let first = scores[0];
    let n = scores.iter().all(|score| score.n == first.n).then_some(first.n);
    let over = match first.aggregate {
        Aggregate::Micro => n.map_or_else(|| "micro".into(), |n| format!("micro, n = {n}")),
        Aggregate::Macro => match (parts(first, all), n) {
            (Some(part), Some(1)) => format!("macro, over 1 {part}"),
            (Some(part), Some(n)) => format!("macro, over {n} {part}s"),
            (Some(part), None) => format!("macro, over {part}s"),
            (None, Some(n)) => format!("macro, n = {n}"),
            (None, None) => "macro".into(),
        },
        Aggregate::Relation => "by relation".into(),
        Aggregate::Label => "by label".into(),
    };
    let limit = first.limit.map(|limit| format!("; --limit {limit}: FOR TESTING ONLY")).unwrap_or_default();
    format!("{} / {}: {over}, with 95 % intervals{limit}", first.run, first.task)
}

/// What a macro mean is over: what there are rows of.
fn parts(mean: &Score, all: &[Score]) -> Option<&'static str> {
    let has =
        |aggregate| all.iter().any(|score| score.aggregate == aggregate && score.run == mean.run && score.task == mean.task && score.metric == mean.metric);
    if has(Aggregate::Label) { Some("label") } else { has(Aggregate::Relation).then_some("relation") }
}

fn encoder(score: &Score) -> String {
    let adapt = score.adapt.as_deref().filter(|adapt| *adapt != "none").map(|adapt| format!("+{adapt}")).unwrap_or_default();
    match &score.encoder {
        _ if score.baseline => "(baseline)".to_owned(),
        Some(encoder) => format!("{encoder}{adapt}"),
        None => "-".to_owned(),
    }
}

fn heading(metric: &str, unit: &str) -> String {
    match unit {
        "" => metric.to_owned(),
        "fraction" => format!("{metric} (%)"),
        _ => format!("{metric} ({unit})"),
    }
}

/// The value with its interval; fractions in percent.
fn number(score: &Score) -> String {
    let (value, low, high) = (score.value, score.ci_low, score.ci_high);
    if score.unit == "fraction" {
        format!("{:.1} [{:.1}, {:.1}]", value * 100.0, low * 100.0, high * 100.0)
    } else {
        format!("{value:.3} [{low:.3}, {high:.3}]")
    }
}

/// Values by key, in the order in which keys first appear.
fn group<'a, K: PartialEq>(scores: &[&'a Score], key: impl Fn(&Score) -> K) -> Vec<(K, Vec<&'a Score>)> {
    let mut groups: Vec<(K, Vec<&'a Score>)> = Vec::new();
    for &score in scores {
        let key = key(score);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(score),
            None => groups.push((key, vec![score])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(encoder: Option<&str>, prober: &str, metric: &str, value: f64) -> Score {
        Score {
            run: "demo".into(),
            job_id: format!("{encoder:?}{prober}"),
            encoder: encoder.map(str::to_owned),
            adapt: encoder.map(|_| "none".to_owned()),
            task: "facts".into(),
            prober: prober.into(),
            baseline: encoder.is_none(),
            seed: None,
            limit: None,
            training_size: None,
            metric: metric.into(),
            aggregate: Aggregate::Micro,
            relation: None,
            value,
            ci_low: value - 0.01,
            ci_high: value + 0.01,
            ci_method: "wilson".into(),
            n: 400,
            unit: if metric == "mrr" { "reciprocal rank" } else { "fraction" }.into(),
            higher_is_better: true,
        }
    }

    fn plain(scores: &[Score]) -> String {
        of(&scores.iter().collect::<Vec<_>>(), scores).iter().map(ScoreTable::plain).collect()
    }

    #[test]
    fn fractions_are_percent_and_baselines_are_marked() {
        let scores = [score(Some("bert"), "fill-mask", "acc@1", 0.931), score(Some("bert"), "fill-mask", "mrr", 0.95), score(None, "majority", "acc@1", 0.12)];
        let expected = "\
demo / facts: micro, n = 400, with 95 % intervals
encoder     prober     acc@1 (%)          mrr (reciprocal rank)
bert        fill-mask  93.1 [92.1, 94.1]  0.950 [0.940, 0.960]
(baseline)  majority   12.0 [11.0, 13.0]  -
";
        assert_eq!(plain(&scores), expected);
    }

    #[test]
    fn numbers_of_a_limited_run_say_so() {
        let limited = Score { limit: Some(5), ..score(Some("bert"), "fill-mask", "acc@1", 0.5) };
        assert!(plain(&[limited]).contains("--limit 5: FOR TESTING ONLY"));
    }

    #[test]
    fn the_title_says_what_is_so() {
        let title = |aggregate, part, ns: &[u64]| {
            let metric = |n: &u64| Score { aggregate, n: *n, ..score(Some("bert"), "task-head", &format!("m{n}"), 0.5) };
            let mut all: Vec<Score> = ns.iter().map(metric).collect();
            all.extend(all.clone().into_iter().map(|score| Score { aggregate: part, relation: Some("x".into()), ..score }));
            let chosen: Vec<&Score> = all.iter().filter(|score| score.aggregate == aggregate).take(ns.len()).collect();
            of(&chosen, &all)[0].title.clone()
        };
        for (aggregate, part, ns, expected) in [
            (Aggregate::Micro, Aggregate::Label, &[281][..], "micro, n = 281"),
            (Aggregate::Micro, Aggregate::Label, &[281, 300], "micro"),
            (Aggregate::Macro, Aggregate::Label, &[2], "macro, over 2 labels"),
            (Aggregate::Macro, Aggregate::Relation, &[19], "macro, over 19 relations"),
            (Aggregate::Macro, Aggregate::Relation, &[1], "macro, over 1 relation"),
            (Aggregate::Macro, Aggregate::Label, &[2, 3], "macro, over labels"),
            (Aggregate::Macro, Aggregate::Micro, &[2], "macro, n = 2"),
            (Aggregate::Label, Aggregate::Micro, &[2], "by label"),
        ] {
            assert_eq!(title(aggregate, part, ns), format!("demo / facts: {expected}, with 95 % intervals"));
        }
    }

    #[test]
    fn every_task_has_its_own_table() {
        let other = Score { task: "other".into(), ..score(Some("bert"), "fill-mask", "acc@1", 0.5) };
        let text = plain(&[score(Some("bert"), "fill-mask", "acc@1", 0.5), other]);
        assert_eq!(text.matches("with 95 % intervals").count(), 2);
    }
}
