//! Signature keys: Ed25519 (RFC 8032), P-256 and secp256k1 ECDSA over SHA-256 (FIPS 186-5, SEC 2).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};

use crate::{Invalid, Malformed};

/// A signature algorithm, by its JOSE name (RFC 7518, RFC 8037, RFC 8812).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDSA,
    /// ECDSA on P-256 over SHA-256.
    ES256,
    /// ECDSA on secp256k1 over SHA-256.
    ES256K,
}

impl Algorithm {
    /// The JOSE name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::ES256K => "ES256K",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        [Self::EdDSA, Self::ES256, Self::ES256K]
            .into_iter()
            .find(|a| a.name() == s)
            .ok_or_else(|| Malformed::new("algorithm", format!("{s:?} is not EdDSA, ES256 or ES256K")))
    }
}

crate::text::text_serde!(Algorithm);

/// A public key that was checked to be one: a point on its curve, and for Ed25519 not of low order and in
/// its one encoding. As text `EdDSA:` (or `ES256:`, `ES256K:`) and the bytes in lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    // Ed25519: 32 bytes. ECDSA: SEC 1 compressed point, 33 bytes.
    bytes: Box<[u8]>,
}

impl PublicKey {
    /// Takes an Ed25519 key of 32 bytes or a SEC 1 point, compressed or not.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are no key of this algorithm.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new("public key", format!("{algorithm}: {why}"));
        let bytes = match algorithm {
            Algorithm::EdDSA => {
                let raw: [u8; 32] = bytes.try_into().map_err(|_| bad("must be 32 bytes"))?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&raw)
                    .map_err(|_| bad("is no point of the curve"))?;
                if key.is_weak() {
                    return Err(bad("is of low order"));
                }
                if !is_reduced(&raw) {
                    return Err(bad("is not in its shortest form"));
                }
                raw.to_vec()
            }
            Algorithm::ES256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map_err(|_| bad("is no point of the curve"))?
                .to_encoded_point(true)
                .as_bytes()
                .to_vec(),
            Algorithm::ES256K => k256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map_err(|_| bad("is no point of the curve"))?
                .to_encoded_point(true)
                .as_bytes()
                .to_vec(),
        };
        Ok(Self { algorithm, bytes: bytes.into() })
    }

    /// The algorithm that this key verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// 32 bytes (Ed25519) or a compressed point of 33 bytes (ECDSA).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks `signature` (64 bytes, for ECDSA `r ‖ s`) over `message`.
    ///
    /// Ed25519 is checked strictly (no low-order points, canonical `s`); secp256k1 refuses a high `s`.
    ///
    /// # Errors
    /// [`Invalid`] with link `signature`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Invalid> {
        use k256::ecdsa::signature::Verifier as _;
        let bad = || Invalid::new("signature", format!("does not match the {} key", self.algorithm));
        if signature.len() != 64 {
            return Err(Invalid::new("signature", "must be 64 bytes"));
        }
        match self.algorithm {
            Algorithm::EdDSA => {
                let raw: [u8; 32] = self.bytes[..].try_into().map_err(|_| bad())?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&raw).map_err(|_| bad())?;
                let sig = ed25519_dalek::Signature::from_slice(signature).map_err(|_| bad())?;
                key.verify_strict(message, &sig).map_err(|_| bad())
            }
            Algorithm::ES256 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).map_err(|_| bad())?;
                let sig = p256::ecdsa::Signature::from_slice(signature).map_err(|_| bad())?;
                key.verify(message, &sig).map_err(|_| bad())
            }
            Algorithm::ES256K => {
                let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes).map_err(|_| bad())?;
                let sig = k256::ecdsa::Signature::from_slice(signature).map_err(|_| bad())?;
                key.verify(message, &sig).map_err(|_| bad())
            }
        }
    }

    /// The key as a JWK (RFC 7517) with its members in lexical order, as RFC 7638 hashes it.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let (crv, point) = match self.algorithm {
            Algorithm::EdDSA => {
                return json!({"crv": "Ed25519", "kty": "OKP", "x": B64.encode(&self.bytes)});
            }
            Algorithm::ES256 => (
                "P-256",
                p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes)
                    .map(|k| k.to_encoded_point(false).as_bytes().to_vec()),
            ),
            Algorithm::ES256K => (
                "secp256k1",
                k256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes)
                    .map(|k| k.to_encoded_point(false).as_bytes().to_vec()),
            ),
        };
        // The bytes were checked by `new`.
        let point = point.unwrap_or_else(|_| vec![0; 65]);
        json!({"crv": crv, "kty": "EC", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
    }

    /// Reads a public JWK.
    ///
    /// # Errors
    /// [`Malformed`] for another curve, a private key (`d`), a key that is not for signatures (`use`, `alg`),
    /// or coordinates that are no point.
    pub fn from_jwk(jwk: &Value) -> Result<Self, Malformed> {
        let bad = |why: &str| Malformed::new("jwk", why.to_owned());
        if jwk.get("d").is_some() {
            return Err(bad("holds a private key"));
        }
        if jwk.get("use").is_some_and(|u| u != "sig") {
            return Err(bad("is not for signatures"));
        }
        let text = |name: &str| jwk.get(name).and_then(|v| v.as_str());
        let coordinate = |name: &str| -> Result<Vec<u8>, Malformed> {
            let raw = B64.decode(text(name).unwrap_or("")).map_err(|_| bad("is not base64url"))?;
            if raw.len() == 32 { Ok(raw) } else { Err(bad("a coordinate must be 32 bytes")) }
        };
        let point = |alg| -> Result<Self, Malformed> {
            let sec1 = [&[4][..], &coordinate("x")?, &coordinate("y")?].concat();
            Self::new(alg, &sec1)
        };
        let key = match (text("kty"), text("crv")) {
            (Some("OKP"), Some("Ed25519")) => Self::new(Algorithm::EdDSA, &coordinate("x")?),
            (Some("EC"), Some("P-256")) => point(Algorithm::ES256),
            (Some("EC"), Some("secp256k1")) => point(Algorithm::ES256K),
            _ => Err(bad("must be OKP/Ed25519, EC/P-256 or EC/secp256k1")),
        }?;
        // RFC 9864 names Ed25519 fully where RFC 8037 says EdDSA.
        let named = |alg: &Value| alg == key.algorithm.name() || alg == "Ed25519";
        if jwk.get("alg").is_some_and(|alg| !named(alg)) {
            return Err(bad("alg is not the one of its curve"));
        }
        Ok(key)
    }
}

