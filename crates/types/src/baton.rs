//! Batons: what one room hands to the next. Each contains the evidence that the room before gave, and its
//! constructor checks that evidence where that is pure. So "stored before checked" does not compile:
//!
//! ```compile_fail,E0308
//! # use w3bstream_types::*;
//! fn store_unchecked(received: Received) -> Stored {
//!     Stored::new(received, Position(1)) // expects Verified
//! }
//! ```
//!
//! and neither does ordering what is not stored:
//!
//! ```compile_fail,E0308
//! # use w3bstream_types::*;
//! fn order_unstored(verified: Verified, block: &Block) -> Result<Ordered, Invalid> {
//!     Ordered::new(verified, block, 0) // expects Stored
//! }
//! ```
//!
//! nor executing what is not ordered:
//!
//! ```compile_fail,E0308
//! # use w3bstream_types::*;
//! fn execute_unordered(block: Block, stored: Vec<Stored>) -> Result<Executed, Invalid> {
//!     Executed::new(block, stored, Digest::ZERO, Digest::ZERO, vec![]) // expects Vec<Ordered>
//! }
//! ```
//!
//! nor attesting what was not executed:
//!
//! ```compile_fail,E0308
//! # use w3bstream_types::*;
//! fn attest_unexecuted(block: &Block, a: Attestation, g: &Genesis) -> Result<Attested, Invalid> {
//!     Attested::new(block, a, g) // expects &Executed
//! }
//! ```
//!
//! nor making one up from its fields, which are private:
//!
//! ```compile_fail,E0451
//! # use w3bstream_types::*;
//! fn forge(record: Record) -> Verified {
//!     Verified { record, trust: Trust::Signature, received_at: Timestamp(0) }
//! }
//! ```
//!
//! This guards against mistakes, not against a hostile integrator, who can always write other code.

use std::fmt;

use crate::{
    Attestation, Block, Did, Digest, Entry, EventType, Form, Genesis, Invalid, Manifest, Output, ProjectId,
    ProjectName, PublicKey, PublisherName, Record, SessionMessage, SessionToken, Statement, Timestamp,
    TokenMessage, TriggerMessage, message, output,
};

/// What a sender handed in, not yet judged.
#[derive(Clone, PartialEq, Eq)]
pub enum Submission {
    /// A message with its own signature.
    Signed(Record),
    /// A raw body with a publisher token.
    Token {
        /// The token, a secret.
        token: String,
        /// The sender's own id of the event.
        event_id: String,
        /// What kind of event it is.
        event_type: EventType,
        /// The sender's time; [`Timestamp::NONE`] if it gave none.
        time: Timestamp,
        /// The bytes that an applet gets.
        payload: Vec<u8>,
    },
    /// A raw body with the JWT of a device's session.
    Session {
        /// The JWT, a secret.
        token: String,
        /// The device's own id of the event.
        event_id: String,
        /// What kind of event it is.
        event_type: EventType,
        /// The device's time; [`Timestamp::NONE`] if it gave none.
        time: Timestamp,
        /// The bytes that an applet gets.
        payload: Vec<u8>,
    },
}

impl Submission {
    /// The id of a signed message; that of others names their publisher, which a token only leads to.
    #[must_use]
    pub const fn signed_id(&self) -> Option<crate::MessageId> {
        match self {
            Self::Signed(record) => Some(record.id()),
            Self::Token { .. } | Self::Session { .. } => None,
        }
    }

    /// A message with its own signature, if it is one.
    #[must_use]
    pub const fn signed(&self) -> Option<&Record> {
        match self {
            Self::Signed(record) => Some(record),
            Self::Token { .. } | Self::Session { .. } => None,
        }
    }

    /// An event of whoever bears a secret: the JWT of a device's session if it looks like one, else a publisher's token.
    #[must_use]
    pub fn of_bearer(
        token: String,
        event_id: String,
        event_type: EventType,
        (time, payload): (Timestamp, Vec<u8>),
    ) -> Self {
        if crate::SessionToken::looks_like(&token) {
            Self::Session { token, event_id, event_type, time, payload }
        } else {
            Self::Token { token, event_id, event_type, time, payload }
        }
    }

    /// The bytes that an applet gets.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Signed(record) => record.payload(),
            Self::Token { payload, .. } | Self::Session { payload, .. } => payload,
        }
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(record) => f.debug_tuple("Signed").field(&record.id()).finish(),
            // The token is a secret.
            Self::Token { event_id, .. } => write!(f, "Token {{ event_id: {event_id:?}, .. }}"),
            Self::Session { event_id, .. } => write!(f, "Session {{ event_id: {event_id:?}, .. }}"),
        }
    }
}

