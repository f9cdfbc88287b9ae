//! Values to write. Everything is derived from small numbers, so that a failure can be read. Signatures of
//! blocks and attestations are made up: a journal does not check them.

use w3bstream_types::{
    Algorithm, Attestation, Block, Certificate, CertifiedBlock, Control, ControlTx, Did, Digest, Entry,
    Genesis, Member, MessageId, Place as At, ProjectId, SecretKey, Statement, Timestamp,
};

use super::Failure;
use crate::OutboxId;

/// The id of project number `n`.
#[must_use]
pub fn project(n: u8) -> ProjectId {
    ProjectId(digest("project", n.into()))
}

fn digest(what: &str, n: u64) -> Digest {
    Digest::tagged("conformance/journal", &[what.as_bytes(), &n.to_be_bytes()])
}

/// The id of message number `n`.
#[must_use]
pub fn message(n: u64) -> MessageId {
    MessageId(digest("message", n))
}

/// Side effect `index` of block `height` of project `p`.
#[must_use]
pub fn effect(p: u8, height: u64, index: u64) -> OutboxId {
    OutboxId { project: project(p), height, index }
}

fn key(algorithm: Algorithm, n: u8) -> Result<SecretKey, Failure> {
    SecretKey::from_bytes(algorithm, &[n; 32])
        .map_err(|e| Failure::new(format!("the kit's own fixture is broken: {e}")))
}

/// A genesis of project `p`, made at time `t`.
///
/// # Errors
/// [`Failure`] if the fixtures themselves are broken, as for all of them.
pub fn genesis(p: u8, t: u64) -> Result<Genesis, Failure> {
    let (consensus, attestation) = (key(Algorithm::EdDSA, 1)?, key(Algorithm::ES256K, 2)?);
    let member = Member::sign(Did::key(&consensus.public()), &consensus, &attestation);
    Ok(Genesis {
        project: project(p),
        backend: "solo".into(),
        abi_version: 1,
        epoch: 0,
        created: Timestamp(t),
        members: vec![member],
    })
}

/// A block at `height` with these entries.
#[must_use]
pub fn block(height: u64, entries: Vec<Entry>) -> CertifiedBlock {
    let at = At {
        genesis: digest("genesis", 0),
        epoch: 0,
        height,
        parent: digest("parent", height),
        time: Timestamp(1000 + height),
        proposer: 0,
    };
    let block = Block::new(at, entries);
    let certificate =
        Certificate { epoch: 0, height, block: block.id(), signatures: vec![(0, [height as u8; 64])] };
    CertifiedBlock { block, certificate }
}

/// A block at `height` that orders these messages.
#[must_use]
pub fn block_of(height: u64, messages: &[u64]) -> CertifiedBlock {
    block(height, messages.iter().map(|n| Entry::Message(message(*n))).collect())
}

/// An attestation of `height` of project `p`; `root` tells two of one height apart.
#[must_use]
pub fn attestation(p: u8, height: u64, root: u64) -> Attestation {
    let statement = Statement {
        subnet: project(p),
        genesis: digest("genesis", 0),
        epoch: 0,
        height,
        block: digest("block", height),
        manifest: Digest::ZERO,
        state_root: digest("root", root),
        outputs_root: digest("outputs", height),
    };
    Attestation { statement, signatures: vec![(0, [7; 65])] }
}

/// A control transaction of project `p` that revokes device number `device`.
///
/// # Errors
/// [`Failure`].
pub fn control(p: u8, nonce: u64, device: u8) -> Result<ControlTx, Failure> {
    let revoked = Did::key(&key(Algorithm::EdDSA, device)?.public());
    let owner = key(Algorithm::EdDSA, 3)?;
    Ok(ControlTx::sign(project(p), nonce, Control::RevokeDevice(revoked), &owner))
}
