//! What is read from the file before anything of it runs.

/// The data symbol `LMPROBE_STAMP` of a plugin, in section `.lmprobe_abi` (`__DATA,__lmprobe_abi` on macOS).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct lmprobe_stamp {
    /// `LMPABI`, 0, 1.
    pub magic: [u8; 8],
    /// 16.
    pub struct_size: u32,
    /// [`crate::LMPROBE_ABI_MAJOR`] the plugin was built against.
    pub abi_major: u16,
    /// [`crate::LMPROBE_ABI_MINOR`] the plugin was built against.
    pub abi_minor: u16,
}

impl lmprobe_stamp {
    /// The first eight bytes of every stamp. Written by hand in the header.
    pub const MAGIC: [u8; 8] = *b"LMPABI\0\x01";

    /// The stamp of this version.
    pub const CURRENT: Self = Self { magic: Self::MAGIC, struct_size: 16, abi_major: crate::LMPROBE_ABI_MAJOR, abi_minor: crate::LMPROBE_ABI_MINOR };
}
