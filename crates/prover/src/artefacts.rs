//! A circuit's files, which a prover asks for by digest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_types::Digest;

use crate::{Error, ErrorKind};

/// The files of a circuit by their role: `wasm` and `zkey`, for instance.
pub type ArtefactSet = BTreeMap<String, Digest>;

/// Where a prover finds files. The pipeline implements it over the project's programs.
#[async_trait]
pub trait Artefacts: Send + Sync + fmt::Debug {
    /// The file of this digest. A prover checks it again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; [`ErrorKind::Io`] if it cannot be read now.
    async fn artefact(&self, digest: Digest) -> Result<Vec<u8>, Error>;
}

/// Files in memory.
#[derive(Default)]
pub struct MemoryArtefacts {
    files: Mutex<BTreeMap<Digest, Vec<u8>>>,
}

impl MemoryArtefacts {
    /// Adds a file and gives its digest.
    pub fn add(&self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.put(digest, bytes);
        digest
    }

    /// Puts bytes where a digest's file should be, whether they are that file or not; for tests.
    pub fn put(&self, digest: Digest, bytes: Vec<u8>) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, bytes);
    }
}

#[async_trait]
impl Artefacts for MemoryArtefacts {
    async fn artefact(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(&digest).cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no artefact {digest}")))
    }
}

impl fmt::Debug for MemoryArtefacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryArtefacts").finish_non_exhaustive()
    }
}
