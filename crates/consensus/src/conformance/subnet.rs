//! A subnet with known keys.

use std::sync::Arc;

use w3bstream_types::{
    Algorithm, Canonical as _, Did, Digest, Genesis, Member, ProjectId, ProjectName, PublicKey, SecretKey,
    Timestamp,
};

use crate::{ConsensusSigner, Error, ErrorKind};

/// A subnet whose keys everybody knows. The same size and backend give the same subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its genesis.
    pub genesis: Genesis,
    /// Members' consensus keys, in the genesis' order.
    pub consensus_keys: Vec<SecretKey>,
    /// Members' attestation keys, in the genesis' order.
    pub attestation_keys: Vec<SecretKey>,
}

impl Subnet {
    /// A subnet of `size` members that runs `backend`.
    #[must_use]
    pub fn new(size: u32, backend: &str) -> Self {
        let key = |algorithm, what: &str, n: u32| {
            let seed = Digest::tagged("w3b/test-key", &[what.as_bytes(), &n.to_be_bytes()]);
            SecretKey::from_bytes(algorithm, seed.as_bytes())
        };
        let mut members: Vec<(Member, SecretKey, SecretKey)> = (0..size)
            .filter_map(|n| {
                let consensus = key(Algorithm::EdDSA, "consensus", n).ok()?;
                let attestation = key(Algorithm::ES256K, "attestation", n).ok()?;
                let did = Did::key(&consensus.public());
                Some((Member::sign(did, &consensus, &attestation), consensus, attestation))
            })
            .collect();
        members.sort_by(|a, b| a.0.did.cmp(&b.0.did));
        let owner = key(Algorithm::EdDSA, "owner", 0).map(|k| Did::key(&k.public()));
        let name = "conformance".parse::<ProjectName>();
        let project = match (owner, name) {
            (Ok(owner), Ok(name)) => ProjectId::new(&owner, &name),
            _ => ProjectId(Digest::ZERO),
        };
        let genesis = Genesis {
            project,
            backend: backend.to_owned(),
            abi_version: 1,
            epoch: 0,
            created: Timestamp(1_000),
            members: members.iter().map(|m| m.0.clone()).collect(),
        };
        let (consensus_keys, attestation_keys) = members.into_iter().map(|m| (m.1, m.2)).unzip();
        Self { genesis, consensus_keys, attestation_keys }
    }

    /// The digest of its genesis.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.genesis.digest()
    }

    /// A member's signer.
    #[must_use]
    pub fn signer(&self, member: u32) -> Arc<dyn ConsensusSigner> {
        Arc::new(TestSigner(self.consensus_keys.get(member as usize).cloned()))
    }
}

/// Signs with a key in memory.
#[derive(Debug)]
struct TestSigner(Option<SecretKey>);

impl TestSigner {
    fn key(&self) -> Result<&SecretKey, Error> {
        self.0.as_ref().ok_or_else(|| Error::new(ErrorKind::Signer, "there is no such member"))
    }
}

impl ConsensusSigner for TestSigner {
    fn public(&self) -> Result<PublicKey, Error> {
        Ok(self.key()?.public())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        Ok(self.key()?.sign(message))
    }
}
