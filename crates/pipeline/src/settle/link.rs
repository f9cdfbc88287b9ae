//! What a receipt shows of a message's settlements.

use std::ops::Range;

use w3bstream_chain::{Hash, RawReceipts, trie};
use w3bstream_types::ProjectId;
use w3bstream_types::receipt::{ProofLink, SettlementLink, TrieNode};

use super::record::{self, Landed, Settlement, SettlementState};
use crate::node::Shared;
use crate::{Error, ErrorKind, Parts, chains};

/// The links of those of a block's outputs in `indices` that this node has settled. Each chain is asked for the blocks
/// that took them.
pub(crate) async fn links(
    shared: &Shared,
    (project, height): (ProjectId, u64),
    indices: Range<u64>,
) -> Result<Vec<SettlementLink>, Error> {
    let parts = &shared.parts;
    let mut links = Vec::new();
    for index in indices {
        let Some(settlement) = record::find(&*parts.journal, project, (height, index)).await? else {
            continue;
        };
        if let SettlementState::Settled(landed) = &settlement.state {
            links.push(link(parts, &settlement, landed).await?);
        }
    }
    Ok(links)
}

async fn link(parts: &Parts, settlement: &Settlement, landed: &Landed) -> Result<SettlementLink, Error> {
    let damaged =
        |what: &str| Error::new(ErrorKind::Fatal, format!("the journal's record of a {what} is damaged"));
    let rule = settlement.rule.as_ref().ok_or_else(|| damaged("settlement"))?;
    let transaction: Hash = landed.transaction.parse().map_err(|_| damaged("transaction"))?;
    let known = parts.chains.get(&rule.chain_id);
    let chain = &known.ok_or_else(|| not_shown(&chains::unknown(rule.chain_id)))?.chain;
    // Looked up anew: a reorganisation may have moved the transaction into another block.
    let mined = chain.receipt(transaction).await.map_err(|e| not_shown(&e.to_string()))?;
    let mined = mined.ok_or_else(|| not_shown(&format!("the chain has no transaction {transaction} now")))?;
    let raw = chain.raw_receipts(mined.block).await.map_err(|e| not_shown(&e.to_string()))?;
    let nodes = usize::try_from(mined.index).ok().and_then(|at| trie::prove(&raw.receipts, at));
    let nodes = nodes.ok_or_else(|| not_shown("the chain's block has no such transaction"))?;
    let proof = match &rule.proof {
        None => None,
        Some(_) => {
            let proof = hex::decode(&landed.proof).map_err(|_| damaged("proof"))?;
            Some(ProofLink { rule: rule.clone(), proof })
        }
    };
    let RawReceipts { header, .. } = raw;
    Ok(SettlementLink {
        index: settlement.index,
        proof,
        transaction: *transaction.as_bytes(),
        transaction_index: mined.index,
        header,
        receipt: nodes.into_iter().map(TrieNode).collect(),
    })
}

fn not_shown(why: &str) -> Error {
    let fix = "ask again later, or for the receipt without settlements (settlements=false)";
    Error::new(ErrorKind::Unavailable, format!("the message's settlement cannot be shown: {why}; {fix}"))
}
