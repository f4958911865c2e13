//! How much two texts say the same.

use std::path::Path;
use std::sync::Arc;

use lmprobe_core::{Build, BuildContext, CallContext, Examples, ExistingFiles, Origin, Problem, Registration, Result, Task, schema_of, table};
use polars::prelude::{NamedFrom, Series};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data_file::DataFile;
use super::splits::{self, Found, Notes, Place, SplitPaths};

inventory::submit! {
    Registration {
        id: "similarity",
        version: 1,
        build: Build::Task(&build),
        summary: "how much two sentences say the same, as a number: BIOSSES and your own pairs",
        manual: MANUAL,
        schema: &schema_of::<SimilarityParams>,
        families: &[],
        recipe: None,
        origin: Origin::Builtin { file: file!(), line: line!() },
    }
}

const MANUAL: &str = "\
## What it does
Asks how much two texts say the same; the right answer is a number, such as 0 for nothing in common to 4 for the same.

## How
* Files are TSV (a quote is text) or CSV with a header, or JSON Lines. Columns are found by name: `sent1` or `sentence1`, `sent2` or
  `sentence2`, `score`, and the name of the pair in `pair_id`, `index` or `id`. `columns` names others. The unit of the score is the file's.

BIOSSES asks 20 pairs: read its intervals.

## Example
```yaml
tasks:
  - {use: similarity, name: biosses, train: train.tsv, dev: dev.tsv, test: test.tsv}
```

## Reference
Sogancioglu et al. 2017, *BIOSSES: a semantic sentence similarity estimation system for the biomedical domain*,
<https://doi.org/10.1093/bioinformatics/btx238>.
";

/// Parameters of `similarity`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SimilarityParams {
    /// Files of pairs to learn from: `tsv`, `csv` or `jsonl`.
    #[serde(default)]
    train: ExistingFiles,
    /// Files of pairs to choose recipes by.
    #[serde(default)]
    dev: ExistingFiles,
    /// Files of pairs to ask.
    #[serde(default)]
    test: ExistingFiles,
    /// Columns with other names than the usual ones.
    #[serde(default)]
    columns: Columns,
}

/// Where the parts of a pair stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Columns {
    /// The first text; by default `sent1`, `sentence1` or `text`.
    #[serde(default)]
    text: Option<String>,
    /// The second text; by default `sent2`, `sentence2` or `text_pair`.
    #[serde(default)]
    text_pair: Option<String>,
    /// The number; by default `score` or `label`.
    #[serde(default)]
    score: Option<String>,
    /// The name of the pair; by default `pair_id`, `index` or `id`, if there is one.
    #[serde(default)]
    id: Option<String>,
}

fn build(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let SimilarityParams { train, dev, test, columns } = serde_json::from_value(params)?;
    Ok(Arc::new(Similarity { paths: SplitPaths::new(train, dev, test).not_empty()?, columns }))
}

/// Pairs of files.
#[derive(Debug)]
struct Similarity {
    paths: SplitPaths,
    columns: Columns,
}

/// A pair of texts with its number.
struct ScoredPair {
    text: String,
    text_pair: String,
    target: f64,
}

impl Task for Similarity {
    fn problem(&self) -> Problem {
        Problem::Regression
    }

    fn has_training_split(&self) -> bool {
        !self.paths.train.is_empty()
    }

    fn examples(&self, cx: &CallContext<'_>) -> Result<Examples> {
        let splits = self.paths.read(cx, |path| self.read(path))?;
        splits::examples(self.problem(), &splits, Vec::new(), Notes::default(), |rows| {
            vec![
                table::text_column("text", rows.iter().map(|row| Some(row.text.as_str()))),
                table::text_column("text_pair", rows.iter().map(|row| Some(row.text_pair.as_str()))),
                Series::new("target".into(), rows.iter().map(|row| row.target).collect::<Vec<_>>()),
            ]
        })
    }

    fn default_metrics(&self) -> Vec<String> {
        ["pearson", "spearman"].map(str::to_owned).into()
    }
}

impl Similarity {
    fn read(&self, path: &Path) -> Result<Vec<Found<ScoredPair>>> {
        let file = DataFile::read_verbatim(path)?;
        let columns = &self.columns;
        let text = file.choose(columns.text.as_deref(), &["sent1", "sentence1", "text"], "text")?;
        let pair = file.choose(columns.text_pair.as_deref(), &["sent2", "sentence2", "text_pair"], "text_pair")?;
        let score = file.choose(columns.score.as_deref(), &["score", "label"], "score")?;
        let id = file.choose_if_there(columns.id.as_deref(), &["pair_id", "index", "id"], "id")?;
        let found = file.rows.iter().map(|row| {
            let number = row.filled(&file, score)?;
            let Some(target) = number.trim().parse().ok().filter(|number: &f64| number.is_finite()) else {
                return Err(file.error(row, format!("`{score}` is `{number}`, expected a number")));
            };
            Ok(Found {
                id: row.optional(&file, id)?,
                cluster: None,
                place: Place::line(path, row.line),
                content: ScoredPair { text: row.filled(&file, text)?, text_pair: row.filled(&file, pair)?, target },
            })
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::splits::tests::{call, read, released, sizes, texts};
    use super::*;

    #[test]
    fn pairs_are_read_with_their_numbers() {
        let tsv = "\u{feff}pair_id\tsent1\tsent2\tscore\r\n59\tA \"b.\tC.\t3.4\r\n7\tD.\tE.\t0\r\n";
        let examples = call("similarity", &[("a.tsv", tsv.as_bytes())], &json!({"test": "a.tsv"})).unwrap();
        assert_eq!((texts(&examples.examples, "example_id"), texts(&examples.examples, "text")[0].as_str()), (vec!["59".into(), "7".to_owned()], "A \"b."));
        assert_eq!(table::optional_reals(&examples.examples, "target").unwrap(), [Some(3.4), Some(0.0)]);
        let csv = "a,b,c\nx,y,1\n";
        let params = json!({"train": "a.csv", "columns": {"text": "a", "text_pair": "b", "score": "c"}});
        assert_eq!(sizes(&call("similarity", &[("a.csv", csv.as_bytes())], &params).unwrap()), (1, 0, 0));
    }

    #[test]
    fn every_malformed_input_says_what_is_wrong_and_where() {
        let message = |content: &[u8]| call("similarity", &[("a.tsv", content)], &json!({"test": "a.tsv"})).unwrap_err();
        assert_eq!(message(b"sent1\tsent2\tscore\na\tb\thigh\n"), "a.tsv:2: `score` is `high`, expected a number");
        assert_eq!(message(b"sent1\tsent2\tscore\na\tb\tNaN\n"), "a.tsv:2: `score` is `NaN`, expected a number");
        assert_eq!(message(b"sent1\tsent2\tscore\na\tb\t1\tx\n"), "a.tsv:2: 4 cells, expected 3 as in the header (`sent1`, `sent2`, `score`)");
        assert_eq!(message(b""), "a.tsv: the file is empty");
        assert_eq!(message(b"\xff"), "a.tsv:1: byte 0xff is not UTF-8; save the file as UTF-8");
    }

    #[test]
    fn the_released_pairs_have_their_published_counts() {
        let Some(path) = released("sts/BIOSSES") else { return };
        let at = |split: &str| path.join(split);
        let biosses = read("similarity", json!({"train": at("train.tsv"), "dev": at("dev.tsv"), "test": at("test.tsv")})).unwrap();
        assert_eq!((sizes(&biosses), biosses.notes), ((64, 16, 20), Vec::<String>::new()));
    }
}
