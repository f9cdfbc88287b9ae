//! Transactions that guests asked for with `ws_send_tx`: each is sent once, by the project's own account or by one of its
//! operators', and the guests are told what became of it.
//!
//! What fails on the chain has failed: unlike a settlement, it is not sent again, since nobody but the guest knows whether
//! it still wants it. What cannot be sent now (no money, no answer, too many under way) waits with its reason.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use w3bstream_chain::submit::{Cancel, Intent, IntentId, Mined, Offered, Outcome};
use w3bstream_journal::{Journal, RecordId, Write};
use w3bstream_types::{
    Address, AppletName, Canonical as _, Digest, MessageId, OperatorName, Output, ProjectId, Timestamp,
    TransactionRequest, TriggerMessage, TriggerOn,
};

use super::shelf::{Shelf, key};
use super::stage::Stage;
use crate::{Error, ErrorKind, trigger};

/// Under way are also those whose end was not told yet.
const SHELF: Shelf<GuestTransaction> =
    Shelf { live: "send", ended: "sent", what: "transaction", of: PhantomData };
/// Where the transaction of an id is.
const BY_ID: &str = "requests";
/// How many are looked at in one round.
const PAGE: usize = 64;

/// A transaction that a guest asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestTransaction {
    /// Its id, which the guest got.
    pub id: Digest,
    /// The height of its block.
    pub height: u64,
    /// Its index among the block's outputs.
    pub index: u64,
    /// The applet that asked for it.
    pub applet: AppletName,
    /// The message that its handler worked on.
    pub message: MessageId,
    /// The chain, by its EIP-155 id.
    pub chain: u64,
    /// Whose account sends; `None` for the project's own.
    pub operator: Option<OperatorName>,
    /// The account or contract.
    pub to: Address,
    /// Wei to send along, in decimal.
    pub value: String,
    /// Call data, in hex.
    pub data: String,
    /// How far it is.
    #[serde(flatten)]
    pub state: SendState,
    /// Since when it is so far.
    pub since: Timestamp,
    /// How often its state has changed.
    pub changes: u32,
    /// Whether the guests were told of this state.
    pub told: bool,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// Why it is not further; empty if there is nothing to say.
    pub reason: String,
    /// It is not tried before this time.
    pub not_before: Timestamp,
}

/// How far a transaction is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum SendState {
    /// It was not sent yet.
    Waiting,
    /// It was sent.
    Pending {
        /// The hash of what was signed last: paying more gives it another one.
        transaction: String,
    },
    /// It is in a block that is deep enough, and took effect.
    Confirmed {
        /// Its hash.
        transaction: String,
        /// Its block's height.
        block: u64,
        /// Its block's hash.
        block_hash: String,
        /// Gas that it used.
        gas_used: u64,
        /// Wei that it paid for one unit of gas, in decimal.
        gas_price: String,
    },
    /// It took no effect and never will.
    Failed {
        /// Its hash, if it is in a block and failed there: then it paid for its gas. One that was given up before has
        /// none; an empty transaction took its nonce.
        transaction: Option<String>,
        /// Why.
        error: String,
    },
}

impl SendState {
    const fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "INIT",
            Self::Pending { .. } => "PENDING",
            Self::Confirmed { .. } => "CONFIRMED",
            Self::Failed { .. } => "FAILED",
        }
    }
}

