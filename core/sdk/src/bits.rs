//! Bitmaps: truth values, and which cells of a column are filled.

use crate::boundary::buffer::Buffer;

/// Bits in a row, the lowest bit of a byte first.
#[derive(Debug, Clone)]
pub(crate) struct Bits {
    bytes: Buffer<u8>,
    offset: usize,
    len: usize,
}

impl Bits {
    /// `len` bits from bit `offset` on; `bytes` must hold them.
    pub(crate) fn new(bytes: Buffer<u8>, offset: usize, len: usize) -> Self {
        assert!(bytes.len() * 8 >= offset + len, "a bitmap holds all its bits");
        Self { bytes, offset, len }
    }

    pub(crate) fn collect(values: impl IntoIterator<Item = bool>) -> Self {
        let mut bytes: Vec<u8> = Vec::new();
        let mut len = 0;
        for value in values {
            if len % 8 == 0 {
                bytes.push(0);
            }
            bytes[len / 8] |= u8::from(value) << (len % 8);
            len += 1;
        }
        Self { bytes: bytes.into(), offset: 0, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bit(&self, index: usize) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        let bit = self.offset + index;
        self.bytes[bit / 8] >> (bit % 8) & 1 == 1
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.len).map(|index| self.bit(index))
    }

    pub(crate) fn count_zeros(&self) -> usize {
        // Whole bytes at once: every table that comes in is counted.
        let (first, last) = (self.offset.next_multiple_of(8), (self.offset + self.len) / 8 * 8);
        let zero = |bits: std::ops::Range<usize>| bits.filter(|&bit| self.bytes[bit / 8] >> (bit % 8) & 1 == 0).count();
        if first >= last {
            return zero(self.offset..self.offset + self.len);
        }
        let whole: usize = self.bytes[first / 8..last / 8].iter().map(|byte| byte.count_zeros() as usize).sum();
        zero(self.offset..first) + whole + zero(last..self.offset + self.len)
    }

    /// The bits from a byte border on, as they cross.
    pub(crate) fn aligned(self) -> Buffer<u8> {
        if self.offset == 0 { self.bytes } else { Self::collect(self.iter()).bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_the_lowest_and_may_begin_inside_a_byte() {
        let bits = Bits::new(vec![0b1010_0110, 0b0000_0001].into(), 1, 8);
        let expected = [true, true, false, false, true, false, true, true];
        assert_eq!(bits.iter().collect::<Vec<_>>(), expected);
        assert_eq!(bits.count_zeros(), 3);
        for (offset, len) in [(0, 0), (3, 2), (0, 16), (5, 11), (8, 5), (1, 7)] {
            let bits = Bits::new(vec![0b1010_0110, 0b0000_0001].into(), offset, len);
            assert_eq!(bits.count_zeros(), bits.iter().filter(|bit| !bit).count(), "{len} bits from bit {offset} on");
        }
        assert_eq!(bits.aligned()[..], [0b1101_0011]);
        assert_eq!(Bits::collect(expected).iter().collect::<Vec<_>>(), expected);
    }
}
