//! Settings.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`LegacyEndpoint`](crate::LegacyEndpoint).
#[derive(Clone, Debug)]
pub struct LegacyConfig {
    /// The file with accounts, names and numbers.
    pub file: PathBuf,
    /// Events handed to the node and not answered yet. Beyond it: 503.
    pub max_in_flight: usize,
    /// How long an event waits for each of its handlers.
    pub handler_timeout: Duration,
    /// The largest module, in bytes.
    pub max_upload_bytes: usize,
    /// The largest body of any other request, in bytes.
    pub max_body_bytes: usize,
    /// How long a session lasts.
    pub session: Duration,
    /// How long `close` waits for answers.
    pub close_timeout: Duration,
}

impl LegacyConfig {
    /// The defaults, with this file.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            max_in_flight: 4096,
            handler_timeout: Duration::from_secs(5),
            max_upload_bytes: 32 * 1024 * 1024,
            max_body_bytes: 2 * 1024 * 1024,
            session: Duration::from_secs(60 * 60),
            close_timeout: Duration::from_secs(10),
        }
    }
}
