//! Subsets of training examples: nested, stratified, seeded, and whole by cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use polars::prelude::DataFrame;

use super::overlap::{Against, Separation};
use super::task_share::{Overlap, TaskShare};
use crate::{Error, Examples, Problem, Result, Seed, table};

/// The share of a task that is learned from.
#[derive(Debug, Clone)]
pub struct ShareOfTask {
    /// The task with [`Examples::train`] and [`Examples::dev`] cut to the share.
    pub examples: Examples,
    /// Which examples these are, [`table::SUBSET`].
    pub table: DataFrame,
    /// What was left out or held out, for the record.
    pub notes: Vec<String>,
}

/// Takes a share of a task's training examples.
///
/// One order a seed decides all sizes, so smaller shares lie within larger ones. Clusters (documents, premises) stay whole. In every prefix of the order the strata
/// have about their shares of the whole; a stratum is the set of labels or entity types of a cluster. `needs_dev` holds examples out where the task has no
/// development split; they are held out before the share is taken, so that every size is chosen by the same ones.
///
/// Training and development examples are compared with those asked, and training examples with those for development: [`TaskShare::overlap`].
///
/// # Errors
/// If the tables lack a column, or no training example is left for a size above 0.
pub fn share_of(examples: &Examples, share: &TaskShare, needs_dev: bool, seed: Seed) -> Result<ShareOfTask> {
    let problem = examples.problem;
    let mut separation = Separation::new(problem, share.overlap);
    let asked = &examples.examples;
    let mut dev = separation.apart(&examples.dev, "development", asked, Against::Asked)?;
    let mut train = separation.apart(&examples.train, "training", asked, Against::Asked)?;
    train = separation.apart(&train, "training", &dev, Against::Development)?;
    let mut order = nested_order(&train, problem, seed)?;
    if needs_dev && dev.height() == 0 && share.hold_out > 0.0 && share.training_size > 0.0 {
        // The end of the order is held out: the beginning is what small shares take.
        let held = order.split_off(prefix(&order, 100.0 - share.hold_out));
        let held: Vec<usize> = held.into_iter().flatten().collect();
        if !held.is_empty() {
            let none = if examples.dev.height() == 0 { "the task has none" } else { "none of the task's is left" };
            separation.notes.push(format!("{} of {} training examples were held out as development examples, because {none}", held.len(), train.height()));
            dev = table::rows(&train, &ascending(held))?;
            let rest = ascending(order.iter().flatten().copied().collect());
            let stay = separation.staying(&table::rows(&train, &rest)?, "training", &dev, Against::Development)?;
            let stay: HashSet<usize> = stay.into_iter().map(|row| rest[row]).collect();
            for cluster in &mut order {
                cluster.retain(|row| stay.contains(row));
            }
            order.retain(|cluster| !cluster.is_empty());
        }
    }
    let mut notes = separation.notes;
    if order.is_empty() && share.training_size > 0.0 {
        return Err(nothing_to_learn(examples, share, &notes));
    }
    let whole: usize = order.iter().map(Vec::len).sum();
    order.truncate(prefix(&order, share.training_size));
    let chosen: Vec<usize> = order.into_iter().flatten().collect();
    if chosen.len() < whole {
        notes.push(format!("{} of {whole} training examples are learned from", chosen.len()));
    }
    train = table::rows(&train, &ascending(chosen))?;
    let ids = |frame: &DataFrame| Ok::<_, crate::Error>(table::texts(frame, "example_id")?.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let (train_ids, dev_ids) = (ids(&train)?, ids(&dev)?);
    let all = train_ids.iter().map(|id| (id, "train")).chain(dev_ids.iter().map(|id| (id, "dev"))).collect::<Vec<_>>();
    let table = table::frame_of(vec![
        table::text_column("example_id", all.iter().map(|(id, _)| Some(id.as_str()))),
        table::text_column("split", all.iter().map(|(_, split)| Some(*split))),
    ])?;
    Ok(ShareOfTask { examples: Examples { train, dev, ..examples.clone() }, table, notes })
}

/// Why no training example is left.
fn nothing_to_learn(examples: &Examples, share: &TaskShare, notes: &[String]) -> Error {
    let n = examples.train.height();
    if n == 0 {
        return Error::Config(format!(
            "the task has no training examples, and `training_size` is {}: `training_size: 0` learns from none",
            share.training_size
        ));
    }
    let keep = if share.overlap == Overlap::LeaveOut { "; `overlap: keep` keeps such examples" } else { "" };
    Error::Config(format!("none of {n} training examples is left to learn from: {}{keep}", notes.join("; ")))
}

/// The clusters in an order whose every prefix has about the strata of the whole: the `k`-th of `n` clusters of a stratum stands at `(k + 1/2) / n`.
fn nested_order(frame: &DataFrame, problem: Problem, seed: Seed) -> Result<Vec<Vec<usize>>> {
    // In the order of their first rows: a cluster may be called by its file, whose name is no part of a job's identity.
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (row, cluster) in table::texts(frame, "cluster")?.into_iter().enumerate() {
        let place = *known.entry(cluster).or_insert(clusters.len());
        if place == clusters.len() {
            clusters.push(Vec::new());
        }
        clusters[place].push(row);
    }
    let labels = strata_labels(frame, problem)?;
    let mut strata: BTreeMap<Vec<&str>, Vec<Vec<usize>>> = BTreeMap::new();
    for members in clusters {
        let of: BTreeSet<&str> = members.iter().flat_map(|&row| labels[row].iter().map(String::as_str)).collect();
        strata.entry(of.into_iter().collect()).or_default().push(members);
    }
    let mut placed: Vec<(f64, u64, Vec<usize>)> = Vec::new();
    for (stratum, mut members) in strata {
        let mut random = seed.child(&stratum.join("\u{1f}")).random();
        random.shuffle(&mut members);
        #[expect(clippy::cast_precision_loss, reason = "examples are far below 2^53")]
        let place = |k: usize, n: usize| (k as f64 + 0.5) / n as f64;
        let n = members.len();
        // Strata of one cluster would all stand in the middle: a drawn shift within its own interval leaves each in its place and mixes them.
        placed.extend(members.into_iter().enumerate().map(|(k, cluster)| {
            #[expect(clippy::cast_precision_loss, reason = "examples are far below 2^53")]
            let shift = (random.unit() - 0.5) / n as f64;
            (place(k, n) + shift, random.next_u64(), cluster)
        }));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(placed.into_iter().map(|(_, _, cluster)| cluster).collect())
}

/// How many clusters make the share: the count whose number of examples is nearest to it, the smaller of two; one at least of a share above 0.
fn prefix(order: &[Vec<usize>], percent: f64) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "examples are far below 2^53")]
    let wanted = order.iter().map(Vec::len).sum::<usize>() as f64 * percent / 100.0;
    let (mut best, mut distance, mut sum) = if percent > 0.0 { (order.len().min(1), f64::INFINITY, 0usize) } else { (0, wanted, 0) };
    for (index, cluster) in order.iter().enumerate() {
        sum += cluster.len();
        #[expect(clippy::cast_precision_loss, reason = "examples are far below 2^53")]
        let here = (sum as f64 - wanted).abs();
        if here < distance || (percent >= 100.0) {
            (best, distance) = (index + 1, here);
        }
    }
    best
}

