//! Tables of predictions for the problems with labels: one builder a schema.
//!
//! A builder is made from the examples, is given one answer an example in their order with `push`, and gives the table with `finish`. What is known of an
//! example (its id, cluster, gold) is copied from there; what follows from an answer (which label has the highest probability) is not left to the caller.
//!
//! | problem | builder | answer |
//! |---|---|---|
//! | token classification | [`TaggedPredictions`] | the tag of each word, and its probability |
//! | sequence classification, multi-label, multiple choice | [`LabelledPredictions`] | the probability of each label |
//! | regression | [`ScoredPredictions`] | a number |
//! | extractive question answering | [`AnsweredPredictions`] | answers, best first |

use lmprobe_core::{Error, Examples, Problem, Result, table};
use polars::prelude::{DataFrame, NamedFrom, Series};

/// Collects [`table::TAGGED_PREDICTIONS`].
#[derive(Debug)]
pub(crate) struct TaggedPredictions<'a> {
    examples: &'a Examples,
    tags: Vec<Vec<String>>,
    scores: Vec<Vec<f64>>,
}

impl<'a> TaggedPredictions<'a> {
    /// No answers yet.
    pub(crate) fn new(examples: &'a Examples) -> Self {
        Self { examples, tags: Vec::new(), scores: Vec::new() }
    }

    /// Appends the answer to the next sentence: the tag of each word and the probability of that tag.
    pub(crate) fn push(&mut self, tags: Vec<String>, scores: Vec<f64>) {
        self.tags.push(tags);
        self.scores.push(scores);
    }

    /// The table.
    ///
    /// # Errors
    /// If there are not as many answers as examples, or not as many tags or scores as words.
    pub(crate) fn finish(self) -> Result<DataFrame> {
        let schema = Problem::TokenClassification;
        let words = table::text_lists(&self.examples.examples, "words")?;
        check_height(schema, self.tags.len(), words.len())?;
        for (row, ((words, tags), scores)) in words.iter().zip(&self.tags).zip(&self.scores).enumerate() {
            if words.len() != tags.len() || words.len() != scores.len() {
                return Err(malformed(schema, format!("row {row} has {} words, {} tags and {} scores", words.len(), tags.len(), scores.len())));
            }
        }
        let mut columns = copied(self.examples, &["example_id", "cluster", "words"])?;
        columns.push(renamed(self.examples, "tags", "golds")?);
        columns.push(table::texts_column("predictions", &self.tags));
        columns.push(table::reals_column("scores", &self.scores));
        table::frame_of(columns)
    }
}

/// Collects [`table::LABELLED_PREDICTIONS`].
#[derive(Debug)]
pub(crate) struct LabelledPredictions<'a> {
    examples: &'a Examples,
    /// The labels of each example.
    labels: Vec<Vec<String>>,
    predictions: Vec<Vec<String>>,
    scores: Vec<Vec<f64>>,
}

impl<'a> LabelledPredictions<'a> {
    /// No answers yet.
    ///
    /// # Errors
    /// If the examples lack a column, or a question has more choices than there are letters.
    pub(crate) fn new(examples: &'a Examples) -> Result<Self> {
        let labels = if examples.problem == Problem::MultipleChoice {
            table::text_lists(&examples.examples, "choices")?.iter().enumerate().map(|(row, choices)| letters(choices.len(), row)).collect::<Result<_>>()?
        } else {
            vec![examples.labels.clone(); examples.examples.height()]
        };
        Ok(Self { examples, labels, predictions: Vec::new(), scores: Vec::new() })
    }

    /// The labels of an example, in the order in which [`Self::push`] takes their probabilities: the task's, or the letters of the question's choices.
    pub(crate) fn labels(&self, row: usize) -> &[String] {
        &self.labels[row]
    }

