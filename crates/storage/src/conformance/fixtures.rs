//! Items to store. Everything is derived from small numbers, so that a failure can be read.

use w3bstream_types::{
    Algorithm, Did, Digest, Draft, Form, Jws, ProjectId, Record, SecretKey, Sequence, SessionClaims,
    SessionMessage, SessionToken, Timestamp, TokenMessage, TriggerMessage, Trust, token_hash,
};

use super::Failure;
use crate::Item;

/// A message to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which project.
    pub project: u8,
    /// Which device, or which publisher.
    pub source: u8,
    /// The sequence number; of a token message the event id.
    pub sequence: u64,
    /// The event type.
    pub event_type: &'static str,
    /// The payload.
    pub payload: Vec<u8>,
    /// When it was received, in milliseconds.
    pub received_at: u64,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            project: 1,
            source: 1,
            sequence: 0,
            event_type: "reading",
            payload: b"21.5".to_vec(),
            received_at: 1_700_000_000_000,
        }
    }
}

/// The id of project number `n`.
#[must_use]
pub fn project(n: u8) -> ProjectId {
    ProjectId(Digest::tagged("conformance/project", &[&[n]]))
}

/// The message of project 1, device 1 with this sequence number.
///
/// # Errors
/// [`Failure`] if the fixtures themselves are broken.
pub fn numbered(sequence: u64) -> Result<Item, Failure> {
    Message { sequence, ..Message::default() }.envelope()
}

impl Message {
    /// As a signed envelope.
    ///
    /// # Errors
    /// [`Failure`] if the fixtures themselves are broken, as for all of them.
    pub fn envelope(&self) -> Result<Item, Failure> {
        let (draft, key) = self.draft()?;
        let salt = [self.source; 16];
        Ok(self.item(Form::Envelope(draft.sign_envelope(salt, &key)), Trust::Signature))
    }

    /// As a signed JWS.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn jws(&self) -> Result<Item, Failure> {
        let (draft, key) = self.draft()?;
        let jws = Jws::parse(&draft.sign_jws(&key)).map_err(broken)?;
        Ok(self.item(Form::Jws(jws), Trust::Signature))
    }

    /// With a token.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn token(&self) -> Result<Item, Failure> {
        let message = TokenMessage {
            project: project(self.project),
            publisher: format!("publisher-{}", self.source).parse().map_err(broken)?,
            event_id: format!("event-{}", self.sequence),
            event_type: self.event_type.parse().map_err(broken)?,
            time: Timestamp::NONE,
            payload: self.payload.clone(),
            token_hash: token_hash("secret"),
        };
        Ok(self.item(Form::Token(message), Trust::Token))
    }

    /// In a session that the device has opened with a node.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn session(&self) -> Result<Item, Failure> {
        let node = SecretKey::from_bytes(Algorithm::EdDSA, &[99; 32]).map_err(broken)?;
        let (draft, _) = self.draft()?;
        let claims = SessionClaims {
            audience: draft.audience,
            device: draft.key.did(),
            node: Did::key(&node.public()),
            issued: 1_600_000_000,
            expires: 1_600_003_600,
            id: "session".into(),
        };
        let input = claims.signing_input().map_err(broken)?;
        let token = SessionToken::assemble(&input, &node.sign(input.as_bytes())).map_err(broken)?;
        let message = SessionMessage {
            project: draft.audience,
            device: claims.device,
            event_id: format!("event-{}", self.sequence),
            event_type: draft.event_type,
            time: Timestamp::NONE,
            payload: draft.payload,
            token,
        };
        Ok(self.item(Form::Session(message), Trust::Session))
    }

    /// Of a trigger.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn trigger(&self) -> Result<Item, Failure> {
        let message = TriggerMessage {
            project: project(self.project),
            trigger: format!("trigger-{}", self.source).parse().map_err(broken)?,
            event_id: format!("event-{}", self.sequence),
            event_type: self.event_type.parse().map_err(broken)?,
            time: Timestamp(1_600_000_000_000),
            payload: self.payload.clone(),
        };
        Ok(self.item(Form::Trigger(message), Trust::Observed))
    }

    fn draft(&self) -> Result<(Draft, SecretKey), Failure> {
        let key = SecretKey::from_bytes(Algorithm::EdDSA, &[self.source; 32]).map_err(broken)?;
        let draft = Draft {
            audience: project(self.project),
            key: Did::key(&key.public()).default_key_id(),
            event_type: self.event_type.parse().map_err(broken)?,
            sequence: Sequence::from_u64(self.sequence),
            time: Timestamp(1_600_000_000_000),
            payload: self.payload.clone(),
        };
        Ok((draft, key))
    }

    fn item(&self, form: Form, trust: Trust) -> Item {
        Item { record: Record::new(form), trust, received_at: Timestamp(self.received_at) }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn broken(e: w3bstream_types::Malformed) -> Failure {
    Failure::new(format!("the kit's own fixture is broken: {e}"))
}
