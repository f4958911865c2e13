//! `WordPiece` from `vocab.txt`, as BERT has it.

use std::path::Path;

use lmprobe_core::{Error, Result};
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::added_tokens;
use super::casing::{Casing, Decision};
use super::files::{needed, read_if_there, vocab_txt};
use super::pipeline::Pipeline;
use super::text_tokenizer::TokenizerKind;
use super::tokenizer_config::TokenizerConfig;

/// A word of more characters is one unknown token. The original BERT allows 200; released models were used with the 100 of
/// `transformers`.
const LONGEST_WORD: usize = 100;

/// Builds the tokenizer of a folder that has `vocab.txt`.
pub(super) fn of_folder(folder: &Path, config: &TokenizerConfig, casing: Casing) -> Result<(Pipeline, Decision)> {
    const KIND: TokenizerKind = TokenizerKind::WordPiece;
    let path = folder.join("vocab.txt");
    let bytes =
        read_if_there(&path)?.ok_or_else(|| Error::model(folder, "neither `tokenizer.json` nor `vocab.txt` in this folder: the tokenizer is missing"))?;
    let vocabulary = vocab_txt(&path, &bytes)?;
    let text = |role: &str| config.special(role, KIND).unwrap_or_else(|| AddedToken::from("", true)).content;
    let (cls, sep, unk) = (text("cls_token"), text("sep_token"), text("unk_token"));
    let (cls_id, sep_id, _) = (needed(&vocabulary, &cls, &path)?, needed(&vocabulary, &sep, &path)?, needed(&vocabulary, &unk, &path)?);
    let mut decision = Decision::of_vocabulary(casing, config.flag("do_lower_case"), &vocabulary.ids, &path);
    decision.warnings.extend(vocabulary.warnings);

    let fail = |error: tokenizers::Error| Error::model(&path, error.to_string());
    let ids: Vocab = vocabulary.ids.into_iter().collect();
    let model = WordPiece::builder().vocab(ids).unk_token(unk).max_input_chars_per_word(LONGEST_WORD).build().map_err(fail)?;
    let mut tokenizer = Tokenizer::new(model);
    let chinese = config.flag("tokenize_chinese_chars").unwrap_or(true);
    let normalizer = BertNormalizer::new(true, chinese, config.flag("strip_accents"), decision.lowercase);
    tokenizer.with_normalizer(Some(normalizer)).map_err(fail)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new((sep, sep_id), (cls, cls_id))));
    added_tokens::add_to(&mut tokenizer, config, KIND, folder)?;
    Ok((Pipeline::new(tokenizer, &path)?, decision))
}
