//! `lmprobe describe model`: what a model's files hold, and how that fits the network. No weight is read.

use std::fmt::Write;
use std::path::Path;

use clap::Args;
use indicatif::HumanBytes;
use lmprobe_core::{EncoderInfo, ModelReport, hash_files};
use lmprobe_registry::{OpenModel, Registry};
use serde_json::{Value, json};

use crate::console::Console;
use crate::exit::Exit;
use crate::models::ReadAs;
use crate::report::text_table::TextTable;
use crate::run_file::shown;

/// Unused tensors that are shown before the rest is only counted.
const SHOWN: usize = 20;

/// Arguments of `lmprobe describe model`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    /// Also print the hash of the model's files, which reads them all
    #[arg(long, help_heading = "Models")]
    hash: bool,
    #[command(flatten)]
    read_as: ReadAs,
}

impl ModelArgs {
    /// The plugins of the command.
    pub(crate) fn registry(&self, console: Console) -> anyhow::Result<Registry> {
        self.read_as.registry(console)
    }

    /// An option that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [("--hash", self.hash), ("--encoder", self.read_as.encoder.is_some()), ("--param", !self.read_as.param.is_empty())];
        given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }
}

/// Runs the command.
pub(crate) fn execute(name: &str, arguments: &ModelArgs, json: bool, console: Console) -> anyhow::Result<Exit> {
    let model = arguments.read_as.open(name, None, console)?;
    let report = model.source.report();
    let hash = arguments.hash.then(|| hash_files(&report.files)).transpose()?;
    if json {
        console.json(&object(&model, hash.as_deref()))?;
    } else {
        console.result(&text(&model, hash.as_deref()))?;
    }
    Ok(if report.missing.is_empty() && report.misshapen.is_empty() { Exit::Done } else { Exit::Input })
}

fn object(model: &OpenModel, hash: Option<&str>) -> Value {
    let (info, report) = (model.source.info(), model.source.report());
    json!({
        "model": model.label,
        "folder": model.folder,
        "encoder": model.registration.id,
        "family": info.family,
        "layers": info.layers,
        "hidden": info.hidden,
        "heads": info.heads,
        "vocabulary": info.vocab,
        "longest_sequence": info.max_length,
        "parameters": report.parameters,
        "lowercase": info.lowercase,
        "casing_source": info.casing_source,
        "mask": info.mask,
        "causal": info.causal,
        "random_init": info.random_init,
        "dtype": info.dtype,
        "pooler": info.pooler,
        "mlm_head": info.mlm_head,
        "lm_head": info.lm_head,
        "format": report.format,
        "files": report.files.iter().map(|path| json!({"path": path, "bytes": size(path)})).collect::<Vec<_>>(),
        "files_sha256": hash,
        "element_types": report.dtypes.iter().map(|(name, n)| (name.clone(), json!(n))).collect::<serde_json::Map<_, _>>(),
        "unused": report.unused,
        "missing": report.missing.iter().map(|(name, near)| json!({"name": name, "nearest": near})).collect::<Vec<_>>(),
        "misshapen": report.misshapen.iter().map(|(name, found, expected)| json!({"name": name, "found": found, "expected": expected})).collect::<Vec<_>>(),
        "warnings": info.warnings,
    })
}

fn text(model: &OpenModel, hash: Option<&str>) -> String {
    let (info, report) = (model.source.info(), model.source.report());
    let mut table = TextTable::new([model.label.as_str(), ""]);
    let mut row = |name: &str, value: String| table.push(vec![name.to_owned(), value]);
    row("folder", shown(&model.folder));
    row("family", format!("{}{}", info.family, if info.causal { ", causal" } else { "" }));
    row("size", format!("{} layers of width {}, {} heads, {} parameters", info.layers, info.hidden, info.heads, grouped(report.parameters)));
    row("vocabulary", format!("{} entries, {}", info.vocab, casing(info)));
    row("longest sequence", format!("{} tokens", info.max_length));
    row("mask token", info.mask.as_ref().map_or_else(|| "none".into(), |mask| format!("{} ({})", mask.text, mask.id)));
    row("heads", heads(info));
    row("weights", if info.random_init { "drawn from a seed".into() } else { format!("{}, {}", report.format, element_types(report)) });
    row("computes in", info.dtype.to_string());
    for path in &report.files {
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        row("file", format!("{name}  {}", size(path).map_or_else(|| "unreadable".into(), |bytes| HumanBytes(bytes).to_string())));
    }
    if let Some(hash) = hash {
        row("sha256 of the files", hash.to_owned());
    }
    let mut text = table.plain();
    text.push_str(&misfits(report));
    for warning in &info.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}

/// Tensors that do not fit, those that keep the model from being used first.
fn misfits(report: &ModelReport) -> String {
    let mut text = String::new();
    if !report.missing.is_empty() {
        let _ = writeln!(text, "\nmissing: {}", tensors(report.missing.len()));
        for (name, near) in &report.missing {
            let near = near.as_ref().map(|near| format!("; the nearest name there is {near}")).unwrap_or_default();
            let _ = writeln!(text, "  {name}{near}");
        }
    }
    if !report.misshapen.is_empty() {
        let _ = writeln!(text, "\nof another shape than config.json says: {}", tensors(report.misshapen.len()));
        for (name, found, expected) in &report.misshapen {
            let _ = writeln!(text, "  {name}: {found:?}, expected {expected:?}");
        }
    }
    if !report.unused.is_empty() {
        let _ = writeln!(text, "\nstored but not used: {}", tensors(report.unused.len()));
        for name in report.unused.iter().take(SHOWN) {
            let _ = writeln!(text, "  {name}");
        }
        if report.unused.len() > SHOWN {
            let _ = writeln!(text, "  and {} more (--json lists all)", report.unused.len() - SHOWN);
        }
    }
    text
}

fn tensors(n: usize) -> String {
    crate::run_file::count(n, "tensor")
}

fn casing(info: &EncoderInfo) -> String {
    let casing = if info.lowercase { "uncased" } else { "cased" };
    if info.casing_source.is_empty() { casing.to_owned() } else { format!("{casing} (as {} says)", info.casing_source) }
}

fn heads(info: &EncoderInfo) -> String {
    let heads = [("pooler", info.pooler), ("masked language model", info.mlm_head), ("causal language model", info.lm_head)];
    let there: Vec<&str> = heads.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    if there.is_empty() { "none".to_owned() } else { there.join(", ") }
}

fn element_types(report: &ModelReport) -> String {
    let types: Vec<String> = report.dtypes.iter().map(|(name, n)| format!("{} of {name}", tensors(*n))).collect();
    types.join(", ")
}

fn size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

/// A number in groups of three: `108 310 272`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!(grouped(108_310_272), "108 310 272");
        assert_eq!(grouped(999), "999");
    }

    #[test]
    fn long_lists_are_counted_and_names_have_neighbours() {
        let report = ModelReport {
            unused: (0..22).map(|n| format!("x.{n}")).collect(),
            missing: vec![("a.weight".into(), Some("a.gamma".into()))],
            misshapen: vec![("b".into(), vec![2], vec![3, 4])],
            ..ModelReport::default()
        };
        let text = misfits(&report);
        assert!(text.contains("missing: 1 tensor\n  a.weight; the nearest name there is a.gamma\n"), "{text}");
        assert!(text.contains("  b: [2], expected [3, 4]\n") && text.contains("stored but not used: 22 tensors\n"), "{text}");
        assert!(text.ends_with("  x.19\n  and 2 more (--json lists all)\n"), "{text}");
    }
}