    /// Appends the answer to the next example: the probability of each of its labels.
    ///
    /// The predicted label of a classification is that of the highest probability, the first by bytes among equals; those of a multi-label problem are all above
    /// 0.5.
    ///
    /// # Errors
    /// If there are more answers than examples, or not as many probabilities as labels; if one is no number, or there is no label to choose.
    pub(crate) fn push(&mut self, probabilities: Vec<f64>) -> Result<()> {
        let (problem, row) = (self.examples.problem, self.scores.len());
        let labels = self.labels.get(row).ok_or_else(|| malformed(problem, format!("more than {row} answers to {row} examples")))?;
        if labels.len() != probabilities.len() || probabilities.iter().any(|probability| probability.is_nan()) {
            return Err(malformed(problem, format!("row {row} has {} labels and the probabilities {probabilities:?}", labels.len())));
        }
        let answers = labels.iter().zip(&probabilities);
        self.predictions.push(if problem == Problem::MultiLabel {
            answers.filter(|(_, probability)| **probability > 0.5).map(|(label, _)| label.clone()).collect()
        } else {
            let best = answers.max_by(|a, b| a.1.total_cmp(b.1).then_with(|| b.0.cmp(a.0)));
            vec![best.ok_or_else(|| malformed(problem, format!("row {row} has no label to choose")))?.0.clone()]
        });
        self.scores.push(probabilities);
        Ok(())
    }

    /// The table.
    ///
    /// # Errors
    /// If there are not as many answers as examples.
    pub(crate) fn finish(self) -> Result<DataFrame> {
        check_height(self.examples.problem, self.scores.len(), self.labels.len())?;
        let mut columns = copied(self.examples, &["example_id", "cluster"])?;
        columns.push(table::texts_column("labels", &self.labels));
        columns.push(table::text_column("negative", self.labels.iter().map(|_| self.examples.negative.as_deref())));
        columns.extend(copied(self.examples, &["golds"])?);
        columns.push(table::texts_column("predictions", &self.predictions));
        columns.push(table::reals_column("scores", &self.scores));
        table::frame_of(columns)
    }
}

/// Collects [`table::SCORED_PREDICTIONS`].
#[derive(Debug)]
pub(crate) struct ScoredPredictions<'a> {
    examples: &'a Examples,
    numbers: Vec<f64>,
}

impl<'a> ScoredPredictions<'a> {
    /// No answers yet.
    pub(crate) fn new(examples: &'a Examples) -> Self {
        Self { examples, numbers: Vec::new() }
    }

    /// Appends the number predicted for the next example.
    pub(crate) fn push(&mut self, number: f64) {
        self.numbers.push(number);
    }

    /// The table.
    ///
    /// # Errors
    /// If there are not as many numbers as examples.
    pub(crate) fn finish(self) -> Result<DataFrame> {
        check_height(Problem::Regression, self.numbers.len(), self.examples.examples.height())?;
        let mut columns = copied(self.examples, &["example_id", "cluster", "target"])?;
        columns.push(Series::new("prediction".into(), self.numbers));
        table::frame_of(columns)
    }
}

/// An answer to a question about a context.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The text as the context has it; empty to say that the context holds none.
    pub(crate) text: String,
    /// Its probability among the answers to the question.
    pub(crate) score: f64,
    /// Where it begins in the context, in characters; 0 of an empty text.
    pub(crate) start: u64,
    /// Logit of its first piece.
    pub(crate) start_logit: f64,
    /// Logit of its last piece.
    pub(crate) end_logit: f64,
}

/// Collects [`table::ANSWERED_PREDICTIONS`].
#[derive(Debug)]
pub(crate) struct AnsweredPredictions<'a> {
    examples: &'a Examples,
    answers: Vec<Vec<Answer>>,
}

impl<'a> AnsweredPredictions<'a> {
    /// No answers yet.
    pub(crate) fn new(examples: &'a Examples) -> Self {
        Self { examples, answers: Vec::new() }
    }

    /// Appends the answers to the next question, best first.
    pub(crate) fn push(&mut self, answers: Vec<Answer>) {
        self.answers.push(answers);
    }

    /// The table.
    ///
    /// # Errors
    /// If there are not as many lists of answers as examples.
    pub(crate) fn finish(self) -> Result<DataFrame> {
        check_height(Problem::ExtractiveQa, self.answers.len(), self.examples.examples.height())?;
        let reals = |of: fn(&Answer) -> f64| self.answers.iter().map(|answers| answers.iter().map(of).collect()).collect::<Vec<Vec<f64>>>();
        let starts: Vec<Vec<u64>> = self.answers.iter().map(|answers| answers.iter().map(|answer| answer.start).collect()).collect();
        let (scores, start_logits, end_logits) = (reals(|answer| answer.score), reals(|answer| answer.start_logit), reals(|answer| answer.end_logit));
        let texts: Vec<Vec<String>> = self.answers.into_iter().map(|answers| answers.into_iter().map(|answer| answer.text).collect()).collect();
        let mut columns = copied(self.examples, &["example_id", "cluster", "golds"])?;
        columns.push(table::texts_column("predictions", &texts));
        columns.push(table::reals_column("scores", &scores));
        columns.push(table::counts_column("starts", &starts));
        columns.push(table::reals_column("start_logits", &start_logits));
        columns.push(table::reals_column("end_logits", &end_logits));
        table::frame_of(columns)
    }
}

