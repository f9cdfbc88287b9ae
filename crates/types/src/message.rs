//! A device message: what is signed, in which forms it arrives, and the record that is kept of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::Value;

use crate::{
    Algorithm, Canonical, Decoder, Did, Digest, Encoder, EventType, Invalid, KeyId, Malformed, MessageId,
    ProjectId, PublicKey, PublisherName, SecretKey, Sequence, SourceId, Timestamp,
};

/// The largest payload that the formats carry, in bytes. Nodes and projects set lower limits.
pub const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
/// The longest event id of a token message, in bytes.
pub const MAX_EVENT_ID_BYTES: usize = 128;

/// What a device signs. Its canonical bytes are the signing input of the envelope form.
///
/// The payload itself is not here, only its salted digest, so that a payload (and its salt) can be erased
/// and the signature still verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// The project that the message is for. A node refuses it anywhere else.
    pub audience: ProjectId,
    /// The key that signs, as a DID URL.
    pub key: KeyId,
    /// What kind of event it is.
    pub event_type: EventType,
    /// The device's sequence number.
    pub sequence: Sequence,
    /// The device's time; [`Timestamp::NONE`] if it has no clock.
    pub time: Timestamp,
    /// See [`payload_digest`].
    pub payload_digest: Digest,
}

impl Canonical for MessageHeader {
    const DOMAIN: &'static str = "w3b/message";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.audience.0).text(self.key.as_str()).text(self.event_type.as_str());
        e.u64(self.sequence.as_u64()).u64(self.time.0).digest(&self.payload_digest);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            audience: ProjectId(d.digest()?),
            key: d.parse()?,
            event_type: d.parse()?,
            sequence: Sequence::from_u64(d.u64()?),
            time: Timestamp(d.u64()?),
            payload_digest: d.digest()?,
        })
    }
}

/// H(salt ‖ payload), each behind its length. In the JWS form the salt is empty.
#[must_use]
pub fn payload_digest(salt: &[u8], payload: &[u8]) -> Digest {
    Digest::tagged("w3b/payload/1", &[salt, payload])
}

/// The hash of a publisher token, as it is registered. The token itself is never stored.
#[must_use]
pub fn token_hash(token: &str) -> Digest {
    Digest::tagged("w3b/token/1", &[token.as_bytes()])
}

/// The envelope form: header, salt, payload and signature apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    header: MessageHeader,
    salt: [u8; 16],
    payload: Vec<u8>,
    signature: [u8; 64],
}

/// The fields of an envelope before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The project that the message is for.
    pub audience: ProjectId,
    /// The key that will sign.
    pub key: KeyId,
    /// What kind of event it is.
    pub event_type: EventType,
    /// The device's sequence number.
    pub sequence: Sequence,
    /// The device's time; [`Timestamp::NONE`] if it has no clock.
    pub time: Timestamp,
    /// The bytes that an applet gets.
    pub payload: Vec<u8>,
}

impl Draft {
    /// Signs as an envelope. `salt` must be 16 random bytes: it hides the payload's digest from guessing.
    #[must_use]
    pub fn sign_envelope(self, salt: [u8; 16], key: &SecretKey) -> Envelope {
        let header = self.header(&salt);
        let signature = key.sign(&header.to_canonical());
        Envelope { header, salt, payload: self.payload, signature }
    }

