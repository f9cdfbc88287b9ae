//! The kit, and what only a file can show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod damage;
mod kill;

use std::path::PathBuf;
use std::sync::Arc;

use w3bstream_storage::conformance::{Place, block_on, follows_the_model_from};
use w3bstream_storage::{Error, Storage, async_trait};
use w3bstream_storage_sqlite::{SqliteConfig, SqliteStorage};

pub(crate) struct Directory(tempfile::TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("data/storage.db")
    }

    pub(crate) fn store(&self) -> SqliteStorage {
        SqliteStorage::open(&SqliteConfig::new(self.file())).unwrap()
    }
}

#[async_trait]
impl Place for Directory {
    async fn open(&self) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(SqliteStorage::open(&SqliteConfig::new(self.file()))?))
    }
}

mod kit {
    w3bstream_storage::storage_conformance!(super::Directory::new);
}

#[test]
fn follows_the_model_from_many_seeds() {
    for seed in 100..106 {
        block_on(follows_the_model_from(&Directory::new(), seed)).unwrap();
    }
}
