//! The part of the protocol buffers encoding that a checkpoint's index uses.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use crate::error::Parsed;

/// The fields of a message, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// One field: its number and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Number(u64, u64),
    Fixed32(u64, u32),
    Message(u64, &'a [u8]),
    /// Eight fixed bytes, which no field read here has.
    Other,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Parsed<Field<'a>> {
        let tag = varint(&mut self.0)?;
        let number = tag >> 3;
        match tag & 7 {
            0 => Ok(Field::Number(number, varint(&mut self.0)?)),
            1 => take(&mut self.0, 8).map(|_| Field::Other),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).unwrap_or(usize::MAX);
                Ok(Field::Message(number, take(&mut self.0, length)?))
            }
            5 => {
                let bytes = take(&mut self.0, 4)?;
                Ok(Field::Fixed32(number, u32::from_le_bytes(*bytes.first_chunk().expect("four bytes were taken"))))
            }
            kind => Err(format!("a message has a field of kind {kind}")),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Parsed<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a number of seven bits per byte, the lowest first.
pub(crate) fn varint(bytes: &mut &[u8]) -> Parsed<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number has more than 64 bits".to_owned())
}

/// Takes so many bytes.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Parsed<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(|| format!("{length} bytes are expected where {} are left", bytes.len()))?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read() {
        for (mut bytes, expected) in [(&[0][..], 0), (&[0x7f], 127), (&[0xac, 0x02], 300), (&[255, 255, 255, 255, 255, 255, 255, 255, 255, 1], u64::MAX)] {
            assert_eq!(varint(&mut bytes), Ok(expected));
        }
        assert!(varint(&mut &[0x80; 11][..]).unwrap_err().contains("more than 64 bits"));
        assert!(varint(&mut &[0x80][..]).unwrap_err().contains("where 0 are left"));
    }
}
