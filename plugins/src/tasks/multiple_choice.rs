//! Questions with a few written answers to choose from.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Error, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of, table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::{DataFile, Row};
use super::splits::{self, Found, Notes, Place, SplitPaths};
use super::template::listed;
use super::text_file;

inventory::submit! {
    Registration {
        id: "multiple-choice",
        version: 1,
        build: Build::Task(&build),
        summary: "questions with answers to choose from: MedQA, MMLU and your own",
        manual: MANUAL,
        schema: &schema_of::<MultipleChoiceParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks which of a few written answers is right. The first answer is called `A`.

## How
* JSON Lines hold `question`, `options` by their letters, and the letter of the right one in `answer_idx`, as MedQA is released; or `sent1`,
  `sent2`, `ending0`, `ending1` and so on, and the number of the right one in `label`, from 0, as LinkBERT has it.
* A CSV without header holds the question, the answers, and the letter of the right one in the last column, as MMLU is released.
* `columns` names other keys of JSON Lines, or the columns of a CSV or TSV with a header (a quote in a TSV is text): `question`, the `options` one by
  one or the one key that holds them all, by their letters or as a list, and `answer`. The right answer is said by its letter, or by its
  number, from 0, unless the options have letters of their own.

## Example
```yaml
tasks:
  - {use: multiple-choice, name: medqa, train: train.jsonl, dev: dev.jsonl, test: test.jsonl}
  - {use: multiple-choice, name: mmlu, test: professional_medicine_test.csv}
  - {use: multiple-choice, name: own, test: own.tsv, columns: {options: [first, second, third], answer: right}}
```

## Reference
Jin et al. 2020, *What disease does this patient have?*, <https://arxiv.org/abs/2009.13081>. Hendrycks et al. 2020, *Measuring massive
multitask language understanding*, <https://arxiv.org/abs/2009.03300>.
";

/// Parameters of `multiple-choice`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MultipleChoiceParams {
    /// Files of questions to learn from: `jsonl`, `csv` or `tsv`.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of questions to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of questions to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// Columns of a header, or keys of JSON Lines, with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
}

/// Where the parts of a question stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Columns {
    /// The question; by default `question` or `sent1`.
    #[serde(default)]
    question: Option<String>,
    /// The answers in their order, one column each; or the one key of JSON Lines that holds all of them; by default `options`, or `ending0`,
    /// `ending1` and so on.
    #[serde(default)]
    options: Vec<String>,
    /// The right answer; by default `answer_idx`, or `label` with endings.
    #[serde(default)]
    answer: Option<String>,
    /// The name of the question; by default `id`, if there is one.
    #[serde(default)]
    id: Option<String>,
}

impl Columns {
    /// Whether any is named.
    fn any(&self) -> bool {
        !self.options.is_empty() || [&self.question, &self.answer, &self.id].iter().any(|name| name.is_some())
    }
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let MultipleChoiceParams { train, dev, test, columns } = serde_json::from_value(params)?;
    Ok(Arc::new(MultipleChoice { paths: SplitPaths::new(train, dev, test).not_empty()?, columns }))
}

/// Questions of files.
#[derive(Debug)]
struct MultipleChoice {
    paths: SplitPaths,
    columns: Columns,
}

/// A question with its answers.
struct Choice {
    text: String,
    choices: Vec<String>,
    right: String,
}

/// The names of the answers.
const LETTERS: [&str; 10] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"];

impl Task for MultipleChoice {
    fn problem(&self) -> Problem {
        Problem::MultipleChoice
    }

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let splits = self.paths.read(cx, |path| read(path, &self.columns))?;
        let most = splits.all().map(|question| question.content.choices.len()).max().unwrap_or(0);
        let labels = LETTERS[..most].iter().map(|&letter| letter.to_owned()).collect();
        splits::examples(self.problem(), &splits, labels, Notes::default(), |rows| {
            let choices: Vec<&Vec<String>> = rows.iter().map(|row| &row.choices).collect();
            let golds: Vec<[String; 1]> = rows.iter().map(|row| [row.right.clone()]).collect();
            vec![
                table::text_column("text", rows.iter().map(|row| Some(row.text.as_str()))),
                table::texts_column("choices", &choices),
                table::texts_column("golds", &golds),
            ]
        })
    }

    fn default_metrics(&self) -> Vec<String> {
        vec!["accuracy".to_owned()]
    }
}

