//! Blocks: the order that consensus gives to messages and control transactions. They carry digests only.

use serde::{Deserialize, Serialize};

use crate::{
    Canonical, Decoder, Digest, Encoder, Genesis, Invalid, Malformed, MessageId, SecretKey, Timestamp, merkle,
};

/// One thing that a block orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A device message, by its id.
    Message(MessageId),
    /// A control transaction, by its id.
    Control(Digest),
    /// What handlers of this block read of chains, by the digest of the [`Transcript`](crate::Transcript).
    Transcript(Digest),
}

impl Entry {
    /// The digest by which it is named.
    #[must_use]
    pub const fn id(&self) -> Digest {
        match self {
            Self::Message(MessageId(id)) | Self::Control(id) | Self::Transcript(id) => *id,
        }
    }

    /// The leaf of this entry in the entries' tree.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        merkle::leaf_hash(&self.to_canonical())
    }
}

impl Canonical for Entry {
    const DOMAIN: &'static str = "w3b/entry";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        match self {
            Self::Message(id) => e.u64(0).digest(&id.0),
            Self::Control(id) => e.u64(1).digest(id),
            Self::Transcript(id) => e.u64(2).digest(id),
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match d.u64()? {
            0 => Ok(Self::Message(MessageId(d.digest()?))),
            1 => Ok(Self::Control(d.digest()?)),
            2 => Ok(Self::Transcript(d.digest()?)),
            n => Err(Malformed::new(Self::DOMAIN, format!("has the unknown kind {n}"))),
        }
    }
}

/// A block's header. Its digest is the block's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockHeader {
    /// Digest of the subnet's genesis.
    pub genesis: Digest,
    /// The epoch.
    #[serde(with = "crate::time::decimal")]
    pub epoch: u64,
    /// Counts from 1.
    #[serde(with = "crate::time::decimal")]
    pub height: u64,
    /// Digest of the header before; [`Digest::ZERO`] at height 1.
    pub parent: Digest,
    /// The proposer's time; never before the parent's.
    pub time: Timestamp,
    /// The proposer's place in the genesis.
    pub proposer: u32,
    /// Number of entries.
    #[serde(with = "crate::time::decimal")]
    pub entry_count: u64,
    /// RFC 6962 root over the entries.
    pub entries_root: Digest,
}

impl Canonical for BlockHeader {
    const DOMAIN: &'static str = "w3b/block-header";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 8;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.genesis).u64(self.epoch).u64(self.height).digest(&self.parent).u64(self.time.0);
        e.u64(u64::from(self.proposer)).u64(self.entry_count).digest(&self.entries_root);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            genesis: d.digest()?,
            epoch: d.u64()?,
            height: d.u64()?,
            parent: d.digest()?,
            time: Timestamp(d.u64()?),
            proposer: d.u32()?,
            entry_count: d.u64()?,
            entries_root: d.digest()?,
        })
    }
}

/// A header with the entries that its root names; [`Self::new`] and decoding see to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: BlockHeader,
    entries: Vec<Entry>,
}

/// What a proposer decides about a block beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Digest of the subnet's genesis.
    pub genesis: Digest,
    /// The epoch.
    pub epoch: u64,
    /// Counts from 1.
    pub height: u64,
    /// Digest of the header before.
    pub parent: Digest,
    /// The proposer's time.
    pub time: Timestamp,
    /// The proposer's place in the genesis.
    pub proposer: u32,
}

impl Block {
    /// A block of these entries.
    #[must_use]
    pub fn new(place: Place, entries: Vec<Entry>) -> Self {
        let Place { genesis, epoch, height, parent, time, proposer } = place;
        let (entry_count, entries_root) = (entries.len() as u64, entries_root(&entries));
        let header =
            BlockHeader { genesis, epoch, height, parent, time, proposer, entry_count, entries_root };
        Self { header, entries }
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The header's digest: the block's name.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.header.digest()
    }

    /// The path from entry `index` to the entries' root.
    #[must_use]
    pub fn entry_path(&self, index: usize) -> Option<Vec<Digest>> {
        merkle::path(&self.entries.iter().map(Entry::leaf).collect::<Vec<_>>(), index)
    }
}

fn entries_root(entries: &[Entry]) -> Digest {
    merkle::root(&entries.iter().map(Entry::leaf).collect::<Vec<_>>())
}

impl Canonical for Block {
    const DOMAIN: &'static str = "w3b/block";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.item(&self.header).list(&self.entries, |e, entry| {
            e.item(entry);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (header, entries): (BlockHeader, Vec<Entry>) = (d.item()?, d.list(|d| d.item())?);
        if header.entry_count != entries.len() as u64 || header.entries_root != entries_root(&entries) {
            return Err(Malformed::new(Self::DOMAIN, "the entries are not those of the header"));
        }
        Ok(Self { header, entries })
    }
}

