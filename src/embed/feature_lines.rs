//! Vectors as the JSON lines of BERT's `extract_features.py`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lmprobe_core::{Encoder, Error, Result};

use super::format::{Finished, Order, Part, Shape, Sink};
use super::python_json;
use super::staged_file::StagedFile;

/// One object a text. The key really is `linex_index`.
pub(crate) struct FeatureLines<'a> {
    out: Box<dyn Write>,
    path: PathBuf,
    /// Empty if the lines go to standard output.
    staged: Option<StagedFile>,
    shape: &'a Shape,
    encoder: &'a dyn Encoder,
}

impl<'a> FeatureLines<'a> {
    pub(crate) fn create(path: &Path, order: &Order<'a>) -> Result<Self> {
        let staged = StagedFile::create(path)?;
        Ok(Self { out: Box::new(staged.writer()?), path: path.to_owned(), staged: Some(staged), shape: order.shape, encoder: order.encoder })
    }

    pub(crate) fn to_standard_output(order: &Order<'a>) -> Self {
        let out = Box::new(io::BufWriter::new(lmprobe_registry::bridge::standard_output()));
        Self { out, path: "standard output".into(), staged: None, shape: order.shape, encoder: order.encoder }
    }

    /// The line of sequence `at`.
    fn line(&self, part: &Part<'_>, at: usize) -> String {
        let (hidden, width) = (self.shape.hidden, self.shape.width());
        let mut line = format!("{{\"linex_index\": {}, \"features\": [", part.index[at]);
        for (nth, position) in part.tokens.range(at).enumerate() {
            line.push_str(if nth == 0 { "{\"token\": " } else { ", {\"token\": " });
            python_json::string(&self.encoder.token(part.tokens.ids[position]).unwrap_or_default(), &mut line);
            line.push_str(", \"layers\": [");
            let states = part.values[position * width..(position + 1) * width].chunks_exact(hidden);
            for (slot, ((written, _), state)) in self.shape.layers.iter().zip(states).enumerate() {
                line.push_str(if slot == 0 { "" } else { ", " });
                let _ = write!(line, "{{\"index\": {written}, \"values\": [");
                for (dimension, value) in state.iter().enumerate() {
                    line.push_str(if dimension == 0 { "" } else { ", " });
                    python_json::rounded(f64::from(*value), &mut line);
                }
                line.push_str("]}");
            }
            line.push_str("]}");
        }
        line.push_str("]}\n");
        line
    }
}

impl Sink for FeatureLines<'_> {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        for at in 0..part.tokens.len() {
            let line = self.line(part, at);
            self.out.write_all(line.as_bytes()).map_err(Error::io(&self.path))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Finished> {
        self.out.flush().map_err(Error::io(&self.path))?;
        Ok(Finished { files: self.staged.into_iter().collect(), arrays: vec![] })
    }
}
