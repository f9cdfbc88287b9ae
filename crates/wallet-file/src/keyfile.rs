//! A device's key as a private JWK (RFC 7517, RFC 8037) in a file of its own.

use std::fmt;
use std::path::Path;

use w3bstream_types::{Algorithm, Did, KeyId, PublicKey, SecretKey};
use w3bstream_wallet::Error;

use crate::{exchange, files, wallet};

/// A device's private key.
///
/// The file is one JWK: `{"kty":"OKP","crv":"Ed25519","x":"…","d":"…"}`, or `EC` with `P-256` or
/// `secp256k1` and `x`, `y`, `d`. Other members, such as `kid`, are ignored when it is read.
#[derive(Clone)]
pub struct DeviceKey {
    secret: SecretKey,
}

impl DeviceKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`] if the operating system gives no random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        wallet::generate(algorithm).map(Self::from_secret)
    }

    /// Wraps a key that is there already.
    #[must_use]
    pub const fn from_secret(secret: SecretKey) -> Self {
        Self { secret }
    }

    /// Reads a key file: a JWK, or PKCS#8 in PEM.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`], [`crate::ErrorKind::Permissions`] if others may read or write it,
    /// [`crate::ErrorKind::Corrupt`] if it is no private key of a known curve or its halves do not belong
    /// together, [`crate::ErrorKind::WrongPassphrase`] if it is encrypted, [`crate::ErrorKind::Io`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        exchange::import_from(path, None).map(Self::from_secret)
    }

    /// Writes the key to a new file of mode 0600. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] if there is such a file, [`crate::ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        files::create(path, exchange::jwk::write(&self.secret).as_bytes())
    }

    /// The private key.
    #[must_use]
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.secret.public()
    }

    /// The device's did:key.
    #[must_use]
    pub fn did(&self) -> Did {
        Did::key(&self.public())
    }

    /// The DID URL that the device's messages name.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.did().default_key_id()
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.did())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K];

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        for algorithm in ALGORITHMS {
            let path = dir.path().join(algorithm.name());
            let key = DeviceKey::generate(algorithm).unwrap();
            key.save(&path).unwrap();
            let loaded = DeviceKey::load(&path).unwrap();
            assert_eq!(loaded.secret().to_bytes(), key.secret().to_bytes());
            assert_eq!((loaded.did(), loaded.public()), (key.did(), key.public()));
            assert_eq!(key.save(&path).unwrap_err().kind(), ErrorKind::Exists);
            assert_eq!(key.did().embedded_key().unwrap(), key.public());
        }
    }

    #[test]
    fn two_generated_keys_differ() {
        for algorithm in ALGORITHMS {
            let key = || DeviceKey::generate(algorithm).unwrap().did();
            assert_ne!(key(), key());
        }
    }

    #[test]
    fn what_is_no_key_is_refused_by_the_name_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.json");
        files::create(&path, b"nWGxne_9").unwrap();
        let e = DeviceKey::load(&path).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains("device.json") && !e.to_string().contains("ne_9"), "{e}");
    }

    #[test]
    fn debug_shows_the_did_and_no_more() {
        let key = DeviceKey::generate(Algorithm::EdDSA).unwrap();
        assert_eq!(format!("{key:?}"), format!("DeviceKey({})", key.did()));
    }
}
