//! The compact JWS form (RFC 7515) of a device message.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;

use crate::compact::{self, Compact};
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
        let Compact { algorithm, key, claims, signature, signed_len } =
            Compact::read("jws", compact, JWS_TYPE, &["aud", "type", "seq", "iat", "data"])?;
        let payload = B64.decode(claims.text("data")?).map_err(|_| bad("data is not base64url"))?;
        check_payload(&payload)?;
        let header = MessageHeader {
            audience: claims.text("aud")?.parse()?,
            key,
            event_type: claims.text("type")?.parse()?,
            sequence: claims.text("seq")?.parse()?,
            time: Timestamp(claims.seconds("iat")? * 1000),
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
        compact::verify(&self.compact, (self.algorithm, self.signed_len, &self.signature), key)
    }
}

impl Draft {
    /// Signs as a compact JWS. The time is cut to whole seconds, as `iat` carries them.
    #[must_use]
    pub fn sign_jws(self, key: &SecretKey) -> String {
        let claims = serde_json::json!({
            "aud": self.audience.to_string(), "data": B64.encode(&self.payload), "iat": self.time.0 / 1000,
            "seq": self.sequence.to_string(), "type": self.event_type.as_str(),
        });
        compact::sign(&self.key, JWS_TYPE, &claims, key)
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
