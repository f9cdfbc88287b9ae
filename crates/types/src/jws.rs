//! The compact JWS form (RFC 7515) of a device message.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::Value;

use crate::message::check_payload;
use crate::{
    Algorithm, Canonical, Decoder, Draft, Encoder, Invalid, MAX_PAYLOAD_BYTES, Malformed, MessageHeader,
    PublicKey, SecretKey, Timestamp, payload_digest,
};

/// The longest compact JWS that is read, in bytes: the largest payload in base64url twice, and the rest.
pub const MAX_JWS_BYTES: usize = MAX_PAYLOAD_BYTES / 9 * 16 + 8 * 1024;

/// The `typ` of a device message's JWS.
pub const JWS_TYPE: &str = "w3b+jws";

/// The compact JWS form (RFC 7515): one text that holds everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jws {
    compact: String,
    algorithm: Algorithm,
    header: MessageHeader,
    payload: Vec<u8>,
    signature: [u8; 64],
    signed_len: usize,
}

impl Jws {
    /// Reads a compact JWS: protected header exactly `alg`, `kid`, `typ`; claims exactly `aud`, `type`,
    /// `seq`, `iat`, `data`. Anything more could be something that we do not understand, such as `crit`.
    ///
    /// # Errors
    /// [`Malformed`] naming the part and the claim.
    pub fn parse(compact: &str) -> Result<Self, Malformed> {
        let bad = |why: &'static str| Malformed::new("jws", why);
        if compact.len() > MAX_JWS_BYTES {
            return Err(bad("is larger than 8 MiB of payload can make it"));
        }
        let mut parts = compact.split('.');
        let (Some(head), Some(claims), Some(sig), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad("must be three parts with dots between"));
        };
        let signed_len = head.len() + 1 + claims.len();
        let head = json_object(head, "header", &["alg", "kid", "typ"])?;
        let claims = json_object(claims, "claims", &["aud", "type", "seq", "iat", "data"])?;
        if text(&head, "typ")? != JWS_TYPE {
            return Err(bad("typ must be w3b+jws"));
        }
        let algorithm: Algorithm = text(&head, "alg")?.parse()?;
        let iat = claims["iat"].as_u64().ok_or_else(|| bad("iat must be whole seconds"))?;
        let millis = iat.checked_mul(1000).ok_or_else(|| bad("iat is out of range"))?;
        let payload = B64.decode(text(&claims, "data")?).map_err(|_| bad("data is not base64url"))?;
        check_payload(&payload)?;
        let signature = B64.decode(sig).map_err(|_| bad("the signature is not base64url"))?;
        let signature = signature.try_into().map_err(|_| bad("the signature must be 64 bytes"))?;
        let header = MessageHeader {
            audience: text(&claims, "aud")?.parse()?,
            key: text(&head, "kid")?.parse()?,
            event_type: text(&claims, "type")?.parse()?,
            sequence: text(&claims, "seq")?.parse()?,
            time: Timestamp(millis),
            payload_digest: payload_digest(&[], &payload),
        };
        Ok(Self { compact: compact.to_owned(), algorithm, header, payload, signature, signed_len })
    }

    /// The text as it arrived.
    #[must_use]
    pub fn compact(&self) -> &str {
        &self.compact
    }

    /// What the claims say. Its canonical bytes are *not* what was signed; the text is.
    #[must_use]
    pub const fn header(&self) -> &MessageHeader {
        &self.header
    }

    /// The bytes that an applet gets.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The bytes that were signed: the first two parts with the dot between.
    #[must_use]
    pub fn signing_input(&self) -> &[u8] {
        &self.compact.as_bytes()[..self.signed_len]
    }

    /// Checks the signature with `key`, whose algorithm must be the one that the header names.
    ///
    /// # Errors
    /// [`Invalid`] with link `signature`.
    pub fn verify(&self, key: &PublicKey) -> Result<(), Invalid> {
        if self.algorithm != key.algorithm() {
            let why =
                format!("the header says {}, the registered key is {}", self.algorithm, key.algorithm());
            return Err(Invalid::new("signature", why));
        }
        key.verify(self.signing_input(), &self.signature)
    }
}

fn json_object(part: &str, which: &str, names: &[&str]) -> Result<serde_json::Map<String, Value>, Malformed> {
    let bad = |why: String| Malformed::new("jws", format!("{which} {why}"));
    let json = B64.decode(part).map_err(|_| bad("is not base64url".into()))?;
    let pairs: UniqueObject =
        serde_json::from_slice(&json).map_err(|e| bad(format!("is no JSON object of its own: {e}")))?;
    if let Some(name) = names.iter().find(|n| !pairs.0.contains_key(**n)) {
        return Err(bad(format!("has no {name:?}")));
    }
    if let Some(name) = pairs.0.keys().find(|k| !names.contains(&k.as_str())) {
        return Err(bad(format!("has {name:?}, which is not understood")));
    }
    Ok(pairs.0)
}

/// A JSON object in which no name stands twice: two readers could take different ones.
struct UniqueObject(serde_json::Map<String, Value>);

impl<'de> serde::Deserialize<'de> for UniqueObject {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = UniqueObject;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<UniqueObject, A::Error> {
                let mut out = serde_json::Map::new();
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

fn text<'v>(object: &'v serde_json::Map<String, Value>, name: &str) -> Result<&'v str, Malformed> {
    object[name].as_str().ok_or_else(|| Malformed::new("jws", format!("{name:?} must be text")))
}

impl Draft {
    /// Signs as a compact JWS. The time is cut to whole seconds, as `iat` carries them.
    #[must_use]
    pub fn sign_jws(self, key: &SecretKey) -> String {
        // Members in lexical order: the text is then the same whether or not `serde_json` keeps the order.
        let header = serde_json::json!({
            "alg": key.algorithm().name(), "kid": self.key.as_str(), "typ": JWS_TYPE,
        });
        let claims = serde_json::json!({
            "aud": self.audience.to_string(), "data": B64.encode(&self.payload), "iat": self.time.0 / 1000,
            "seq": self.sequence.to_string(), "type": self.event_type.as_str(),
        });
        let input = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = B64.encode(key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }
}

impl std::fmt::Display for Jws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.compact)
    }
}

impl std::str::FromStr for Jws {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        Self::parse(s)
    }
}

impl Canonical for Jws {
    const DOMAIN: &'static str = "w3b/jws";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 1;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(&self.compact);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Self::parse(d.text()?)
    }
}

crate::text::text_serde!(Jws);