/// What a guest is told.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "transactionID")]
    id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl GuestTransaction {
    /// Whether nothing more will become of it.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self.state, SendState::Confirmed { .. } | SendState::Failed { .. })
    }

    /// The hash of the transaction, as far as there is one.
    #[must_use]
    pub fn transaction(&self) -> Option<&str> {
        match &self.state {
            SendState::Pending { transaction } | SendState::Confirmed { transaction, .. } => {
                Some(transaction)
            }
            SendState::Failed { transaction, .. } => transaction.as_deref(),
            SendState::Waiting => None,
        }
    }

    fn becomes(&mut self, state: SendState, now: Timestamp) {
        if self.state != state {
            (self.state, self.since, self.told) = (state, now, false);
            self.changes = self.changes.saturating_add(1);
        }
        self.reason.clear();
    }

    /// The writes that keep it. It moves to the other space once its end was told.
    fn writes(&self, project: ProjectId) -> Result<Vec<Write>, Error> {
        SHELF.writes(project, (self.height, self.index), (self, self.ended() && self.told))
    }

    fn intent(&self) -> Result<Intent, Error> {
        let value = self.value.parse().map_err(|_| SHELF.damaged())?;
        let data = hex::decode(&self.data).map_err(|_| SHELF.damaged())?;
        Ok(Intent { id: IntentId(self.id), to: self.to, value, data })
    }

    /// What the guests are told of it, under one of their triggers.
    fn message(&self, project: ProjectId, trigger: &w3bstream_types::Trigger) -> TriggerMessage {
        let error = match &self.state {
            SendState::Failed { error, .. } => Some(error.as_str()),
            _ => None,
        };
        let told =
            Told { id: format!("0x{}", self.id), state: self.state.name(), hash: self.transaction(), error };
        TriggerMessage {
            project,
            trigger: trigger.name.clone(),
            event_id: format!("{}:{}", self.id, self.changes),
            event_type: trigger.event_type.clone(),
            time: self.since,
            // JSON of plain values cannot fail.
            payload: serde_json::to_vec(&told).unwrap_or_default(),
        }
    }
}

/// The writes with which a transaction begins.
pub(super) fn open(
    project: ProjectId,
    (height, index): (u64, u64),
    output: &Output,
    (applet, message): (AppletName, MessageId),
) -> Result<Vec<Write>, Error> {
    let request = TransactionRequest::from_canonical(&output.data)?;
    let to = output.target.as_slice().try_into().map(Address::from_bytes);
    let to = to.map_err(|_| {
        Error::new(ErrorKind::Fatal, format!("output {index} of height {height} has no target"))
    })?;
    let record = GuestTransaction {
        id: request.id,
        height,
        index,
        applet,
        message,
        chain: output.chain_id,
        operator: request.operator,
        to,
        value: request.value.to_string(),
        data: hex::encode(request.data),
        state: SendState::Waiting,
        since: Timestamp(0),
        changes: 0,
        // That it was asked for is no news to who asked.
        told: true,
        attempts: 0,
        reason: String::new(),
        not_before: Timestamp(0),
    };
    let by_id = RecordId { project, space: BY_ID, key: request.id.as_bytes().to_vec() };
    let mut writes = record.writes(project)?;
    writes.push(Write::Record(by_id, Some(key((height, index)))));
    Ok(writes)
}

/// The transaction of an id.
pub(crate) async fn find(
    journal: &dyn Journal,
    project: ProjectId,
    id: Digest,
) -> Result<Option<GuestTransaction>, Error> {
    let by_id = RecordId { project, space: BY_ID, key: id.as_bytes().to_vec() };
    let Some(key) = journal.record(&by_id).await? else { return Ok(None) };
    SHELF.find(journal, project, key).await
}

/// A page of transactions: those under way, or those that ended, behind `after` (height, index).
pub(crate) async fn page(
    journal: &dyn Journal,
    project: ProjectId,
    (ended, after): (bool, Option<(u64, u64)>),
    limit: usize,
) -> Result<Vec<GuestTransaction>, Error> {
    SHELF.page(journal, project, (ended, after), limit).await
}

impl Stage {
    /// Takes a page of transactions further. True if there is more to do, or to wait for.
    pub(super) async fn send_round(&mut self) -> Result<bool, Error> {
        let (journal, project) = (self.shared.parts.journal.clone(), self.project.id);
        let mut found = page(&*journal, project, (false, self.sent_after), PAGE).await?;
        if found.is_empty() && self.sent_after.take().is_some() {
            found = page(&*journal, project, (false, None), PAGE).await?;
        }
        let full = found.len() == PAGE;
        self.sent_after = found.last().filter(|_| full).map(|t| (t.height, t.index));
        let busy = !found.is_empty();
        let now = self.now();
        for mut transaction in found {
            if transaction.not_before > now {
                continue;
            }
            let before = transaction.clone();
            if !transaction.ended()
                && let Err(e) = self.send_on(&mut transaction).await
            {
                let (attempts, pause) = (transaction.attempts, &mut transaction.not_before);
                transaction.reason = self.pause(e, attempts, pause)?;
                transaction.attempts = attempts.saturating_add(1);
            }
            if transaction != before {
                journal.commit(transaction.writes(project)?).await?;
            }
            if !transaction.told {
                match self.tell(&transaction).await {
                    Ok(()) => transaction.told = true,
                    Err(e) => transaction.reason = self.pause(e, 0, &mut transaction.not_before)?,
                }
                journal.commit(transaction.writes(project)?).await?;
            }
        }
        Ok(busy)
    }

