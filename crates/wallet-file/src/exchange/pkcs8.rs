//! PKCS#8 in PEM (RFC 5958, RFC 7468), plain or encrypted by PBES2 (RFC 8018). What is inside is RFC 8410's for Ed25519 and
//! RFC 5915's for the other curves.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Decode as _, Encode as _};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2;
use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfo, LineEnding, ObjectIdentifier, PrivateKeyInfo,
    SecretDocument,
};
use w3bstream_types::{Algorithm, PublicKey, SecretKey};
use w3bstream_wallet::{Error, ErrorKind};
use zeroize::Zeroizing;

use super::{MOST_ROUNDS, ScryptCost, bad, is_bounded};
use crate::passphrase::{Passphrase, random};

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// OpenSSL gives scrypt 32 MiB and no more, which N = 2^15 exceeds; five lanes make up for it.
const MOST_LOG_N: u8 = 14;
const LANES: u32 = 5;

fn unwritten(e: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, "the key cannot be written as PKCS#8").with_source(e.to_string())
}

/// The point of an elliptic curve's key, not compressed, as OpenSSL writes it.
fn point(key: &PublicKey) -> Vec<u8> {
    let jwk = key.to_jwk();
    let coordinate = |name: &str| B64.decode(jwk[name].as_str().unwrap_or_default()).unwrap_or_default();
    [&[4][..], &coordinate("x"), &coordinate("y")].concat()
}

/// Writes one.
pub(super) fn write(
    key: &SecretKey,
    passphrase: Option<&Passphrase>,
    cost: ScryptCost,
) -> Result<Zeroizing<String>, Error> {
    let raw = Zeroizing::new(key.to_bytes());
    let inner = match key.algorithm() {
        Algorithm::EdDSA => OctetStringRef::new(&raw[..]).and_then(|o| o.to_der()),
        Algorithm::ES256 | Algorithm::ES256K => {
            let public = point(&key.public());
            // The curve stands outside.
            let inner =
                sec1::EcPrivateKey { private_key: &raw[..], parameters: None, public_key: Some(&public) };
            inner.to_der()
        }
    };
    let inner = Zeroizing::new(inner.map_err(unwritten)?);
    let curve = match key.algorithm() {
        Algorithm::EdDSA => None,
        Algorithm::ES256 => Some(P256),
        Algorithm::ES256K => Some(SECP256K1),
    };
    let oid = if curve.is_some() { EC_PUBLIC_KEY } else { ED25519 };
    let algorithm = AlgorithmIdentifierRef { oid, parameters: curve.as_ref().map(Into::into) };
    let info = PrivateKeyInfo::new(algorithm, &inner);
    let (document, label) = match passphrase {
        None => (SecretDocument::try_from(info).map_err(unwritten)?, PLAIN),
        Some(passphrase) => (encrypt(&info, passphrase, cost)?, ENCRYPTED),
    };
    document.to_pem(label, LineEnding::LF).map_err(unwritten)
}

fn encrypt(
    info: &PrivateKeyInfo<'_>,
    passphrase: &Passphrase,
    cost: ScryptCost,
) -> Result<SecretDocument, Error> {
    let (salt, iv) = (random::<16>()?, random::<16>()?);
    let params =
        scrypt::Params::new(cost.log_n.min(MOST_LOG_N), ScryptCost::R, LANES, 32).map_err(unwritten)?;
    let params = pbes2::Parameters::scrypt_aes256cbc(params, &salt[..], &iv).map_err(unwritten)?;
    info.encrypt_with_params(params, passphrase.as_bytes()).map_err(unwritten)
}

/// Reads one.
pub(super) fn read(text: &str, passphrase: Option<&Passphrase>) -> Result<SecretKey, Error> {
    let (label, document) =
        SecretDocument::from_pem(text).map_err(|_| bad("is no PEM: its base64 or its frame is broken"))?;
    match label {
        PLAIN => key(&document),
        ENCRYPTED => key(&decrypt(&document, passphrase)?),
        other => {
            let what = format!(
                "is PEM with {other:?}, and only PKCS#8 is read; run: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW"
            );
            Err(Error::new(ErrorKind::Incompatible, what))
        }
    }
}

fn decrypt(document: &SecretDocument, passphrase: Option<&Passphrase>) -> Result<SecretDocument, Error> {
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
        .map_err(|_| bad("is no encrypted PKCS#8 with PBES2; run: openssl pkcs8 -topk8 -in FILE -out NEW"))?;
    let Some(passphrase) = passphrase else {
        return Err(Error::new(ErrorKind::WrongPassphrase, "is encrypted: give its passphrase"));
    };
    if !is_affordable(&info.encryption_algorithm) {
        return Err(bad("asks for more memory or time than any key needs"));
    }
    info.decrypt(passphrase.as_bytes()).map_err(|_| {
        // A key that decrypts to nonsense and a cipher that is not there look alike from here.
        let what = "is not opened by the passphrase, was changed, or has a cipher other than PBES2's with AES in CBC";
        Error::new(ErrorKind::WrongPassphrase, what)
    })
}

/// Whether a file's key derivation stays within what a file gets.
fn is_affordable(scheme: &EncryptionScheme<'_>) -> bool {
    match scheme.pbes2().map(|params| &params.kdf) {
        Some(pbes2::Kdf::Scrypt(s)) => {
            is_bounded(s.cost_parameter, s.block_size.into(), s.parallelization.into())
        }
        Some(pbes2::Kdf::Pbkdf2(p)) => p.iteration_count <= MOST_ROUNDS,
        _ => false,
    }
}

fn key(document: &SecretDocument) -> Result<SecretKey, Error> {
    let info = PrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| bad("is no PKCS#8"))?;
    let curve = || info.algorithm.parameters_oid().ok();
    match info.algorithm.oid {
        ED25519 => {
            let inner =
                OctetStringRef::from_der(info.private_key).map_err(|_| bad("is no key of RFC 8410"))?;
            scalar(Algorithm::EdDSA, inner.as_bytes(), info.public_key)
        }
        EC_PUBLIC_KEY if [Some(P256), Some(SECP256K1)].contains(&curve()) => {
            let algorithm = if curve() == Some(P256) { Algorithm::ES256 } else { Algorithm::ES256K };
            let inner =
                sec1::EcPrivateKey::from_der(info.private_key).map_err(|_| bad("is no key of RFC 5915"))?;
            scalar(algorithm, inner.private_key, inner.public_key)
        }
        other => {
            let what =
                format!("holds a key of another kind ({other}); Ed25519, P-256 and secp256k1 are known");
            Err(Error::new(ErrorKind::Incompatible, what))
        }
    }
}

fn scalar(algorithm: Algorithm, bytes: &[u8], public: Option<&[u8]>) -> Result<SecretKey, Error> {
    let mut raw = Zeroizing::new([0; 32]);
    if bytes.len() != 32 {
        return Err(bad("holds a private part that is not 32 bytes"));
    }
    raw.copy_from_slice(bytes);
    let key = SecretKey::from_bytes(algorithm, &raw).map_err(|e| bad(format!("holds no key: {e}")))?;
    let named = public.map(|bytes| PublicKey::new(algorithm, bytes));
    match named {
        None => Ok(key),
        Some(Ok(named)) if named == key.public() => Ok(key),
        Some(_) => Err(bad("has a private part that does not belong to its public part")),
    }
}
