//! What the bytes of a shared library say about it. Nothing of them runs.

mod elf;
mod mach_o;

use std::fmt;

use lmprobe_abi::{LMPROBE_ABI_MAJOR, LMPROBE_ABI_MINOR, lmprobe_stamp};

/// What a shared library says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Major and minor version of the interface it was built against.
    pub abi: (u16, u16),
    /// The machine it is for.
    pub machine: Machine,
    /// Libraries that the system's loader will load with it. A pin does not cover them.
    pub needed: Vec<String>,
    /// Those of its exported symbols that begin with `lmprobe_` or `LMPROBE_`, sorted.
    pub exports: Vec<String>,
}

/// A processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// Another one, by its number in the file.
    Other(u32),
}

impl Machine {
    /// The processor this program was built for.
    pub const THIS: Self = if cfg!(target_arch = "x86_64") {
        Self::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else {
        Self::Other(0)
    };
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.write_str("x86_64"),
            Self::Aarch64 => f.write_str("aarch64"),
            Self::Riscv64 => f.write_str("riscv64"),
            Self::Other(number) => write!(f, "machine {number}"),
        }
    }
}

/// Which files a program can load.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Whether its libraries are Mach-O (macOS) and not ELF.
    pub mach_o: bool,
    /// Its processor.
    pub machine: Machine,
}

impl Target {
    /// This program.
    pub const THIS: Self = Self { mach_o: cfg!(target_vendor = "apple"), machine: Machine::THIS };
}

/// Why bytes are no plugin for a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Neither ELF nor Mach-O.
    #[error("is not a shared library: it begins like no file of that kind")]
    Unknown,
    /// The other format.
    #[error("is a {found} file for another system; build the plugin for this one")]
    Format {
        /// `ELF` or `Mach-O`.
        found: &'static str,
    },
    /// Several machines in one file.
    #[error("is a universal binary; take out the part for this machine with `lipo -thin`")]
    Universal,
    /// 32 bits.
    #[error("is built for 32 bits; the interface is defined for 64")]
    Bits,
    /// The other byte order.
    #[error("is built for the other byte order; build it for {}", Machine::THIS)]
    ByteOrder,
    /// Another processor.
    #[error("is built for {found}, this machine is {expected}; build the plugin for it")]
    Machine {
        /// The processor of the file.
        found: Machine,
        /// The processor of the program.
        expected: Machine,
    },
    /// A program, an object file, a core.
    #[error("is {found}, not a shared library; link it with `-shared -fPIC`")]
    NotShared {
        /// What it is.
        found: &'static str,
    },
    /// A part of the file contradicts another one or lies outside.
    #[error("is damaged: {why}")]
    Damaged {
        /// Which part.
        why: String,
    },
    /// Not one of ours.
    #[error("has no stamp, so it is no plugin of lmprobe; in C, write `LMPROBE_DEFINE_STAMP` in one file")]
    NoStamp,
    /// Something else in the place of the stamp.
    #[error("has a stamp that does not begin with `LMPABI`; build it anew against `lmprobe_plugin.h`")]
    Magic,
    /// A stamp of another size.
    #[error("has a stamp that says it has {found} bytes; it has 16 or more")]
    StampSize {
        /// The size it says.
        found: u32,
    },
    /// Another major version.
    #[error("is built for version {}.{} of the plugin interface, this program has {LMPROBE_ABI_MAJOR}.{LMPROBE_ABI_MINOR}; build it against the `lmprobe_plugin.h` of this program", found.0, found.1)]
    Major {
        /// Major and minor version of the file.
        found: (u16, u16),
    },
    /// Other libraries would be searched in a place that depends on where the file lies or who runs it.
    #[error("has the library path `{entry}`, which is relative; link it without `-rpath`, or with absolute folders only")]
    RunPath {
        /// The entry.
        entry: String,
    },
    /// As `RunPath`, for one library.
    #[error("needs the library `{entry}` by a relative path; link it by its plain name")]
    NeededPath {
        /// The library.
        entry: String,
    },
}