/// `A`, `B`, ... for the choices of a question.
fn letters(n: usize, row: usize) -> Result<Vec<String>> {
    if n > 26 {
        return Err(malformed(Problem::MultipleChoice, format!("row {row} has {n} choices; there are letters for 26")));
    }
    Ok(('A'..='Z').take(n).map(String::from).collect())
}

fn copied(examples: &Examples, names: &[&str]) -> Result<Vec<Series>> {
    names.iter().map(|name| Ok(examples.examples.column(name)?.as_materialized_series().clone())).collect()
}

fn renamed(examples: &Examples, from: &str, to: &str) -> Result<Series> {
    Ok(examples.examples.column(from)?.as_materialized_series().clone().with_name(to.into()))
}

fn check_height(problem: Problem, answers: usize, examples: usize) -> Result<()> {
    if answers == examples { Ok(()) } else { Err(malformed(problem, format!("{answers} answers to {examples} examples"))) }
}

fn malformed(problem: Problem, message: String) -> Error {
    Error::Frame { origin: format!("a prober of {problem} tasks"), schema: problem.predictions_schema().name, message }
}

/// Labelled tasks written out by hand, for the tests of probers.
#[cfg(test)]
pub(crate) mod fixture {
    use lmprobe_core::Splits;

    use super::*;

    pub(crate) fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn ids(split: &str, n: usize) -> Series {
        Series::new("example_id".into(), (0..n).map(|row| format!("{split}{row}")).collect::<Vec<_>>())
    }

    fn clusters(split: &str, n: usize) -> Series {
        ids(split, n).with_name("cluster".into())
    }

    /// Sentences: words and tags by blanks.
    fn tagged(split: &str, sentences: &[(&str, &str)]) -> DataFrame {
        table::frame_of(vec![
            ids(split, sentences.len()),
            clusters(split, sentences.len()),
            table::texts_column("words", &sentences.iter().map(|sentence| words(sentence.0)).collect::<Vec<_>>()),
            table::texts_column("tags", &sentences.iter().map(|sentence| words(sentence.1)).collect::<Vec<_>>()),
        ])
        .unwrap()
    }

    /// A task of sentences: words and tags by blanks.
    pub(crate) fn tagged_task(train: &[(&str, &str)], test: &[(&str, &str)], labels: &[&str]) -> Examples {
        task(Problem::TokenClassification, tagged("train", train), tagged("test", test), labels)
    }

    fn labelled(split: &str, golds: &[&str]) -> DataFrame {
        table::frame_of(vec![
            ids(split, golds.len()),
            clusters(split, golds.len()),
            table::text_column("text", golds.iter().map(|_| Some("a text"))),
            table::text_column("text_pair", golds.iter().map(|_| None)),
            table::texts_column("golds", &golds.iter().map(|golds| words(golds)).collect::<Vec<_>>()),
        ])
        .unwrap()
    }

    /// A task of texts: right labels by blanks.
    pub(crate) fn labelled_task(problem: Problem, train: &[&str], test: &[&str], labels: &[&str]) -> Examples {
        task(problem, labelled("train", train), labelled("test", test), labels)
    }

    fn scored(split: &str, targets: &[Option<f64>]) -> DataFrame {
        table::frame_of(vec![
            ids(split, targets.len()),
            clusters(split, targets.len()),
            table::text_column("text", targets.iter().map(|_| Some("a text"))),
            table::text_column("text_pair", targets.iter().map(|_| Some("another"))),
            Series::new("target".into(), targets.to_vec()),
        ])
        .unwrap()
    }

    /// A task of pairs of texts with numbers.
    pub(crate) fn scored_task(train: &[Option<f64>], test: &[Option<f64>]) -> Examples {
        task(Problem::Regression, scored("train", train), scored("test", test), &[])
    }

