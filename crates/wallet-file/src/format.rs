//! The bytes of a wallet's file: JSON with an encrypted part.
//!
//! ```json
//! {
//!   "header": {
//!     "format": "w3bstream-wallet",
//!     "version": 1,
//!     "kdf": { "name": "argon2id", "memory-kib": 65536, "passes": 3, "lanes": 1, "salt": "…" },
//!     "cipher": { "name": "xchacha20-poly1305", "nonce": "…" },
//!     "keys": [ { "role": "node", "did": "did:key:z6Mk…" }, … ]
//!   },
//!   "ciphertext": "…",
//!   "checksum": "…"
//! }
//! ```
//!
//! The plaintext is the 32-byte secrets of the keys, in the header's order. The associated data are the
//! header's JSON without blanks. The checksum (SHA-256, no secret) is there to tell a damaged file from a
//! wrong passphrase; what protects the file from being changed on purpose is the cipher's tag.

use argon2::{Algorithm as Argon2Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use w3bstream_types::{Did, Digest, SecretKey};
use w3bstream_wallet::{Error, ErrorKind, Role};
use zeroize::Zeroizing;

use crate::passphrase::{Passphrase, random};

const FORMAT: &str = "w3bstream-wallet";
const VERSION: u32 = 1;
const KDF: &str = "argon2id";
const CIPHER: &str = "xchacha20-poly1305";

/// Cost of deriving the file's key from the passphrase (argon2id, RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KdfParams {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl KdfParams {
    /// 64 MiB, three passes, one lane: RFC 9106's second choice but for the lanes.
    pub const PRODUCTION: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// The least that the algorithm takes. Protects nothing: for tests and throw-away nodes.
    pub const INSECURE: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    /// A file's own figures are believed only up to here, so that a forged file cannot fill the memory.
    const MOST: Self = Self { memory_kib: 1024 * 1024, passes: 64, lanes: 64 };

    fn is_bounded(self) -> bool {
        let most = Self::MOST;
        self.memory_kib <= most.memory_kib && self.passes <= most.passes && self.lanes <= most.lanes
    }
}

impl Default for KdfParams {
    fn default() -> Self {
        Self::PRODUCTION
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    header: Header,
    ciphertext: String,
    checksum: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    kdf: Kdf,
    cipher: Cipher,
    keys: Vec<KeyEntry>,
}

// Not `flatten`: serde would then accept unknown fields.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kdf {
    name: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    role: String,
    did: Did,
}

/// Only what names the version, whatever else there may be.
#[derive(Deserialize)]
struct Probe {
    header: ProbeHeader,
}

#[derive(Deserialize)]
struct ProbeHeader {
    format: String,
    version: u32,
}

fn corrupt(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the key file {why}; restore it from a backup"))
}

impl Header {
    fn associated_data(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|e| corrupt("has a header that cannot be written").with_source(e))
    }

    fn params(&self) -> KdfParams {
        let Kdf { memory_kib, passes, lanes, .. } = self.kdf;
        KdfParams { memory_kib, passes, lanes }
    }
}

fn checksum(header: &[u8], ciphertext: &[u8]) -> Digest {
    Digest::tagged("w3b/wallet-file/1", &[header, ciphertext])
}

fn cipher(passphrase: &Passphrase, params: KdfParams, salt: &[u8]) -> Result<XChaCha20Poly1305, Error> {
    let bad = |e| corrupt(format!("names a key derivation that does not work ({e})"));
    let params = Params::new(params.memory_kib, params.passes, params.lanes, Some(32)).map_err(bad)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Argon2Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key[..])
        .map_err(bad)?;
    Ok(XChaCha20Poly1305::new((&*key).into()))
}

/// The file's bytes for these keys.
pub(crate) fn seal(
    keys: &[(Role, SecretKey)],
    passphrase: &Passphrase,
    params: KdfParams,
) -> Result<Vec<u8>, Error> {
    let (salt, nonce) = (random::<16>()?, random::<24>()?);
    let entry =
        |(role, key): &(Role, SecretKey)| KeyEntry { role: role.name().into(), did: Did::key(&key.public()) };
    let KdfParams { memory_kib, passes, lanes } = params;
    let header = Header {
        format: FORMAT.into(),
        version: VERSION,
        kdf: Kdf { name: KDF.into(), memory_kib, passes, lanes, salt: B64.encode(&salt[..]) },
        cipher: Cipher { name: CIPHER.into(), nonce: B64.encode(&nonce[..]) },
        keys: keys.iter().map(entry).collect(),
    };
    let mut plain = Zeroizing::new(Vec::with_capacity(keys.len() * 32));
    for (_, key) in keys {
        plain.extend_from_slice(&Zeroizing::new(key.to_bytes())[..]);
    }
    let aad = header.associated_data()?;
    let ciphertext = cipher(passphrase, params, &salt[..])?
        .encrypt(XNonce::from_slice(&nonce[..]), Payload { msg: &plain, aad: &aad })
        .map_err(|_| Error::new(ErrorKind::Io, "the keys cannot be encrypted"))?;
    let checksum = checksum(&aad, &ciphertext);
    to_text(&Sealed { header, ciphertext: B64.encode(&ciphertext), checksum })
}

