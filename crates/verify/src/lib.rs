//! Verifies receipts whose outputs were settled: what [`w3bstream_types::receipt`] cannot, since it knows neither
//! chains nor proof systems.
//!
//! **Takes** a receipt, anchors, and proving keys; **gives** a [`Report`]. Asks nobody: everything is in the file or was
//! known to the reader before.
//!
//! # What is shown of a settlement
//! - The header in the receipt makes the block's hash, which the reader compares with a block that is known to be final.
//! - The header names the root of the receipts' trie, and the nodes lead from it to one transaction's receipt, which
//!   succeeded.
//! - In it is the event `Settled` of the Executor that the attested output names, with the id and the leaf of this very
//!   output; the leaf is made of chain, Executor, contract and data.
//! - The proof shows the statement under the proving key whose digest the rule names, if the reader has that key.
//!
//! It does not show that the block stayed in the chain (the reader's anchor does), nor what the receiving contract did
//! beyond not refusing.

use std::sync::Arc;

use async_trait::async_trait;
use w3bstream_chain::encode::decode_receipt;
use w3bstream_chain::{Block, trie};
use w3bstream_contracts::{OutputRef, Settled, target_of};
use w3bstream_prover::{Artefacts, Circuit, Error, ErrorKind, Proof, Prover, public_signals};
use w3bstream_types::receipt::{
    Anchors, OutputLink, ProofFinding, ProofLink, Receipt, Report, SettlementFinding, SettlementLink,
};
use w3bstream_types::{Digest, Invalid, Output, Statement};

/// With what proofs are verified.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// Provers of the systems that are known. They are asked to verify alone.
    pub provers: Vec<Arc<dyn Prover>>,
    /// Files of proving keys, which hold the verification keys. Found by their digests.
    pub keys: Vec<Arc<[u8]>>,
}

/// Checks every link of a receipt, settlements and proofs included.
pub async fn verify(receipt: &Receipt, anchors: Option<&Anchors>, proofs: &Proofs) -> Report {
    let mut findings = Vec::with_capacity(receipt.settlements.len());
    for link in &receipt.settlements {
        findings.push(find(receipt, link, proofs).await);
    }
    receipt.verify_with(anchors, Some(&findings))
}

async fn find(receipt: &Receipt, link: &SettlementLink, proofs: &Proofs) -> SettlementFinding {
    let none = || "is of an output that is no settlement".to_owned();
    let Some(output) = receipt.settled_output(link) else {
        return SettlementFinding { block: Err(none()), proof: ProofFinding::NotChecked(none()) };
    };
    let block = executed_in(output, &receipt.attestation.statement, link).map_err(|e| e.why.into_owned());
    let proof = match &link.proof {
        None => ProofFinding::NotChecked("the settlement asks for none".into()),
        Some(proof) => proofs.check(&output.output, proof).await,
    };
    SettlementFinding { block, proof }
}

/// The hash of the block in which the Executor executed an attested output.
///
/// # Errors
/// [`Invalid`] with the first step that does not lead there.
pub fn executed_in(
    output: &OutputLink,
    statement: &Statement,
    link: &SettlementLink,
) -> Result<[u8; 32], Invalid> {
    let bad = |why: String| Invalid::new("settlement", why);
    let block = Block::from_header(&link.header).map_err(|e| bad(format!("the header {}", e.why)))?;
    let nodes: Vec<Vec<u8>> = link.receipt.iter().map(|n| n.0.clone()).collect();
    let raw = trie::verify(&block.receipts_root, link.transaction_index, &nodes).map_err(|e| {
        bad(format!("transaction {} of the block: its proof {}", link.transaction_index, e.why))
    })?;
    let mined = decode_receipt(&raw).map_err(|e| bad(format!("the transaction's receipt {}", e.why)))?;
    if !mined.success {
        return Err(bad("the transaction failed".into()));
    }
    let (executor, _) =
        target_of(&output.output).map_err(|e| bad(format!("the output names no Executor: it {}", e.why)))?;
    let (subnet, index) = (statement.subnet.0, output.index);
    let wanted = OutputRef { subnet, epoch: statement.epoch, height: statement.height, index };
    let leaf = output.output.leaf(index);
    let settled = mined.logs.iter().filter(|log| log.address == executor).any(|log| {
        let topics: Vec<[u8; 32]> = log.topics.iter().map(|t| *t.as_bytes()).collect();
        matches!(Settled::decode(&topics, &log.data), Ok(Some(s)) if s.output == wanted && s.leaf == leaf)
    });
    if !settled {
        return Err(bad(format!(
            "the transaction has no event of {executor} that output {index} was executed"
        )));
    }
    Ok(*block.hash.as_bytes())
}

impl Proofs {
    async fn check(&self, output: &Output, link: &ProofLink) -> ProofFinding {
        let Some(rule) = &link.rule.proof else {
            return ProofFinding::Fails("the rule asks for no proof".into());
        };
        let Some(prover) = self.provers.iter().find(|p| p.system() == rule.system) else {
            return ProofFinding::NotChecked(format!(
                "this verifier knows no proof system {:?}",
                rule.system
            ));
        };
        if !self.keys.iter().any(|k| Digest::of(k) == rule.key) {
            return ProofFinding::NotChecked(format!("the proving key {} was not given", rule.key));
        }
        let circuit = Circuit { system: rule.system.clone(), witness: rule.witness, key: rule.key };
        let public = match public_signals(&link.rule, &output.data) {
            Ok((public, _)) => public,
            Err(e) => return ProofFinding::Fails(e.to_string()),
        };
        let proof = match Proof::from_bytes(&link.proof) {
            Ok(proof) => proof,
            Err(e) => return ProofFinding::Fails(e.to_string()),
        };
        let keys = Arc::new(Keys(self.keys.clone()));
        match prover.verify(&circuit, &public, &proof, keys).await {
            Ok(true) => ProofFinding::Holds(format!("{}, key {}", rule.system, rule.key)),
            Ok(false) => ProofFinding::Fails("the proof does not show the statement".into()),
            Err(e) => ProofFinding::NotChecked(e.to_string()),
        }
    }
}

/// The reader's keys, by digest.
#[derive(Debug)]
struct Keys(Vec<Arc<[u8]>>);

#[async_trait]
impl Artefacts for Keys {
    async fn fetch(&self, digest: Digest) -> Result<Arc<[u8]>, Error> {
        let found = self.0.iter().find(|key| Digest::of(key) == digest).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::Missing, format!("no file {digest} was given")))
    }
}
