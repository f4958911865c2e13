//! Which bytes a plugin must have.

use std::fmt;
use std::str::FromStr;

/// Which bytes a plugin must have. Dependencies of the file are not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The bytes with this SHA-256.
    Sha256([u8; 32]),
    /// Any bytes, for development.
    Unpinned,
}

/// A text that is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Too few or too many characters.
    #[error("a sha256 has 64 hexadecimal digits, this has {found} characters; `lmprobe plugin pin FILE` prints it")]
    Length {
        /// How many.
        found: usize,
    },
    /// Not a hexadecimal digit.
    #[error("a sha256 has hexadecimal digits only, but character {position} is `{found}`; `lmprobe plugin pin FILE` prints it")]
    Character {
        /// Which, from 1.
        position: usize,
        /// The character.
        found: char,
    },
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let found = text.chars().count();
        if found != 64 {
            return Err(PinError::Length { found });
        }
        let mut hash = [0; 32];
        for (index, character) in text.chars().enumerate() {
            let digit = character.to_digit(16).ok_or(PinError::Character { position: index + 1, found: character })?;
            hash[index / 2] = hash[index / 2] << 4 | u8::try_from(digit).expect("a hexadecimal digit is below 16");
        }
        Ok(Self::Sha256(hash))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => f.write_str(&hexadecimal(hash)),
            Self::Unpinned => f.write_str("unpinned"),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from_digit(digit.into(), 16).expect("a digit is below 16")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_64_hexadecimal_digits() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Pin>().unwrap().to_string(), text);
    }

    #[test]
    fn other_texts_are_refused_with_what_is_wrong() {
        let error = "12ab".parse::<Pin>().unwrap_err().to_string();
        assert_eq!(error, "a sha256 has 64 hexadecimal digits, this has 4 characters; `lmprobe plugin pin FILE` prints it");
        let error = format!("{}g{}", "a".repeat(9), "a".repeat(54)).parse::<Pin>().unwrap_err().to_string();
        assert_eq!(error, "a sha256 has hexadecimal digits only, but character 10 is `g`; `lmprobe plugin pin FILE` prints it");
        assert_eq!("é".repeat(64).parse::<Pin>(), Err(PinError::Character { position: 1, found: 'é' }));
        assert_eq!("".parse::<Pin>(), Err(PinError::Length { found: 0 }));
    }
}