/// Whether the y coordinate is below the field's prime 2^255 − 19: above it, one key would have two
/// encodings.
fn is_reduced(raw: &[u8; 32]) -> bool {
    raw[0] < 0xed || raw[1..31].iter().any(|b| *b != 0xff) || raw[31] & 0x7f != 0x7f
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, hex::encode(&self.bytes))
    }
}

impl FromStr for PublicKey {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = || Malformed::new("public key", "must be an algorithm, ':' and lower-case hex digits");
        let (algorithm, digits) = s.split_once(':').ok_or_else(bad)?;
        let bytes = hex::decode(digits).map_err(|_| bad())?;
        let key = Self::new(algorithm.parse()?, &bytes)?;
        // Upper-case digits and uncompressed points are other texts for the same key.
        if key.to_string() == s { Ok(key) } else { Err(bad()) }
    }
}

crate::text::text_serde!(PublicKey);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm, hex::encode(&self.bytes))
    }
}

/// A private key in memory. Zeroised when dropped; never shown by `Debug`.
#[derive(Clone)]
pub struct SecretKey(Secret);

#[derive(Clone)]
enum Secret {
    EdDSA(ed25519_dalek::SigningKey),
    ES256(p256::ecdsa::SigningKey),
    ES256K(k256::ecdsa::SigningKey),
}

