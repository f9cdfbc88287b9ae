//! Keys by role.

use std::fmt::Debug;

use w3bstream_types::{PublicKey};

use crate::Error;

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

    /// Signs a hash as Ethereum does: `r ‖ s ‖ v`. Only for secp256k1 roles.
    ///
    /// # Errors
    /// [`Error`].
    fn sign_recoverable(&self, role: Role, hash: &[u8; 32]) -> Result<[u8; 65], Error>;
}