/// Bytes that an endpoint has read as a message. Nobody has judged them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The project that the sender addressed, by topic or path.
    pub project: ProjectName,
    /// The message.
    pub submission: Submission,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// What the identity of a message's sender rests on. Ordered: the first is the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// Whoever held the publisher's token, as this node says.
    Token,
    /// The device showed its key to the node when the session began; the node vouches for each message. More than a
    /// token, which shows nobody's key; less than what all nodes see for themselves, since it is one node's word.
    Session,
    /// What the project's nodes see of a chain or of the time, each for itself.
    Observed,
    /// The device's signature.
    Signature,
}

impl Trust {
    /// The number by which it is kept; the same for ever.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Token => 0,
            Self::Signature => 1,
            Self::Observed => 2,
            Self::Session => 3,
        }
    }

    /// What is kept by this number; `None` if nothing is.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Token),
            1 => Some(Self::Signature),
            2 => Some(Self::Observed),
            3 => Some(Self::Session),
            _ => None,
        }
    }
}

/// A message whose sender was checked against the project's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    record: Record,
    trust: Trust,
    received_at: Timestamp,
}

impl Verified {
    /// Checks the record's signature with the key that the registry holds for its device.
    ///
    /// # Errors
    /// [`Invalid`] if the signature is not that key's.
    pub fn by_signature(record: Record, key: &PublicKey, received_at: Timestamp) -> Result<Self, Invalid> {
        record.verify(key)?;
        Ok(Self { record, trust: Trust::Signature, received_at })
    }

    /// Checks a token against the hash that the registry holds for `publisher`, and makes the record.
    ///
    /// # Errors
    /// [`Invalid`] if it is not that token, the submission carries none, or its event id is malformed.
    pub fn by_token(
        submission: Submission,
        (project, publisher, registered): (ProjectId, PublisherName, Digest),
        received_at: Timestamp,
    ) -> Result<Self, Invalid> {
        let Submission::Token { token, event_id, event_type, time, payload } = submission else {
            return Err(Invalid::new("token", "a signed message carries none"));
        };
        message::check_event_id(&event_id).map_err(|e| Invalid::new("event id", e.why))?;
        let token_hash = message::token_hash(&token);
        if token_hash != registered {
            return Err(Invalid::new("token", "is not the registered one"));
        }
        let message = TokenMessage { project, publisher, event_id, event_type, time, payload, token_hash };
        Ok(Self { record: Record::new(Form::Token(message)), trust: Trust::Token, received_at })
    }

    /// Checks the JWT of a device's session, and makes the record. `registered` is the device as the registry holds it,
    /// `members` are the DIDs of the subnet's members.
    ///
    /// # Errors
    /// [`Invalid`] if it is not of this project and device, no member signed it, it was not in force when the message
    /// arrived, the submission carries none, or its event id is malformed.
    pub fn by_session(
        submission: Submission,
        (project, members, registered): (ProjectId, &[Did], &Did),
        received_at: Timestamp,
    ) -> Result<Self, Invalid> {
        let Submission::Session { token, event_id, event_type, time, payload } = submission else {
            return Err(Invalid::new("session", "the message carries none"));
        };
        let bad = |e: crate::Malformed| Invalid::new("session", e.to_string());
        let token = SessionToken::parse(&token).map_err(bad)?;
        token.verify(members)?;
        if !token.in_force(received_at) {
            return Err(Invalid::new("session", format!("ended at {} ms", token.expires().0)));
        }
        let device = registered.clone();
        let message = SessionMessage { project, device, event_id, event_type, time, payload, token };
        message.check().map_err(bad)?;
        Ok(Self { record: Record::new(Form::Session(message)), trust: Trust::Session, received_at })
    }

    /// Checks that the manifest has the trigger that fired, and that the message is as that trigger's are.
    ///
    /// # Errors
    /// [`Invalid`] if it has none of this name, or one of another project or event type.
    pub fn by_trigger(
        message: TriggerMessage,
        manifest: &Manifest,
        received_at: Timestamp,
    ) -> Result<Self, Invalid> {
        message::check_event_id(&message.event_id).map_err(|e| Invalid::new("event id", e.why))?;
        if !manifest.allows(&message) {
            let why = format!("{} of {} has no such trigger", message.trigger, manifest.name);
            return Err(Invalid::new("trigger", why));
        }
        Ok(Self { record: Record::new(Form::Trigger(message)), trust: Trust::Observed, received_at })
    }

