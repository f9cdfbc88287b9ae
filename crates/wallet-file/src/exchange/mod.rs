//! Keys in the forms that other programs read and write.

pub(crate) mod jwk;
mod keystore;
mod pkcs8;

use std::path::Path;
use std::str::FromStr;

use w3bstream_types::{Algorithm, Malformed, SecretKey};
use w3bstream_wallet::{Error, ErrorKind};
use zeroize::Zeroizing;

use crate::files;
use crate::passphrase::Passphrase;

/// A form of a private key in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// A JSON Web Key (RFC 7517, RFC 8037), never encrypted.
    Jwk,
    /// PKCS#8 in PEM (RFC 5958, RFC 7468): `PRIVATE KEY`, or with a passphrase `ENCRYPTED PRIVATE KEY` (PBES2 with scrypt
    /// and AES-256-CBC, RFC 8018, RFC 7914).
    Pkcs8,
    /// A Web3 Secret Storage file, version 3, as Ethereum's wallets have it: secp256k1 alone, and always encrypted (scrypt,
    /// AES-128-CTR).
    Keystore,
}

impl KeyFormat {
    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwk => "jwk",
            Self::Pkcs8 => "pkcs8",
            Self::Keystore => "keystore",
        }
    }
}

impl FromStr for KeyFormat {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        [Self::Jwk, Self::Pkcs8, Self::Keystore]
            .into_iter()
            .find(|f| f.name() == s)
            .ok_or_else(|| Malformed::new("key format", format!("{s:?} is not jwk, pkcs8 or keystore")))
    }
}

/// Cost of a keystore's key derivation: scrypt (RFC 7914) with r = 8, p = 1. A PKCS#8 file's is at most N = 2^14 with p = 5, since
/// OpenSSL reads no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScryptCost {
    /// Log2 of the cost N. Memory is 1 KiB times N.
    pub log_n: u8,
}

impl ScryptCost {
    /// What Ethereum's wallets write: N = 2^18, 256 MiB.
    pub const PRODUCTION: Self = Self { log_n: 18 };
    /// Protects nothing: for tests.
    pub const INSECURE: Self = Self { log_n: 4 };
    /// The block size r.
    pub(crate) const R: u32 = 8;
    /// The lanes p.
    pub(crate) const P: u32 = 1;
}

impl Default for ScryptCost {
    fn default() -> Self {
        Self::PRODUCTION
    }
}

/// Most memory that a file's key derivation gets, in bytes, whatever the file says: a forged one must not fill the machine's.
const MOST_MEMORY: u64 = 1 << 30;
/// Most rounds of PBKDF2 that a file gets.
const MOST_ROUNDS: u32 = 20_000_000;

/// Whether scrypt with these figures stays within what a file gets.
fn is_bounded(n: u64, r: u64, p: u64) -> bool {
    let memory = n.checked_mul(r).and_then(|m| m.checked_mul(128));
    (1..=16).contains(&p) && r > 0 && memory.is_some_and(|m| m <= MOST_MEMORY)
}

fn bad(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, why.to_string())
}

/// A private key as text in a form that other programs read. Takes some tenths of a second if it is encrypted.
///
/// # Errors
/// [`ErrorKind::Incompatible`] if the form has no place for such a key, or needs a passphrase and gets none, or the other way
/// about; [`ErrorKind::Io`] if the operating system gives no random numbers.
pub fn export(
    key: &SecretKey,
    format: KeyFormat,
    passphrase: Option<&Passphrase>,
    cost: ScryptCost,
) -> Result<Zeroizing<String>, Error> {
    let cannot = |what: &str| Error::new(ErrorKind::Incompatible, what.to_owned());
    if passphrase.is_some_and(|p| p.as_bytes().is_empty()) {
        return Err(Error::new(ErrorKind::WrongPassphrase, "the passphrase is empty; give one"));
    }
    match (format, passphrase) {
        (KeyFormat::Jwk, Some(_)) => {
            Err(cannot("a JWK is not encrypted: leave the passphrase out, or choose pkcs8 or keystore"))
        }
        (KeyFormat::Jwk, None) => Ok(jwk::write(key)),
        (KeyFormat::Pkcs8, passphrase) => pkcs8::write(key, passphrase, cost),
        (KeyFormat::Keystore, None) => Err(cannot("a keystore is encrypted: give the passphrase for it")),
        (KeyFormat::Keystore, Some(_)) if key.algorithm() != Algorithm::ES256K => {
            let what = format!(
                "a keystore holds secp256k1 keys (ES256K), and this key is for {}: choose jwk or pkcs8",
                key.algorithm()
            );
            Err(cannot(&what))
        }
        (KeyFormat::Keystore, Some(passphrase)) => keystore::write(key, passphrase, cost),
    }
}

/// Reads a private key in any form that [`export`] writes, whoever wrote it. Which form it is, the text says. Takes as long
/// as the file's own key derivation.
///
/// # Errors
/// [`ErrorKind::Corrupt`] naming what is wrong, [`ErrorKind::Incompatible`] for a curve or a cipher that this program does
/// not have, [`ErrorKind::WrongPassphrase`] if it is wrong, or missing.
pub fn import(text: &[u8], passphrase: Option<&Passphrase>) -> Result<SecretKey, Error> {
    let text = std::str::from_utf8(text).map_err(|_| bad("is neither JSON nor PEM: it is no text"))?.trim();
    if text.starts_with("-----BEGIN") {
        return pkcs8::read(text, passphrase);
    }
    if !text.starts_with('{') {
        return Err(bad("is neither JSON (a JWK, a keystore) nor PEM (PKCS#8)"));
    }
    if keystore::is_one(text) {
        return keystore::read(text, passphrase);
    }
    jwk::read(text.as_bytes()).map_err(bad)
}

/// As [`export`], to a new file of mode 0600. Durable when it returns.
///
/// # Errors
/// As [`export`], and [`ErrorKind::Exists`], [`ErrorKind::Io`].
pub fn export_to(
    path: &Path,
    key: &SecretKey,
    format: KeyFormat,
    passphrase: Option<&Passphrase>,
) -> Result<(), Error> {
    files::create(path, export(key, format, passphrase, ScryptCost::default())?.as_bytes())
}

/// As [`import`], from a file that only its owner may read.
///
/// # Errors
/// As [`import`], and [`ErrorKind::NotFound`], [`ErrorKind::Permissions`], [`ErrorKind::Io`].
pub fn import_from(path: &Path, passphrase: Option<&Passphrase>) -> Result<SecretKey, Error> {
    import(&files::read_private(path)?, passphrase)
        .map_err(|e| Error::new(e.kind(), format!("the key file {} {e}", path.display())))
}

/// Reads what may be anything: what was read is written and read as the same key.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    if let Ok(key) = import(bytes, None) {
        for format in [KeyFormat::Jwk, KeyFormat::Pkcs8] {
            let again = export(&key, format, None, ScryptCost::INSECURE)
                .and_then(|text| import(text.as_bytes(), None));
            assert!(
                again.is_ok_and(|again| again.public() == key.public()),
                "the key that was written is another"
            );
        }
    }
}

#[cfg(test)]
mod tests;
