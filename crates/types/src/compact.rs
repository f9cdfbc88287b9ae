//! Reads compact JWS texts (RFC 7515) strictly: exactly the members that are asked for, each once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Map, Value};

use crate::{Algorithm, Invalid, KeyId, Malformed, PublicKey, SecretKey};

/// A compact JWS whose protected header is exactly `alg`, `kid`, `typ`. Anything more could be something that we do
/// not understand (`crit`) or must not follow (`jwk`, `jku`, `x5c`); `none` is no [`Algorithm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compact {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: KeyId,
    pub(crate) claims: Claims,
    pub(crate) signature: [u8; 64],
    /// Bytes of the text that were signed: its first two parts with the dot between.
    pub(crate) signed_len: usize,
}

/// The claims, read under the name of what they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    what: &'static str,
    values: Map<String, Value>,
}

impl Compact {
    /// Reads a text of this `typ` with exactly these claims. The caller bounds its length.
    pub(crate) fn read(
        what: &'static str,
        compact: &str,
        typ: &str,
        names: &[&str],
    ) -> Result<Self, Malformed> {
        let bad = |why: String| Malformed::new(what, why);
        let mut parts = compact.split('.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad("must be three parts with dots between".into()));
        };
        let signed_len = head.len() + 1 + claims.len();
        let head = Claims::read(what, head, "header", &["alg", "kid", "typ"])?;
        let claims = Claims::read(what, claims, "claims", names)?;
        if head.text("typ")? != typ {
            return Err(bad(format!("typ must be {typ}")));
        }
        let signature = B64.decode(signature).map_err(|_| bad("the signature is not base64url".into()))?;
        let signature = signature.try_into().map_err(|_| bad("the signature must be 64 bytes".into()))?;
        let (algorithm, key) = (head.text("alg")?.parse()?, head.text("kid")?.parse()?);
        Ok(Self { algorithm, key, claims, signature, signed_len })
    }

    /// Checks the signature of `text`, which this was read from, with `key`, whose algorithm must be the header's.
    pub(crate) fn verify(&self, text: &str, key: &PublicKey) -> Result<(), Invalid> {
        verify(text, (self.algorithm, self.signed_len, &self.signature), key)
    }
}

/// Checks a text's signature over its first `signed_len` bytes.
pub(crate) fn verify(
    text: &str,
    (algorithm, signed_len, signature): (Algorithm, usize, &[u8; 64]),
    key: &PublicKey,
) -> Result<(), Invalid> {
    if algorithm != key.algorithm() {
        let why = format!("the header says {algorithm}, the registered key is {}", key.algorithm());
        return Err(Invalid::new("signature", why));
    }
    key.verify(text.as_bytes().get(..signed_len).unwrap_or_default(), signature)
}

/// The first two parts of a compact JWS. `claims` must be an object whose members are in lexical order: the text is
/// then the same whether or not `serde_json` keeps the order.
pub(crate) fn signing_input(algorithm: Algorithm, key: &KeyId, typ: &str, claims: &Value) -> String {
    let header = serde_json::json!({ "alg": algorithm.name(), "kid": key.as_str(), "typ": typ });
    format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()))
}

/// A signed compact JWS.
pub(crate) fn sign(key_id: &KeyId, typ: &str, claims: &Value, key: &SecretKey) -> String {
    let input = signing_input(key.algorithm(), key_id, typ, claims);
    let signature = B64.encode(key.sign(input.as_bytes()));
    format!("{input}.{signature}")
}

impl Claims {
    fn read(what: &'static str, part: &str, which: &str, names: &[&str]) -> Result<Self, Malformed> {
        let bad = |why: String| Malformed::new(what, format!("{which} {why}"));
        let json = B64.decode(part).map_err(|_| bad("is not base64url".into()))?;
        let pairs: UniqueObject =
            serde_json::from_slice(&json).map_err(|e| bad(format!("is no JSON object of its own: {e}")))?;
        if let Some(name) = names.iter().find(|n| !pairs.0.contains_key(**n)) {
            return Err(bad(format!("has no {name:?}")));
        }
        if let Some(name) = pairs.0.keys().find(|k| !names.contains(&k.as_str())) {
            return Err(bad(format!("has {name:?}, which is not understood")));
        }
        Ok(Self { what, values: pairs.0 })
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, Malformed> {
        let value = self.values.get(name).and_then(Value::as_str);
        value.ok_or_else(|| Malformed::new(self.what, format!("{name:?} must be text")))
    }

    /// Whole seconds since the epoch.
    pub(crate) fn seconds(&self, name: &str) -> Result<u64, Malformed> {
        let bad = |why: &str| Malformed::new(self.what, format!("{name} {why}"));
        let value = self.values.get(name).and_then(Value::as_u64);
        let seconds = value.ok_or_else(|| bad("must be whole seconds"))?;
        // Everything else counts milliseconds.
        seconds.checked_mul(1000).map(|_| seconds).ok_or_else(|| bad("is out of range"))
    }
}

/// A JSON object in which no name stands twice: two readers could take different ones.
struct UniqueObject(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for UniqueObject {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = UniqueObject;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<UniqueObject, A::Error> {
                let mut out = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if out.insert(name.clone(), value).is_some() {
                        return Err(serde::de::Error::custom(format!("{name:?} stands twice")));
                    }
                }
                Ok(UniqueObject(out))
            }
        }
        d.deserialize_map(Visitor)
    }
}
