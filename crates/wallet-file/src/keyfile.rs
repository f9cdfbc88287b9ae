//! A device's key as a private JWK (RFC 7517, RFC 8037) in a file of its own.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde::Deserialize;
use w3bstream_types::{Algorithm, Did, KeyId, PublicKey, SecretKey};
use w3bstream_wallet::{Error, ErrorKind};
use zeroize::Zeroizing;

use crate::{files, wallet};

/// A device's private key.
///
/// The file is one JWK: `{"kty":"OKP","crv":"Ed25519","x":"…","d":"…"}`, or `EC` with `P-256` or
/// `secp256k1` and `x`, `y`, `d`. Other members, such as `kid`, are ignored when it is read.
#[derive(Clone)]
pub struct DeviceKey {
    secret: SecretKey,
}

/// What is read of a JWK. Borrowed, so that the secret is in no other buffer than the one that is wiped.
#[derive(Deserialize)]
struct Jwk<'f> {
    kty: &'f str,
    crv: &'f str,
    x: &'f str,
    y: Option<&'f str>,
    d: Option<&'f str>,
}

impl DeviceKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the operating system gives no random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        wallet::generate(algorithm).map(Self::from_secret)
    }

    /// Wraps a key that is there already.
    #[must_use]
    pub const fn from_secret(secret: SecretKey) -> Self {
        Self { secret }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Permissions`] if others may read or write it,
    /// [`ErrorKind::Corrupt`] if it is no private JWK of a known curve or its halves do not belong
    /// together, [`ErrorKind::Io`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(&files::read_private(path)?).map_err(|why| {
            Error::new(ErrorKind::Corrupt, format!("{} is no device key: {why}", path.display()))
        })
    }

    /// Writes the key to a new file of mode 0600. Durable when it returns.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if there is such a file, [`ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        files::create(path, self.to_jwk().as_bytes())
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // serde's own message could repeat a part of the file.
        let jwk: Jwk<'_> = serde_json::from_slice(bytes)
            .map_err(|e| format!("line {} column {} is not as in a JWK", e.line(), e.column()))?;
        let d = jwk.d.ok_or("it has no private part \"d\"")?;
        let mut public = serde_json::json!({ "kty": jwk.kty, "crv": jwk.crv, "x": jwk.x });
        if let Some(y) = jwk.y {
            public["y"] = y.into();
        }
        let public = PublicKey::from_jwk(&public).map_err(|e| e.to_string())?;
        let mut raw = Zeroizing::new([0; 32]);
        // Exactly 32 bytes; the decoder wants room for one group more than that.
        let mut buffer = Zeroizing::new([0; 36]);
        match B64.decode_slice(d, &mut buffer[..]) {
            Ok(32) => raw.copy_from_slice(&buffer[..32]),
            _ => return Err("its private part \"d\" is not 32 bytes in base64url".into()),
        }
        let secret = SecretKey::from_bytes(public.algorithm(), &raw).map_err(|e| e.to_string())?;
        if secret.public() != public {
            return Err("its private part does not belong to its public part".into());
        }
        Ok(Self { secret })
    }

    fn to_jwk(&self) -> Zeroizing<String> {
        let public = self.public().to_jwk();
        let text = |name: &str| public[name].as_str().unwrap_or_default().to_owned();
        let raw = Zeroizing::new(self.secret.to_bytes());
        // One buffer that never grows holds the secret; everything else of a JWK is public.
        let mut jwk = Zeroizing::new(String::with_capacity(512));
        jwk.push_str(&format!(
            "{{\"kty\":\"{}\",\"crv\":\"{}\",\"x\":\"{}\",",
            text("kty"),
            text("crv"),
            text("x")
        ));
        if public.get("y").is_some() {
            jwk.push_str(&format!("\"y\":\"{}\",", text("y")));
        }
        jwk.push_str("\"d\":\"");
        B64.encode_string(&raw[..], &mut jwk);
        jwk.push_str("\"}\n");
        jwk
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

/// Reads a file that may be anything: what was read is written and read as the same key.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    if let Ok(key) = DeviceKey::parse(bytes) {
        let again = DeviceKey::parse(key.to_jwk().as_bytes());
        assert!(
            again.is_ok_and(|again| again.public() == key.public()),
            "the key that was written is another"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K];

    /// RFC 8037, appendix A.1.
    const RFC8037: &str = r#"{"kty":"OKP","crv":"Ed25519",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

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
    fn reads_a_jwk_of_somebody_else() {
        let key = DeviceKey::parse(RFC8037.as_bytes()).unwrap();
        // RFC 8037, appendix A.4: the signature over the JWS signing input.
        let signature = key.secret().sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
        let wanted = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(B64.encode(signature), wanted);
        let more = RFC8037.replacen('{', r#"{"kid":"my-device","use":"sig","#, 1);
        DeviceKey::parse(more.as_bytes()).expect("other members are ignored");
    }

    #[test]
    fn refuses_what_is_no_key_and_says_why_without_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let no_d = RFC8037.replace("\"d\"", "\"e\"");
        let other_d = RFC8037.replace("nWGx", "nWGy");
        let short_d = RFC8037.replace("nWGxne", "");
        let rsa = RFC8037.replace("OKP", "RSA");
        for (i, (text, why)) in [
            (no_d, "no private part"),
            (other_d, "does not belong"),
            (short_d, "is not 32 bytes"),
            (rsa, "must be OKP/Ed25519"),
            ("nWGxne_9".into(), "is not as in a JWK"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = dir.path().join(i.to_string());
            files::create(&path, text.as_bytes()).unwrap();
            let e = DeviceKey::load(&path).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt);
            assert!(e.to_string().contains(why), "{e}");
            assert!(!format!("{e} {e:?}").contains("ne_9"), "{e}");
        }
    }

    #[test]
    fn debug_shows_the_did_and_no_more() {
        let key = DeviceKey::parse(RFC8037.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), format!("DeviceKey({})", key.did()));
    }

    proptest! {
        #[test]
        fn parsing_anything_never_panics(text in "\\PC{0,60}", d in "[A-Za-z0-9_=-]{0,60}") {
            let jwk = RFC8037.replace("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", &d);
            prop_assert!(DeviceKey::parse(text.as_bytes()).is_err());
            prop_assert!(DeviceKey::parse(jwk.as_bytes()).is_err());
        }
    }
}
