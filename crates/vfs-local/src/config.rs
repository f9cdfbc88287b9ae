//! What [`crate::LocalVfs`] is opened with.

use std::path::PathBuf;

use w3bstream_sqlite::Options;

/// Where the data are, and limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder; made if it is not there.
    pub dir: PathBuf,
    /// The largest program, in bytes.
    pub max_program_bytes: u64,
    /// Limits of the database.
    pub sqlite: Options,
}

impl Config {
    /// A folder with the default limits: programs of up to 32 MiB.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_program_bytes: 32 * 1024 * 1024, sqlite: Options::default() }
    }
}
