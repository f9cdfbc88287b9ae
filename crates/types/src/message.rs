//! A device message: what is signed, in which forms it arrives, and the record that is kept of it.

use serde::{Deserialize, Serialize};

use crate::{
    Canonical, Decoder, Did, Digest, Encoder, EventType, Invalid, Jws, KeyId, Malformed, MessageId,
    ProjectId, PublicKey, PublisherName, SecretKey, Sequence, SessionMessage, SourceId, Timestamp,
    TriggerMessage,
};

/// The largest payload that the formats carry, in bytes. Nodes and projects set lower limits.
pub const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;
/// The longest event id of a token message, in bytes.
pub const MAX_EVENT_ID_BYTES: usize = 128;

/// What a device signs. Its canonical bytes are the signing input of the envelope form.
///
/// The payload itself is not here, only its salted digest, so that a payload (and its salt) can be erased
/// and the signature still verifies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// A payload has at most [`MAX_PAYLOAD_BYTES`].
pub(crate) fn check_payload(payload: &[u8]) -> Result<(), Malformed> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Malformed::new("payload", format!("has {} bytes, 8 MiB is the most", payload.len())));
    }
    Ok(())
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

    pub(crate) fn header(&self, salt: &[u8]) -> MessageHeader {
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
    /// changed payload or salt changes the signing input. A payload above [`MAX_PAYLOAD_BYTES`] makes an
    /// envelope that no reader takes.
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
        check_payload(&payload)?;
        if header.payload_digest != payload_digest(&salt, &payload) {
            return Err(Malformed::new(Self::DOMAIN, "the payload is not the one of the header's digest"));
        }
        Ok(Self { header, salt, payload, signature })
    }
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
        check_payload(&message.payload)?;
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
    /// No device: a trigger of the project.
    Trigger(TriggerMessage),
    /// A device's session instead of a signature.
    Session(SessionMessage),
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
            Form::Trigger(t) => MessageId::of_trigger(&t.header()),
            Form::Session(s) => MessageId::of_session_event(&s.project, &s.device, &s.event_id),
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

    /// The signed header; `None` for a message without a signature.
    #[must_use]
    pub const fn header(&self) -> Option<&MessageHeader> {
        match &self.form {
            Form::Envelope(e) => Some(&e.header),
            Form::Jws(j) => Some(j.header()),
            Form::Token(_) | Form::Trigger(_) | Form::Session(_) => None,
        }
    }

    /// The project that the message is for.
    #[must_use]
    pub const fn project(&self) -> ProjectId {
        match &self.form {
            Form::Envelope(e) => e.header.audience,
            Form::Jws(j) => j.header().audience,
            Form::Token(t) => t.project,
            Form::Trigger(t) => t.project,
            Form::Session(s) => s.project,
        }
    }

    /// The device, publisher or trigger.
    #[must_use]
    pub fn source(&self) -> SourceId {
        match &self.form {
            Form::Token(t) => SourceId::Publisher(t.publisher.clone()),
            Form::Trigger(t) => SourceId::Trigger(t.trigger.clone()),
            Form::Envelope(e) => SourceId::Device(e.header.key.did()),
            Form::Jws(j) => SourceId::Device(j.header().key.did()),
            Form::Session(s) => SourceId::Device(s.device.clone()),
        }
    }

    /// The signing device; `None` for a message without a signature.
    #[must_use]
    pub fn device(&self) -> Option<Did> {
        self.header().map(|h| h.key.did())
    }

    /// The device that the message is of: the one that signed it, or whose session it came in.
    #[must_use]
    pub fn of_device(&self) -> Option<Did> {
        match self.source() {
            SourceId::Device(did) => Some(did),
            SourceId::Publisher(_) | SourceId::Trigger(_) => None,
        }
    }

    /// What kind of event it is.
    #[must_use]
    pub const fn event_type(&self) -> &EventType {
        match &self.form {
            Form::Envelope(e) => &e.header.event_type,
            Form::Jws(j) => &j.header().event_type,
            Form::Token(t) => &t.event_type,
            Form::Trigger(t) => &t.event_type,
            Form::Session(s) => &s.event_type,
        }
    }

    /// The device's sequence number; `None` for a message without a signature.
    #[must_use]
    pub fn sequence(&self) -> Option<Sequence> {
        self.header().map(|h| h.sequence)
    }

    /// The sender's time; [`Timestamp::NONE`] if it gave none.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        match &self.form {
            Form::Envelope(e) => e.header.time,
            Form::Jws(j) => j.header().time,
            Form::Token(t) => t.time,
            Form::Trigger(t) => t.time,
            Form::Session(s) => s.time,
        }
    }

    /// The bytes that an applet gets.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.form {
            Form::Envelope(e) => &e.payload,
            Form::Jws(j) => j.payload(),
            Form::Token(t) => &t.payload,
            Form::Trigger(t) => &t.payload,
            Form::Session(s) => &s.payload,
        }
    }

    /// The salt of an envelope's payload, which its sender and the members know and nobody else.
    #[must_use]
    pub const fn salt(&self) -> Option<&[u8; 16]> {
        match &self.form {
            Form::Envelope(e) => Some(&e.salt),
            Form::Jws(_) | Form::Token(_) | Form::Trigger(_) | Form::Session(_) => None,
        }
    }

    /// Checks the signature with `key`, which the caller has found under the header's key id.
    ///
    /// # Errors
    /// [`Invalid`] if there is no signature, it is of another algorithm than the key's, or it is wrong.
    pub fn verify(&self, key: &PublicKey) -> Result<(), Invalid> {
        match &self.form {
            Form::Envelope(e) => key.verify(&e.header.to_canonical(), &e.signature),
            Form::Jws(j) => j.verify(key),
            Form::Token(_) => Err(Invalid::new("signature", "a token message has none")),
            Form::Trigger(_) => Err(Invalid::new("signature", "a trigger's message has none")),
            Form::Session(_) => Err(Invalid::new("signature", "a session's message has none")),
        }
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
            Form::Trigger(form) => e.u64(3).item(form),
            Form::Session(form) => e.u64(4).item(form),
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let form = match d.u64()? {
            0 => Form::Envelope(d.item()?),
            1 => Form::Jws(d.item()?),
            2 => Form::Token(d.item()?),
            3 => Form::Trigger(d.item()?),
            4 => Form::Session(d.item()?),
            n => return Err(Malformed::new(Self::DOMAIN, format!("has the unknown form {n}"))),
        };
        Ok(Self::new(form))
    }
}
