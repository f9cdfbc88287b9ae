//! Web3 Secret Storage, version 3: what Ethereum's wallets keep a key in.
//!
//! The key's bytes are encrypted with AES-128-CTR under the first half of a derived key; the second half and the ciphertext give
//! the `mac`, Keccak-256, by which a wrong passphrase is told. Nothing binds the address to it, so it is compared.

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Keccak256};
use w3bstream_types::{Address, Algorithm, SecretKey};
use w3bstream_wallet::{Error, ErrorKind};
use zeroize::Zeroizing;

use super::{MOST_ROUNDS, ScryptCost, bad, is_bounded};
use crate::passphrase::{Passphrase, random};

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    // Geth wrote it with a capital once, and reads it so.
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    id: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

/// Of scrypt (`n`, `r`, `p`) or PBKDF2 (`c`, `prf`).
#[derive(Default, Serialize, Deserialize)]
struct KdfParams {
    dklen: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prf: Option<String>,
    salt: String,
}

/// Whether a JSON text is a keystore, good or not, and no JWK.
pub(super) fn is_one(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(alias = "Crypto")]
        crypto: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Probe>(text).is_ok_and(|probe| probe.crypto.is_some())
}

fn hex_of<const N: usize>(text: &str, what: &str) -> Result<[u8; N], Error> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| bad(format!("is a keystore whose {what} is not {} hex digits", 2 * N)))?;
    Ok(bytes)
}

fn scrypt_key(
    passphrase: &Passphrase,
    salt: &[u8],
    log_n: u8,
    r: u32,
    p: u32,
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let params = scrypt::Params::new(log_n, r, p, 32)
        .map_err(|e| bad(format!("is a keystore whose scrypt figures cannot be ({e})")))?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.as_bytes(), salt, &params, &mut key[..])
        .map_err(|e| bad(format!("is a keystore whose key cannot be derived ({e})")))?;
    Ok(key)
}

/// The derived key that a file asks for, within bounds.
fn derive(crypto: &Crypto, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, Error> {
    let params = &crypto.kdfparams;
    let too_much = || bad("is a keystore that asks for more memory or time than any key needs");
    let salt = hex::decode(params.salt.strip_prefix("0x").unwrap_or(&params.salt))
        .map_err(|_| bad("is a keystore whose salt is not hex"))?;
    if params.dklen != 32 {
        return Err(bad("is a keystore whose dklen is not 32"));
    }
    match (crypto.kdf.as_str(), params) {
        ("scrypt", KdfParams { n: Some(n), r: Some(r), p: Some(p), .. }) => {
            if !is_bounded(*n, *r, *p) {
                return Err(too_much());
            }
            if !n.is_power_of_two() {
                return Err(bad("is a keystore whose scrypt cost n is no power of two"));
            }
            let small = |v: u64| u32::try_from(v).map_err(|_| too_much());
            let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| too_much())?;
            scrypt_key(passphrase, &salt, log_n, small(*r)?, small(*p)?)
        }
        ("pbkdf2", KdfParams { c: Some(rounds), prf: Some(prf), .. }) if prf == "hmac-sha256" => {
            if *rounds == 0 || *rounds > MOST_ROUNDS {
                return Err(too_much());
            }
            let mut key = Zeroizing::new([0; 32]);
            pbkdf2::pbkdf2_hmac::<sha2::Sha256>(passphrase.as_bytes(), &salt, *rounds, &mut key[..]);
            Ok(key)
        }
        (kdf, _) => {
            let what = format!(
                "is a keystore with the key derivation {kdf:?}; scrypt and pbkdf2 (hmac-sha256) are known"
            );
            Err(Error::new(ErrorKind::Incompatible, what))
        }
    }
}

fn mac(key: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    hash.update(&key[16..]);
    hash.update(ciphertext);
    hash.finalize().into()
}

