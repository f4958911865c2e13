//! Which hidden states are wanted.

use std::str::FromStr;

use lmprobe_core::{EncoderInfo, Error, Result};

/// Layers as the user wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layers {
    /// Every hidden state, `0..=layers`.
    All,
    /// These; negative numbers count from the last.
    These(Vec<i64>),
}

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        let number = |part: &str| {
            let part = part.trim();
            part.parse().map_err(|_| format!("`{part}` is no layer; write `all` or whole numbers with commas, such as `0,6,-1`"))
        };
        text.split(',').map(number).collect::<Result<_, _>>().map(Self::These)
    }
}

impl Layers {
    /// Pairs of the number as written and the hidden state it means, in the order written.
    ///
    /// # Errors
    /// If the model lacks a layer, or one is named twice.
    pub(crate) fn of(&self, info: &EncoderInfo) -> Result<Vec<(i64, usize)>> {
        let written: Vec<i64> = match self {
            Self::All => (0..=i64::try_from(info.layers).unwrap_or(i64::MAX)).collect(),
            Self::These(written) => written.clone(),
        };
        let mut layers: Vec<(i64, usize)> = Vec::with_capacity(written.len());
        for number in written {
            let layer = info.layer(number)?;
            if let Some((earlier, _)) = layers.iter().find(|(_, other)| *other == layer) {
                return Err(Error::Config(format!("layer {layer} is asked for twice, as {earlier} and as {number}")));
            }
            layers.push((number, layer));
        }
        Ok(layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_as_they_are_written() {
        assert_eq!("all".parse(), Ok(Layers::All));
        assert_eq!("0, 6,-1".parse(), Ok(Layers::These(vec![0, 6, -1])));
        assert!("last".parse::<Layers>().unwrap_err().contains("`last` is no layer"));
        assert!("".parse::<Layers>().is_err());
    }
}
