//! Where a node keeps what.

use std::path::{Path, PathBuf};

/// The files and folders of one node.
#[derive(Clone, Debug)]
pub struct Paths(PathBuf);

impl Paths {
    /// Those below `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("node.toml")
    }

    /// The node's keys, encrypted.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys.json")
    }

    /// The passphrase of the keys, if `init` made one. Better kept elsewhere.
    #[must_use]
    pub fn passphrase(&self) -> PathBuf {
        self.0.join("passphrase")
    }

    /// Hash of the admin token: all that the node needs.
    #[must_use]
    pub fn admin_hash(&self) -> PathBuf {
        self.0.join("admin-token.sha256")
    }

    /// The admin token for commands on this machine. May be moved away.
    #[must_use]
    pub fn admin_token(&self) -> PathBuf {
        self.0.join("admin-token")
    }

    /// The addresses on which a running node listens, as JSON.
    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.0.join("running.json")
    }

    /// Held by the process that runs the node.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The node's own state.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.sqlite")
    }

    /// MQTT sessions and retained messages.
    #[must_use]
    pub fn mqtt_sessions(&self) -> PathBuf {
        self.0.join("mqtt.sqlite")
    }

    /// Accounts, names and numbers of the original's clients.
    #[must_use]
    pub fn legacy(&self) -> PathBuf {
        self.0.join("legacy.sqlite")
    }

    /// The first password of the account `admin` on the original's routes. May be moved away.
    #[must_use]
    pub fn legacy_password(&self) -> PathBuf {
        self.0.join("legacy-password")
    }

    /// Programs and replicated state.
    #[must_use]
    pub fn vfs(&self) -> PathBuf {
        self.0.join("vfs")
    }

    /// What a replay makes anew; worth nothing when it has ended.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    /// Consensus logs, one folder per project.
    #[must_use]
    pub fn wal(&self) -> PathBuf {
        self.0.join("consensus")
    }
}
