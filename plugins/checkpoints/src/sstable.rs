//! The sorted table of TensorFlow's checkpoint index: `LevelDB`'s table format.
//!
//! A footer of 48 bytes leads to the index block, whose values are the places of the data blocks. In a block, each key states how many bytes it shares
//! with the key before it. <https://github.com/google/leveldb/blob/1.23/doc/table_format.md>

use crate::error::Parsed;
use crate::limits;
use crate::protobuf::{take, varint};

/// Footer: two block handles, padding, magic number.
const FOOTER_BYTES: usize = 48;

const MAGIC: u64 = 0xdb47_7524_8b80_fb57;

/// After each block: its compression and its checksum.
const TRAILER_BYTES: usize = 5;

/// Longest name of a variable.
const KEY_BYTES: usize = 4096;

/// No fuzzer guesses a checksum; nothing behind the first one would be tried.
#[expect(unexpected_cfgs, reason = "set by `tests/fuzz.sh` alone")]
const FUZZING: bool = cfg!(fuzzing);

/// Whether a file ends like a sorted table.
pub(crate) fn is_table(bytes: &[u8]) -> bool {
    bytes.last_chunk().is_some_and(|magic| u64::from_le_bytes(*magic) == MAGIC)
}

/// All keys and values of a table, in order.
pub(crate) fn read(table: &[u8]) -> Parsed<Vec<(Vec<u8>, &[u8])>> {
    let footer = table.last_chunk::<FOOTER_BYTES>().filter(|_| is_table(table));
    let mut footer = &footer.ok_or("it does not end with the mark of a table; the file is damaged or cut off")?[..];
    // The first handle leads to a list of filters, which is empty in TensorFlow; it is looked at only to find damage.
    let (offset, size) = handle(&mut footer)?;
    block(table, offset, size)?;
    let (offset, size) = handle(&mut footer)?;
    let mut records = Records::default();
    let mut index = Records::default();
    index.block(block(table, offset, size)?)?;
    for (_, mut place) in index.records {
        let (offset, size) = handle(&mut place)?;
        records.block(block(table, offset, size)?)?;
    }
    Ok(records.records)
}

/// Checksums of TensorFlow are rotated and shifted, so that a checksum of bytes with checksums in them is not special.
pub(crate) fn masked_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn handle(bytes: &mut &[u8]) -> Parsed<(u64, u64)> {
    Ok((varint(bytes)?, varint(bytes)?))
}

/// The contents of a block, with the right checksum.
fn block(table: &[u8], offset: u64, size: u64) -> Parsed<&[u8]> {
    let outside = || format!("a block of {size} bytes at {offset} is not inside the {} of the file; the file is damaged or cut off", table.len());
    let start = usize::try_from(offset).map_err(|_| outside())?;
    let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or_else(outside)?;
    let trailer = table.get(end..).and_then(|rest| rest.first_chunk::<TRAILER_BYTES>()).ok_or_else(outside)?;
    let contents = table.get(start..end).ok_or_else(outside)?;
    let [kind, crc @ ..] = *trailer;
    let actual = crc32c::crc32c_append(crc32c::crc32c(contents), &[kind]);
    if !FUZZING && masked_crc(actual) != u32::from_le_bytes(crc) {
        return Err(format!("the block at byte {offset} does not have its checksum; the file is damaged, copy or download it again"));
    }
    if kind != 0 {
        return Err(format!("the block at byte {offset} is compressed, which TensorFlow does not do to an index; it is not read"));
    }
    Ok(contents)
}

/// Keys and values whose order is checked, so that a block can be there only once.
#[derive(Default)]
struct Records<'a> {
    records: Vec<(Vec<u8>, &'a [u8])>,
    key_bytes: usize,
}

impl<'a> Records<'a> {
    fn block(&mut self, contents: &'a [u8]) -> Parsed<()> {
        let cut_off = || "a block is shorter than its list of restarts; the file is damaged".to_owned();
        let restarts = u32::from_le_bytes(*contents.last_chunk().ok_or_else(cut_off)?) as usize;
        let tail = restarts.checked_mul(4).and_then(|restarts| restarts.checked_add(4)).ok_or_else(cut_off)?;
        let mut rest = contents.get(..contents.len().wrapping_sub(tail)).ok_or_else(cut_off)?;
        let mut key = Vec::new();
        while !rest.is_empty() {
            let [shared, more, length] = [varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?].map(|size| usize::try_from(size).unwrap_or(usize::MAX));
            if shared > key.len() {
                return Err(format!("a name shares {shared} bytes with one of {}; the file is damaged", key.len()));
            }
            let more = take(&mut rest, more)?;
            key.truncate(shared);
            key.extend_from_slice(more);
            self.push(&key, take(&mut rest, length)?)?;
        }
        Ok(())
    }

    fn push(&mut self, key: &[u8], value: &'a [u8]) -> Parsed<()> {
        if self.records.last().is_some_and(|(last, _)| last.as_slice() >= key) {
            return Err("its names are not in order; the file is damaged".to_owned());
        }
        self.key_bytes += key.len();
        if key.len() > KEY_BYTES || self.key_bytes > limits::NAME_BYTES || self.records.len() > limits::TENSORS {
            return Err(format!("it has longer or more names than a model (over {KEY_BYTES} bytes, or {} names)", limits::TENSORS));
        }
        self.records.push((key.to_vec(), value));
        Ok(())
    }
}
