//! What handlers read of chains. The proposer runs a batch against the state as it is, asks the chains what the handlers
//! ask, and puts the answers into the block as a transcript. Every node then executes with these answers alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use w3bstream_chain::{BlockId, Call, CallOutcome, Chain, Hash};
use w3bstream_journal::{Journal, RecordId, Write};
use w3bstream_types::{
    Canonical as _, ContractAnswer, ContractCall, ContractRead, Digest, MAX_ANSWER_BYTES, MAX_READS,
    Manifest, ProjectId, Transcript, Word,
};

use crate::chains::{block, of_chain};
use crate::node::Shared;
use crate::{Error, ErrorKind};

/// Transcripts by their ids.
const SPACE: &str = "transcripts";
/// How many bytes of calls and answers one block may have: far below what a canonical value may have.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long one answer of a chain may take.
const ANSWER: Duration = Duration::from_secs(10);

fn id(project: ProjectId, transcript: Digest) -> RecordId {
    RecordId { project, space: SPACE, key: transcript.as_bytes().to_vec() }
}

/// The write that keeps a transcript. It comes before the block that names it.
pub(crate) fn keep(project: ProjectId, transcript: &Transcript) -> Write {
    Write::Record(id(project, transcript.id()), Some(transcript.to_canonical()))
}

/// A transcript that a block names.
pub(crate) async fn find(
    journal: &dyn Journal,
    project: ProjectId,
    transcript: Digest,
) -> Result<Option<Transcript>, Error> {
    let Some(bytes) = journal.record(&id(project, transcript)).await? else { return Ok(None) };
    Ok(Some(Transcript::from_canonical(&bytes)?).filter(|t| t.id() == transcript))
}

/// Asks chains, and notes what they answered. Blocks.
pub(crate) struct Asking {
    runtime: Handle,
    chains: BTreeMap<u64, Asked>,
    reads: BTreeMap<ContractCall, Option<ContractRead>>,
    /// Of all that was read.
    bytes: usize,
    /// Whether what does not answer is left away instead of being an error.
    resigned: bool,
}

/// A chain that may be read.
struct Asked {
    chain: Arc<dyn Chain>,
    confirmations: u32,
    /// The block that this batch reads, once it was looked up.
    at: Option<Hash>,
    /// It did not answer, and is not asked again for this batch.
    silent: bool,
}

impl Asking {
    /// Asks the chains that the manifest lets be read and the node has.
    pub(crate) fn new(shared: &Shared, manifest: &Manifest, resigned: bool) -> Self {
        let known = |rule: &&w3bstream_types::ChainRule| rule.read;
        let chains = manifest.chains.iter().filter(known).filter_map(|rule| {
            let parts = shared.parts.chains.get(&rule.chain_id)?;
            Some((
                rule.chain_id,
                Asked {
                    chain: parts.chain.clone(),
                    confirmations: rule.confirmations,
                    at: None,
                    silent: false,
                },
            ))
        });
        Self {
            runtime: Handle::current(),
            chains: chains.collect(),
            reads: BTreeMap::new(),
            bytes: 0,
            resigned,
        }
    }

    /// The answer to a call: the same as before if it was asked before.
    pub(crate) fn ask(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, Error> {
        if let Some(known) = self.reads.get(call) {
            return Ok(known.as_ref().map(|read| read.answer.clone()));
        }
        if self.reads.len() >= MAX_READS {
            return Ok(None);
        }
        let read = match self.read(call) {
            Err(e) if self.resigned => {
                if let Some(asked) = self.chains.get_mut(&call.chain_id) {
                    asked.silent = true;
                }
                tracing::warn!(chain = call.chain_id, contract = %call.to, "is not read: {e}");
                None
            }
            read => read?,
        };
        let answer = read.as_ref().map(|read| read.answer.clone());
        self.reads.insert(call.clone(), read);
        Ok(answer)
    }

    fn read(&mut self, call: &ContractCall) -> Result<Option<ContractRead>, Error> {
        let Some(asked) = self.chains.get_mut(&call.chain_id).filter(|a| !a.silent) else { return Ok(None) };
        let chain_id = call.chain_id;
        let late =
            |_| Error::new(ErrorKind::Unavailable, format!("chain {chain_id} does not answer in time"));
        let work = async {
            let at = match asked.at {
                Some(at) => at,
                None => confirmed(&*asked.chain, asked.confirmations).await?,
            };
            let outcome = asked.chain.call(at, &Call::new(call.to, call.data.clone())).await;
            let outcome = outcome.map_err(of_chain)?;
            Ok::<_, Error>((at, outcome))
        };
        let (at, outcome) =
            self.runtime.block_on(async { tokio::time::timeout(ANSWER, work).await }).map_err(late)??;
        asked.at = Some(at);
        let answer = match outcome {
            CallOutcome::Returned(data) => ContractAnswer::Returned(data),
            CallOutcome::Reverted(revert) => ContractAnswer::Reverted(revert.data),
        };
        let (ContractAnswer::Returned(data) | ContractAnswer::Reverted(data)) = &answer;
        self.bytes = self.bytes.saturating_add(call.data.len() + data.len());
        if data.len() > MAX_ANSWER_BYTES || self.bytes > MAX_BYTES {
            tracing::warn!(chain = chain_id, contract = %call.to, bytes = data.len(), "an answer is too long, or the block has read too much");
            return Ok(None);
        }
        Ok(Some(ContractRead { call: call.clone(), block: Word(*at.as_bytes()), answer }))
    }

    /// What was read; `None` if nothing was asked.
    pub(crate) fn transcript(self) -> Option<Transcript> {
        let reads: Vec<ContractRead> = self.reads.into_values().flatten().collect();
        (!reads.is_empty()).then(|| Transcript::new(reads))
    }
}

/// The last block that has so many confirmations, its own included.
async fn confirmed(chain: &dyn Chain, confirmations: u32) -> Result<Hash, Error> {
    let head = block(chain, BlockId::Head).await?;
    let number = (head.number + 1).checked_sub(confirmations.into()).ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "the chain has no block that is confirmed so often")
    })?;
    if number == head.number {
        return Ok(head.hash);
    }
    Ok(block(chain, BlockId::Number(number)).await?.hash)
}

/// The chains that a manifest lets be read and that this node does not have.
pub(crate) fn missing_chains(shared: &Shared, manifest: &Manifest) -> Vec<u64> {
    let missing = |id: &u64| !shared.parts.chains.contains_key(id);
    manifest
        .chains
        .iter()
        .filter(|rule| rule.read || rule.send)
        .map(|rule| rule.chain_id)
        .filter(missing)
        .collect()
}
