//! One message on the way between a program and its child: a JSON head and binary blobs, each behind its length.
//!
//! **Invariant:** no length is trusted. It is checked against a limit first, and memory grows only as fast as bytes arrive.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// First bytes of a packet: whatever else writes into the pipe is noticed at once.
const MAGIC: [u8; 4] = *b"LMP1";
/// Magic, length of the head (u32), number of blobs (u32).
const PREFIX_BYTES: usize = 12;
/// Longest head.
const MAX_HEAD_BYTES: usize = 64 << 20;
/// Longest blob.
const MAX_BLOB_BYTES: u64 = 1 << 34;
/// Most blobs of one packet.
const MAX_BLOBS: usize = 1 << 16;
/// Memory that is taken before the first byte of a head or blob is there.
const FIRST_BYTES: u64 = 1 << 16;
/// What is shorter is sent together with what stands before it: the reader then wakes up once for a small packet.
const SMALL_BYTES: usize = 1 << 15;

/// A JSON head and what does not fit into JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packet {
    /// JSON, checked by whoever knows what it should say.
    pub(super) head: Vec<u8>,
    /// Tables, tensors, long lists.
    pub(super) blobs: Vec<Vec<u8>>,
}

impl Packet {
    /// Whether a reader would take it.
    pub(super) fn check(&self) -> Result<()> {
        if self.head.len() > MAX_HEAD_BYTES {
            return Err(malformed(format!("a head of {} bytes, more than {MAX_HEAD_BYTES}", self.head.len())));
        }
        if self.blobs.len() > MAX_BLOBS {
            return Err(malformed(format!("{} blobs, more than {MAX_BLOBS}", self.blobs.len())));
        }
        match self.blobs.iter().map(|blob| blob.len() as u64).find(|bytes| *bytes > MAX_BLOB_BYTES) {
            Some(bytes) => Err(malformed(format!("a blob of {bytes} bytes, more than {MAX_BLOB_BYTES}"))),
            None => Ok(()),
        }
    }

    /// Writes all of it, or nothing if it is over a limit.
    pub(super) fn write(&self, writer: &mut impl Write) -> Result<()> {
        self.check()?;
        let over = |_| malformed("a length over its limit");
        let mut pending = Vec::with_capacity(PREFIX_BYTES + self.head.len() + self.blobs.iter().map(|blob| 8 + blob.len().min(SMALL_BYTES)).sum::<usize>());
        pending.extend(MAGIC);
        pending.extend(u32::try_from(self.head.len()).map_err(over)?.to_le_bytes());
        pending.extend(u32::try_from(self.blobs.len()).map_err(over)?.to_le_bytes());
        pending.extend(&self.head);
        for blob in &self.blobs {
            pending.extend((blob.len() as u64).to_le_bytes());
            if blob.len() <= SMALL_BYTES {
                pending.extend(blob);
            } else {
                writer.write_all(&pending)?;
                pending.clear();
                writer.write_all(blob)?;
            }
        }
        writer.write_all(&pending)?;
        writer.flush()
    }

    /// Reads one; `None` if the input ends before it begins.
    pub(super) fn read(reader: &mut impl Read) -> Result<Option<Self>> {
        let mut prefix = Vec::with_capacity(PREFIX_BYTES);
        reader.by_ref().take(PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
        if prefix.is_empty() {
            return Ok(None);
        }
        let (words, rest) = prefix.as_chunks::<4>();
        let ([magic, head_bytes, n_blobs], []) = (words, rest) else { return Err(ends_early()) };
        if *magic != MAGIC {
            return Err(malformed("bytes that begin no packet"));
        }
        let head_bytes = u32::from_le_bytes(*head_bytes);
        if head_bytes as usize > MAX_HEAD_BYTES {
            return Err(malformed(format!("a head of {head_bytes} bytes, more than {MAX_HEAD_BYTES}")));
        }
        let n_blobs = u32::from_le_bytes(*n_blobs);
        if n_blobs as usize > MAX_BLOBS {
            return Err(malformed(format!("{n_blobs} blobs, more than {MAX_BLOBS}")));
        }
        let head = bytes(reader, head_bytes.into())?;
        let mut blobs = Vec::new();
        for _ in 0..n_blobs {
            let mut length = [0; 8];
            reader.read_exact(&mut length)?;
            let length = u64::from_le_bytes(length);
            if length > MAX_BLOB_BYTES {
                return Err(malformed(format!("a blob of {length} bytes, more than {MAX_BLOB_BYTES}")));
            }
            blobs.push(bytes(reader, length)?);
        }
        Ok(Some(Self { head, blobs }))
    }
}

/// Exactly `length` bytes.
fn bytes(reader: &mut impl Read, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(FIRST_BYTES)).unwrap_or_default());
    reader.by_ref().take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length { Err(ends_early()) } else { Ok(bytes) }
}

