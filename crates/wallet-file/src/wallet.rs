//! A [`Signer`] over the encrypted file.

use std::path::{Path, PathBuf};

use w3bstream_types::{Did, Member, ProjectId, PublicKey, SecretKey};
use w3bstream_wallet::{Error, ErrorKind, MemorySigner, Role, Signer, member, node_did};

use crate::files;
use crate::format::{self, KdfParams};
use crate::passphrase::{Passphrase, random};

/// The keys of a node, one for each [`Role`], kept in an encrypted file and in memory while it is open.
#[derive(Debug)]
pub struct FileWallet {
    path: PathBuf,
    keys: MemorySigner,
}

impl FileWallet {
    /// Makes a new key for every role and writes the file. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if there is such a file, [`ErrorKind::WrongPassphrase`] if the passphrase is
    /// empty, [`ErrorKind::Io`].
    pub fn create(path: &Path, passphrase: &Passphrase) -> Result<Self, Error> {
        Self::create_with(path, passphrase, KdfParams::PRODUCTION)
    }

    /// As [`Self::create`], with another cost of the key derivation; a file names its own.
    ///
    /// # Errors
    /// As [`Self::create`], and [`ErrorKind::Corrupt`] for a cost that the algorithm does not take.
    pub fn create_with(path: &Path, passphrase: &Passphrase, cost: KdfParams) -> Result<Self, Error> {
        if passphrase.as_bytes().is_empty() {
            return Err(Error::new(ErrorKind::WrongPassphrase, "the passphrase is empty; give one"));
        }
        let keys = Role::ALL
            .into_iter()
            .map(|role| Ok((role, generate(role.algorithm())?)))
            .collect::<Result<Vec<_>, Error>>()?;
        files::create(path, &format::seal(&keys, passphrase, cost)?)?;
        Self::with_keys(path, keys)
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Permissions`] if others may read or write it,
    /// [`ErrorKind::WrongPassphrase`], [`ErrorKind::Corrupt`] if it was changed or cut off,
    /// [`ErrorKind::Incompatible`] if it is of a newer version, [`ErrorKind::Io`].
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, Error> {
        let keys = format::open(&files::read_private(path)?, passphrase).map_err(|e| {
            Error::new(e.kind(), format!("cannot open the wallet {}", path.display())).with_source(e)
        })?;
        Self::with_keys(path, keys)
    }

    fn with_keys(path: &Path, keys: Vec<(Role, SecretKey)>) -> Result<Self, Error> {
        let keys = MemorySigner::from_keys(keys)
            .map_err(|e| Error::new(ErrorKind::Corrupt, "the wallet has a wrong key").with_source(e))?;
        Ok(Self { path: path.to_owned(), keys })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The did:key of [`Role::Node`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the file holds no such key.
    pub fn node_did(&self) -> Result<Did, Error> {
        node_did(&self.keys)
    }

    /// The private key of a role, to be handed to a library that signs by itself.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the file holds no such key.
    pub fn secret(&self, role: Role) -> Result<&SecretKey, Error> {
        self.keys.secret(role)
    }

    /// This node as a subnet's member `did`, its two keys vouching for each other.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the file lacks one of the keys.
    pub fn member(&self, did: Did) -> Result<Member, Error> {
        member(&self.keys, did)
    }
}

impl Signer for FileWallet {
    fn public(&self, role: Role) -> Result<PublicKey, Error> {
        self.keys.public(role)
    }

    fn sign(&self, role: Role, message: &[u8]) -> Result<[u8; 64], Error> {
        self.keys.sign(role, message)
    }

    fn sign_recoverable(&self, role: Role, hash: &[u8; 32]) -> Result<[u8; 65], Error> {
        self.keys.sign_recoverable(role, hash)
    }

    fn fee_key(&self, project: ProjectId) -> Result<PublicKey, Error> {
        self.keys.fee_key(project)
    }

    fn sign_fee(&self, project: ProjectId, hash: &[u8; 32]) -> Result<[u8; 65], Error> {
        self.keys.sign_fee(project, hash)
    }
}

/// A new random key.
pub(crate) fn generate(algorithm: w3bstream_types::Algorithm) -> Result<SecretKey, Error> {
    // Random bytes are no scalar of an ECDSA curve once in 2^32 (P-256) or 2^127 (secp256k1) times.
    for _ in 0..8 {
        if let Ok(key) = SecretKey::from_bytes(algorithm, &*random::<32>()?) {
            return Ok(key);
        }
    }
    Err(Error::new(ErrorKind::Io, format!("random bytes give no {algorithm} key")))
}

#[cfg(test)]
mod tests {
    use w3bstream_wallet::conformance::Builder;

    use super::*;

    struct InFolder(tempfile::TempDir);

    impl InFolder {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            FileWallet::create_with(&dir.path().join("wallet.json"), &pass("p"), KdfParams::INSECURE)
                .unwrap();
            Self(dir)
        }

        fn wallet(&self) -> FileWallet {
            FileWallet::open(&self.0.path().join("wallet.json"), &pass("p")).unwrap()
        }
    }

    impl Builder for InFolder {
        fn open(&self) -> Box<dyn Signer> {
            Box::new(self.wallet())
        }

        fn secrets(&self) -> Vec<[u8; 32]> {
            let wallet = self.wallet();
            Role::ALL.map(|r| wallet.secret(r).unwrap().to_bytes()).to_vec()
        }
    }

    fn pass(text: &str) -> Passphrase {
        Passphrase::new(text.into())
    }

    mod kit {
        w3bstream_wallet::signer_conformance!(super::InFolder::new());
    }

    #[test]
    fn what_create_gives_is_what_open_gives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        let made = FileWallet::create_with(&path, &pass("p"), KdfParams::INSECURE).unwrap();
        let opened = FileWallet::open(&path, &pass("p")).unwrap();
        for role in Role::ALL {
            assert_eq!(made.public(role).unwrap(), opened.public(role).unwrap());
        }
        assert!(made.node_did().unwrap().as_str().starts_with("did:key:z6Mk"));
        assert_eq!(opened.path(), path);
    }

    #[test]
    fn production_cost_works() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        let did = FileWallet::create(&path, &pass("p")).unwrap().node_did().unwrap();
        assert_eq!(FileWallet::open(&path, &pass("p")).unwrap().node_did().unwrap(), did);
    }

    #[test]
    fn a_wallet_is_never_overwritten_and_needs_a_passphrase() {
        let folder = InFolder::new();
        let path = folder.0.path().join("wallet.json");
        let before = folder.wallet().node_did().unwrap();
        let again = FileWallet::create_with(&path, &pass("q"), KdfParams::INSECURE);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(folder.wallet().node_did().unwrap(), before);
        let empty = FileWallet::create_with(&folder.0.path().join("other"), &pass(""), KdfParams::INSECURE);
        assert_eq!(empty.unwrap_err().kind(), ErrorKind::WrongPassphrase);
    }

    #[test]
    fn errors_name_the_file() {
        let folder = InFolder::new();
        let path = folder.0.path().join("wallet.json");
        let e = FileWallet::open(&path, &pass("q")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WrongPassphrase);
        assert!(e.to_string().contains("wallet.json"), "{e}");
        let e = FileWallet::open(&folder.0.path().join("none.json"), &pass("q")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotFound);
        assert!(e.to_string().contains("none.json"), "{e}");
    }

    #[test]
    fn of_many_that_create_at_once_one_wins_and_its_keys_are_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        let made: Vec<FileWallet> = std::thread::scope(|s| {
            let create = || FileWallet::create_with(&path, &pass("p"), KdfParams::INSECURE);
            let threads: Vec<_> = (0..8).map(|_| s.spawn(create)).collect();
            threads.into_iter().filter_map(|t| t.join().unwrap().ok()).collect()
        });
        assert_eq!(made.len(), 1);
        let opened = FileWallet::open(&path, &pass("p")).unwrap();
        assert_eq!(opened.node_did().unwrap(), made[0].node_did().unwrap());
    }
}