    /// The message.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// What the sender's identity rests on.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// When it arrived at this node.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.received_at
    }
}

/// A record's place in this node's store: rises with each append, never used twice. Local to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// A message that is durable on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    verified: Verified,
    position: Position,
}

impl Stored {
    /// Made by the storage room's wrapper, after the backend has said that the record is durable.
    #[must_use]
    pub const fn new(verified: Verified, position: Position) -> Self {
        Self { verified, position }
    }

    /// Made by the storage room's wrapper, from what a backend has read: it was verified before it was
    /// stored, and its id binds its bytes.
    #[must_use]
    pub const fn from_store(
        record: Record,
        trust: Trust,
        received_at: Timestamp,
        position: Position,
    ) -> Self {
        Self { verified: Verified { record, trust, received_at }, position }
    }

    /// The message.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.verified.record
    }

    /// What the sender's identity rests on.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.verified.trust
    }

    /// When it arrived at this node.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.verified.received_at
    }

    /// Its place in this node's store.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }
}

/// A stored message with its place in a final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    stored: Stored,
    block: Digest,
    height: u64,
    index: u64,
}

impl Ordered {
    /// Checks that entry `index` of `block` names this message.
    ///
    /// # Errors
    /// [`Invalid`] with link `order`.
    pub fn new(stored: Stored, block: &Block, index: u64) -> Result<Self, Invalid> {
        let entry = usize::try_from(index).ok().and_then(|i| block.entries().get(i));
        if entry != Some(&Entry::Message(stored.record().id())) {
            let why =
                format!("entry {index} of block {} is not {}", block.header().height, stored.record().id());
            return Err(Invalid::new("order", why));
        }
        Ok(Self { stored, block: block.id(), height: block.header().height, index })
    }

    /// The message.
    #[must_use]
    pub const fn record(&self) -> &Record {
        self.stored.record()
    }

    /// The stored message.
    #[must_use]
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The height of its block.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// Its place in its block.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }
}

/// A final block and what executing it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    block: Block,
    manifest: Digest,
    state_root: Digest,
    outputs: Vec<Output>,
    outputs_root: Digest,
}

impl Executed {
    /// Checks that `ordered` are exactly the block's messages, in order, and computes the outputs' root.
    ///
    /// # Errors
    /// [`Invalid`] with link `execution`.
    pub fn new(
        block: Block,
        ordered: Vec<Ordered>,
        manifest: Digest,
        state_root: Digest,
        outputs: Vec<Output>,
    ) -> Result<Self, Invalid> {
        let messages = (0..).zip(block.entries()).filter(|(_, e)| matches!(e, Entry::Message(_)));
        let places: Vec<u64> = messages.map(|(i, _)| i).collect();
        let (id, given): (_, Vec<u64>) = (block.id(), ordered.iter().map(Ordered::index).collect());
        if places != given || ordered.iter().any(|o| o.block != id) {
            return Err(Invalid::new("execution", "the messages are not those of the block"));
        }
        let outputs_root = output::outputs_root(&outputs);
        Ok(Self { block, manifest, state_root, outputs, outputs_root })
    }

    /// The block.
    #[must_use]
    pub const fn block(&self) -> &Block {
        &self.block
    }

    /// The outputs, in order.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// What this node attests.
    #[must_use]
    pub fn statement(&self, subnet: ProjectId) -> Statement {
        let header = self.block.header();
        Statement {
            subnet,
            genesis: header.genesis,
            epoch: header.epoch,
            height: header.height,
            block: self.block.id(),
            manifest: self.manifest,
            state_root: self.state_root,
            outputs_root: self.outputs_root,
        }
    }
}

/// An executed block whose results a quorum has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    attestation: Attestation,
}

impl Attested {
    /// Checks that a quorum of the genesis' members signed what this node found.
    ///
    /// # Errors
    /// [`Invalid`] if the quorum is short, a signature wrong, or the results differ from ours.
    pub fn new(executed: &Executed, attestation: Attestation, genesis: &Genesis) -> Result<Self, Invalid> {
        if attestation.statement != executed.statement(genesis.project) {
            return Err(Invalid::new("attestation", "differs from what this node found"));
        }
        attestation.verify(genesis)?;
        Ok(Self { attestation })
    }

    /// The statement and its signatures.
    #[must_use]
    pub const fn attestation(&self) -> &Attestation {
        &self.attestation
    }
}
