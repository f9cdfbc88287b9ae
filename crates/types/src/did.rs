//! Decentralised identifiers (W3C DID Core 1.0) and the two methods that need no network: did:key and
//! did:jwk.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;

use crate::text::text_serde;
use crate::{Algorithm, Malformed, PublicKey};

/// The longest DID that is accepted, in bytes. A P-256 did:jwk has about 180.
pub const MAX_DID_BYTES: usize = 512;
/// The longest key id that is accepted, in bytes: that of a did:key names its key twice.
pub const MAX_KEY_ID_BYTES: usize = 2 * MAX_DID_BYTES;

/// Multicodec prefixes of public keys, as unsigned varints (did:key method, §3.1).
const MULTICODEC: [(Algorithm, [u8; 2]); 3] =
    [(Algorithm::EdDSA, [0xed, 0x01]), (Algorithm::ES256, [0x80, 0x24]), (Algorithm::ES256K, [0xe7, 0x01])];

/// A DID without path, query or fragment, such as `did:key:z6Mk…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(Box<str>);

impl Did {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The method: `key` of `did:key:…`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or("")
    }

    /// The did:key of `key`.
    #[must_use]
    pub fn key(key: &PublicKey) -> Self {
        let prefix = MULTICODEC.iter().find(|(a, _)| *a == key.algorithm()).map_or([0, 0], |(_, p)| *p);
        let multikey = [&prefix[..], key.as_bytes()].concat();
        Self(format!("did:key:z{}", bs58::encode(multikey).into_string()).into())
    }

    /// The did:jwk of `key`.
    #[must_use]
    pub fn jwk(key: &PublicKey) -> Self {
        Self(format!("did:jwk:{}", B64.encode(key.to_jwk().to_string())).into())
    }

    /// The key that a did:key or did:jwk *is*. Other methods must be looked up when they are registered.
    ///
    /// # Errors
    /// [`Malformed`] for another method, or an identifier that holds no key.
    pub fn embedded_key(&self) -> Result<PublicKey, Malformed> {
        let id = self.0.splitn(3, ':').nth(2).unwrap_or("");
        match self.method() {
            "key" => decode_multikey(id),
            "jwk" => {
                let bad = || Malformed::new("did", "did:jwk holds no JWK");
                let json = B64.decode(id).map_err(|_| bad())?;
                PublicKey::from_jwk(&serde_json::from_slice(&json).map_err(|_| bad())?)
            }
            other => Err(Malformed::new("did", format!("did:{other} holds no key of its own"))),
        }
    }

    /// The DID URL of the key that a did:key (`#z…`) or did:jwk (`#0`) is; for other methods `#key-1`.
    #[must_use]
    pub fn default_key_id(&self) -> KeyId {
        let fragment = match self.method() {
            "key" => self.0.splitn(3, ':').nth(2).unwrap_or(""),
            "jwk" => "0",
            _ => "key-1",
        };
        KeyId { text: format!("{}#{fragment}", self.0).into(), did_len: self.0.len() }
    }
}

fn decode_multikey(id: &str) -> Result<PublicKey, Malformed> {
    let bad = |why: &'static str| Malformed::new("did", why);
    let b58 = id.strip_prefix('z').ok_or_else(|| bad("did:key must start with z (base58btc)"))?;
    // base58 takes quadratic time; a key has fewer than 60 digits.
    if b58.len() > 100 {
        return Err(bad("did:key is too long for a key"));
    }
    let raw = bs58::decode(b58).into_vec().map_err(|_| bad("did:key is not base58"))?;
    let found = MULTICODEC.iter().find_map(|(a, p)| raw.strip_prefix(p).map(|key| (*a, key)));
    let (algorithm, key) =
        found.ok_or_else(|| bad("did:key holds neither an Ed25519, a P-256 nor a secp256k1 key"))?;
    let decoded = PublicKey::new(algorithm, key)?;
    if decoded.as_bytes() != key {
        return Err(bad("did:key must hold the compressed point"));
    }
    Ok(decoded)
}

fn check_did(s: &str) -> Result<(), Malformed> {
    let bad = |why: &'static str| Malformed::new("did", why);
    if s.len() > MAX_DID_BYTES {
        return Err(bad("is longer than 512 bytes"));
    }
    let mut parts = s.splitn(3, ':');
    let (scheme, method, id) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if scheme != Some("did") {
        return Err(bad("must start with did:"));
    }
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(bad("has no method"));
    }
    let ok = |b: u8| b.is_ascii_alphanumeric() || b".-_:%".contains(&b);
    if id.is_empty() || !id.bytes().all(ok) || id.ends_with(':') {
        return Err(bad("has no valid method-specific id"));
    }
    let escaped = |part: &str| part.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !id.split('%').skip(1).all(escaped) {
        return Err(bad("has a % without two hex digits"));
    }
    Ok(())
}

impl FromStr for Did {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        check_did(s)?;
        Ok(Self(s.into()))
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

text_serde!(Did);

/// A DID URL that names one key of a DID document: `did:key:z6Mk…#z6Mk…`.
///
/// A did:key and a did:jwk have one key, whose id is [`Did::default_key_id`]. Another fragment can be read, but
/// no node admits such a message and no receipt of it verifies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    text: Box<str>,
    did_len: usize,
}

impl KeyId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The DID, without the fragment.
    #[must_use]
    pub fn did(&self) -> Did {
        Did(self.text[..self.did_len].into())
    }

    /// The fragment, without `#`.
    #[must_use]
    pub fn fragment(&self) -> &str {
        &self.text[self.did_len + 1..]
    }
}

impl FromStr for KeyId {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = || Malformed::new("key id", "must be a DID, '#' and a fragment");
        let (did, fragment) = s.split_once('#').ok_or_else(bad)?;
        check_did(did)?;
        let ok = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
        if fragment.is_empty() || s.len() > MAX_KEY_ID_BYTES || !fragment.bytes().all(ok) {
            return Err(bad());
        }
        Ok(Self { text: s.into(), did_len: did.len() })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.text)
    }
}

text_serde!(KeyId);