    fn choices(split: &str, questions: &[(&[&str], &str)]) -> DataFrame {
        table::frame_of(vec![
            ids(split, questions.len()),
            clusters(split, questions.len()),
            table::text_column("text", questions.iter().map(|_| Some("a question?"))),
            table::texts_column("choices", &questions.iter().map(|question| owned(question.0)).collect::<Vec<_>>()),
            table::texts_column("golds", &questions.iter().map(|question| words(question.1)).collect::<Vec<_>>()),
        ])
        .unwrap()
    }

    /// A task of questions: choices and the right letter.
    pub(crate) fn choice_task(train: &[(&[&str], &str)], test: &[(&[&str], &str)], labels: &[&str]) -> Examples {
        task(Problem::MultipleChoice, choices("train", train), choices("test", test), labels)
    }

    /// A task of questions about contexts: question, context, right answers, all of which begin at 0.
    pub(crate) fn question_task(test: &[(&str, &str, &[&str])]) -> Examples {
        let frame = |split: &str, test: &[(&str, &str, &[&str])]| {
            table::frame_of(vec![
                ids(split, test.len()),
                clusters(split, test.len()),
                table::text_column("question", test.iter().map(|question| Some(question.0))),
                table::text_column("context", test.iter().map(|question| Some(question.1))),
                table::texts_column("golds", &test.iter().map(|question| owned(question.2)).collect::<Vec<_>>()),
                table::counts_column("starts", &test.iter().map(|question| vec![0; question.2.len()]).collect::<Vec<_>>()),
            ])
            .unwrap()
        };
        task(Problem::ExtractiveQa, frame("train", &[]), frame("test", test), &[])
    }

    fn task(problem: Problem, train: DataFrame, test: DataFrame, labels: &[&str]) -> Examples {
        let splits = Splits { dev: table::empty(problem.examples_schema()).unwrap(), train, test };
        let examples = Examples::labelled(problem, splits, owned(labels)).unwrap();
        lmprobe_core::check_examples(&examples, "fixture").unwrap();
        examples
    }
}

#[cfg(test)]
mod tests {
    use lmprobe_core::check_predictions;
    use polars::prelude::PlSmallStr;

    use super::*;

    /// The table passes the checks of the host, and its columns are those of the schema in their order.
    #[track_caller]
    fn fits(frame: &DataFrame, examples: &Examples) {
        check_predictions(frame, examples, "builder").unwrap();
        let names: Vec<&str> = frame.get_column_names().into_iter().map(PlSmallStr::as_str).collect();
        let schema = examples.problem.predictions_schema();
        assert_eq!(names, schema.columns.iter().map(|column| column.name).collect::<Vec<_>>());
    }

    #[test]
    fn tags_stand_beside_their_words_and_golds() {
        let examples = fixture::tagged_task(&[], &[("a gene", "O B"), ("here", "")], &["B", "I", "O"]);
        let mut builder = TaggedPredictions::new(&examples);
        builder.push(fixture::owned(&["O", "O"]), vec![0.9, 0.6]);
        builder.push(fixture::owned(&["B"]), vec![0.7]);
        let frame = builder.finish().unwrap();
        fits(&frame, &examples);
        assert_eq!(table::text_lists(&frame, "golds").unwrap(), [fixture::owned(&["O", "B"]), vec![]]);
        assert_eq!(table::text_lists(&frame, "predictions").unwrap()[1], ["B"]);
        let mut short = TaggedPredictions::new(&examples);
        short.push(fixture::owned(&["O"]), vec![0.9]);
        short.push(fixture::owned(&["O"]), vec![0.9]);
        assert!(short.finish().unwrap_err().to_string().contains("row 0 has 2 words, 1 tags and 1 scores"));
        assert!(TaggedPredictions::new(&examples).finish().unwrap_err().to_string().contains("0 answers to 2 examples"));
    }

    #[test]
    fn the_label_of_the_highest_probability_is_predicted_the_first_by_bytes_among_equals() {
        let mut examples = fixture::labelled_task(Problem::SequenceClassification, &[], &["yes", "", "no"], &["yes", "no", "maybe"]);
        examples.negative = Some("no".to_owned());
        let mut builder = LabelledPredictions::new(&examples).unwrap();
        assert_eq!(builder.labels(1), ["yes", "no", "maybe"]);
        for probabilities in [[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.4, 0.4, 0.2]] {
            builder.push(probabilities.to_vec()).unwrap();
        }
        assert!(builder.push(vec![1.0, 0.0, 0.0]).unwrap_err().to_string().contains("more than 3 answers"));
        let frame = builder.finish().unwrap();
        fits(&frame, &examples);
        assert_eq!(table::text_lists(&frame, "predictions").unwrap().concat(), ["no", "maybe", "no"]);
        assert_eq!(table::optional_texts(&frame, "negative").unwrap(), [Some("no"); 3]);
    }