/// Reads what a shared library for `target` says about itself.
///
/// # Errors
/// If the bytes are no such library or have no stamp of this major version.
pub fn parse(bytes: &[u8], target: Target) -> Result<Image, ImageError> {
    let image = match bytes {
        [0x7f, b'E', b'L', b'F', ..] if !target.mach_o => elf::parse(bytes, target.machine)?,
        [0x7f, b'E', b'L', b'F', ..] => return Err(ImageError::Format { found: "ELF" }),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xcf | 0xce, ..] if !target.mach_o => return Err(ImageError::Format { found: "Mach-O" }),
        [0xcf, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xcf, ..] => mach_o::parse(bytes, target.machine)?,
        [0xce, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xce, ..] => return Err(ImageError::Bits),
        [0xca, 0xfe, 0xba, 0xbe | 0xbf, ..] if target.mach_o => return Err(ImageError::Universal),
        _ => return Err(ImageError::Unknown),
    };
    Ok(image)
}

/// Reads the stamp from the bytes it begins.
fn stamp(bytes: &[u8]) -> Result<(u16, u16), ImageError> {
    let Some(([magic @ .., s0, s1, s2, s3, a, b, c, d], _)) = bytes.split_first_chunk::<16>() else {
        return Err(ImageError::Damaged { why: format!("the stamp has {} bytes", bytes.len()) });
    };
    if magic[..] != lmprobe_stamp::MAGIC {
        return Err(ImageError::Magic);
    }
    let size = u32::from_ne_bytes([*s0, *s1, *s2, *s3]);
    let found = (u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d]));
    if size < 16 {
        return Err(ImageError::StampSize { found: size });
    }
    if found.0 != LMPROBE_ABI_MAJOR {
        return Err(ImageError::Major { found });
    }
    Ok(found)
}

fn damaged(why: impl fmt::Display) -> ImageError {
    ImageError::Damaged { why: why.to_string() }
}

/// Symbols a person who inspects a file wants to see.
fn is_ours(name: &str) -> bool {
    name.starts_with("lmprobe_") || name.starts_with("LMPROBE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp_bytes(magic: [u8; 8], size: u32, major: u16) -> Vec<u8> {
        [&magic[..], &size.to_ne_bytes(), &major.to_ne_bytes(), &7u16.to_ne_bytes()].concat()
    }

    #[test]
    fn a_stamp_has_our_magic_and_our_major() {
        assert_eq!(stamp(&stamp_bytes(lmprobe_stamp::MAGIC, 16, 1)), Ok((1, 7)));
        assert_eq!(stamp(&stamp_bytes(lmprobe_stamp::MAGIC, 24, 1)), Ok((1, 7)));
        assert_eq!(stamp(&stamp_bytes(lmprobe_stamp::MAGIC, 8, 1)), Err(ImageError::StampSize { found: 8 }));
        assert_eq!(stamp(&stamp_bytes(*b"LMPABI\0\x02", 16, 1)), Err(ImageError::Magic));
        for major in [0, 2, u16::MAX] {
            assert_eq!(stamp(&stamp_bytes(lmprobe_stamp::MAGIC, 16, major)), Err(ImageError::Major { found: (major, 7) }));
        }
        assert_eq!(stamp(&[0; 15]), Err(damaged("the stamp has 15 bytes")));
    }

    #[test]
    fn other_files_are_named() {
        let linux = Target { mach_o: false, machine: Machine::X86_64 };
        let mac = Target { mach_o: true, machine: Machine::Aarch64 };
        assert_eq!(parse(b"", linux), Err(ImageError::Unknown));
        assert_eq!(parse(b"#!/bin/sh", linux), Err(ImageError::Unknown));
        assert_eq!(parse(&[0xcf, 0xfa, 0xed, 0xfe], linux), Err(ImageError::Format { found: "Mach-O" }));
        assert_eq!(parse(b"\x7fELF", mac), Err(ImageError::Format { found: "ELF" }));
        assert_eq!(parse(&[0xca, 0xfe, 0xba, 0xbe], mac), Err(ImageError::Universal));
        assert_eq!(parse(&[0xce, 0xfa, 0xed, 0xfe], mac), Err(ImageError::Bits));
    }
}
