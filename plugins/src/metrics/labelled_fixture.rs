//! Predictions of labelled tasks written out by hand, and a way to read rows, for the tests of metrics.

use lmprobe_core::{CallContext, Cancel, Metric, Problem, Quiet, Seed, table};
use polars::prelude::{DataFrame, NamedFrom, Series};

/// A row that a metric computed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) metric: String,
    pub(crate) aggregate: String,
    pub(crate) label: Option<String>,
    pub(crate) value: f64,
    pub(crate) n: u64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) method: String,
    pub(crate) unit: String,
    pub(crate) higher_is_better: bool,
}

/// The rows of a table.
pub(crate) fn read(frame: &DataFrame) -> Vec<Row> {
    table::METRIC_ROWS.check(frame, "metric").unwrap();
    let text = |name: &str, row: usize| frame.column(name).unwrap().str().unwrap().get(row).map(str::to_owned);
    let real = |name: &str, row: usize| frame.column(name).unwrap().f64().unwrap().get(row).unwrap();
    (0..frame.height())
        .map(|row| Row {
            metric: text("metric", row).unwrap(),
            aggregate: text("aggregate", row).unwrap(),
            label: text("relation", row),
            value: real("value", row),
            n: frame.column("n").unwrap().u64().unwrap().get(row).unwrap(),
            low: real("ci_low", row),
            high: real("ci_high", row),
            method: text("ci_method", row).unwrap(),
            unit: text("unit", row).unwrap(),
            higher_is_better: frame.column("higher_is_better").unwrap().bool().unwrap().get(row).unwrap(),
        })
        .collect()
}

/// The rows of a metric: twice the same, within their ranges, and of a problem that the metric says it can score.
pub(crate) fn rows(metric: &dyn Metric, problem: Problem, predictions: &DataFrame) -> Vec<Row> {
    assert!(metric.problems().contains(&problem));
    problem.predictions_schema().check(predictions, "fixture").unwrap();
    let compute = || read(&metric.compute(predictions, &context()).unwrap());
    let rows = compute();
    assert_eq!(rows, compute());
    assert!(rows.iter().all(|row| row.low <= row.high), "{rows:?}");
    for row in &rows {
        assert_eq!(row.label.is_some(), row.aggregate == "label", "{row:?}");
    }
    rows
}

/// What a metric says that cannot score.
pub(crate) fn refusal(metric: &dyn Metric, predictions: &DataFrame) -> String {
    metric.compute(predictions, &context()).unwrap_err().to_string()
}

/// The warnings of a metric.
pub(crate) fn warnings(metric: &dyn Metric, predictions: &DataFrame) -> Vec<String> {
    let cx = context();
    metric.compute(predictions, &cx).unwrap();
    cx.warnings()
}

fn context() -> CallContext<'static> {
    CallContext::new(Seed(33), &Quiet, Cancel::default())
}

/// The row of this name and aggregate; of a `label` row the label follows a colon, `label:X`.
#[track_caller]
pub(crate) fn row<'a>(rows: &'a [Row], metric: &str, aggregate: &str) -> &'a Row {
    let of = |row: &Row| row.label.as_ref().map_or_else(|| row.aggregate.clone(), |label| format!("{}:{label}", row.aggregate));
    rows.iter().find(|row| row.metric == metric && of(row) == aggregate).unwrap_or_else(|| panic!("no {aggregate} row of {metric} in {rows:?}"))
}

/// Sentences: cluster, gold tags and predicted tags by blanks, probability of every predicted tag.
pub(crate) fn tagged(sentences: &[(&str, &str, &str, f64)]) -> DataFrame {
    let split = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let predictions: Vec<Vec<String>> = sentences.iter().map(|sentence| split(sentence.2)).collect();
    let words: Vec<Vec<String>> = predictions.iter().map(|tags| (0..tags.len()).map(|place| format!("w{place}")).collect()).collect();
    table::frame_of(vec![
        ids(sentences.len()),
        table::text_column("cluster", sentences.iter().map(|sentence| Some(sentence.0))),
        table::texts_column("words", &words),
        table::texts_column("golds", &sentences.iter().map(|sentence| split(sentence.1)).collect::<Vec<_>>()),
        table::texts_column("predictions", &predictions),
        table::reals_column("scores", &sentences.iter().zip(&predictions).map(|(sentence, tags)| vec![sentence.3; tags.len()]).collect::<Vec<_>>()),
    ])
    .unwrap()
}

/// Texts: cluster, gold labels and predicted labels by blanks. The predicted labels have the probability 0.9, the others share the rest.
pub(crate) fn labelled(labels: &[&str], negative: Option<&str>, texts: &[(&str, &str, &str)]) -> DataFrame {
    let split = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    #[expect(clippy::cast_precision_loss, reason = "a handful of labels")]
    let rest = 0.1 / (labels.len() as f64 - 1.0);
    let scores = |predicted: &str| labels.iter().map(|label| if predicted.split_whitespace().any(|one| one == *label) { 0.9 } else { rest }).collect();
    let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
    table::frame_of(vec![
        ids(texts.len()),
        table::text_column("cluster", texts.iter().map(|text| Some(text.0))),
        table::texts_column("labels", &vec![labels.clone(); texts.len()]),
        table::text_column("negative", texts.iter().map(|_| negative)),
        table::texts_column("golds", &texts.iter().map(|text| split(text.1)).collect::<Vec<_>>()),
        table::texts_column("predictions", &texts.iter().map(|text| split(text.2)).collect::<Vec<_>>()),
        table::reals_column("scores", &texts.iter().map(|text| scores(text.2)).collect::<Vec<Vec<f64>>>()),
    ])
    .unwrap()
}

/// Numbers: cluster, target, prediction.
pub(crate) fn scored(numbers: &[(&str, Option<f64>, f64)]) -> DataFrame {
    table::frame_of(vec![
        ids(numbers.len()),
        table::text_column("cluster", numbers.iter().map(|number| Some(number.0))),
        Series::new("target".into(), numbers.iter().map(|number| number.1).collect::<Vec<_>>()),
        Series::new("prediction".into(), numbers.iter().map(|number| number.2).collect::<Vec<_>>()),
    ])
    .unwrap()
}

/// A question: cluster, right answers, answers with their probabilities.
pub(crate) type AnsweredRow<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, f64)]);

/// A table of questions.
pub(crate) fn answered(questions: &[AnsweredRow<'_>]) -> DataFrame {
    let owned = |texts: Vec<&str>| -> Vec<String> { texts.into_iter().map(str::to_owned).collect() };
    let zeros: Vec<Vec<f64>> = questions.iter().map(|question| vec![0.0; question.2.len()]).collect();
    table::frame_of(vec![
        ids(questions.len()),
        table::text_column("cluster", questions.iter().map(|question| Some(question.0))),
        table::texts_column("golds", &questions.iter().map(|question| owned(question.1.to_vec())).collect::<Vec<_>>()),
        table::texts_column("predictions", &questions.iter().map(|question| owned(question.2.iter().map(|answer| answer.0).collect())).collect::<Vec<_>>()),
        table::reals_column("scores", &questions.iter().map(|question| question.2.iter().map(|answer| answer.1).collect()).collect::<Vec<_>>()),
        table::counts_column("starts", &questions.iter().map(|question| vec![0; question.2.len()]).collect::<Vec<_>>()),
        table::reals_column("start_logits", &zeros),
        table::reals_column("end_logits", &zeros),
    ])
    .unwrap()
}

fn ids(n: usize) -> Series {
    Series::new("example_id".into(), (0..n).map(|row| format!("e{row}")).collect::<Vec<_>>())
}
