//! Libraries of macOS.

use object::Endianness;
use object::macho::{self, MachHeader64};
use object::read::macho::{LoadCommandVariant, MachHeader, Nlist, Section, Segment};

use super::{Image, ImageError, Machine, damaged, is_ours, stamp};

pub(super) fn parse(bytes: &[u8], machine: Machine) -> Result<Image, ImageError> {
    let header = MachHeader64::<Endianness>::parse(bytes, 0).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.is_little_endian() != cfg!(target_endian = "little") {
        return Err(ImageError::ByteOrder);
    }
    let found = match header.cputype(endian) {
        macho::CPU_TYPE_X86_64 => Machine::X86_64,
        macho::CPU_TYPE_ARM64 => Machine::Aarch64,
        other => Machine::Other(other.0),
    };
    if found != machine {
        return Err(ImageError::Machine { found, expected: machine });
    }
    match header.filetype(endian) {
        macho::MH_DYLIB | macho::MH_BUNDLE => {}
        macho::MH_EXECUTE => return Err(ImageError::NotShared { found: "a program" }),
        macho::MH_OBJECT => return Err(ImageError::NotShared { found: "an object file" }),
        _ => return Err(ImageError::NotShared { found: "a file of an unknown kind" }),
    }
    let mut image = Image { abi: (0, 0), machine, needed: Vec::new(), exports: Vec::new() };
    let mut abi = None;
    let mut commands = header.load_commands(endian, bytes, 0).map_err(damaged)?;
    while let Some(command) = commands.next().map_err(damaged)? {
        let text = |at| Ok::<_, ImageError>(String::from_utf8_lossy(command.string(endian, at).map_err(damaged)?).into_owned());
        match command.variant().map_err(damaged)? {
            LoadCommandVariant::Segment64(segment, data) => {
                segment.data(endian, bytes).map_err(|()| damaged("a segment lies outside of the file"))?;
                for section in segment.sections(endian, data).map_err(damaged)? {
                    if section.name() == b"__lmprobe_abi" && section.segment_name() == b"__DATA" {
                        let data = section.data(endian, bytes, 0).map_err(damaged)?;
                        abi = Some(stamp(data)?);
                    }
                }
            }
            LoadCommandVariant::Dylib(library) => {
                let entry = text(library.dylib.name)?;
                // `@rpath` is searched in the run paths, which are checked below.
                if !entry.starts_with('/') && !entry.starts_with("@rpath/") {
                    return Err(ImageError::NeededPath { entry });
                }
                image.needed.push(entry);
            }
            LoadCommandVariant::Rpath(path) => {
                let entry = text(path.path)?;
                if !entry.starts_with('/') {
                    return Err(ImageError::RunPath { entry });
                }
            }
            LoadCommandVariant::Symtab(table) => {
                let symbols = table.symbols::<MachHeader64<Endianness>, _>(endian, bytes).map_err(damaged)?;
                for symbol in symbols.iter().filter(|symbol| symbol.is_definition() && symbol.n_type().contains(macho::N_EXT)) {
                    let name = String::from_utf8_lossy(symbol.name(endian, symbols.strings()).map_err(damaged)?);
                    let name = name.strip_prefix('_').unwrap_or(&name);
                    if is_ours(name) {
                        image.exports.push(name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    image.exports.sort_unstable();
    image.abi = abi.ok_or(ImageError::NoStamp)?;
    Ok(image)
}
