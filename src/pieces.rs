//! Vocabulary entries as a person reads them.

use std::collections::HashMap;

use lmprobe_core::{Encoder, Result};

/// Turns entries of one vocabulary into text.
pub(crate) struct Pieces<'a> {
    encoder: &'a dyn Encoder,
    /// Byte of each character of a byte-level vocabulary; empty for other vocabularies.
    bytes: HashMap<char, u8>,
}

impl<'a> Pieces<'a> {
    /// Finds out how the vocabulary of an encoder is written.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub(crate) fn of(encoder: &'a dyn Encoder) -> Result<Self> {
        // Byte-level vocabularies write a blank as `Ġ`; in others that character would be a letter of the text itself.
        let pieces = encoder.pieces("a a")?;
        let byte_level = pieces.iter().filter_map(|&id| encoder.token(id)).any(|token| token.starts_with('Ġ'));
        Ok(Self { encoder, bytes: if byte_level { byte_of_character() } else { HashMap::new() } })
    }

    /// An entry as the vocabulary writes it.
    pub(crate) fn raw(&self, id: u32) -> String {
        self.encoder.token(id).unwrap_or_default()
    }

    /// An entry as text. One that begins a word of a byte-level vocabulary keeps its blank.
    pub(crate) fn text(&self, id: u32) -> String {
        let token = self.raw(id);
        if self.bytes.is_empty() {
            let token = token.strip_prefix("##").filter(|rest| !rest.is_empty()).unwrap_or(&token);
            return token.strip_suffix("</w>").unwrap_or(token).replace('▁', " ");
        }
        match token.chars().map(|character| self.bytes.get(&character).copied()).collect::<Option<Vec<u8>>>() {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => token,
        }
    }
}

/// The table of GPT-2: visible characters of Latin-1 stand for themselves, the other bytes for characters from U+0100 on.
fn byte_of_character() -> HashMap<char, u8> {
    let mut next = 0x100;
    (0..=u8::MAX)
        .map(|byte| {
            if matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
                (char::from(byte), byte)
            } else {
                next += 1;
                (char::from_u32(next - 1).unwrap_or_default(), byte)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_one_of_gpt2() {
        let table = byte_of_character();
        assert_eq!(table.len(), 256);
        assert_eq!(table[&'Ġ'], b' ');
        assert_eq!(table[&'Ċ'], b'\n');
        assert_eq!([table[&'Ã'], table[&'©']], *"é".as_bytes());
    }
}
