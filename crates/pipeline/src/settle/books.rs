//! What the submitter asks of the node: a journal for its nonces, and the project's fee key.

use std::sync::Arc;

use async_trait::async_trait;
use w3bstream_chain::submit::{Account, TxJournal, TxSigner};
use w3bstream_chain::{Error, ErrorKind, Hash};
use w3bstream_journal::{Journal, RecordId, Write};
use w3bstream_types::{Address, ProjectId};
use w3bstream_wallet::Signer;

/// Transactions by account and nonce.
const SPACE: &str = "transactions";
/// How many records are read at once.
const PAGE: usize = 256;

/// The project's books of transactions, in the node's journal.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) project: ProjectId,
}

impl Books {
    fn id(&self, account: Account, nonce: Option<u64>) -> RecordId {
        let mut key = account.chain_id.to_be_bytes().to_vec();
        key.extend_from_slice(account.address.as_bytes());
        key.extend(nonce.into_iter().flat_map(u64::to_be_bytes));
        RecordId { project: self.project, space: SPACE, key }
    }
}

fn failed(e: w3bstream_journal::Error) -> Error {
    Error::new(ErrorKind::Journal, "the journal of transactions").with_source(e)
}

#[async_trait]
impl TxJournal for Books {
    async fn load(&self, account: Account) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let start = self.id(account, None);
        let (mut after, mut found) = (start.clone(), Vec::new());
        loop {
            let page = self.journal.records(&after, PAGE).await.map_err(failed)?;
            let full = page.len() == PAGE;
            for (key, value) in page {
                let Some(nonce) = key.strip_prefix(start.key.as_slice()) else { return Ok(found) };
                let nonce = nonce.try_into().map_err(|_| {
                    Error::new(ErrorKind::Corrupt, "the journal of transactions has a key that is none")
                })?;
                found.push((u64::from_be_bytes(nonce), value));
                after.key = key;
            }
            if !full {
                return Ok(found);
            }
        }
    }

    async fn save(&self, account: Account, changes: Vec<(u64, Option<Vec<u8>>)>) -> Result<(), Error> {
        let write = |(nonce, value)| Write::Record(self.id(account, Some(nonce)), value);
        self.journal.commit(changes.into_iter().map(write).collect()).await.map_err(failed)
    }
}

/// The project's fee key, as the submitter wants it.
#[derive(Debug)]
pub(super) struct FeeKey {
    signer: Arc<dyn Signer>,
    project: ProjectId,
    address: Address,
}

impl FeeKey {
    pub(super) fn new(signer: Arc<dyn Signer>, project: ProjectId) -> Result<Self, crate::Error> {
        let address = Address::of_key(&signer.fee_key(project)?)?;
        Ok(Self { signer, project, address })
    }
}

#[async_trait]
impl TxSigner for FeeKey {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign_hash(&self, hash: &Hash) -> Result<[u8; 65], Error> {
        let (signer, project, hash) = (self.signer.clone(), self.project, *hash.as_bytes());
        // A signer may block.
        let signed = tokio::task::spawn_blocking(move || signer.sign_fee(project, &hash)).await;
        let failed = |e| Error::new(ErrorKind::Signer, "the project's fee key").with_source(e);
        signed.map_err(|_| Error::new(ErrorKind::Signer, "the signer panicked"))?.map_err(failed)
    }
}