fn ends_early() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "a packet that ends early")
}

/// What was received is not what it should be.
pub(super) fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, what.into())
}

#[cfg(test)]
mod tests {
    use lmprobe_core::{Random, Seed};

    use super::*;

    fn written(packet: &Packet) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.write(&mut bytes).unwrap();
        bytes
    }

    /// Gives at most three bytes at a time, as a pipe may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let n = buffer.len().min(3);
            self.0.read(&mut buffer[..n])
        }
    }

    fn some_packet(random: &mut Random) -> Packet {
        let mut some_bytes = |limit| (0..random.below(limit)).map(|_| u8::try_from(random.below(256)).unwrap()).collect::<Vec<u8>>();
        Packet { head: some_bytes(40), blobs: (0..3).map(|_| some_bytes(50)).collect() }
    }

    #[test]
    fn packets_come_back_one_after_the_other() {
        let mut random = Seed(1).random();
        let packets: Vec<Packet> = (0..200).map(|_| some_packet(&mut random)).collect();
        let stream: Vec<u8> = packets.iter().flat_map(written).collect();
        let mut reader = Trickle(&stream);
        for packet in &packets {
            assert_eq!(Packet::read(&mut reader).unwrap().as_ref(), Some(packet));
        }
        assert_eq!(Packet::read(&mut reader).unwrap(), None);
    }

    #[test]
    fn long_blobs_come_back() {
        let packet = Packet { head: b"{}".to_vec(), blobs: vec![vec![1; SMALL_BYTES], vec![2; SMALL_BYTES + 1], vec![], vec![3; 1 << 20]] };
        assert_eq!(Packet::read(&mut written(&packet).as_slice()).unwrap(), Some(packet));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = written(&Packet { head: b"{\"a\":1}".to_vec(), blobs: vec![vec![7; 20], vec![], vec![8; 5]] });
        for length in 1..whole.len() {
            assert_eq!(Packet::read(&mut &whole[..length]).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{length}");
        }
    }

    #[test]
    fn mutations_never_panic_and_never_take_what_is_not_there() {
        let mut random = Seed(2).random();
        for _ in 0..5000 {
            let mut bytes = written(&some_packet(&mut random));
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = u8::try_from(random.below(256)).unwrap();
            }
            bytes.truncate(random.below(bytes.len() + 1));
            if let Ok(Some(packet)) = Packet::read(&mut bytes.as_slice()) {
                let total = packet.head.len() + packet.blobs.iter().map(Vec::len).sum::<usize>();
                assert!(total < bytes.len());
            }
        }
    }

    #[test]
    fn lengths_over_a_limit_are_refused_before_anything_is_read() {
        let prefix = |head: u32, blobs: u32| [&MAGIC[..], &head.to_le_bytes(), &blobs.to_le_bytes()].concat();
        let error = |bytes: Vec<u8>| Packet::read(&mut bytes.as_slice()).unwrap_err().to_string();
        assert_eq!(error(prefix((64 << 20) + 1, 0)), "a head of 67108865 bytes, more than 67108864");
        assert_eq!(error(prefix(0, u32::MAX)), "4294967295 blobs, more than 65536");
        assert_eq!(error([prefix(0, 1), ((1u64 << 34) + 1).to_le_bytes().to_vec()].concat()), "a blob of 17179869185 bytes, more than 17179869184");
        // Within the limit, but not there: little memory is taken for it.
        assert_eq!(error([prefix(0, 1), (1u64 << 34).to_le_bytes().to_vec()].concat()), "a packet that ends early");
        assert_eq!(error(b"hello, world!".to_vec()), "bytes that begin no packet");
        let long = Packet { head: vec![b' '; MAX_HEAD_BYTES + 1], blobs: vec![] };
        let mut nothing = Vec::new();
        assert!(long.write(&mut nothing).is_err());
        assert!(nothing.is_empty());
    }
}
