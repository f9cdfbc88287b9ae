//! Private JWKs (RFC 7517, RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde::Deserialize;
use w3bstream_types::{PublicKey, SecretKey};
use zeroize::Zeroizing;

/// What is read of a JWK. Borrowed, so that the secret is in no other buffer than the one that is wiped.
#[derive(Deserialize)]
struct Jwk<'f> {
    kty: &'f str,
    crv: &'f str,
    x: &'f str,
    y: Option<&'f str>,
    d: Option<&'f str>,
}

/// Reads one. Members that are not of the key, such as `kid`, are ignored.
pub(crate) fn read(bytes: &[u8]) -> Result<SecretKey, String> {
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
    Ok(secret)
}

/// Writes one, with a line's end.
pub(crate) fn write(key: &SecretKey) -> Zeroizing<String> {
    let public = key.public().to_jwk();
    let text = |name: &str| public[name].as_str().unwrap_or_default().to_owned();
    let raw = Zeroizing::new(key.to_bytes());
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
