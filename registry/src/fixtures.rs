//! Plugins and files that the tests of this crate share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lmprobe_core::polars::prelude::DataFrame;
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::{
    Build, BuildContext, CallContext, Dtype, Encoder, EncoderInfo, EncoderSource, Error, Examples, ExistingFile, Learner, MaskToken, Material, Metric,
    ModelFolder, ModelReport, Needs, Objective, Origin, Prober, Problem, RecipeDefaults, Registration, Resolved, Result, Seed, Task, schema_of,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::diagnostic::Report;
use crate::node::Node;
use crate::{Invalid, Registry, Request, resolve, yaml};

/// Parses a text as if it were a run file.
pub(crate) fn parse(text: &str) -> (Node, Report) {
    let mut report = Report::default();
    let source = report.add_source("run.yaml", text, Path::new("/nowhere"));
    (yaml::parse_value(text, source, 0).map_err(|(_, message)| message).unwrap(), report)
}

/// A folder with a small set of everything: `model` (mask and head), `headless` (neither), `facts.csv`, `corpus.txt`.
pub(crate) struct Workspace(tempfile::TempDir);

impl Workspace {
    pub(crate) fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        workspace.write("model/config.json", r#"{"model_type": "bert", "layers": 6, "head": true}"#);
        workspace.write("headless/config.json", r#"{"model_type": "bert", "layers": 2, "head": false}"#);
        workspace.write("facts.csv", "subject,object\n");
        workspace.write("corpus.txt", "a sentence\n");
        workspace
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Resolves `run.yaml` of this text.
    pub(crate) fn resolve_with(&self, text: &str, overrides: &[&str], out: Option<&Path>) -> Result<Resolved, Invalid> {
        self.resolve_in(&registry(), text, overrides, out)
    }

    /// Resolves a run file with the plugins for labelled tasks too.
    pub(crate) fn resolve_labelled(&self, text: &str) -> Result<Resolved, Invalid> {
        let registry = Registry::from_registrations(registry().all().iter().copied().chain([&TUNE, &TAGS, &HEAD, &MAJORITY, &SPANS]).collect()).unwrap();
        self.resolve_in(&registry, text, &[], None)
    }

    fn resolve_in(&self, registry: &Registry, text: &str, overrides: &[&str], out: Option<&Path>) -> Result<Resolved, Invalid> {
        self.write("run.yaml", text);
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        resolve(
            registry,
            &Request {
                path: &self.path().join("run.yaml"),
                overrides: &overrides,
                out,
                models: &crate::Models::default(),
                libraries: &crate::LibraryPolicy::default(),
            },
        )
    }

    pub(crate) fn resolve(&self, text: &str) -> Resolved {
        self.resolve_with(text, &[], None).map_err(|invalid| invalid.to_string()).unwrap()
    }

    /// As [`Self::mistakes`], with the plugins for labelled tasks too.
    pub(crate) fn labelled_mistakes(&self, text: &str) -> String {
        let invalid = self.resolve_labelled(text).err().unwrap();
        invalid.to_string().replace(&format!("{}/", self.path().display()), "")
    }

    /// All mistakes, a line each, without the folder.
    pub(crate) fn mistakes(&self, text: &str) -> String {
        let invalid = self.resolve_with(text, &[], None).err().unwrap();
        invalid.to_string().replace(&format!("{}/", self.path().display()), "")
    }
}

pub(crate) fn registry() -> Registry {
    Registry::from_registrations(vec![&BERT, &CONTRASTIVE, &FACTS, &FILL_MASK, &MIMIC, &RANDOM_RANKING, &ACC, &MRR]).unwrap()
}

macro_rules! registration {
    ($name:ident, $id:literal, $build:expr, $params:ty, $families:expr, $recipe:expr) => {
        pub(crate) static $name: Registration = Registration {
            id: $id,
            version: 1,
            build: $build,
            summary: "for tests",
            manual: "",
            schema: &schema_of::<$params>,
            families: $families,
            recipe: $recipe,
            origin: Origin::Builtin { file: file!(), line: line!() },
        };
    };
}

registration!(BERT, "bert", Build::Encoder(&build_bert), BertParams, &["bert", "roberta"], None);
registration!(CONTRASTIVE, "contrastive", Build::Objective(&build_contrastive), ContrastiveParams, &[], Some(RecipeDefaults::Corpus(&contrastive_recipe)));
registration!(FACTS, "facts", Build::Task(&build_facts), FactsParams, &[], None);
registration!(FILL_MASK, "fill-mask", Build::Prober(&build_fill_mask), FillMaskParams, &[], None);
registration!(MIMIC, "mimic", Build::Prober(&build_mimic), MimicParams, &[], None);
registration!(RANDOM_RANKING, "random-ranking", Build::Prober(&build_random_ranking), NoParams, &[], None);
registration!(ACC, "acc", Build::Metric(&build_acc), AccParams, &[], None);
registration!(MRR, "mrr", Build::Metric(&build_mrr), NoParams, &[], None);
registration!(TUNE, "tune", Build::Objective(&build_tune), TuneParams, &[], Some(RecipeDefaults::Task(&tune_preset)));
registration!(TAGS, "tags", Build::Task(&build_tags), TagsParams, &[], None);
registration!(HEAD, "head", Build::Prober(&build_head), NoParams, &[], None);
registration!(MAJORITY, "majority", Build::Prober(&build_majority), NoParams, &[], None);
registration!(SPANS, "spans", Build::Metric(&build_spans), NoParams, &[], None);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(deny_unknown_fields)]
struct NoParams {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(deny_unknown_fields)]
struct BertParams {
    /// The folder of the checkpoint.
    model: ModelFolder,
    /// Longest sequence.
    #[serde(default)]
    #[schemars(range(min = 2))]
    max_length: Option<u64>,
}

struct BertSource {
    tagger: bool,
    info: EncoderInfo,
    report: ModelReport,
}

fn build_bert(params: Value, _: &BuildContext) -> Result<Arc<dyn EncoderSource>> {
    let params: BertParams = serde_json::from_value(params)?;
    let path = params.model.as_ref().join("config.json");
    let config: Value = serde_json::from_slice(&std::fs::read(&path).map_err(Error::io(&path))?)?;
    let layers = config["layers"].as_u64().ok_or_else(|| Error::model(&path, "`layers` is missing"))?;
    let head = config["head"] == true;
    Ok(Arc::new(BertSource {
        tagger: config["no_tagger"] != true,
        info: EncoderInfo {
            family: "bert".into(),
            layers: usize::try_from(layers).unwrap(),
            hidden: 8,
            heads: 2,
            vocab: 10,
            max_length: 16,
            mask: head.then(|| MaskToken { text: "[MASK]".into(), id: 4 }),
            lowercase: true,
            casing_source: String::new(),
            trainable: true,
            pooler: false,
            mlm_head: head,
            task_head: None,
            lm_head: false,
            causal: false,
            random_init: false,
            dtype: Dtype::F32,
            warnings: vec![],
        },
        report: ModelReport::default(),
    }))
}

impl EncoderSource for BertSource {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn report(&self) -> &ModelReport {
        &self.report
    }

    fn check_head(&self, problem: Problem) -> Result<()> {
        if self.tagger { Ok(()) } else { Err(Error::Unsupported(format!("there is no head for a {problem} task"))) }
    }

    fn load(&self, _: Seed) -> Result<Box<dyn Encoder>> {
        unimplemented!("resolving loads no weights")
    }

    fn at(&self, _: &Path) -> Result<Box<dyn EncoderSource>> {
        unimplemented!("resolving opens no checkpoint")
    }
}

/// How tokens become one vector.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pooling {
    /// The first token.
    Cls,
    /// The mean of all tokens.
    Mean,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(default, deny_unknown_fields)]
struct ContrastiveParams {
    #[schemars(range(min = 0.001))]
    temperature: f64,
    pooling: Pooling,
    layer: i64,
}

impl Default for ContrastiveParams {
    fn default() -> Self {
        Self { temperature: 0.04, pooling: Pooling::Cls, layer: -1 }
    }
}

fn contrastive_recipe() -> Value {
    json!({"steps": 150, "batch_size": 192})
}

struct Contrastive(ContrastiveParams);

fn build_contrastive(params: Value, _: &BuildContext) -> Result<Arc<dyn Objective>> {
    Ok(Arc::new(Contrastive(serde_json::from_value(params)?)))
}

impl Objective for Contrastive {
    fn needs(&self) -> Needs {
        Needs { layers: vec![self.0.layer], ..Needs::one_encoder() }
    }

    fn prepare(&self, _: &Material<'_>, _: &dyn Encoder, _: Seed) -> Result<Box<dyn Learner>> {
        unimplemented!("resolving trains nothing")
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(deny_unknown_fields)]
struct FactsParams {
    /// The table of facts. One row a fact.
    facts: ExistingFile,
    /// Rows to keep: the value that each of these columns must have.
    #[serde(default, rename = "where")]
    filter: std::collections::BTreeMap<String, String>,
}

struct Facts;

fn build_facts(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    let _: FactsParams = serde_json::from_value(params)?;
    Ok(Arc::new(Facts))
}

impl Task for Facts {
    fn examples(&self, _: &CallContext<'_>) -> Result<Examples> {
        unimplemented!("resolving reads no data")
    }

    fn default_metrics(&self) -> Vec<String> {
        ["acc@1", "mrr"].map(str::to_owned).into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FillMaskParams {
    /// Steps of refinement.
    #[schemars(range(min = 1))]
    steps: u32,
    /// Weight of the length.
    #[schemars(range(min = 0.0, max = 1.0))]
    length_weight: f64,
    /// How tokens become one vector.
    pooling: Pooling,
}

impl PartialEq for Pooling {
    fn eq(&self, other: &Self) -> bool {
        *self as u8 == *other as u8
    }
}

impl Default for FillMaskParams {
    fn default() -> Self {
        Self { steps: 1, length_weight: 0.5, pooling: Pooling::Mean }
    }
}

struct TestProber(Needs);

impl Prober for TestProber {
    fn needs(&self) -> Needs {
        self.0.clone()
    }

    fn probe(&self, _: &[&dyn Encoder], _: &Examples, _: &CallContext<'_>) -> Result<DataFrame> {
        unimplemented!("resolving asks nothing")
    }
}

fn build_fill_mask(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let params: FillMaskParams = serde_json::from_value(params)?;
    if params.steps == 13 {
        return Err(Error::Config("13 steps bring bad luck".into()));
    }
    assert!(params.steps != 14, "14 steps are one too many");
    Ok(Arc::new(TestProber(Needs { mask_token: true, mlm_head: true, ..Needs::one_encoder() })))
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(deny_unknown_fields)]
struct MimicParams {
    /// The hidden state.
    layer: i64,
}

fn build_mimic(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let params: MimicParams = serde_json::from_value(params)?;
    Ok(Arc::new(TestProber(Needs { layers: vec![params.layer], ..Needs::one_encoder() })))
}

fn build_random_ranking(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let NoParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(TestProber(Needs { randomness: true, ..Needs::nothing() })))
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(deny_unknown_fields)]
struct AccParams {
    /// The cutoff.
    #[schemars(range(min = 1))]
    k: u64,
}

struct TestMetric(String);

impl Metric for TestMetric {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn compute(&self, _: &DataFrame, _: &CallContext<'_>) -> Result<DataFrame> {
        unimplemented!("resolving scores nothing")
    }
}

fn build_acc(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let params: AccParams = serde_json::from_value(params)?;
    Ok(Arc::new(TestMetric(format!("acc@{}", params.k))))
}

fn build_mrr(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let NoParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(TestMetric("mrr".into())))
}

/// The paths of a component, without the folder of the workspace.
pub(crate) fn relative(paths: &[(String, PathBuf)], workspace: &Workspace) -> Vec<(String, String)> {
    let relative = |path: &Path| path.strip_prefix(workspace.path()).unwrap().display().to_string();
    paths.iter().map(|(pointer, path)| (pointer.clone(), relative(path))).collect()
}

const TAGGED: &[Problem] = &[Problem::TokenClassification];

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(deny_unknown_fields)]
struct TuneParams {
    /// A set of defaults.
    #[serde(default)]
    preset: Option<String>,
    /// Longest sentence.
    #[serde(default)]
    max_length: Option<u64>,
}

/// Two passes; the preset `long` is ten of long sentences, and of tagged words longer still.
fn tune_preset(written: &Map<String, Value>, problem: Option<Problem>) -> Result<Map<String, Value>> {
    let values = match written.get("preset").and_then(Value::as_str) {
        None => json!({"epochs": 2}),
        Some("long") if problem == Some(Problem::TokenClassification) => json!({"epochs": 10, "max_length": 512, "learning_rate": 0.5}),
        Some("long") => json!({"epochs": 10, "max_length": 384}),
        Some(other) => return Err(Error::Config(format!("there is no preset `{other}`"))),
    };
    Ok(values.as_object().cloned().unwrap())
}

struct Tune;

fn build_tune(params: Value, _: &BuildContext) -> Result<Arc<dyn Objective>> {
    let _: TuneParams = serde_json::from_value(params)?;
    Ok(Arc::new(Tune))
}

impl Objective for Tune {
    fn needs(&self) -> Needs {
        Needs { problems: TAGGED, ..Needs::one_encoder() }
    }

    fn prepare(&self, _: &Material<'_>, _: &dyn Encoder, _: Seed) -> Result<Box<dyn Learner>> {
        unimplemented!("resolving trains nothing")
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "lmprobe_core::schemars")]
#[serde(default, deny_unknown_fields)]
struct TagsParams {
    /// Whether there is something to learn from.
    train: bool,
}

impl Default for TagsParams {
    fn default() -> Self {
        Self { train: true }
    }
}

struct Tags(TagsParams);

fn build_tags(params: Value, _: &BuildContext) -> Result<Arc<dyn Task>> {
    Ok(Arc::new(Tags(serde_json::from_value(params)?)))
}

impl Task for Tags {
    fn problem(&self) -> Problem {
        Problem::TokenClassification
    }

    fn has_training_split(&self) -> bool {
        self.0.train
    }

    fn examples(&self, _: &CallContext<'_>) -> Result<Examples> {
        unimplemented!("resolving reads no data")
    }

    fn default_metrics(&self) -> Vec<String> {
        vec!["spans".to_owned()]
    }
}

fn build_head(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let NoParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(TestProber(Needs { problems: TAGGED, task_head: true, ..Needs::one_encoder() })))
}

fn build_majority(params: Value, _: &BuildContext) -> Result<Arc<dyn Prober>> {
    let NoParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(TestProber(Needs { problems: TAGGED, ..Needs::nothing() })))
}

struct SpansMetric;

fn build_spans(params: Value, _: &BuildContext) -> Result<Arc<dyn Metric>> {
    let NoParams {} = serde_json::from_value(params)?;
    Ok(Arc::new(SpansMetric))
}

impl Metric for SpansMetric {
    fn name(&self) -> String {
        "spans".to_owned()
    }

    fn problems(&self) -> &'static [Problem] {
        TAGGED
    }

    fn compute(&self, _: &DataFrame, _: &CallContext<'_>) -> Result<DataFrame> {
        unimplemented!("resolving scores nothing")
    }
}