    /// One step of one transaction.
    async fn send_on(&mut self, transaction: &mut GuestTransaction) -> Result<(), Error> {
        let account = (transaction.chain, transaction.operator.clone());
        let (now, id) = (self.now(), IntentId(transaction.id));
        let most = self.most_in_flight(transaction.chain)?;
        let submitter = self.submitter(&account).await?;
        if let Some((_, outcome)) = submitter.finished().into_iter().find(|(done, _)| *done == id) {
            return self.sent(transaction, (&account, &outcome)).await;
        }
        if let Some(hash) = submitter.transactions(id).last() {
            transaction.becomes(SendState::Pending { transaction: hash.to_string() }, now);
            return Ok(());
        }
        if submitter.in_flight() >= most {
            "waits for the transactions before it".clone_into(&mut transaction.reason);
            return Ok(());
        }
        match submitter.offer(transaction.intent()?, now).await? {
            Offered::Taken(_) => match submitter.transactions(id).last() {
                Some(hash) => transaction.becomes(SendState::Pending { transaction: hash.to_string() }, now),
                None => transaction.reason.clear(),
            },
            Offered::Later(why) => why.clone_into(&mut transaction.reason),
            Offered::Refused(refusal) => {
                let error = format!("the transaction {refusal}");
                transaction.becomes(SendState::Failed { transaction: None, error }, now);
            }
            Offered::Finished(outcome) => return self.sent(transaction, (&account, &outcome)).await,
        }
        Ok(())
    }

    /// Takes an outcome over from the submitter's books.
    async fn sent(
        &mut self,
        transaction: &mut GuestTransaction,
        (account, outcome): (&(u64, Option<OperatorName>), &Outcome),
    ) -> Result<(), Error> {
        transaction.becomes(ended(outcome), self.now());
        // Written before it is forgotten: a crash in between finds the outcome again.
        self.shared.parts.journal.commit(transaction.writes(self.project.id)?).await?;
        self.submitter(account).await?.forget(IntentId(transaction.id)).await?;
        Ok(())
    }

    async fn tell(&self, transaction: &GuestTransaction) -> Result<(), Error> {
        // No handler of a removed project would hear of it.
        let removed = self.shared.removed(self.project.id).is_some();
        let manifest = self.shared.manifest(self.project.id).filter(|_| !removed);
        let Some(manifest) = manifest else { return Ok(()) };
        let wanted = manifest.triggers.iter().filter(|t| matches!(t.on, TriggerOn::Sent(_)));
        let messages: Vec<TriggerMessage> = wanted.map(|t| transaction.message(self.project.id, t)).collect();
        trigger::tell(&self.shared, &self.project, &manifest, messages).await
    }
}

fn ended(outcome: &Outcome) -> SendState {
    match outcome {
        Outcome::Done(Mined { transaction, number, block, gas_used, gas_price }) => SendState::Confirmed {
            transaction: transaction.to_string(),
            block: *number,
            block_hash: block.to_string(),
            gas_used: *gas_used,
            gas_price: gas_price.to_string(),
        },
        Outcome::Reverted(mined, revert) => SendState::Failed {
            transaction: Some(mined.transaction.to_string()),
            error: format!("the transaction {revert}"),
        },
        Outcome::Cancelled(Cancel::Reverts(revert)) => {
            SendState::Failed { transaction: None, error: format!("the transaction {revert}") }
        }
        Outcome::Cancelled(Cancel::Rejected(words)) => {
            SendState::Failed { transaction: None, error: format!("the chain's node refuses it: {words}") }
        }
    }
}
