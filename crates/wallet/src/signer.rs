//! Keys by role.

use std::fmt::Debug;
use std::str::FromStr;

use w3bstream_types::{Algorithm, Did, Digest, Malformed, Member, ProjectId, PublicKey, SecretKey};

use crate::{Error, ErrorKind};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The node's own DID (Ed25519).
    Node,
    /// Blocks and votes (Ed25519).
    Consensus,
    /// Attestations (secp256k1).
    Attestation,
    /// The owner of projects that are deployed from this machine (Ed25519).
    Owner,
    /// What the accounts are derived from that pay for a project's transactions (secp256k1); see
    /// [`Signer::fee_key`].
    Fees,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Node, Self::Consensus, Self::Attestation, Self::Owner, Self::Fees];

    /// The stable name in key files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Consensus => "consensus",
            Self::Attestation => "attestation",
            Self::Owner => "owner",
            Self::Fees => "fees",
        }
    }

    /// The algorithm of the role's key.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Node | Self::Consensus | Self::Owner => Algorithm::EdDSA,
            Self::Attestation | Self::Fees => Algorithm::ES256K,
        }
    }
}

impl FromStr for Role {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|r| r.name() == s).ok_or_else(|| {
            Malformed::new("role", format!("{s:?} is not node, consensus, attestation, owner or fees"))
        })
    }
}

/// Signs in the name of a role. May block (a KMS): callers on async threads hand it to a blocking one.
pub trait Signer: Send + Sync + Debug {
    /// The public key of a role.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] if the wallet holds none.
    fn public(&self, role: Role) -> Result<PublicKey, Error>;

    /// Signs bytes; see [`w3bstream_types::SecretKey::sign`].
    ///
    /// # Errors
    /// [`Error`].
    fn sign(&self, role: Role, message: &[u8]) -> Result<[u8; 64], Error>;

    /// Signs a hash as Ethereum does: `r ‖ s ‖ v` with `v` 27 or 28 and a low `s`. Only for secp256k1 roles.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for a role with a key of another curve; else [`Error`].
    fn sign_recoverable(&self, role: Role, hash: &[u8; 32]) -> Result<[u8; 65], Error>;

    /// The public key of the account that pays for a project's transactions. Each project has its own, so that
    /// one cannot spend what another was given, nor use its nonces.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] if the wallet has no key for [`Role::Fees`]; else [`Error`].
    fn fee_key(&self, project: ProjectId) -> Result<PublicKey, Error>;

    /// Signs a transaction's hash with the key of [`Self::fee_key`]: `r ‖ s ‖ v` with `v` 27 or 28 and a low `s`.
    ///
    /// # Errors
    /// As [`Self::fee_key`].
    fn sign_fee(&self, project: ProjectId, hash: &[u8; 32]) -> Result<[u8; 65], Error>;
}

/// The key of a project's fee account: SHA-256 over the master key of [`Role::Fees`] and the project, with a domain
/// of its own. For signers that hold the master key.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] if that is no scalar of the curve, which happens for one project in 2^127.
pub fn project_fee_key(master: &SecretKey, project: ProjectId) -> Result<SecretKey, Error> {
    let secret = Digest::tagged("w3b/fee-key/1", &[&master.to_bytes(), project.0.as_bytes()]);
    SecretKey::from_bytes(Algorithm::ES256K, secret.as_bytes())
        .map_err(|e| Error::new(ErrorKind::Corrupt, "the project's fee key").with_source(e))
}

/// The did:key of the node's own key.
///
/// # Errors
/// Those of [`Signer::public`].
pub fn node_did(signer: &dyn Signer) -> Result<Did, Error> {
    signer.public(Role::Node).map(|key| Did::key(&key))
}

/// A genesis entry: the consensus and the attestation key of `signer` vouch for each other and for `did`.
///
/// # Errors
/// Those of the signer, and [`crate::ErrorKind::Corrupt`] if it signs with other keys than it names.
pub fn member(signer: &dyn Signer, did: Did) -> Result<Member, Error> {
    let (consensus, attestation) = (signer.public(Role::Consensus)?, signer.public(Role::Attestation)?);
    let input = Member::cross_input(&did, &consensus, &attestation);
    let by = |role: Role, key: &PublicKey| {
        let signature = signer.sign(role, &input)?;
        let checked = key.verify(&input, &signature).map_err(|e| {
            let what = format!("the wallet's {} key does not match its signatures", role.name());
            Error::new(ErrorKind::Corrupt, what).with_source(e)
        });
        checked.map(|()| signature)
    };
    let by_consensus = by(Role::Consensus, &consensus)?;
    let by_attestation = by(Role::Attestation, &attestation)?;
    Ok(Member { did, consensus, attestation, by_consensus, by_attestation })
}