fn to_text(sealed: &Sealed) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec_pretty(sealed)
        .map_err(|e| Error::new(ErrorKind::Io, "the key file cannot be written").with_source(e))?;
    text.push(b'\n');
    Ok(text)
}

/// The keys in the file's bytes.
pub(crate) fn open(bytes: &[u8], passphrase: &Passphrase) -> Result<Vec<(Role, SecretKey)>, Error> {
    let (header, ciphertext) = parse(bytes)?;
    let aad = header.associated_data()?;
    let decode = |text: &str| B64.decode(text).map_err(|_| corrupt("holds text that is not base64url"));
    let (salt, nonce) = (decode(&header.kdf.salt)?, decode(&header.cipher.nonce)?);
    if salt.len() != 16 || nonce.len() != 24 {
        return Err(corrupt("has a salt or nonce of the wrong length"));
    }
    let plain = cipher(passphrase, header.params(), &salt)?
        .decrypt(XNonce::from_slice(&nonce), Payload { msg: &ciphertext, aad: &aad })
        .map_err(|_| Error::new(ErrorKind::WrongPassphrase, "the passphrase does not open the key file"))?;
    let plain = Zeroizing::new(plain);
    if plain.len() != header.keys.len() * 32 {
        return Err(corrupt("holds another number of keys than it names"));
    }
    header.keys.iter().zip(plain.chunks_exact(32)).map(|(entry, secret)| key(entry, secret)).collect()
}

fn key(entry: &KeyEntry, secret: &[u8]) -> Result<(Role, SecretKey), Error> {
    let role: Role = entry.role.parse().map_err(|e| corrupt("names an unknown role").with_source(e))?;
    let mut raw = Zeroizing::new([0; 32]);
    raw.copy_from_slice(secret);
    let key = SecretKey::from_bytes(role.algorithm(), &raw)
        .map_err(|e| corrupt(format!("holds no valid {} key", entry.role)).with_source(e))?;
    if Did::key(&key.public()) != entry.did {
        return Err(corrupt(format!("holds another {} key than it names", entry.role)));
    }
    Ok((role, key))
}

/// Reads header and ciphertext, and refuses everything that was not written by [`seal`] byte for byte.
fn parse(bytes: &[u8]) -> Result<(Header, Vec<u8>), Error> {
    if bytes.is_empty() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "the key file is empty: making it was interrupted; remove it and make it again",
        ));
    }
    let probe: Probe =
        serde_json::from_slice(bytes).map_err(|e| corrupt("is not readable").with_source(e))?;
    if probe.header.format != FORMAT {
        return Err(corrupt("is of another kind"));
    }
    if probe.header.version > VERSION {
        let what = format!("the key file has version {}, this program knows {VERSION}", probe.header.version);
        return Err(Error::new(ErrorKind::Incompatible, what));
    }
    let sealed: Sealed = serde_json::from_slice(bytes).map_err(|e| corrupt("was changed").with_source(e))?;
    let header = &sealed.header;
    if header.version != VERSION || header.kdf.name != KDF || header.cipher.name != CIPHER {
        return Err(corrupt("names an unknown version, key derivation or cipher"));
    }
    if !header.params().is_bounded() {
        return Err(corrupt("asks for more memory or time than any wallet needs"));
    }
    let ciphertext = B64.decode(&sealed.ciphertext).map_err(|_| corrupt("was changed or cut off"))?;
    if sealed.checksum != checksum(&header.associated_data()?, &ciphertext) || to_text(&sealed)? != bytes {
        return Err(corrupt("was changed or cut off"));
    }
    Ok((sealed.header, ciphertext))
}

