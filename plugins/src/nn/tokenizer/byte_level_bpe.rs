//! Byte-level BPE from `vocab.json` and `merges.txt`, as GPT-2 and `RoBERTa` have it.

use std::path::Path;

use lmprobe_checkpoints::vocabulary::{Merge, MergesFormat, Vocabulary};
use lmprobe_core::{Error, Result};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::added_tokens;
use super::casing::{Casing, Decision};
use super::files::{merges_txt, read_if_there, vocab_json};
use super::pipeline::Pipeline;
use super::text_tokenizer::TokenizerKind;
use super::tokenizer_config::TokenizerConfig;

/// Builds the tokenizer of a folder that has `vocab.json` and `merges.txt`.
pub(super) fn of_folder(folder: &Path, config: &TokenizerConfig, kind: TokenizerKind, casing: Casing) -> Result<(Pipeline, Decision)> {
    let (vocabulary, merges) = read_files(folder, MergesFormat::Gpt2, "neither `tokenizer.json` nor")?;
    let vocab_path = folder.join("vocab.json");
    check_merges(&vocabulary, &merges, &folder.join("merges.txt"))?;
    let mut decision = Decision::always_cased(casing, &vocab_path)?;
    let missing = ByteLevel::alphabet().iter().filter(|sign| !vocabulary.ids.contains_key(&sign.to_string())).count();
    if missing > 0 {
        let path = vocab_path.display();
        decision.warnings.push(format!("{path}: {missing} of the 256 bytes are not in the vocabulary; texts lose them in silence"));
    }
    let fail = |error: tokenizers::Error| Error::model(&vocab_path, error.to_string());
    let ids: Vocab = vocabulary.ids.iter().map(|(piece, &id)| (piece.clone(), id)).collect();
    let merges = merges.into_iter().map(|merge| (merge.first, merge.second)).collect();
    let model = BPE::builder().vocab_and_merges(ids, merges).build().map_err(fail)?;
    let mut tokenizer = Tokenizer::new(model);
    let prefix_space = config.flag("add_prefix_space").unwrap_or(false);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(prefix_space)));
    added_tokens::add_to(&mut tokenizer, config, kind, folder)?;
    if kind == TokenizerKind::Roberta {
        let need = |role: &str| {
            let text = config.special(role, kind).unwrap_or_else(|| AddedToken::from("", true)).content;
            tokenizer.token_to_id(&text).map(|id| (text.clone(), id)).ok_or_else(|| Error::data(&vocab_path, None, format!("the vocabulary has no `{text}`")))
        };
        let (sep, cls) = (need("sep_token")?, need("cls_token")?);
        // Offsets are trimmed by `Pipeline`.
        tokenizer.with_post_processor(Some(RobertaProcessing::new(sep, cls).trim_offsets(false).add_prefix_space(prefix_space)));
    } else if let Some(template) = ends(config, kind, &tokenizer, folder)? {
        tokenizer.with_post_processor(Some(template));
    }
    Ok((Pipeline::new(tokenizer, &vocab_path)?, decision))
}

/// Reads the two files that byte-level BPE and `BioGPT` share.
pub(super) fn read_files(folder: &Path, format: MergesFormat, nor: &str) -> Result<(Vocabulary, Vec<Merge>)> {
    let read = |name: &str| {
        let path = folder.join(name);
        let bytes = read_if_there(&path)?;
        bytes.map(|bytes| (path, bytes)).ok_or_else(|| {
            let message = if nor.is_empty() { format!("no `{name}` in this folder") } else { format!("{nor} `{name}` in this folder") };
            Error::model(folder, format!("{message}: the tokenizer is missing"))
        })
    };
    let (path, bytes) = read("vocab.json")?;
    let vocabulary = vocab_json(&path, &bytes)?;
    let (path, bytes) = read("merges.txt")?;
    Ok((vocabulary, merges_txt(&path, &bytes, format)?))
}

/// A merge whose parts or result have no id could never be written.
fn check_merges(vocabulary: &Vocabulary, merges: &[Merge], path: &Path) -> Result<()> {
    for Merge { line, first, second } in merges {
        let result = format!("{first}{second}");
        if let Some(piece) = [first, second, &result].into_iter().find(|piece| !vocabulary.ids.contains_key(*piece)) {
            return Err(Error::data(path, *line, format!("`{first} {second}` needs `{piece}`, which is not in vocab.json")));
        }
    }
    Ok(())
}

/// The tokens that `add_bos_token` and `add_eos_token` put round texts; GPT-2 itself has neither.
fn ends(config: &TokenizerConfig, kind: TokenizerKind, tokenizer: &Tokenizer, folder: &Path) -> Result<Option<TemplateProcessing>> {
    let mut tokens = Vec::new();
    let mut end = |flag: &str, role: &str| {
        let token = config.special(role, kind).filter(|_| config.flag(flag) == Some(true))?.content;
        let id = tokenizer.token_to_id(&token)?;
        tokens.push((token.clone(), id));
        Some(token)
    };
    let (bos, eos) = (end("add_bos_token", "bos_token"), end("add_eos_token", "eos_token"));
    if tokens.is_empty() {
        return Ok(None);
    }
    tokens.dedup(); // both may be `<|endoftext|>`
    let round = |sequence: &str, segment: usize| {
        let token = |token: &Option<String>| token.as_ref().map(|token| format!("{token}:{segment}"));
        [token(&bos), Some(format!("${sequence}:{segment}")), token(&eos)].into_iter().flatten().collect::<Vec<_>>()
    };
    let fail = |error: String| Error::model(folder, format!("special tokens of tokenizer_config.json: {error}"));
    let mut builder = TemplateProcessing::builder();
    builder.try_single(round("A", 0)).map_err(fail)?;
    builder.try_pair([round("A", 0), round("B", 1)].concat()).map_err(fail)?;
    builder.special_tokens(tokens).build().map(Some).map_err(|error| fail(error.to_string()))
}
