//! What became of a message's settlements: their proofs, and the blocks of other chains that took them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::anchors::Anchors;
use super::links::{OutputLink, Receipt};
use super::report::Verdict;
use crate::text::{hex_bytes, present, text_serde};
use crate::time::decimal;
use crate::{Canonical, Decoder, Encoder, Malformed, OutputKind, Settlement};

/// The most nodes on the way to a transaction's receipt: one for each nibble of an index, and the root.
const MAX_TRIE_NODES: usize = 32;

/// A settlement among the message's outputs that a contract executed, with everything that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettlementLink {
    /// The output's place among the block's outputs.
    #[serde(with = "decimal")]
    pub index: u64,
    /// How it was proven, if the manifest asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub proof: Option<ProofLink>,
    /// The transaction's hash, to look it up with. It is a pointer and shows nothing: what shows that the output was
    /// executed is [`Self::receipt`] under [`Self::header`].
    #[serde(with = "hex_bytes")]
    pub transaction: [u8; 32],
    /// The transaction's place in the chain's block.
    #[serde(with = "decimal")]
    pub transaction_index: u64,
    /// The header of the chain's block, as its hash is made of it (RLP).
    #[serde(with = "hex_bytes")]
    pub header: Vec<u8>,
    /// The nodes of the block's receipts trie from its root to the transaction's receipt (Yellow Paper, appendix D).
    pub receipt: Vec<TrieNode>,
}

/// A node of a trie, RLP-encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrieNode(#[serde(with = "hex_bytes")] pub Vec<u8>);

/// A proof of a settlement's statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofLink {
    /// The manifest's rule, which says how the statement's words become public numbers, and by which circuit.
    pub rule: Settlement,
    /// The proof, as the contract took it.
    #[serde(with = "hex_bytes")]
    pub proof: Vec<u8>,
}

/// A block of a chain, written as `31337:0x` and 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainBlock {
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The block's hash.
    pub hash: [u8; 32],
}

impl fmt::Display for ChainBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:0x{}", self.chain_id, hex::encode(self.hash))
    }
}

impl FromStr for ChainBlock {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = || Malformed::new("block of a chain", "must be CHAIN-ID:0x and 64 lower-case hex digits");
        let (id, hash) = s.split_once(":0x").ok_or_else(bad)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash, &mut bytes).map_err(|_| bad())?;
        let block = Self { chain_id: id.parse().map_err(|_| bad())?, hash: bytes };
        if block.to_string() == s { Ok(block) } else { Err(bad()) }
    }
}

text_serde!(ChainBlock);

/// What somebody who knows chains and proof systems found in one [`SettlementLink`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementFinding {
    /// The hash of the block in which the Executor executed this very output, or why it does not follow.
    pub block: Result<[u8; 32], String>,
    /// About the proof; not looked at where there is none.
    pub proof: ProofFinding,
}

/// What was found of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofFinding {
    /// It was not looked at, and why.
    NotChecked(String),
    /// It shows the statement; under which key.
    Holds(String),
    /// It does not show the statement.
    Fails(String),
}

type Checked = Result<Verdict, Cow<'static, str>>;

impl Receipt {
    /// The outputs about the message that a contract is to act on.
    #[must_use]
    pub fn settlement_outputs(&self) -> Vec<&OutputLink> {
        self.execution.outputs.iter().filter(|o| o.output.kind == OutputKind::Settlement).collect()
    }

    /// The output of a settlement's link.
    #[must_use]
    pub fn settled_output(&self, link: &SettlementLink) -> Option<&OutputLink> {
        self.settlement_outputs().into_iter().find(|o| o.index == link.index)
    }