    #[test]
    fn labels_above_one_half_are_predicted_of_a_multi_label_problem() {
        let examples = fixture::labelled_task(Problem::MultiLabel, &[], &["a b", ""], &["a", "b", "c"]);
        let mut builder = LabelledPredictions::new(&examples).unwrap();
        builder.push(vec![0.9, 0.5, 0.51]).unwrap();
        builder.push(vec![0.0, 0.0, 0.0]).unwrap();
        let frame = builder.finish().unwrap();
        fits(&frame, &examples);
        assert_eq!(table::text_lists(&frame, "predictions").unwrap(), [fixture::owned(&["a", "c"]), vec![]]);
    }

    #[test]
    fn choices_are_called_by_letters() {
        let examples = fixture::choice_task(&[], &[(&["x", "y", "z"], "B"), (&["x", "y"], "A")], &["A", "B", "C"]);
        let mut builder = LabelledPredictions::new(&examples).unwrap();
        builder.push(vec![0.2, 0.2, 0.6]).unwrap();
        assert!(builder.push(vec![0.2, 0.2, 0.6]).unwrap_err().to_string().contains("row 1 has 2 labels"));
        builder.push(vec![0.3, 0.7]).unwrap();
        let frame = builder.finish().unwrap();
        fits(&frame, &examples);
        assert_eq!(table::text_lists(&frame, "labels").unwrap(), [fixture::owned(&["A", "B", "C"]), fixture::owned(&["A", "B"])]);
        assert_eq!(table::text_lists(&frame, "predictions").unwrap().concat(), ["C", "B"]);
        let many: Vec<String> = (0..27).map(|choice| choice.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let message = LabelledPredictions::new(&fixture::choice_task(&[], &[(&many, "A")], &["A"])).unwrap_err().to_string();
        assert!(message.contains("row 0 has 27 choices"), "{message}");
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        let examples = fixture::labelled_task(Problem::SequenceClassification, &[], &["a"], &["a", "b"]);
        let mut builder = LabelledPredictions::new(&examples).unwrap();
        assert!(builder.push(vec![f64::NAN, 0.0]).unwrap_err().to_string().contains("NaN"));
        let nothing = fixture::labelled_task(Problem::SequenceClassification, &[], &[""], &[]);
        assert!(LabelledPredictions::new(&nothing).unwrap().push(Vec::new()).unwrap_err().to_string().contains("no label to choose"));
    }

    #[test]
    fn numbers_stand_beside_their_targets() {
        let examples = fixture::scored_task(&[], &[Some(1.5), None]);
        let mut builder = ScoredPredictions::new(&examples);
        builder.push(2.0);
        builder.push(3.0);
        let frame = builder.finish().unwrap();
        fits(&frame, &examples);
        assert_eq!(table::optional_reals(&frame, "target").unwrap(), [Some(1.5), None]);
        assert!(ScoredPredictions::new(&examples).finish().is_err());
    }

    #[test]
    fn answers_keep_their_order() {
        let examples = fixture::question_task(&[("who?", "she did", &["she"]), ("why?", "she did", &[])]);
        let mut builder = AnsweredPredictions::new(&examples);
        let answer = |text: &str, score: f64, start: u64| Answer { text: text.to_owned(), score, start, start_logit: 1.0, end_logit: 2.0 };
        builder.push(vec![answer("did", 0.7, 4), answer("she", 0.3, 0)]);
        builder.push(Vec::new());
        let frame = builder.finish().unwrap();
        fits(&frame, &examples);
        assert_eq!(table::text_lists(&frame, "predictions").unwrap(), [fixture::owned(&["did", "she"]), vec![]]);
        assert_eq!(table::count_lists(&frame, "starts").unwrap(), [vec![4, 0], vec![]]);
        assert_eq!(table::real_lists(&frame, "end_logits").unwrap()[0], [2.0, 2.0]);
        assert!(AnsweredPredictions::new(&examples).finish().is_err());
    }
}
