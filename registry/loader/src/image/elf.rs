//! Libraries of Linux and most other systems.
//!
//! What the system's loader will do is read from where it reads it itself, the program headers. Section headers, which it ignores, only serve to find the stamp,
//! and a file without them has its stamp found by the exported symbol.

use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{Dyn, FileHeader, GnuHashTable, HashTable, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, pod};

use super::{Image, ImageError, Machine, damaged, is_ours, stamp};

const STAMP_SECTION: &[u8] = b".lmprobe_abi";

pub(super) fn parse(bytes: &[u8], machine: Machine) -> Result<Image, ImageError> {
    let file = File::new(bytes, machine)?;
    let links = file.links()?;
    let mut exports = Vec::new();
    let mut stamp_address = None;
    for symbol in file.symbols(&links)? {
        let name = String::from_utf8_lossy(links.text(file.bytes, u64::from(symbol.st_name(file.endian)))?);
        let exported = symbol.st_shndx(file.endian) != elf::SHN_UNDEF && !symbol.is_local();
        if exported && is_ours(&name) {
            if name == "LMPROBE_STAMP" {
                stamp_address = Some(symbol.st_value(file.endian));
            }
            exports.push(name.into_owned());
        }
    }
    exports.sort_unstable();
    let abi = match (file.stamp_section()?, stamp_address) {
        (Some(section), _) => stamp(section)?,
        (None, Some(address)) => stamp(file.at(address)?.get(..16).ok_or_else(|| damaged("the stamp lies outside of the file"))?)?,
        (None, None) => return Err(ImageError::NoStamp),
    };
    Ok(Image { abi, machine, needed: links.needed, exports })
}

struct File<'a> {
    bytes: &'a [u8],
    endian: Endianness,
    header: &'a FileHeader64<Endianness>,
    segments: &'a [ProgramHeader64<Endianness>],
}