    pub(super) fn check_proofs(&self, findings: Option<&[SettlementFinding]>) -> Checked {
        let mut proven = Vec::new();
        let mut open = None;
        for (at, link) in self.settlements.iter().enumerate() {
            let Some(proof) = &link.proof else { continue };
            let output = &self.settled_output(link).ok_or("is of an output that is no settlement")?.output;
            let rule = &proof.rule;
            if rule.chain_id != output.chain_id || rule.target() != output.target || rule.proof.is_none() {
                return Err(format!("the rule of output {} is another settlement's", link.index).into());
            }
            match findings.and_then(|f| f.get(at)).map(|f| &f.proof) {
                Some(ProofFinding::Fails(why)) => return Err(why.clone().into()),
                Some(ProofFinding::Holds(by)) if proven.contains(by) => {}
                Some(ProofFinding::Holds(by)) => proven.push(by.clone()),
                Some(ProofFinding::NotChecked(why)) => open = Some(why.clone()),
                None => open = Some("this verifier knows no proof system".to_owned()),
            }
        }
        Ok(match open {
            Some(why) => Verdict::NotChecked(why),
            None if proven.is_empty() => Verdict::NotChecked("no proof is shown".into()),
            None => Verdict::Proven(proven.join(", ")),
        })
    }

    pub(super) fn check_settlements(
        &self,
        anchors: &Anchors,
        findings: Option<&[SettlementFinding]>,
    ) -> Checked {
        let asked = self.settlement_outputs().len();
        let mut blocks: Vec<ChainBlock> = Vec::new();
        let mut last = None;
        for (at, link) in self.settlements.iter().enumerate() {
            if last.is_some_and(|l| l >= link.index) {
                return Err("settlements must be ascending, each once".into());
            }
            last = Some(link.index);
            let output = self.settled_output(link);
            let chain_id = output.ok_or("is of an output that is no settlement")?.output.chain_id;
            let Some(finding) = findings.and_then(|f| f.get(at)) else {
                return Ok(Verdict::NotChecked("this verifier knows no chains".into()));
            };
            let hash = *finding.block.as_ref().map_err(|why| Cow::from(why.clone()))?;
            let block = ChainBlock { chain_id, hash };
            if !anchors.blocks.is_empty() && !anchors.blocks.contains(&block) {
                return Err(format!("the block {block} is not among the anchors").into());
            }
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        let shown = self.settlements.len();
        let list: Vec<String> = blocks.iter().map(ToString::to_string).collect();
        let of_all = if shown == asked { String::new() } else { format!(" ({shown} of {asked})") };
        Ok(match (asked, shown) {
            (0, _) => Verdict::NotChecked("the message settles nothing".into()),
            (_, 0) => Verdict::NotChecked(format!("none of {asked} is shown as settled")),
            _ if anchors.blocks.is_empty() => {
                Verdict::Claimed(format!("the header in this receipt, block {}{of_all}", list.join(", ")))
            }
            _ => Verdict::Proven(format!("your anchors, block {}{of_all}", list.join(", "))),
        })
    }
}

impl Canonical for SettlementLink {
    const DOMAIN: &'static str = "w3b/receipt-settlement";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.index);
        e.option(self.proof.as_ref(), |e, p| {
            e.array(2).item(&p.rule).bytes(&p.proof);
        });
        e.bytes(&self.transaction).u64(self.transaction_index).bytes(&self.header);
        e.list(&self.receipt, |e, node| {
            e.bytes(&node.0);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let bad = |why: &'static str| Malformed::new(Self::DOMAIN, why);
        let link = Self {
            index: d.u64()?,
            proof: d.option(|d| match d.head()? {
                2 => Ok(ProofLink { rule: d.item()?, proof: d.bytes()?.to_vec() }),
                _ => Err(bad("has a proof of another length")),
            })?,
            transaction: d.array()?,
            transaction_index: d.u64()?,
            header: d.bytes()?.to_vec(),
            receipt: d.list(|d| Ok(TrieNode(d.bytes()?.to_vec())))?,
        };
        if link.receipt.len() > MAX_TRIE_NODES {
            return Err(bad("has more trie nodes than an index has nibbles"));
        }
        Ok(link)
    }
}