    /// Signs as a compact JWS (RFC 7515). The time is cut to whole seconds, as `iat` carries them.
    #[must_use]
    pub fn sign_jws(self, key: &SecretKey) -> String {
        let header = serde_json::json!({
            "alg": key.algorithm().name(), "kid": self.key.as_str(), "typ": JWS_TYPE,
        });
        let claims = serde_json::json!({
            "aud": self.audience.to_string(), "type": self.event_type.as_str(),
            "seq": self.sequence.to_string(), "iat": self.time.0 / 1000, "data": B64.encode(&self.payload),
        });
        let input = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = B64.encode(key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    fn header(&self, salt: &[u8]) -> MessageHeader {
        MessageHeader {
            audience: self.audience,
            key: self.key.clone(),
            event_type: self.event_type.clone(),
            sequence: self.sequence,
            time: self.time,
            payload_digest: payload_digest(salt, &self.payload),
        }
    }
}

impl Envelope {
    /// Puts together what arrived. Nothing is verified yet; the payload's digest is computed here, so a
    /// changed payload or salt changes the signing input.
    #[must_use]
    pub fn new(draft: Draft, salt: [u8; 16], signature: [u8; 64]) -> Self {
        Self { header: draft.header(&salt), salt, payload: draft.payload, signature }
    }

    /// The signed header.
    #[must_use]
    pub const fn header(&self) -> &MessageHeader {
        &self.header
    }

    /// The salt of the payload's digest.
    #[must_use]
    pub const fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature over the header's canonical bytes.
    #[must_use]
    pub const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }
}

impl Canonical for Envelope {
    const DOMAIN: &'static str = "w3b/envelope";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.item(&self.header).bytes(&self.salt).bytes(&self.payload).bytes(&self.signature);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (header, salt) = (d.item::<MessageHeader>()?, d.array()?);
        let (payload, signature) = (d.bytes()?.to_vec(), d.array()?);
        if header.payload_digest != payload_digest(&salt, &payload) {
            return Err(Malformed::new(Self::DOMAIN, "the payload is not the one of the header's digest"));
        }
        Ok(Self { header, salt, payload, signature })
    }
}

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

    /// The bytes that were signed: the first two parts with the dot between.
    #[must_use]
    pub fn signing_input(&self) -> &[u8] {
        &self.compact.as_bytes()[..self.signed_len]
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

/// A message that carries a token instead of a signature. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMessage {
    /// The project that the message is for.
    pub project: ProjectId,
    /// Whose token it was.
    pub publisher: PublisherName,
    /// The sender's own id of the event, unique per publisher: what makes a repeat a repeat.
    pub event_id: String,
    /// What kind of event it is.
    pub event_type: EventType,
    /// The sender's time; [`Timestamp::NONE`] if it gave none.
    pub time: Timestamp,
    /// The bytes that an applet gets.
    pub payload: Vec<u8>,
    /// The registered hash of the token that was shown.
    pub token_hash: Digest,
}

impl Canonical for TokenMessage {
    const DOMAIN: &'static str = "w3b/token-message";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 7;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).text(self.publisher.as_str()).text(&self.event_id);
        e.text(self.event_type.as_str()).u64(self.time.0).bytes(&self.payload).digest(&self.token_hash);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let message = Self {
            project: ProjectId(d.digest()?),
            publisher: d.parse()?,
            event_id: d.text()?.to_owned(),
            event_type: d.parse()?,
            time: Timestamp(d.u64()?),
            payload: d.bytes()?.to_vec(),
            token_hash: d.digest()?,
        };
        check_event_id(&message.event_id)?;
        Ok(message)
    }
}

/// An event id is 1 to 128 printable ASCII characters.
///
/// # Errors
/// [`Malformed`] otherwise.
pub fn check_event_id(id: &str) -> Result<(), Malformed> {
    if id.is_empty() || id.len() > MAX_EVENT_ID_BYTES || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Malformed::new("event id", "must be 1 to 128 printable ASCII characters without blanks"));
    }
    Ok(())
}

/// The form in which a message arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Header, salt, payload and signature apart.
    Envelope(Envelope),
    /// A compact JWS.
    Jws(Jws),
    /// Token instead of signature.
    Token(TokenMessage),
}

/// One message as it is kept: its id and the form that it arrived in, byte for byte.
///
/// A record alone proves nothing: [`crate::Verified`] is the one whose evidence was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    id: MessageId,
    form: Form,
}

