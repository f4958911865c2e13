//! Tags for words.

use lmprobe_core::{CallContext, Encoder, Result};

use super::logits::{Places, SequenceLogits, argmax, softmax};
use crate::nn::head::Head;
use crate::nn::inputs::sentences::{SentenceToken, Sentences, TokenKind};
use crate::nn::inputs::settings::{InputSettings, LabelScheme, PADDING};

/// The tags of a sentence.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TagAnswer {
    /// The tag of each word.
    pub(crate) tags: Vec<String>,
    /// The probability of what the model said of each word; 0 of a word that it was not asked about.
    pub(crate) scores: Vec<f64>,
    /// Its tokens, special tokens included, as the vocabulary writes them.
    pub(crate) pieces: Vec<String>,
    /// The label of each token.
    pub(crate) piece_labels: Vec<String>,
    /// What each token is.
    pub(crate) piece_kinds: Vec<TokenKind>,
}

/// Tags all words of all sentences.
///
/// # Errors
/// If the encoder fails or a stop was requested.
pub(crate) fn tag(
    encoder: &dyn Encoder,
    head: &Head,
    sentences: &Sentences,
    settings: &InputSettings,
    phase: &str,
    cx: &CallContext<'_>,
) -> Result<Vec<TagAnswer>> {
    let tokens: Vec<Vec<SentenceToken>> = sentences.examples.iter().map(|sentence| sentences.tokens_of(sentence)).collect();
    let mut places = vec![Vec::new(); sentences.tokens.len()];
    // Where the row of a token stands among those of its sequence.
    let mut row_of: Vec<Vec<Option<usize>>> = (0..places.len()).map(|sequence| vec![None; sentences.tokens.sequence_len(sequence)]).collect();
    for token in tokens.iter().flatten() {
        row_of[token.sequence][token.place] = Some(places[token.sequence].len());
        places[token.sequence].push(token.place);
    }
    let logits = SequenceLogits::of(encoder, head, &sentences.tokens, Places::Chosen(&places), phase, cx)?;
    let row = |sequence: usize, place: usize| logits.row(sequence, row_of[sequence][place].expect("every place that is read was asked for"));
    let labels = &head.info().labels;
    let answers = sentences.examples.iter().zip(&tokens).map(|(sentence, tokens)| {
        let mut answer = TagAnswer::default();
        for word in &sentence.words {
            let Some(word) = word else {
                answer.tags.push(settings.outside.clone());
                answer.scores.push(0.0);
                continue;
            };
            let mean = SequenceLogits::mean(word.read(settings.label_position).map(|place| row(word.sequence, place)), logits.width);
            let best = argmax(&mean);
            let label = &labels[best];
            answer.tags.push(if settings.label_scheme.is_own(label) { settings.outside.clone() } else { label.clone() });
            answer.scores.push(softmax(&mean)[best]);
        }
        for token in tokens {
            let label = &labels[argmax(&SequenceLogits::mean(std::iter::once(row(token.sequence, token.place)), logits.width))];
            // Padding that is predicted for a real token reads as no entity, as in the files of the original.
            let is_padding = settings.label_scheme == LabelScheme::Biobert && label == PADDING;
            answer.piece_labels.push(if is_padding { settings.outside.clone() } else { label.clone() });
            answer.piece_kinds.push(token.kind);
            let id = sentences.tokens.sequence(token.sequence)[token.place];
            answer.pieces.push(encoder.token(id).unwrap_or_else(|| id.to_string()));
        }
        answer
    });
    Ok(answers.collect())
}