/// Reads a file that may be anything, without deriving a key, which takes its time.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    if let Ok((header, ciphertext)) = parse(bytes) {
        let aad = header.associated_data();
        assert!(aad.is_ok_and(|aad| !aad.is_empty()) && ciphertext.len() < bytes.len());
        assert!(header.params().is_bounded(), "a key derivation without a bound");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passphrase() -> Passphrase {
        Passphrase::new("correct horse".into())
    }

    fn keys() -> Vec<(Role, SecretKey)> {
        let key =
            |(n, role): (u8, Role)| (role, SecretKey::from_bytes(role.algorithm(), &[n + 1; 32]).unwrap());
        (0..).zip(Role::ALL).map(key).collect()
    }

    fn sealed() -> Vec<u8> {
        seal(&keys(), &passphrase(), KdfParams::INSECURE).unwrap()
    }

    #[test]
    fn opens_what_it_sealed() {
        let opened = open(&sealed(), &passphrase()).unwrap();
        let bytes =
            |keys: &[(Role, SecretKey)]| -> Vec<_> { keys.iter().map(|(r, k)| (*r, k.to_bytes())).collect() };
        assert_eq!(bytes(&opened), bytes(&keys()));
    }

    #[test]
    fn two_files_of_the_same_keys_share_neither_salt_nonce_nor_ciphertext() {
        let parts = |bytes: &[u8]| {
            let s: Sealed = serde_json::from_slice(bytes).unwrap();
            [s.header.kdf.salt, s.header.cipher.nonce, s.ciphertext]
        };
        let (a, b) = (parts(&sealed()), parts(&sealed()));
        assert!(a.iter().zip(&b).all(|(a, b)| a != b));
    }

    #[test]
    fn no_secret_is_in_the_file() {
        let text = sealed();
        for (_, key) in keys() {
            let secret = key.to_bytes();
            assert!(!text.windows(32).any(|w| w == secret));
            let encoded = B64.encode(secret);
            assert!(!text.windows(encoded.len()).any(|w| w == encoded.as_bytes()));
        }
    }

    #[test]
    fn a_wrong_passphrase_is_called_that() {
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            let e = open(&sealed(), &Passphrase::new(wrong.into())).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::WrongPassphrase, "{wrong:?}");
            assert_eq!(e.to_string(), "the passphrase does not open the key file");
        }
    }

    #[test]
    fn every_flipped_byte_is_called_a_changed_file() {
        let good = sealed();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let e = open(&bad, &passphrase()).err().unwrap_or_else(|| panic!("byte {at} may be changed"));
            // The version's own digit is the exception: a higher one is a newer file.
            let wanted = [ErrorKind::Corrupt, ErrorKind::Incompatible].contains(&e.kind());
            assert!(wanted, "byte {at}: {e}");
        }
    }

    #[test]
    fn every_cut_is_called_a_changed_file() {
        let good = sealed();
        for len in 0..good.len() {
            assert_eq!(open(&good[..len], &passphrase()).err().unwrap().kind(), ErrorKind::Corrupt, "{len}");
        }
    }

    /// Whoever changes the file and makes the checksum right again is stopped by the cipher's tag.
    fn forged(change: impl FnOnce(&mut Header)) -> Error {
        let mut sealed: Sealed = serde_json::from_slice(&sealed()).unwrap();
        change(&mut sealed.header);
        let ciphertext = B64.decode(&sealed.ciphertext).unwrap();
        sealed.checksum = checksum(&sealed.header.associated_data().unwrap(), &ciphertext);
        open(&to_text(&sealed).unwrap(), &passphrase()).expect_err("a forged header is taken")
    }

    #[test]
    fn the_header_is_authenticated() {
        let e = forged(|h| h.keys.swap(0, 1));
        assert_eq!(e.kind(), ErrorKind::WrongPassphrase);
        let e = forged(|h| h.keys[0].role = "owner".into());
        assert_eq!(e.kind(), ErrorKind::WrongPassphrase);
    }

    #[test]
    fn a_hostile_cost_and_a_newer_version_are_refused_before_any_work() {
        assert_eq!(forged(|h| h.kdf.memory_kib = u32::MAX).kind(), ErrorKind::Corrupt);
        assert_eq!(forged(|h| h.kdf.passes = 65).kind(), ErrorKind::Corrupt);
        assert_eq!(forged(|h| h.kdf.memory_kib = 1).kind(), ErrorKind::Corrupt);
        assert_eq!(forged(|h| h.version = 2).kind(), ErrorKind::Incompatible);
        assert_eq!(forged(|h| h.version = 0).kind(), ErrorKind::Corrupt);
        assert_eq!(forged(|h| h.cipher.nonce = String::new()).kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn production_costs_at_least_64_mib() {
        let p = KdfParams::default();
        assert!(p.memory_kib >= 64 * 1024 && p.passes >= 3 && p.is_bounded());
    }

    proptest! {
        #[test]
        fn opening_anything_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&bytes, &passphrase()).is_err());
        }
    }
}