/// What the dynamic table says.
#[derive(Default)]
struct Links {
    needed: Vec<String>,
    /// Where the texts lie in the file.
    texts: (usize, usize),
    symbols: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8], machine: Machine) -> Result<Self, ImageError> {
        match bytes.get(..6) {
            None => return Err(damaged("it ends in its header")),
            Some(&[.., 1, _]) => return Err(ImageError::Bits),
            Some(&[.., 2, order]) if order == if cfg!(target_endian = "little") { 1 } else { 2 } => {}
            Some(&[.., 2, 1 | 2]) => return Err(ImageError::ByteOrder),
            Some(_) => return Err(damaged("its class or its byte order is unknown")),
        }
        let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
        let endian = header.endian().map_err(damaged)?;
        let found = match header.e_machine(endian) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            elf::EM_RISCV => Machine::Riscv64,
            other => Machine::Other(other.0.into()),
        };
        if found != machine {
            return Err(ImageError::Machine { found, expected: machine });
        }
        match header.e_type(endian) {
            elf::ET_DYN => {}
            elf::ET_EXEC => return Err(ImageError::NotShared { found: "a program" }),
            elf::ET_REL => return Err(ImageError::NotShared { found: "an object file" }),
            elf::ET_CORE => return Err(ImageError::NotShared { found: "a memory dump" }),
            _ => return Err(ImageError::NotShared { found: "a file of an unknown kind" }),
        }
        let segments = header.program_headers(endian, bytes).map_err(damaged)?;
        for segment in segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD) {
            // Touching a mapped page beyond the end of the file kills the process.
            segment.data(endian, bytes).map_err(|()| damaged("a segment lies outside of the file"))?;
            if segment.p_filesz(endian) > segment.p_memsz(endian) {
                return Err(damaged("a segment is larger in the file than in memory"));
            }
        }
        Ok(Self { bytes, endian, header, segments })
    }

    /// The bytes of the file from an address to the end of its segment.
    fn at(&self, address: u64) -> Result<&'a [u8], ImageError> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type(self.endian) == elf::PT_LOAD)
            .find_map(|segment| {
                let within = usize::try_from(address.checked_sub(segment.p_vaddr(self.endian))?).ok()?;
                segment.data(self.endian, self.bytes).ok()?.get(within..).filter(|rest| !rest.is_empty())
            })
            .ok_or_else(|| damaged(format_args!("address {address:#x} lies in no segment")))
    }

    fn links(&self) -> Result<Links, ImageError> {
        let mut entries = None;
        for segment in self.segments {
            if let Some(found) = segment.dynamic(self.endian, self.bytes).map_err(damaged)? {
                // The loader takes the last one; a second one is an attempt to show us another table than it.
                if entries.replace(found).is_some() {
                    return Err(damaged("it has two dynamic tables"));
                }
            }
        }
        let entries = entries.ok_or(ImageError::NotShared { found: "a file without a dynamic table" })?;
        let entries = || entries.iter().map(|entry| (entry.d_tag(self.endian), entry.d_val(self.endian))).take_while(|(tag, _)| *tag != elf::DT_NULL);
        let value = |wanted| entries().find(|(tag, _)| *tag == wanted).map(|(_, value)| value);
        if value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0) {
            return Err(ImageError::NotShared { found: "a program" });
        }
        let mut links = Links { symbols: value(elf::DT_SYMTAB), hash: value(elf::DT_HASH), gnu_hash: value(elf::DT_GNU_HASH), ..Links::default() };
        if let Some(address) = value(elf::DT_STRTAB) {
            let texts = self.at(address)?;
            let size = value(elf::DT_STRSZ).and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= texts.len());
            let start = texts.as_ptr().addr() - self.bytes.as_ptr().addr();
            links.texts = (start, size.ok_or_else(|| damaged("its texts lie outside of their segment"))?);
        }
        for (tag, value) in entries() {
            let text = || Ok::<_, ImageError>(String::from_utf8_lossy(links.text(self.bytes, value)?).into_owned());
            match tag {
                elf::DT_RPATH | elf::DT_RUNPATH => refuse_relative(&text()?)?,
                elf::DT_NEEDED | elf::DT_AUXILIARY | elf::DT_FILTER => {
                    let entry = text()?;
                    if entry.contains('$') || (entry.contains('/') && !entry.starts_with('/')) {
                        return Err(ImageError::NeededPath { entry });
                    }
                    links.needed.push(entry);
                }
                _ => {}
            }
        }
        Ok(links)
    }

    /// The dynamic symbols. Their number is in the hash table only.
    fn symbols(&self, links: &Links) -> Result<&'a [elf::Sym64<Endianness>], ImageError> {
        let Some(address) = links.symbols else { return Ok(&[]) };
        let count = if let Some(hash) = links.hash {
            HashTable::<FileHeader64<Endianness>>::parse(self.endian, self.at(hash)?).map_err(damaged)?.symbol_table_length()
        } else if let Some(hash) = links.gnu_hash {
            let table = GnuHashTable::<FileHeader64<Endianness>>::parse(self.endian, self.at(hash)?).map_err(damaged)?;
            table.symbol_table_length(self.endian).unwrap_or(table.symbol_base())
        } else {
            return Err(damaged("it has no hash table of its symbols"));
        };
        let (symbols, _) = pod::slice_from_bytes(self.at(address)?, count as usize).map_err(|()| damaged("its symbols lie outside of their segment"))?;
        Ok(symbols)
    }

    fn stamp_section(&self) -> Result<Option<&'a [u8]>, ImageError> {
        let sections = self.header.sections(self.endian, self.bytes).map_err(damaged)?;
        match sections.section_by_name(self.endian, STAMP_SECTION) {
            Some((_, section)) => Ok(Some(section.data(self.endian, self.bytes).map_err(damaged)?)),
            None => Ok(None),
        }
    }
}

impl Links {
    fn text<'a>(&self, bytes: &'a [u8], offset: u64) -> Result<&'a [u8], ImageError> {
        let (start, size) = self.texts;
        let outside = || damaged("a text lies outside of the table of texts");
        let table = bytes.get(start..start + size).ok_or_else(outside)?;
        let text = usize::try_from(offset).ok().and_then(|offset| table.get(offset..)).ok_or_else(outside)?;
        let end = text.iter().position(|byte| *byte == 0).ok_or_else(outside)?;
        Ok(&text[..end])
    }
}

fn refuse_relative(path: &str) -> Result<(), ImageError> {
    // An empty entry is the current folder; `$ORIGIN` is the folder of the file, which for a private copy is another one.
    match path.split(':').find(|entry| !entry.starts_with('/') || entry.contains('$')) {
        Some(entry) => Err(ImageError::RunPath { entry: entry.to_owned() }),
        None => Ok(()),
    }
}
