//! A subnet's genesis: who its members are and which rules they follow.

use serde::{Deserialize, Serialize};

use crate::control::decode_key;
use crate::{
    Address, Algorithm, Canonical, Decoder, Did, Digest, Encoder, Invalid, Malformed, ProjectId, PublicKey,
    SecretKey, Timestamp,
};

/// The most members that a subnet may have. Every member signs for every block, and checking a genesis takes
/// two signatures for each.
pub const MAX_MEMBERS: usize = 1024;

/// How many of `n` members must agree: ⌈(n+f+1)/2⌉ with f = ⌊(n−1)/3⌋ faulty ones. Any two quorums then
/// share at least f+1 members, for every n; the usual 2f+1 does not (n = 5, 6, 8, 9). Never 0: nothing is
/// agreed by nobody.
#[must_use]
pub const fn quorum(n: usize) -> usize {
    (n + n.saturating_sub(1) / 3 + 2) / 2
}

/// A member of a subnet. Its two keys vouch for each other, so neither can be claimed by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The node's DID.
    pub did: Did,
    /// Signs blocks and votes (Ed25519).
    pub consensus: PublicKey,
    /// Signs attestations (secp256k1), so that a contract checks them with `ecrecover`.
    pub attestation: PublicKey,
    /// The consensus key's signature over [`Self::cross_input`].
    #[serde(with = "crate::text::hex_bytes")]
    pub by_consensus: [u8; 64],
    /// The attestation key's signature over [`Self::cross_input`].
    #[serde(with = "crate::text::hex_bytes")]
    pub by_attestation: [u8; 64],
}

impl Member {
    /// What both keys sign.
    #[must_use]
    pub fn cross_input(did: &Did, consensus: &PublicKey, attestation: &PublicKey) -> Vec<u8> {
        let parts = [did.as_str().as_bytes(), consensus.as_bytes(), attestation.as_bytes()];
        Digest::tagged("w3b/member/1", &parts).as_bytes().to_vec()
    }

    /// Makes a member from its keys.
    #[must_use]
    pub fn sign(did: Did, consensus: &SecretKey, attestation: &SecretKey) -> Self {
        let (c, a) = (consensus.public(), attestation.public());
        let input = Self::cross_input(&did, &c, &a);
        let (by_consensus, by_attestation) = (consensus.sign(&input), attestation.sign(&input));
        Self { did, consensus: c, attestation: a, by_consensus, by_attestation }
    }

    /// The address that a contract sees.
    ///
    /// # Errors
    /// [`Malformed`] if the attestation key is not secp256k1.
    pub fn address(&self) -> Result<Address, Malformed> {
        Address::of_key(&self.attestation)
    }

    fn check(&self) -> Result<(), Invalid> {
        let bad = |why: String| Invalid::new("genesis", format!("member {}: {why}", self.did));
        let kinds = (self.consensus.algorithm(), self.attestation.algorithm());
        if kinds != (Algorithm::EdDSA, Algorithm::ES256K) {
            return Err(bad("must have an Ed25519 and a secp256k1 key".into()));
        }
        let input = Self::cross_input(&self.did, &self.consensus, &self.attestation);
        let signed = |key: &PublicKey, sig| key.verify(&input, sig);
        signed(&self.consensus, &self.by_consensus)
            .and_then(|()| signed(&self.attestation, &self.by_attestation))
            .map_err(|_| bad("its two keys do not vouch for each other".into()))
    }
}

/// The start of a subnet, or of one of its epochs. Its digest names the subnet in everything it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The project that the subnet serves.
    pub project: ProjectId,
    /// The consensus backend's name, such as `solo`.
    pub backend: String,
    /// Version of the guest ABI and of the gas table that all members run.
    #[serde(with = "crate::time::decimal")]
    pub abi_version: u64,
    /// The epoch that these members serve.
    #[serde(with = "crate::time::decimal")]
    pub epoch: u64,
    /// When it was made.
    pub created: Timestamp,
    /// The members, in ascending order of their DIDs. A member is named by its place here.
    pub members: Vec<Member>,
}

impl Genesis {
    /// Checks keys, cross-signatures and order.
    ///
    /// # Errors
    /// [`Invalid`] naming the member.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.members.is_empty() {
            return Err(Invalid::new("genesis", "has no member"));
        }
        if self.members.len() > MAX_MEMBERS {
            return Err(Invalid::new("genesis", format!("has more than {MAX_MEMBERS} members")));
        }
        if self.members.windows(2).any(|w| w[0].did >= w[1].did) {
            return Err(Invalid::new("genesis", "members must be sorted by DID, each once"));
        }
        for (i, member) in self.members.iter().enumerate() {
            member.check()?;
            let same = |m: &Member| m.consensus == member.consensus || m.attestation == member.attestation;
            if self.members[..i].iter().any(same) {
                return Err(Invalid::new("genesis", format!("member {} shares a key", member.did)));
            }
        }
        Ok(())
    }

    /// How many members must sign.
    #[must_use]
    pub fn quorum(&self) -> usize {
        quorum(self.members.len())
    }
}

impl Canonical for Member {
    const DOMAIN: &'static str = "w3b/member";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 7;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.did.as_str());
        for key in [&self.consensus, &self.attestation] {
            e.text(key.algorithm().name()).bytes(key.as_bytes());
        }
        e.bytes(&self.by_consensus).bytes(&self.by_attestation);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            did: d.parse()?,
            consensus: decode_key(d)?,
            attestation: decode_key(d)?,
            by_consensus: d.array()?,
            by_attestation: d.array()?,
        })
    }
}

impl Canonical for Genesis {
    const DOMAIN: &'static str = "w3b/genesis";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).text(&self.backend).u64(self.abi_version).u64(self.epoch);
        e.u64(self.created.0).list(&self.members, |e, m| {
            e.item(m);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            project: ProjectId(d.digest()?),
            backend: d.text()?.to_owned(),
            abi_version: d.u64()?,
            epoch: d.u64()?,
            created: Timestamp(d.u64()?),
            members: d.list(|d| d.item())?,
        })
    }
}
