//! Keys by role.

use std::fmt::Debug;
use std::str::FromStr;

use w3bstream_types::{Algorithm, Did, Malformed, Member, PublicKey};

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
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Node, Self::Consensus, Self::Attestation, Self::Owner];

    /// The stable name in key files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Consensus => "consensus",
            Self::Attestation => "attestation",
            Self::Owner => "owner",
        }
    }

    /// The algorithm of the role's key.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Node | Self::Consensus | Self::Owner => Algorithm::EdDSA,
            Self::Attestation => Algorithm::ES256K,
        }
    }
}

impl FromStr for Role {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|r| r.name() == s).ok_or_else(|| {
            Malformed::new("role", format!("{s:?} is not node, consensus, attestation or owner"))
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