/// A quorum's word that a block is final. The epoch, height and block it names are what was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The epoch.
    #[serde(with = "crate::time::decimal")]
    pub epoch: u64,
    /// The height.
    #[serde(with = "crate::time::decimal")]
    pub height: u64,
    /// The block's name.
    pub block: Digest,
    /// Members by their place in the genesis, ascending, each with an Ed25519 signature over
    /// [`Self::signing_input`].
    #[serde(with = "crate::text::signatures")]
    pub signatures: Vec<(u32, [u8; 64])>,
}

impl Certificate {
    /// What a member signs when it takes a block as final.
    #[must_use]
    pub fn signing_input(genesis: &Digest, header: &BlockHeader) -> Vec<u8> {
        let (epoch, height) = (header.epoch.to_be_bytes(), header.height.to_be_bytes());
        let parts =
            [&genesis.as_bytes()[..], &epoch, &height, header.digest().as_bytes()].map(<[u8]>::to_vec);
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Digest::tagged("w3b/commit/1", &parts).as_bytes().to_vec()
    }

    /// The certificate of a subnet of one.
    #[must_use]
    pub fn sign_alone(genesis: &Digest, header: &BlockHeader, key: &SecretKey) -> Self {
        let signature = key.sign(&Self::signing_input(genesis, header));
        let (epoch, height, block) = (header.epoch, header.height, header.digest());
        Self { epoch, height, block, signatures: vec![(0, signature)] }
    }

    /// Checks that a quorum of the genesis' members signed this header.
    ///
    /// # Errors
    /// [`Invalid`] with link `certificate`.
    pub fn verify(&self, genesis: &Genesis, header: &BlockHeader) -> Result<(), Invalid> {
        let bad = |why: String| Invalid::new("certificate", why);
        let names = (self.epoch, self.height, self.block);
        if names != (header.epoch, header.height, header.digest()) {
            return Err(bad("is for another block".into()));
        }
        if header.genesis != genesis.digest() || header.epoch != genesis.epoch {
            return Err(bad("the block is of another genesis".into()));
        }
        if usize::try_from(header.proposer).is_ok_and(|p| p >= genesis.members.len()) {
            return Err(bad(format!("the proposer {} is no member", header.proposer)));
        }
        if self.signatures.windows(2).any(|w| w[0].0 >= w[1].0) {
            return Err(bad("signers must be ascending, each once".into()));
        }
        if self.signatures.len() < genesis.quorum() {
            let (have, need) = (self.signatures.len(), genesis.quorum());
            return Err(bad(format!("has {have} signatures, a quorum is {need}")));
        }
        let input = Self::signing_input(&header.genesis, header);
        for (index, signature) in &self.signatures {
            let member = genesis
                .members
                .get(*index as usize)
                .ok_or_else(|| bad(format!("signer {index} is no member")))?;
            member
                .consensus
                .verify(&input, signature)
                .map_err(|e| bad(format!("member {index}: {}", e.why)))?;
        }
        Ok(())
    }
}

impl Canonical for Certificate {
    const DOMAIN: &'static str = "w3b/certificate";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.epoch).u64(self.height).digest(&self.block);
        encode_signatures(e, &self.signatures);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { epoch: d.u64()?, height: d.u64()?, block: d.digest()?, signatures: decode_signatures(d)? })
    }
}

/// Signers and signatures as one list of bytes: 4 bytes of place, then the signature.
pub(crate) fn encode_signatures<const N: usize>(e: &mut Encoder, signatures: &[(u32, [u8; N])]) {
    e.list(signatures, |e, (index, signature)| {
        e.bytes(&[&index.to_be_bytes()[..], signature].concat());
    });
}

pub(crate) fn decode_signatures<const N: usize>(
    d: &mut Decoder<'_>,
) -> Result<Vec<(u32, [u8; N])>, Malformed> {
    d.list(|d| {
        let bad = || Malformed::new("signatures", "has an item of the wrong length");
        let (index, signature) = d.bytes()?.split_first_chunk::<4>().ok_or_else(bad)?;
        Ok((u32::from_be_bytes(*index), signature.try_into().map_err(|_| bad())?))
    })
}

/// A block with the certificate that makes it final. Not yet checked against a genesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedBlock {
    /// The block.
    pub block: Block,
    /// Its certificate.
    pub certificate: Certificate,
}

impl Canonical for CertifiedBlock {
    const DOMAIN: &'static str = "w3b/certified-block";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.item(&self.block).item(&self.certificate);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { block: d.item()?, certificate: d.item()? })
    }
}
