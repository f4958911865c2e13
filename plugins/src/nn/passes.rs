//! Many sequences through an encoder, in passes of similar length.

use lmprobe_core::{CallContext, Encoder, EncoderOutput, Result, TokenBatch, Want};

/// Tokens of one pass through the encoder: enough to keep every core busy, little enough to stay in memory.
const TOKENS_A_PASS: usize = 8_192;

/// Says what is wanted of a pass, given its tokens and the indices of its sequences.
pub(crate) type ChooseWant<'a> = dyn Fn(&TokenBatch, &[usize]) -> Result<Want> + 'a;

/// Takes the output of a pass, with the indices of its sequences and its tokens.
pub(crate) type Collect<'a> = dyn FnMut(&[usize], &TokenBatch, EncoderOutput) -> Result<()> + 'a;

/// Runs the encoder over all sequences in passes of similar length and hands over each pass with the indices of its sequences.
///
/// # Errors
/// If a pass fails, `collect` fails or a stop was requested.
pub(crate) fn encode_in_passes(
    encoder: &dyn Encoder,
    tokens: &TokenBatch,
    phase: &str,
    cx: &CallContext<'_>,
    want: &ChooseWant<'_>,
    collect: &mut Collect<'_>,
) -> Result<()> {
    let mut done = 0;
    for group in tokens.groups(TOKENS_A_PASS) {
        cx.check_cancelled()?;
        let pass = tokens.select(&group);
        let output = encoder.encode(&pass, &want(&pass, &group)?, cx)?;
        collect(&group, &pass, output)?;
        done += group.len();
        cx.progress.advanced(phase, done, tokens.len());
    }
    Ok(())
}