/// What decides the stratum of an example.
fn strata_labels(frame: &DataFrame, problem: Problem) -> Result<Vec<Vec<String>>> {
    Ok(match problem {
        Problem::TokenClassification => {
            // Of untyped tags all entities are of one type.
            let kind = |tag: &String| tag.split_once(['-', '_']).map_or("", |(_, kind)| kind).to_owned();
            let kinds = |tags: &[String]| tags.iter().filter(|tag| *tag != "O").map(kind).collect::<BTreeSet<_>>().into_iter().collect();
            table::text_lists(frame, "tags")?.iter().map(|tags| kinds(tags)).collect()
        }
        Problem::SequenceClassification | Problem::MultiLabel => table::text_lists(frame, "golds")?,
        // The position of an answer and a number are no classes.
        Problem::MultipleChoice | Problem::ExtractiveQa | Problem::Regression | Problem::Cloze => vec![Vec::new(); frame.height()],
    })
}

fn ascending(mut rows: Vec<usize>) -> Vec<usize> {
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Splits;

    /// `n` texts with labels in turn, two a cluster if asked.
    fn classified(n: usize, labels: &[&str], clustered: bool) -> Examples {
        let id = |row: usize| format!("train-{row}");
        let ids: Vec<String> = (0..n).map(id).collect();
        let clusters: Vec<String> = (0..n).map(|row| if clustered { format!("document {}", row / 2) } else { id(row) }).collect();
        let frame = table::frame_of(vec![
            table::text_column("example_id", ids.iter().map(|id| Some(id.as_str()))),
            table::text_column("cluster", clusters.iter().map(|id| Some(id.as_str()))),
            table::text_column("text", ids.iter().map(|id| Some(id.as_str()))),
            table::text_column("text_pair", (0..n).map(|_| None)),
            table::texts_column("golds", &(0..n).map(|row| vec![labels[row % labels.len()].to_owned()]).collect::<Vec<_>>()),
        ])
        .unwrap();
        let nothing = frame.head(Some(0));
        Examples::labelled(Problem::SequenceClassification, Splits { train: frame, dev: nothing.clone(), test: nothing }, Vec::new()).unwrap()
    }

    fn ids(frame: &DataFrame) -> Vec<String> {
        table::texts(frame, "example_id").unwrap().into_iter().map(str::to_owned).collect()
    }

    fn of(examples: &Examples, training_size: f64) -> ShareOfTask {
        share_of(examples, &TaskShare { training_size, ..TaskShare::default() }, false, Seed(42)).unwrap()
    }

    #[test]
    fn sizes_are_those_of_the_published_study() {
        let examples = classified(11_232, &["entailment", "contradiction", "neutral"], false);
        let sizes = [0.0, 10.0, 30.0, 50.0, 100.0].map(|size| of(&examples, size).examples.train.height());
        assert_eq!(sizes, [0, 1_123, 3_370, 5_616, 11_232]); // 30 % is 3 369.6
    }

    #[test]
    fn smaller_shares_lie_within_larger_ones_and_have_the_same_strata() {
        let examples = classified(1_000, &["a", "a", "a", "b"], false);
        let mut smaller: BTreeSet<String> = BTreeSet::new();
        for size in [10.0, 30.0, 50.0, 100.0] {
            let share = of(&examples, size);
            let here: BTreeSet<String> = ids(&share.examples.train).into_iter().collect();
            assert!(smaller.is_subset(&here));
            let b = table::text_lists(&share.examples.train, "golds").unwrap().iter().filter(|golds| golds[0] == "b").count();
            assert!((b * 4).abs_diff(here.len()) <= 4, "{b} of {}", here.len());
            smaller = here;
        }
        let other = share_of(&examples, &TaskShare { training_size: 10.0, ..TaskShare::default() }, false, Seed(1)).unwrap();
        assert_ne!(ids(&other.examples.train), ids(&of(&examples, 10.0).examples.train), "another seed, another subset");
    }

    #[test]
    fn clusters_stay_whole() {
        let examples = classified(100, &["a", "b", "b"], true);
        let share = share_of(&examples, &TaskShare { training_size: 30.0, ..TaskShare::default() }, true, Seed(3)).unwrap();
        let clusters = |frame: &DataFrame| table::texts(frame, "cluster").unwrap().into_iter().map(str::to_owned).collect::<Vec<_>>();
        let (train, dev) = (clusters(&share.examples.train), clusters(&share.examples.dev));
        assert_eq!((train.len(), dev.len()), (26, 10)); // 10 % held out, 30 % of the other 90 is 27: 26 and 28 are as near
        assert!(train.iter().all(|cluster| train.iter().filter(|other| *other == cluster).count() == 2));
        assert!(train.iter().all(|cluster| !dev.contains(cluster)));
        assert_eq!(share.table.height(), 36);
        assert_eq!(share.notes.len(), 2, "{:?}", share.notes);
    }

    #[test]
    fn a_share_of_less_than_an_example_is_one() {
        let examples = classified(10, &["a", "b"], false);
        assert_eq!([0.0, 0.01, 1.0, 10.0, 20.0].map(|size| of(&examples, size).examples.train.height()), [0, 1, 1, 1, 2]);
        let whole = classified(10, &["a", "b"], true);
        assert_eq!(of(&whole, 0.01).examples.train.height(), 2, "a document is whole");
    }

    #[test]
    fn what_clusters_are_called_changes_no_share() {
        let renamed = |name: &dyn Fn(usize) -> String| {
            let mut examples = classified(40, &["a", "b", "c"], false);
            let names: Vec<String> = (0..40).map(|row| name(row / 2)).collect();
            examples.train.with_column(table::text_column("cluster", names.iter().map(|name| Some(name.as_str()))).into()).unwrap();
            ids(&of(&examples, 30.0).examples.train)
        };
        let first = renamed(&|document| format!("a/train.tsv:{document}"));
        assert_eq!(renamed(&|document| format!("b/other.tsv:{}", 90 - document)), first);
    }

    #[test]
    fn development_examples_are_not_learned_unless_that_is_said() {
        let mut examples = classified(10, &["a", "b"], false);
        (examples.dev, examples.examples) = (examples.train.slice(0, 3), examples.train.slice(2, 1));
        for (overlap, learned, chosen_by, fate) in [(Overlap::LeaveOut, 7, 2, "left out"), (Overlap::Keep, 10, 3, "kept")] {
            let found = share_of(&examples, &TaskShare { overlap, ..TaskShare::default() }, true, Seed(42)).unwrap();
            assert_eq!((found.examples.train.height(), found.examples.dev.height()), (learned, chosen_by));
            let (n, of) = if overlap == Overlap::Keep { (3, 10) } else { (2, 9) };
            assert_eq!(
                found.notes,
                [
                    format!("1 of 3 development examples are also among those asked and were {fate}"),
                    format!("1 of 10 training examples are also among those asked and were {fate}"),
                    format!("{n} of {of} training examples are also development examples and were {fate}"),
                ]
            );
        }
    }

    #[test]
    fn what_stands_twice_is_not_held_out_and_learned() {
        let mut examples = classified(20, &["a"], false);
        let texts: Vec<String> = (0..20).map(|row| format!("text {}", row % 10)).collect();
        examples.train.with_column(table::text_column("text", texts.iter().map(|text| Some(text.as_str()))).into()).unwrap();
        let found = share_of(&examples, &TaskShare::default(), true, Seed(42)).unwrap();
        let of = |frame: &DataFrame| table::texts(frame, "text").unwrap().into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(found.examples.dev.height(), 2);
        assert!(of(&found.examples.dev).is_disjoint(&of(&found.examples.train)));
        assert!(found.notes.iter().any(|note| note.ends_with("are also development examples and were left out")), "{:?}", found.notes);
    }

    #[test]
    fn documents_that_are_asked_about_are_not_learned_from() {
        let mut examples = classified(10, &["a", "b"], false);
        let names: Vec<String> = (0..10).map(|row| format!("PMC{}", 700 + row / 2)).collect();
        examples.train.with_column(table::text_column("cluster", names.iter().map(|name| Some(name.as_str()))).into()).unwrap();
        (examples.examples, examples.train) = (examples.train.slice(2, 1), examples.train.slice(3, 7));
        let found = of(&examples, 100.0);
        assert_eq!(ids(&found.examples.train), ["train-4", "train-5", "train-6", "train-7", "train-8", "train-9"]);
        assert_eq!(found.notes, ["1 of 7 training examples have their document or premise in common with one that is asked and were left out"]);
    }

    #[test]
    fn nothing_to_learn_from_is_an_error_unless_nothing_is_to_be_learned() {
        let mut examples = classified(3, &["a"], false);
        examples.examples = examples.train.clone();
        let of = |examples: &Examples, training_size: f64| share_of(examples, &TaskShare { training_size, ..TaskShare::default() }, false, Seed(42));
        assert_eq!(
            of(&examples, 100.0).unwrap_err().to_string(),
            "none of 3 training examples is left to learn from: 3 of 3 training examples are also among those asked and were left out; `overlap: keep` keeps such \
             examples"
        );
        assert_eq!(of(&examples, 0.0).unwrap().examples.train.height(), 0);
        examples.train = examples.train.head(Some(0));
        assert_eq!(
            of(&examples, 0.5).unwrap_err().to_string(),
            "the task has no training examples, and `training_size` is 0.5: `training_size: 0` learns from none"
        );
        assert_eq!(of(&examples, 0.0).unwrap().examples.train.height(), 0);
    }

    #[test]
    fn what_is_asked_is_not_learned_unless_that_is_said() {
        let mut examples = classified(10, &["a", "b"], false);
        examples.examples = examples.train.slice(2, 3);
        let share = of(&examples, 100.0);
        assert_eq!(ids(&share.examples.train), ["train-0", "train-1", "train-5", "train-6", "train-7", "train-8", "train-9"]);
        assert_eq!(share.notes, ["3 of 10 training examples are also among those asked and were left out"]);
        let keep = TaskShare { overlap: Overlap::Keep, ..TaskShare::default() };
        let share = share_of(&examples, &keep, false, Seed(42)).unwrap();
        assert_eq!(
            (share.examples.train.height(), share.notes.as_slice()),
            (10, &["3 of 10 training examples are also among those asked and were kept".to_owned()][..])
        );
    }
}