impl SecretKey {
    /// The key with these 32 bytes as its seed (Ed25519) or scalar (ECDSA). The bytes must come from a
    /// cryptographic random source; this crate has none.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are no scalar of the curve (for random bytes: never in practice).
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8; 32]) -> Result<Self, Malformed> {
        let bad = |_| Malformed::new("secret key", "is no scalar of the curve");
        Ok(Self(match algorithm {
            Algorithm::EdDSA => Secret::EdDSA(ed25519_dalek::SigningKey::from_bytes(bytes)),
            Algorithm::ES256 => Secret::ES256(p256::ecdsa::SigningKey::from_slice(bytes).map_err(bad)?),
            Algorithm::ES256K => Secret::ES256K(k256::ecdsa::SigningKey::from_slice(bytes).map_err(bad)?),
        }))
    }

    /// The 32 bytes, for a key store to encrypt. The caller wipes them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        match &self.0 {
            Secret::EdDSA(k) => k.to_bytes(),
            Secret::ES256(k) => k.to_bytes().into(),
            Secret::ES256K(k) => k.to_bytes().into(),
        }
    }

    /// The algorithm that this key signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Secret::EdDSA(_) => Algorithm::EdDSA,
            Secret::ES256(_) => Algorithm::ES256,
            Secret::ES256K(_) => Algorithm::ES256K,
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let bytes = match &self.0 {
            Secret::EdDSA(k) => k.verifying_key().to_bytes().to_vec(),
            Secret::ES256(k) => k.verifying_key().to_encoded_point(true).as_bytes().to_vec(),
            Secret::ES256K(k) => k.verifying_key().to_encoded_point(true).as_bytes().to_vec(),
        };
        PublicKey { algorithm: self.algorithm(), bytes: bytes.into() }
    }

    /// Signs `message`: 64 bytes, deterministic (RFC 8032, RFC 6979), for ECDSA `r ‖ s` with a low `s`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        match &self.0 {
            Secret::EdDSA(k) => k.sign(message).to_bytes(),
            Secret::ES256(k) => {
                let sig: p256::ecdsa::Signature = k.sign(message);
                sig.normalize_s().unwrap_or(sig).to_bytes().into()
            }
            Secret::ES256K(k) => {
                let sig: k256::ecdsa::Signature = k.sign(message);
                sig.to_bytes().into()
            }
        }
    }

    /// Signs a 32-byte hash as Ethereum does: `r ‖ s ‖ v` with `v` 27 or 28. `None` for other curves.
    #[must_use]
    pub fn sign_recoverable(&self, prehash: &[u8; 32]) -> Option<[u8; 65]> {
        let Secret::ES256K(key) = &self.0 else { return None };
        let (sig, recovery) = key.sign_prehash_recoverable(prehash).ok()?;
        let mut out = [0; 65];
        out[..64].copy_from_slice(&sig.to_bytes());
        out[64] = 27 + recovery.to_byte();
        Some(out)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, not shown)", self.algorithm())
    }
}

/// An Ethereum address: the last 20 bytes of Keccak-256 of a secp256k1 key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

impl Address {
    /// Takes 20 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The address of a secp256k1 key.
    ///
    /// # Errors
    /// [`Malformed`] for a key of another curve.
    pub fn of_key(key: &PublicKey) -> Result<Self, Malformed> {
        if key.algorithm != Algorithm::ES256K {
            return Err(Malformed::new("address", "only a secp256k1 key has one"));
        }
        let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&key.bytes)
            .map_err(|_| Malformed::new("address", "is no point of the curve"))?;
        Ok(Self::of_verifying_key(&key))
    }

    fn of_verifying_key(key: &k256::ecdsa::VerifyingKey) -> Self {
        let hash = keccak256(&key.to_encoded_point(false).as_bytes()[1..]);
        let mut out = [0; 20];
        out.copy_from_slice(&hash[12..]);
        Self(out)
    }

    /// Who signed `prehash` with the 65-byte Ethereum signature `r ‖ s ‖ v`. A high `s` is refused, as
    /// OpenZeppelin's ECDSA does, and so is any `v` but 27 and 28.
    ///
    /// # Errors
    /// [`Invalid`] with link `attestation signature`.
    pub fn recover(prehash: &[u8; 32], signature: &[u8]) -> Result<Self, Invalid> {
        let bad = |why: &'static str| Invalid::new("attestation signature", why);
        if signature.len() != 65 {
            return Err(bad("must be 65 bytes"));
        }
        let v = signature[64];
        if v != 27 && v != 28 {
            return Err(bad("has a v that is not 27 or 28"));
        }
        let sig = k256::ecdsa::Signature::from_slice(&signature[..64]).map_err(|_| bad("is no signature"))?;
        if sig.normalize_s().is_some() {
            return Err(bad("has a high s"));
        }
        let id = k256::ecdsa::RecoveryId::from_byte(v - 27).ok_or_else(|| bad("has no recovery id"))?;
        let key = k256::ecdsa::VerifyingKey::recover_from_prehash(prehash, &sig, id)
            .map_err(|_| bad("recovers to no key"))?;
        Ok(Self::of_verifying_key(&key))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let mut out = [0; 20];
        s.strip_prefix("0x")
            .filter(|h| h.len() == 40 && !h.bytes().any(|b| b.is_ascii_uppercase()))
            .and_then(|h| hex::decode_to_slice(h, &mut out).ok())
            .ok_or_else(|| Malformed::new("address", "must be 0x and 40 lower-case hex digits"))?;
        Ok(Self(out))
    }
}

crate::text::text_serde!(Address);

/// Keccak-256 as Ethereum uses it (not SHA3-256: the padding differs).
#[must_use]
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    use sha3::Digest as _;
    sha3::Keccak256::digest(bytes).into()
}
