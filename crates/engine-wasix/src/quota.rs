//! How much an applet may keep.

/// How much an applet may keep in files. Part of what a subnet agrees on, as the limits of its guests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Files and folders, all together.
    pub entries: u64,
    /// Files and folders in one folder.
    pub folder_entries: usize,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { entries: 4_096, folder_entries: 1_024, bytes: 64 * 1024 * 1024 }
    }
}