fn read(path: &Path, columns: &Columns) -> Result<Vec<Found<Choice>>> {
    if text_file::ending(path) == "csv" && !columns.any() {
        return table_of(path);
    }
    let file = DataFile::read_verbatim(path)?;
    let form = Form::of(&file, columns)?;
    let id = file.choose_if_there(columns.id.as_deref(), &["id"], "id")?;
    let found = file.rows.iter().map(|row| {
        let (text, choices, right) = form.read(&file, row)?;
        let place = Place::line(path, row.line);
        let content = choice(text, choices, &right).map_err(|message| place.error(message))?;
        Ok(Found { id: row.optional(&file, id)?, cluster: None, place, content })
    });
    found.collect()
}

/// Which columns of a file hold what.
struct Form<'a> {
    question: &'a str,
    options: Options<'a>,
    answer: &'a str,
}

/// Where the answers stand.
enum Options<'a> {
    /// In one key, by letter or as a list.
    Together(&'a str),
    /// In a column each.
    Apart(&'a [String]),
    /// In `ending0`, `ending1` and so on, as LinkBERT has them; the question goes on in `sent2`, if there is one.
    Endings { more: Option<&'static str> },
}

impl<'a> Form<'a> {
    fn of(file: &DataFile, columns: &'a Columns) -> Result<Self> {
        let question = file.choose(columns.question.as_deref(), &["question", "sent1"], "question")?;
        let has = |name: &str| file.columns.iter().any(|column| column == name);
        let options = match columns.options.as_slice() {
            [] if question == "sent1" || (has("ending0") && !has("options")) => Options::Endings { more: has("sent2").then_some("sent2") },
            [] => Options::Together("options"),
            [one] => Options::Together(file.column(&[one.as_str()], "options")?),
            apart => {
                for column in apart {
                    file.column(&[column.as_str()], "options")?;
                }
                Options::Apart(apart)
            }
        };
        let usual = if matches!(options, Options::Endings { .. }) { "label" } else { "answer_idx" };
        Ok(Self { question, options, answer: columns.answer.as_deref().unwrap_or(usual) })
    }

    /// The question, its answers, and what the file says of the right one.
    fn read(&self, file: &DataFile, row: &Row) -> Result<(String, Vec<String>, String)> {
        let (choices, own_letters) = match &self.options {
            Options::Together(key) => together(file, row, key)?,
            Options::Apart(columns) => (columns.iter().map(|column| row.text(file, column)).collect::<Result<_>>()?, false),
            Options::Endings { .. } => (endings(file, row)?, false),
        };
        let mut text = row.filled(file, self.question)?;
        if let Options::Endings { more: Some(more) } = self.options {
            let second = row.text(file, more)?;
            if !second.trim().is_empty() {
                text = format!("{text} {second}");
            }
        }
        let right = row.filled(file, self.answer)?.trim().to_owned();
        let number = right.parse().ok().filter(|_| !own_letters);
        Ok((text, choices, number.and_then(|number: usize| LETTERS.get(number).copied()).map_or(right, str::to_owned)))
    }
}

/// Checks that there are answers, that none is blank, and that the right one is among them.
fn choice(text: String, choices: Vec<String>, right: &str) -> Result<Choice, String> {
    if choices.len() < 2 || choices.len() > LETTERS.len() {
        return Err(format!("{} answers, expected 2 to {}", choices.len(), LETTERS.len()));
    }
    let letters = &LETTERS[..choices.len()];
    if let Some(blank) = choices.iter().position(|choice| choice.trim().is_empty()) {
        return Err(format!("the answer `{}` is empty", letters[blank]));
    }
    if !letters.contains(&right) {
        return Err(format!("the right answer is `{right}`, which is none of {}", listed(letters)));
    }
    Ok(Choice { text, choices, right: right.to_owned() })
}

/// The answers of one key, and whether they have letters of their own.
fn together(file: &DataFile, row: &Row, key: &str) -> Result<(Vec<String>, bool)> {
    let text = |name: &str, option: &Value| match option {
        Value::String(text) => Ok(text.clone()),
        other => Err(file.error(row, format!("the option `{name}` is {other}, expected a text"))),
    };
    match row.cells.get(key) {
        Some(Value::Object(options)) => {
            let mut letters: Vec<&String> = options.keys().collect();
            letters.sort();
            if letters.iter().zip(LETTERS).any(|(found, expected)| *found != expected) {
                return Err(file.error(row, format!("the options are {}, expected letters from `A` without a gap", listed(&letters))));
            }
            Ok((letters.into_iter().map(|letter| text(letter, &options[letter])).collect::<Result<_>>()?, true))
        }
        Some(Value::Array(options)) if !options.is_empty() => {
            Ok(((0..).zip(options).map(|(number, option): (usize, _)| text(&number.to_string(), option)).collect::<Result<_>>()?, false))
        }
        _ => Err(file.error(row, format!("there is no object `{key}`"))),
    }
}

/// The answers of LinkBERT's files.
fn endings(file: &DataFile, row: &Row) -> Result<Vec<String>> {
    let keys = (0..).map(|number| format!("ending{number}")).take_while(|key| row.cells.contains_key(key));
    let choices = keys.map(|key| row.text(file, &key)).collect::<Result<Vec<_>>>()?;
    let n = row.cells.keys().filter(|key| key.starts_with("ending")).count();
    if n != choices.len() {
        return Err(file.error(row, format!("there are {n} endings, but no `ending{}`", choices.len())));
    }
    Ok(choices)
}

/// The questions of MMLU.
fn table_of(path: &Path) -> Result<Vec<Found<Choice>>> {
    let file = DataFile::read_bare(path, &["question", "A", "B", "C", "D", "answer"])?;
    let found = file.rows.iter().map(|row| {
        let choices = LETTERS[..4].iter().map(|letter| row.text(&file, letter)).collect::<Result<_>>()?;
        let content = choice(row.filled(&file, "question")?, choices, row.filled(&file, "answer")?.trim()).map_err(|message| file.error(row, message))?;
        Ok(Found { id: None, cluster: None, place: Place::line(path, row.line), content })
    });
    found.collect::<Result<Vec<_>, Error>>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::splits::tests::{call, texts};
    use super::*;

    fn ask(name: &str, content: &str) -> Result<Examples, String> {
        call("multiple-choice", &[(name, content.as_bytes())], &json!({"test": name}))
    }

    fn answers(examples: &Examples) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
        (table::text_lists(&examples.examples, "choices").unwrap(), table::text_lists(&examples.examples, "golds").unwrap())
    }

    #[test]
    fn three_forms_of_one_question_are_the_same() {
        let expected = (vec![["a", "b, or c", "d", "e"].map(str::to_owned).to_vec()], vec![vec!["C".to_owned()]]);
        let medqa =
            ask("a.jsonl", "{\"question\": \"Q?\", \"options\": {\"B\": \"b, or c\", \"A\": \"a\", \"C\": \"d\", \"D\": \"e\"}, \"answer_idx\": \"C\"}\n")
                .unwrap();
        let linkbert = "{\"id\": \"t-0\", \"sent1\": \"Q?\", \"sent2\": \"\", \"ending0\": \"a\", \"ending1\": \"b, or c\", \"ending2\": \"d\", \"ending3\": \"e\", \"label\": 2}\n";
        let linkbert = ask("a.jsonl", linkbert).unwrap();
        let mmlu = ask("a.csv", "\u{feff}Q?,a,\"b, or c\",d,e,C\r\n").unwrap();
        for examples in [&medqa, &linkbert, &mmlu] {
            assert_eq!((answers(examples), texts(&examples.examples, "text")), (expected.clone(), vec!["Q?".to_owned()]));
            assert_eq!(examples.labels, ["A", "B", "C", "D"]);
        }
        assert_eq!(texts(&linkbert.examples, "example_id"), ["t-0"]);
        assert_eq!(texts(&mmlu.examples, "example_id"), ["test-1"]);
    }

    #[test]
    fn columns_of_a_header_and_keys_can_be_named() {
        let with =
            |name: &str, content: &str, columns: Value| call("multiple-choice", &[(name, content.as_bytes())], &json!({"test": name, "columns": columns}));
        let expected = (vec![vec!["a".to_owned(), "b \"c".into(), "d".into()]], vec![vec!["B".to_owned()]]);
        let apart = json!({"question": "q", "options": ["x", "y", "z"], "answer": "right", "id": "n"});
        let tsv = with("a.tsv", "n\tq\tx\ty\tz\tright\n7\tQ?\ta\tb \"c\td\tB\n", apart.clone()).unwrap();
        assert_eq!((answers(&tsv), texts(&tsv.examples, "example_id")), (expected.clone(), vec!["7".to_owned()]));
        let csv = with("a.csv", "n,q,x,y,z,right\n7,Q?,a,\"b \"\"c\",d,1\n", apart.clone()).unwrap();
        assert_eq!((answers(&csv), texts(&csv.examples, "text")), (expected.clone(), vec!["Q?".to_owned()]));
        let list = "{\"question\": \"Q?\", \"choices\": [\"a\", \"b \\\"c\", \"d\"], \"answer\": 1}\n";
        assert_eq!(answers(&with("a.json", list, json!({"options": ["choices"], "answer": "answer"})).unwrap()), expected);
        assert_eq!(with("a.csv", "q,x,y\nQ?,a,b\n", apart).unwrap_err(), "a.csv:1: no column for the options: looked for `z`; the columns are `q`, `x`, `y`");
        let text = with("a.tsv", "q\tx\tright\nQ?\ta\tA\n", json!({"question": "q", "options": ["x"], "answer": "right"})).unwrap_err();
        assert_eq!(text, "a.tsv:2: there is no object `x`");
    }

    #[test]
    fn every_malformed_input_says_what_is_wrong_and_where() {
        let medqa =
            |options: &str, right: &str| ask("a.jsonl", &format!("{{\"question\": \"Q?\", \"options\": {options}, \"answer_idx\": \"{right}\"}}")).unwrap_err();
        assert_eq!(medqa("{\"A\": \"a\", \"C\": \"c\"}", "A"), "a.jsonl:1: the options are `A`, `C`, expected letters from `A` without a gap");
        assert_eq!(medqa("{\"A\": \"a\", \"B\": \"b\"}", "C"), "a.jsonl:1: the right answer is `C`, which is none of `A`, `B`");
        assert_eq!(medqa("{\"A\": \"a\", \"B\": \" \"}", "A"), "a.jsonl:1: the answer `B` is empty");
        assert_eq!(medqa("{\"A\": \"a\"}", "A"), "a.jsonl:1: 1 answers, expected 2 to 10");
        assert_eq!(medqa("{\"A\": 1}", "A"), "a.jsonl:1: the option `A` is 1, expected a text");
        assert_eq!(medqa("[]", "A"), "a.jsonl:1: there is no object `options`");
        assert_eq!(
            ask("a.jsonl", "{\"sent1\": \"Q\", \"ending0\": \"a\", \"ending2\": \"b\", \"label\": 0}").unwrap_err(),
            "a.jsonl:1: there are 2 endings, but no `ending1`"
        );
        assert_eq!(
            ask("a.jsonl", "{\"sent1\": \"Q\", \"ending0\": \"a\", \"ending1\": \"b\", \"label\": 2}").unwrap_err(),
            "a.jsonl:1: the right answer is `C`, which is none of `A`, `B`"
        );
        assert_eq!(
            ask("a.csv", "Q,a,b,c,D\n").unwrap_err(),
            "a.csv:1: 5 cells, expected 6 (`question`, `A`, `B`, `C`, `D`, `answer`); quote a cell that holds the separator"
        );
        assert_eq!(ask("a.csv", "Q,a,b,c,d,E\n").unwrap_err(), "a.csv:1: the right answer is `E`, which is none of `A`, `B`, `C`, `D`");
        assert_eq!(ask("a.csv", "").unwrap_err(), "a.csv: the file is empty");
        let message = call("multiple-choice", &[("a.csv", b"\xff")], &json!({"test": "a.csv"})).unwrap_err();
        assert_eq!(message, "a.csv:1: byte 0xff is not UTF-8; save the file as UTF-8");
    }
}
