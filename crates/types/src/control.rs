//! Control transactions: what changes a project's replicated registry. Signed by the owner and ordered
//! like data, so that every node judges every message against the same registry.

use crate::{
    Algorithm, Canonical, Decoder, Did, Digest, Encoder, EventType, Invalid, Malformed, Manifest, ProjectId,
    PublicKey, PublisherName, SecretKey,
};

/// A device as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRegistration {
    /// The device.
    pub device: Did,
    /// Its key, pinned: what the DID resolves to later does not matter.
    pub key: PublicKey,
    /// The event types that it may send; empty means all.
    pub event_types: Vec<EventType>,
}

impl DeviceRegistration {
    /// Checks that the key of a did:key or did:jwk is the one that the DID itself is. Another could sign, but
    /// whoever verifies a receipt takes the key from the DID.
    ///
    /// # Errors
    /// [`Malformed`] if it is another, or the DID holds none.
    pub fn check(&self) -> Result<(), Malformed> {
        if !matches!(self.device.method(), "key" | "jwk") || self.device.embedded_key()? == self.key {
            return Ok(());
        }
        Err(Malformed::new("device registration", format!("the key is not the one of {}", self.device)))
    }
}

/// A publisher token as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRegistration {
    /// The publisher's name.
    pub publisher: PublisherName,
    /// [`crate::token_hash`] of the token.
    pub token_hash: Digest,
    /// The event types that it may send; empty means all.
    pub event_types: Vec<EventType>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Deploys the project's first or next manifest.
    Deploy(Box<Manifest>),
    /// Registers a device, or replaces its registration (a revoked device stays revoked).
    RegisterDevice(DeviceRegistration),
    /// Revokes a device for ever.
    RevokeDevice(Did),
    /// Registers a publisher's token, or replaces it.
    RegisterToken(TokenRegistration),
    /// Revokes a publisher's token.
    RevokeToken(PublisherName),
    /// Removes the project, for ever: from its height on no message is taken, no handler runs and nothing else changes.
    /// What was attested before stays and is finished.
    Remove,
}

/// A change with the owner's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlTx {
    /// The project.
    pub project: ProjectId,
    /// Rises by one with each control transaction of the project, from 1: none can be replayed or skipped.
    pub nonce: u64,
    /// What changes.
    pub change: Control,
    /// The owner's signature over [`Self::signing_input`].
    pub signature: [u8; 64],
}

fn signing_input(project: &ProjectId, nonce: u64, change: &Control) -> Vec<u8> {
    let mut e = Encoder::new();
    e.array(4).text("w3b/control-signing/1").digest(&project.0).u64(nonce).item(change);
    e.into_bytes()
}

impl ControlTx {
    /// Signs a change with the owner's key.
    #[must_use]
    pub fn sign(project: ProjectId, nonce: u64, change: Control, owner: &SecretKey) -> Self {
        let signature = owner.sign(&signing_input(&project, nonce, &change));
        Self { project, nonce, change, signature }
    }

    /// The bytes that the owner signs.
    #[must_use]
    pub fn signing_input(&self) -> Vec<u8> {
        signing_input(&self.project, self.nonce, &self.change)
    }

    /// The transaction's id, without the signature.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::tagged("w3b/control/1", &[&self.signing_input()])
    }

    /// Checks the signature with the owner's key.
    ///
    /// # Errors
    /// [`Invalid`] if it is not the owner's.
    pub fn verify(&self, owner: &PublicKey) -> Result<(), Invalid> {
        owner
            .verify(&self.signing_input(), &self.signature)
            .map_err(|e| Invalid::new("control signature", e.why))
    }
}

fn encode_types(e: &mut Encoder, types: &[EventType]) {
    e.list(types, |e, t| {
        e.text(t.as_str());
    });
}

pub(crate) fn encode_key(e: &mut Encoder, key: &PublicKey) {
    e.text(key.algorithm().name()).bytes(key.as_bytes());
}

pub(crate) fn decode_key(d: &mut Decoder<'_>) -> Result<PublicKey, Malformed> {
    let algorithm: Algorithm = d.parse()?;
    PublicKey::new(algorithm, d.bytes()?)
}

impl Canonical for DeviceRegistration {
    const DOMAIN: &'static str = "w3b/device";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.device.as_str());
        encode_key(e, &self.key);
        encode_types(e, &self.event_types);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let registration =
            Self { device: d.parse()?, key: decode_key(d)?, event_types: d.list(|d| d.parse())? };
        registration.check()?;
        Ok(registration)
    }
}

impl Canonical for TokenRegistration {
    const DOMAIN: &'static str = "w3b/token";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.publisher.as_str()).digest(&self.token_hash);
        encode_types(e, &self.event_types);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { publisher: d.parse()?, token_hash: d.digest()?, event_types: d.list(|d| d.parse())? })
    }
}

impl Canonical for Control {
    const DOMAIN: &'static str = "w3b/change";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        match self {
            Self::Deploy(m) => e.u64(0).item(&**m),
            Self::RegisterDevice(r) => e.u64(1).item(r),
            Self::RevokeDevice(d) => e.u64(2).text(d.as_str()),
            Self::RegisterToken(r) => e.u64(3).item(r),
            Self::RevokeToken(p) => e.u64(4).text(p.as_str()),
            Self::Remove => e.u64(5).option(None::<&()>, |_, ()| {}),
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(match d.u64()? {
            0 => Self::Deploy(Box::new(d.item()?)),
            1 => Self::RegisterDevice(d.item()?),
            2 => Self::RevokeDevice(d.parse()?),
            3 => Self::RegisterToken(d.item()?),
            4 => Self::RevokeToken(d.parse()?),
            5 => match d.option(|d| d.u64())? {
                None => Self::Remove,
                Some(_) => return Err(Malformed::new(Self::DOMAIN, "a removal says nothing more")),
            },
            n => return Err(Malformed::new(Self::DOMAIN, format!("has the unknown kind {n}"))),
        })
    }
}

impl Canonical for ControlTx {
    const DOMAIN: &'static str = "w3b/control";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).u64(self.nonce).item(&self.change).bytes(&self.signature);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            project: ProjectId(d.digest()?),
            nonce: d.u64()?,
            change: d.item()?,
            signature: d.array()?,
        })
    }
}