impl Record {
    /// Takes a message in any of its forms and computes its id.
    #[must_use]
    pub fn new(form: Form) -> Self {
        let id = match &form {
            Form::Envelope(e) => MessageId::of_signing_input(&e.header.to_canonical()),
            Form::Jws(j) => MessageId::of_signing_input(j.signing_input()),
            Form::Token(t) => MessageId::of_token_event(&t.project, &t.publisher, &t.event_id),
        };
        Self { id, form }
    }

    /// The message's id.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.id
    }

    /// The form that it arrived in.
    #[must_use]
    pub const fn form(&self) -> &Form {
        &self.form
    }

    /// The signed header; `None` for a token message.
    #[must_use]
    pub const fn header(&self) -> Option<&MessageHeader> {
        match &self.form {
            Form::Envelope(e) => Some(&e.header),
            Form::Jws(j) => Some(&j.header),
            Form::Token(_) => None,
        }
    }

    /// The project that the message is for.
    #[must_use]
    pub const fn project(&self) -> ProjectId {
        match &self.form {
            Form::Envelope(e) => e.header.audience,
            Form::Jws(j) => j.header.audience,
            Form::Token(t) => t.project,
        }
    }

    /// The device or publisher.
    #[must_use]
    pub fn source(&self) -> SourceId {
        match &self.form {
            Form::Token(t) => SourceId::Publisher(t.publisher.clone()),
            Form::Envelope(e) => SourceId::Device(e.header.key.did()),
            Form::Jws(j) => SourceId::Device(j.header.key.did()),
        }
    }

    /// The signing device; `None` for a token message.
    #[must_use]
    pub fn device(&self) -> Option<Did> {
        self.header().map(|h| h.key.did())
    }

    /// What kind of event it is.
    #[must_use]
    pub const fn event_type(&self) -> &EventType {
        match &self.form {
            Form::Envelope(e) => &e.header.event_type,
            Form::Jws(j) => &j.header.event_type,
            Form::Token(t) => &t.event_type,
        }
    }

    /// The device's sequence number; `None` for a token message.
    #[must_use]
    pub fn sequence(&self) -> Option<Sequence> {
        self.header().map(|h| h.sequence)
    }

    /// The sender's time; [`Timestamp::NONE`] if it gave none.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        match &self.form {
            Form::Envelope(e) => e.header.time,
            Form::Jws(j) => j.header.time,
            Form::Token(t) => t.time,
        }
    }

    /// The bytes that an applet gets.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.form {
            Form::Envelope(e) => &e.payload,
            Form::Jws(j) => &j.payload,
            Form::Token(t) => &t.payload,
        }
    }

    /// Checks the signature with `key`, which the caller has found under the header's key id.
    ///
    /// # Errors
    /// [`Invalid`] if there is no signature, it is of another algorithm than the key's, or it is wrong.
    pub fn verify(&self, key: &PublicKey) -> Result<(), Invalid> {
        match &self.form {
            Form::Envelope(e) => key.verify(&e.header.to_canonical(), &e.signature),
            Form::Jws(j) if j.algorithm != key.algorithm() => {
                let why = format!("the header says {}, the registered key is {}", j.algorithm, key.algorithm());
                Err(Invalid::new("signature", why))
            }
            Form::Jws(j) => key.verify(j.signing_input(), &j.signature),
            Form::Token(_) => Err(Invalid::new("signature", "a token message has none")),
        }
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

impl Canonical for Record {
    const DOMAIN: &'static str = "w3b/record";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        match &self.form {
            Form::Envelope(form) => e.u64(0).item(form),
            Form::Jws(form) => e.u64(1).item(form),
            Form::Token(form) => e.u64(2).item(form),
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let form = match d.u64()? {
            0 => Form::Envelope(d.item()?),
            1 => Form::Jws(d.item()?),
            2 => Form::Token(d.item()?),
            n => return Err(Malformed::new(Self::DOMAIN, format!("has the unknown form {n}"))),
        };
        Ok(Self::new(form))
    }
}
