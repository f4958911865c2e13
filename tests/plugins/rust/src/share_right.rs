//! The metric `example/share-right`: how often a right answer is among the first.

use std::collections::BTreeMap;

use lmprobe_sdk::schemars::JsonSchema;
use lmprobe_sdk::serde::Deserialize;
use lmprobe_sdk::{Aggregate, Call, Component, Error, Interval, Metric, MetricRow, MetricRows, Predictions, Result, Table};

const MANUAL: &str = "\
## What it does
The share of questions whose best right answer has rank `k` or better. Unit: a fraction in [0, 1]; higher is better.

## How
A question none of whose right answers is in the pool has no rank and counts as wrong. There is a row `micro` over all questions and
a row for each relation; the 95 % intervals are Wilson's.

## Example
```yaml
metrics: [{use: example/share-right, k: 5}]
```

## Reference
Wilson 1927, *Probable inference*.
";

/// Parameters of `example/share-right`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "lmprobe_sdk::schemars")]
pub struct ShareRightParams {
    /// How many of the first candidates may hold a right answer.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    k: u32,
}

fn first() -> u32 {
    1
}

/// The share of questions with a right answer among the first `k` candidates.
#[derive(Debug)]
pub struct ShareRight {
    k: u32,
}

impl Component for ShareRight {
    type Params = ShareRightParams;
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "share of questions with a right answer among the first k candidates";
    const MANUAL: &'static str = MANUAL;

    fn build(params: ShareRightParams, _: &Call<'_>) -> Result<Self> {
        // The schema says so too, but a host may ask without having looked at it.
        if params.k == 0 {
            return Err(Error::config("`k` is 0, expected at least 1").at("/k"));
        }
        Ok(Self { k: params.k })
    }
}

impl Metric for ShareRight {
    fn name(&self) -> String {
        format!("share-right@{}", self.k)
    }

    fn compute(&self, predictions: &Predictions, _: &Call<'_>) -> Result<Table> {
        if predictions.is_empty() {
            return Err(Error::input("the predictions have no row, so there is nothing to average"));
        }
        let mut total = Share::default();
        let mut relations: BTreeMap<&str, Share> = BTreeMap::new();
        for (relation, rank) in predictions.relation().iter().zip(predictions.rank().iter()) {
            let right = rank.is_some_and(|rank| rank <= i64::from(self.k));
            total.count(right);
            relations.entry(relation).or_default().count(right);
        }
        let mut rows = MetricRows::new();
        rows.push(self.row(Aggregate::Micro, total));
        for (relation, share) in relations {
            rows.push(self.row(Aggregate::Relation(relation.to_owned()), share));
        }
        rows.into_table()
    }
}

impl ShareRight {
    fn row(&self, aggregate: Aggregate, share: Share) -> MetricRow {
        MetricRow {
            metric: self.name(),
            aggregate,
            value: share.right as f64 / share.n as f64,
            interval: wilson(share.right, share.n),
            n: share.n,
            unit: "fraction",
            higher_is_better: true,
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    right: usize,
    n: usize,
}

impl Share {
    fn count(&mut self, right: bool) {
        self.right += usize::from(right);
        self.n += 1;
    }
}

/// The 97.5 % quantile of the standard normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// Wilson's score interval of a proportion; `n` is not 0. The steps are those of the host, so that the bits are too.
fn wilson(hits: usize, n: usize) -> Interval {
    let (hits, n) = (hits as f64, n as f64);
    let p = hits / n;
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0), method: "wilson" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_equals_statsmodels() {
        // statsmodels.stats.proportion.proportion_confint(7, 10, method="wilson")
        let interval = wilson(7, 10);
        assert!((interval.low - 0.396_778_1).abs() < 1e-6 && (interval.high - 0.892_208_7).abs() < 1e-6);
    }
}
