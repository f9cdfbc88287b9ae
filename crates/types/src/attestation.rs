//! Attestation: a member's signed word on what a block's execution gave, as EIP-712 typed data, so that a
//! contract checks a quorum of them with `ecrecover`.

use serde::{Deserialize, Serialize};

use crate::block::{decode_signatures, encode_signatures};
use crate::key::keccak256;
use crate::{
    Address, Canonical, Decoder, Digest, Encoder, Genesis, Invalid, Malformed, ProjectId, SecretKey,
};

/// EIP-712 domain type: without `chainId`, since one attestation serves contracts on every chain; `salt`
/// is the genesis digest.
pub const DOMAIN_TYPE: &str = "EIP712Domain(string name,string version,bytes32 salt)";
/// EIP-712 struct type of a [`Statement`].
pub const STATEMENT_TYPE: &str = "Attestation(bytes32 subnet,bytes32 genesis,uint64 epoch,uint64 height,\
bytes32 block,bytes32 manifest,bytes32 stateRoot,bytes32 outputsRoot)";

/// What a member attests after it has applied a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The subnet: its project's id.
    pub subnet: ProjectId,
    /// Digest of the genesis.
    pub genesis: Digest,
    /// The epoch.
    #[serde(with = "crate::time::decimal")]
    pub epoch: u64,
    /// The height.
    #[serde(with = "crate::time::decimal")]
    pub height: u64,
    /// The block's name.
    pub block: Digest,
    /// Digest of the manifest in force after this block; [`Digest::ZERO`] before the first.
    pub manifest: Digest,
    /// Root of the replicated state after this block.
    pub state_root: Digest,
    /// Root over the block's outputs.
    pub outputs_root: Digest,
}

impl Statement {
    /// The 32 bytes that are signed: keccak256(0x1901 ‖ domain separator ‖ struct hash), EIP-712.
    #[must_use]
    pub fn signing_hash(&self) -> [u8; 32] {
        let domain = keccak256(
            &[
                keccak256(DOMAIN_TYPE.as_bytes()),
                keccak256(b"W3bstream"),
                keccak256(b"1"),
                *self.genesis.as_bytes(),
            ]
            .concat(),
        );
        let word = |v: u64| {
            let mut w = [0; 32];
            w[24..].copy_from_slice(&v.to_be_bytes());
            w
        };
        let body = keccak256(
            &[
                keccak256(STATEMENT_TYPE.as_bytes()),
                *self.subnet.0.as_bytes(),
                *self.genesis.as_bytes(),
                word(self.epoch),
                word(self.height),
                *self.block.as_bytes(),
                *self.manifest.as_bytes(),
                *self.state_root.as_bytes(),
                *self.outputs_root.as_bytes(),
            ]
            .concat(),
        );
        keccak256(&[&[0x19, 0x01][..], &domain, &body].concat())
    }

    /// Signs as `r ‖ s ‖ v`. `None` if the key is not secp256k1.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> Option<[u8; 65]> {
        key.sign_recoverable(&self.signing_hash())
    }
}

impl Canonical for Statement {
    const DOMAIN: &'static str = "w3b/statement";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 8;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.subnet.0).digest(&self.genesis).u64(self.epoch).u64(self.height);
        e.digest(&self.block).digest(&self.manifest).digest(&self.state_root).digest(&self.outputs_root);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            subnet: ProjectId(d.digest()?),
            genesis: d.digest()?,
            epoch: d.u64()?,
            height: d.u64()?,
            block: d.digest()?,
            manifest: d.digest()?,
            state_root: d.digest()?,
            outputs_root: d.digest()?,
        })
    }
}

/// A statement with signatures. Not yet checked against a genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// What is attested.
    pub statement: Statement,
    /// Members by their place in the genesis, ascending, each with its `r ‖ s ‖ v`.
    #[serde(with = "crate::text::signatures")]
    pub signatures: Vec<(u32, [u8; 65])>,
}

impl Attestation {
    /// Checks that a quorum of the genesis' members signed the statement.
    ///
    /// # Errors
    /// [`Invalid`] with link `attestation`.
    pub fn verify(&self, genesis: &Genesis) -> Result<(), Invalid> {
        let bad = |why: String| Invalid::new("attestation", why);
        let named = (self.statement.subnet, self.statement.genesis, self.statement.epoch);
        if named != (genesis.project, genesis.digest(), genesis.epoch) {
            return Err(bad("is of another subnet, genesis or epoch".into()));
        }
        if self.signatures.windows(2).any(|w| w[0].0 >= w[1].0) {
            return Err(bad("signers must be ascending, each once".into()));
        }
        if self.signatures.len() < genesis.quorum() {
            let (have, need) = (self.signatures.len(), genesis.quorum());
            return Err(bad(format!("has {have} signatures, a quorum is {need}")));
        }
        let hash = self.statement.signing_hash();
        for (index, signature) in &self.signatures {
            let member = genesis
                .members
                .get(*index as usize)
                .ok_or_else(|| bad(format!("signer {index} is no member")))?;
            let expected = member.address().map_err(|e| bad(e.to_string()))?;
            let signer =
                Address::recover(&hash, signature).map_err(|e| bad(format!("member {index}: {e}")))?;
            if signer != expected {
                return Err(bad(format!("member {index} is {expected}, but {signer} signed")));
            }
        }
        Ok(())
    }
}

impl Canonical for Attestation {
    const DOMAIN: &'static str = "w3b/attestation";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.item(&self.statement);
        encode_signatures(e, &self.signatures);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { statement: d.item()?, signatures: decode_signatures(d)? })
    }
}