fn apply(key: &[u8; 32], iv: &[u8; 16], bytes: &mut [u8; 32]) {
    let mut half = Zeroizing::new([0; 16]);
    half.copy_from_slice(&key[..16]);
    Ctr128BE::<Aes128>::new((&*half).into(), iv.into()).apply_keystream(bytes);
}

fn address(key: &SecretKey) -> Option<String> {
    Some(Address::of_key(&key.public()).ok()?.to_string().trim_start_matches("0x").to_owned())
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Result<String, Error> {
    let mut bytes = *random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
    Ok([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}

/// Writes one with a random salt, iv and id.
pub(super) fn write(
    key: &SecretKey,
    passphrase: &Passphrase,
    cost: ScryptCost,
) -> Result<Zeroizing<String>, Error> {
    let (salt, iv) = (random::<32>()?, random::<16>()?);
    let derived = scrypt_key(passphrase, &salt[..], cost.log_n, ScryptCost::R, ScryptCost::P)?;
    let mut bytes = Zeroizing::new(key.to_bytes());
    apply(&derived, &iv, &mut bytes);
    let file = File {
        address: address(key),
        crypto: Crypto {
            cipher: "aes-128-ctr".into(),
            cipherparams: CipherParams { iv: hex::encode(&iv[..]) },
            ciphertext: hex::encode(&bytes[..]),
            kdf: "scrypt".into(),
            kdfparams: KdfParams {
                dklen: 32,
                n: Some(1 << cost.log_n),
                r: Some(ScryptCost::R.into()),
                p: Some(ScryptCost::P.into()),
                salt: hex::encode(&salt[..]),
                ..KdfParams::default()
            },
            mac: hex::encode(mac(&derived, &bytes[..])),
        },
        id: uuid()?,
        version: 3,
    };
    let mut text = serde_json::to_string_pretty(&file)
        .map_err(|e| Error::new(ErrorKind::Io, "the keystore cannot be written").with_source(e))?;
    text.push('\n');
    Ok(Zeroizing::new(text))
}

/// Reads one.
pub(super) fn read(text: &str, passphrase: Option<&Passphrase>) -> Result<SecretKey, Error> {
    let file: File = serde_json::from_str(text)
        .map_err(|e| bad(format!("is a keystore that line {} column {} spoils", e.line(), e.column())))?;
    let crypto = &file.crypto;
    if file.version != 3 {
        let what = format!("is a keystore of version {}; version 3 is known", file.version);
        return Err(Error::new(ErrorKind::Incompatible, what));
    }
    if crypto.cipher != "aes-128-ctr" {
        let what = format!("is a keystore with the cipher {:?}; aes-128-ctr is known", crypto.cipher);
        return Err(Error::new(ErrorKind::Incompatible, what));
    }
    let (iv, wanted) = (hex_of(&crypto.cipherparams.iv, "iv")?, hex_of::<32>(&crypto.mac, "mac")?);
    let mut bytes = Zeroizing::new(hex_of::<32>(&crypto.ciphertext, "ciphertext")?);
    let Some(passphrase) = passphrase else {
        return Err(Error::new(ErrorKind::WrongPassphrase, "is encrypted: give its passphrase"));
    };
    let derived = derive(crypto, passphrase)?;
    if mac(&derived, &bytes[..]) != wanted {
        let what = "is not opened by the passphrase, or was changed";
        return Err(Error::new(ErrorKind::WrongPassphrase, what));
    }
    apply(&derived, &iv, &mut bytes);
    let key = SecretKey::from_bytes(Algorithm::ES256K, &bytes)
        .map_err(|_| bad("is a keystore that holds no scalar of secp256k1"))?;
    let named = file.address.as_deref().map(|a| a.strip_prefix("0x").unwrap_or(a).to_ascii_lowercase());
    if named.is_some() && named != address(&key) {
        return Err(bad("is a keystore that names another address than its key's"));
    }
    Ok(key)
}
