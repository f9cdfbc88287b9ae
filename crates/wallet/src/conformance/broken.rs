//! Wallets with one fault each. A kit that lets one of them pass is no kit.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use w3bstream_types::{Algorithm, Digest, ProjectId, PublicKey, SecretKey};

use super::Builder;
use crate::{Error, ErrorKind, MemorySigner, Role, Signer};

/// What is wrong with a [`Broken`] wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Consensus and owner have one key.
    SharedKey,
    /// What is signed is not the message but its first 32 bytes.
    SignsPrefix,
    /// The public key named for a role is not the one that it signs with.
    OtherPublicKey,
    /// The recovery byte of Ethereum signatures is flipped.
    FlippedV,
    /// Ed25519 roles answer with an Ethereum signature of the attestation key.
    AnyRoleRecovers,
    /// Every opening makes new keys.
    NewKeysOnReopen,
    /// The attestation key is an Ed25519 key.
    WrongCurve,
    /// `Debug` prints the private keys.
    PrintsSecrets,
    /// All projects pay from one account.
    SharedFees,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 9] = [
        Self::SharedKey,
        Self::SignsPrefix,
        Self::OtherPublicKey,
        Self::FlippedV,
        Self::AnyRoleRecovers,
        Self::NewKeysOnReopen,
        Self::WrongCurve,
        Self::PrintsSecrets,
        Self::SharedFees,
    ];
}

/// Builds wallets with one fault.
#[derive(Debug)]
pub struct Broken {
    fault: Fault,
    opened: AtomicU8,
}

impl Broken {
    /// A builder of wallets with this fault.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self { fault, opened: AtomicU8::new(0) }
    }
}

#[allow(clippy::expect_used, reason = "fixed seeds, which are known to give scalars")]
fn signer(seed: u8) -> MemorySigner {
    MemorySigner::from_seed([seed; 32]).expect("is a scalar")
}

impl Builder for Broken {
    fn open(&self) -> Box<dyn Signer> {
        let times = self.opened.fetch_add(1, Ordering::SeqCst);
        let seed = if self.fault == Fault::NewKeysOnReopen { times } else { 1 };
        Box::new(BrokenSigner { fault: self.fault, good: signer(seed), other: signer(200) })
    }

    fn secrets(&self) -> Vec<[u8; 32]> {
        let good = signer(1);
        Role::ALL.into_iter().filter_map(|r| good.secret(r).ok().map(SecretKey::to_bytes)).collect()
    }
}

struct BrokenSigner {
    fault: Fault,
    good: MemorySigner,
    other: MemorySigner,
}

impl BrokenSigner {
    fn role(&self, role: Role) -> Role {
        match (self.fault, role) {
            (Fault::SharedKey, Role::Owner) => Role::Consensus,
            (Fault::WrongCurve, Role::Attestation) => Role::Owner,
            _ => role,
        }
    }
}

impl BrokenSigner {
    fn payer(&self, project: ProjectId) -> ProjectId {
        if self.fault == Fault::SharedFees { ProjectId(Digest::ZERO) } else { project }
    }
}

impl fmt::Debug for BrokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fault == Fault::PrintsSecrets {
            let secrets = Role::ALL.map(|r| self.good.secret(r).map(SecretKey::to_bytes).ok());
            return secrets.fmt(f);
        }
        self.good.fmt(f)
    }
}

impl Signer for BrokenSigner {
    fn public(&self, role: Role) -> Result<PublicKey, Error> {
        let signer = if self.fault == Fault::OtherPublicKey { &self.other } else { &self.good };
        signer.public(self.role(role))
    }

    fn sign(&self, role: Role, message: &[u8]) -> Result<[u8; 64], Error> {
        let cut = if self.fault == Fault::SignsPrefix { message.len().min(32) } else { message.len() };
        self.good.sign(self.role(role), &message[..cut])
    }

    fn sign_recoverable(&self, role: Role, hash: &[u8; 32]) -> Result<[u8; 65], Error> {
        if role.algorithm() != Algorithm::ES256K && self.fault != Fault::AnyRoleRecovers {
            return Err(Error::new(ErrorKind::NotFound, "only attestation and fees have a secp256k1 key"));
        }
        let role = if self.fault == Fault::AnyRoleRecovers { Role::Attestation } else { role };
        let mut signature = self.good.sign_recoverable(role, hash)?;
        if self.fault == Fault::FlippedV {
            signature[64] ^= 7; // 27 is 0b11011, 28 is 0b11100
        }
        Ok(signature)
    }

    fn fee_key(&self, project: ProjectId) -> Result<PublicKey, Error> {
        self.good.fee_key(self.payer(project))
    }

    fn sign_fee(&self, project: ProjectId, hash: &[u8; 32]) -> Result<[u8; 65], Error> {
        self.good.sign_fee(self.payer(project), hash)
    }
}
