//! What the node shows: a message's life, receipts, status, metrics.

use async_trait::async_trait;
use serde::Serialize;
use w3bstream_endpoint::{MessageLife, Query};
use w3bstream_types::{
    AckMode, Address, Did, Digest, HandlerResult, MessageId, MessageSettlement, MessageState, OperatorName,
    Output, ProjectId, ProjectName, PublicKey, PublisherName, SourceId, StateChange, Stored, Timestamp,
    receipt::{Receipt, ReceiptParts},
};
use w3bstream_vfs::key;
use w3bstream_wallet::{DeviceStatus, Registry as _, TokenStatus};

use crate::project::{GuestLog, Project};
use crate::settle::{self, Settlement};
use crate::{
    Error, ErrorKind, GuestTransaction, Pipeline, TriggerStatus, counters, guest_counts, stage_execute,
};

/// How many conflicts per project are searched for a message that is not stored.
const CONFLICTS: usize = 1000;

/// One project as the status page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectStatus {
    /// Its name.
    pub name: ProjectName,
    /// Its id.
    pub id: ProjectId,
    /// Its owner.
    pub owner: Option<Did>,
    /// `Idle`, `Ready`, `Busy`, `Halted`, `Removing` or `Removed`.
    pub state: &'static str,
    /// Why, in words.
    pub reason: String,
    /// The height at which its owner has removed it; absent if that did not happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// What an acknowledgement promises.
    pub ack: Option<AckMode>,
    /// The manifest's version.
    pub version: u64,
    /// What runs: each applet with the SHA-256 of its program.
    pub applets: std::collections::BTreeMap<w3bstream_types::AppletName, w3bstream_types::Digest>,
    /// Digest of the genesis: the anchor of its receipts.
    pub genesis: w3bstream_types::Digest,
    /// The consensus backend.
    pub consensus: String,
    /// Members of the subnet.
    pub members: usize,
    /// The last final height.
    pub height: u64,
    /// The last applied height.
    pub applied: u64,
    /// The last attested height.
    pub attested: u64,
    /// Registered devices that are not revoked.
    pub devices: usize,
    /// How its triggers stand, by name.
    pub triggers: Vec<TriggerStatus>,
    /// Counts since the node started, by metric name.
    pub counters: std::collections::BTreeMap<&'static str, u64>,
    /// Refusals since the node started, by reason.
    pub refused: std::collections::BTreeMap<&'static str, u64>,
}

/// A block as the status page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockView {
    /// Its height.
    pub height: u64,
    /// The proposer's time.
    pub time: Timestamp,
    /// Number of entries.
    pub entries: u64,
    /// Its name.
    pub id: w3bstream_types::Digest,
    /// Whether a quorum has attested it.
    pub attested: bool,
}

/// A device as the node lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceView {
    /// The device.
    pub device: Did,
    /// `registered` or `revoked`.
    pub state: &'static str,
    /// Its highest ordered sequence number, as a decimal string; absent before its first message.
    pub sequence: Option<w3bstream_types::Sequence>,
    /// When this node took its last message, as far as it remembers since it started.
    pub heard: Option<Timestamp>,
}

impl DeviceView {
    pub(crate) fn of(
        did: &Did,
        status: &DeviceStatus,
        window: Option<&w3bstream_types::SequenceWindow>,
        heard: Option<Timestamp>,
    ) -> Self {
        let state = if *status == DeviceStatus::Revoked { "revoked" } else { "registered" };
        let sequence = window.and_then(w3bstream_types::SequenceWindow::highest);
        Self { device: did.clone(), state, sequence, heard }
    }
}

/// What goes into a receipt beside what always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptContent {
    /// The payload with its salt.
    pub payload: bool,
    /// The message's settlements, as far as they have ended. Their chains are asked.
    pub settlements: bool,
}

impl Pipeline {
    /// All projects of this node, by name.
    #[must_use]
    pub fn projects(&self) -> Vec<ProjectStatus> {
        self.0.all_projects().iter().map(|p| self.project_status(p)).collect()
    }

    fn project_status(&self, p: &Project) -> ProjectStatus {
        let manifest = self.0.manifest(p.id);
        let (height, applied, attested) = (*p.journaled.borrow(), *p.applied.borrow(), *p.attested.borrow());
        let live = |image: &crate::registry::Image| {
            image.devices.values().filter(|d| matches!(d, DeviceStatus::Registered(_))).count()
        };
        let removed = self.0.removed(p.id);
        let (state, reason) = match p.halt_reason() {
            Some(why) => ("Halted", why),
            None if removed.is_some() => ("Removed", removed_reason(removed, p)),
            None if p.is_leaving() => ("Removing", "orders what it took before its removal".to_owned()),
            None if manifest.is_none() => ("Idle", "the first deployment is being ordered".to_owned()),
            None if !p.waits.borrow().is_empty() => ("Busy", p.waits.borrow().clone()),
            None if attested < height => ("Busy", format!("height {height} is final, {attested} attested")),
            None => ("Ready", format!("1 of {} members ready", p.genesis.members.len())),
        };
        ProjectStatus {
            name: p.name.clone(),
            id: p.id,
            owner: manifest.as_ref().map(|m| m.owner.clone()),
            state,
            reason,
            removed,
            ack: manifest.as_ref().map(|m| m.ack),
            version: manifest.as_ref().map_or(0, |m| m.version),
            applets: manifest.iter().flat_map(|m| &m.applets).map(|a| (a.name.clone(), a.program)).collect(),
            genesis: w3bstream_types::Canonical::digest(&p.genesis),
            consensus: p.genesis.backend.clone(),
            members: p.genesis.members.len(),
            height,
            applied,
            attested,
            triggers: p.triggers.all(),
            devices: self.0.registries.with(p.id, live).unwrap_or_default(),
            counters: p.counters.rows().into_iter().map(|(name, _, v)| (name, v)).collect(),
            refused: self.0.refusals.of(p.name.as_str()).into_iter().map(|(k, n)| (k.code(), n)).collect(),
        }
    }

    /// A project's last blocks, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn last_blocks(&self, project: ProjectId, limit: u64) -> Result<Vec<BlockView>, Error> {
        let Some(running) = self.0.project(project) else { return Ok(Vec::new()) };
        let (last, attested) = (*running.journaled.borrow(), *running.attested.borrow());
        let mut blocks = Vec::new();
        for height in (last.saturating_sub(limit) + 1..=last).rev() {
            let Some(certified) = self.0.parts.journal.block(project, height).await? else { break };
            let (id, header) = (certified.block.id(), certified.block.header());
            let (time, entries) = (header.time, header.entry_count);
            blocks.push(BlockView { height, time, entries, id, attested: height <= attested });
        }
        Ok(blocks)
    }

    /// The manifest in force.
    #[must_use]
    pub fn manifest(&self, project: ProjectId) -> Option<std::sync::Arc<w3bstream_types::Manifest>> {
        self.0.manifest(project)
    }

    /// A project's devices, by DID.
    #[must_use]
    pub fn devices(&self, project: ProjectId) -> Vec<DeviceView> {
        let mut all = self.recent_devices(project, usize::MAX);
        all.sort_by(|a, b| a.device.cmp(&b.device));
        all
    }

    /// The publisher that holds the token with this hash.
    #[must_use]
    pub fn publisher(&self, project: ProjectId, token: &Digest) -> Option<PublisherName> {
        match self.0.registries.token(project, token) {
            TokenStatus::Registered(registered) => Some(registered.publisher.clone()),
            TokenStatus::Unknown => None,
        }
    }

    /// What a project's guests have logged last, oldest first.
    #[must_use]
    pub fn guest_logs(&self, project: ProjectId, limit: usize) -> Vec<GuestLog> {
        self.0.project(project).map(|p| p.recent_logs(limit)).unwrap_or_default()
    }

    /// The value of an applet's key. If the applet's state is split, `of` is whose part is meant.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if `of` is given and the state is not split, or the other way round; [`Error`] if the state
    /// cannot be read.
    pub async fn applet_value(
        &self,
        project: ProjectId,
        (applet, of): (&w3bstream_types::AppletName, Option<&SourceId>),
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        let refused = |why: String| Err(Error::new(ErrorKind::Refused, why));
        let manifest = self.0.manifest(project);
        let found = manifest.iter().flat_map(|m| &m.applets).find(|a| a.name == *applet);
        let split = found.is_some_and(|a| !a.partition.is_none());
        let key = match of {
            None if split => {
                return refused(format!(
                    "the state of {applet} is split by device: add whose part is meant, such as ?of=did:key:z6Mk…, \
                     ?of=publisher:NAME or ?of=trigger:NAME"
                ));
            }
            Some(_) if !split => {
                return refused(format!("the state of {applet} is not split: leave away `of`"));
            }
            of => {
                let part = of.map(key::part_of);
                key::guest(applet, part.as_ref().map_or(&[], |part| part.as_bytes()), name)
            }
        };
        Ok(self.0.parts.vfs.get(project, &key).await?)
    }

    /// Settlements of a project by rising height and index, behind `after`, at most `limit`: those under way, or
    /// those that ended.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn settlements(
        &self,
        project: ProjectId,
        (ended, after): (bool, Option<(u64, u64)>),
        limit: usize,
    ) -> Result<Vec<Settlement>, Error> {
        crate::settle::page(&*self.0.parts.journal, project, (ended, after), limit).await
    }

    /// The settlement of one output, by the height of its block and its index; `None` if that is no settlement, or
    /// its block is not attested yet.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn settlement(
        &self,
        project: ProjectId,
        place: (u64, u64),
    ) -> Result<Option<Settlement>, Error> {
        crate::settle::find(&*self.0.parts.journal, project, place).await
    }

    /// The genesis of a project's subnet; `None` if this node does not serve it.
    #[must_use]
    pub fn genesis(&self, project: ProjectId) -> Option<w3bstream_types::Genesis> {
        self.0.project(project).map(|p| p.genesis.clone())
    }

    /// The account that pays for a project's transactions.
    ///
    /// # Errors
    /// [`Error`] if the wallet has no key for it.
    pub fn fee_account(&self, project: ProjectId) -> Result<Address, Error> {
        self.operator_account(project, None)
    }

    /// The account from which a project's operator sends, on every chain; the project's own without a name. Whoever runs the
    /// node gives it money.
    ///
    /// # Errors
    /// [`Error`] if the key cannot be had.
    pub fn operator_account(
        &self,
        project: ProjectId,
        operator: Option<&OperatorName>,
    ) -> Result<Address, Error> {
        Ok(Address::of_key(&self.0.parts.signer.fee_key(crate::settle::payer(project, operator))?)?)
    }

    /// What became of a transaction that a guest of the project asked for, by the id that the guest got.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn transaction(
        &self,
        project: ProjectId,
        id: Digest,
    ) -> Result<Option<GuestTransaction>, Error> {
        crate::settle::find_transaction(&*self.0.parts.journal, project, id).await
    }

    /// Transactions that guests of the project asked for: those under way, or those that ended, behind `after` (height,
    /// index), at most `limit`.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn transactions(
        &self,
        project: ProjectId,
        place: (bool, Option<(u64, u64)>),
        limit: usize,
    ) -> Result<Vec<GuestTransaction>, Error> {
        crate::settle::transactions(&*self.0.parts.journal, project, place, limit).await
    }

    async fn outputs_about(
        &self,
        project: ProjectId,
        id: MessageId,
    ) -> Result<Option<(u64, Vec<Output>)>, Error> {
        let Some((height, first, count)) = self.0.parts.vfs.outputs_of(project, id).await? else {
            return Ok(None);
        };
        let (_, _, outputs) =
            self.0.parts.vfs.result(project, height).await?.ok_or_else(|| {
                Error::new(ErrorKind::Fatal, format!("the result of height {height} is gone"))
            })?;
        let about = outputs.get(first as usize..(first + count) as usize).unwrap_or_default();
        Ok(Some((height, about.to_vec())))
    }

    /// The results of the handlers that ran on a message; `None` if it was not executed.
    ///
    /// # Errors
    /// [`Error`] if the state cannot be read.
    pub async fn results(
        &self,
        project: ProjectId,
        id: MessageId,
    ) -> Result<Option<Vec<HandlerResult>>, Error> {
        Ok(self.outputs_about(project, id).await?.map(|(_, outputs)| stage_execute::results(&outputs)))
    }

    /// The receipt of an attested message, with what is settled of it until now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if this node does not know the message or it is not attested yet, with what it
    /// waits for; [`ErrorKind::Unavailable`] if a chain does not show the settlement that it took.
    pub async fn receipt(&self, id: MessageId, content: ReceiptContent) -> Result<Receipt, Error> {
        let missing = |why: String| Error::new(ErrorKind::NotFound, why);
        let parts = &self.0.parts;
        let stored = self.0.store.get(&[id]).await?.pop().flatten();
        let stored = stored.ok_or_else(|| missing(format!("this node has no message {id}")))?;
        let record = stored.record();
        let project = record.project();
        let (height, first, count) = parts
            .vfs
            .outputs_of(project, id)
            .await?
            .ok_or_else(|| missing(format!("message {id} is stored but not executed yet")))?;
        let attestation = parts.journal.attestation(project, height).await?;
        let attestation =
            attestation.ok_or_else(|| missing(format!("block {height} is not attested yet; try again")))?;
        let gone = || Error::new(ErrorKind::Fatal, format!("block {height} is gone"));
        let block = parts.journal.block(project, height).await?.ok_or_else(gone)?;
        let (_, _, outputs) = parts.vfs.result(project, height).await?.ok_or_else(gone)?;
        let running = self.0.project(project).ok_or_else(|| missing(format!("no project {project}")))?;
        let key = self.registered_key(project, record.device()).await?;
        let settlements = if content.settlements {
            let own = first..first.saturating_add(count);
            crate::settle::links(&self.0, (project, height), own).await?
        } else {
            Vec::new()
        };
        Ok(Receipt::assemble(ReceiptParts {
            record,
            key: key.as_ref(),
            with_payload: content.payload,
            block: &block,
            outputs: &outputs,
            attestation: &attestation,
            genesis: &running.genesis,
            settlements: &settlements,
        })?)
    }

    /// The key under which a device is registered; a revoked device's registration is still there.
    async fn registered_key(
        &self,
        project: ProjectId,
        device: Option<Did>,
    ) -> Result<Option<PublicKey>, Error> {
        let Some(did) = device else { return Ok(None) };
        let bytes = self.0.parts.vfs.get(project, &w3bstream_vfs::key::device(&did)).await?;
        let device = bytes
            .map(|b| <w3bstream_types::DeviceRegistration as w3bstream_types::Canonical>::from_canonical(&b));
        Ok(device.transpose()?.map(|d| d.key))
    }

    async fn life(&self, id: MessageId) -> Result<Option<MessageLife>, Error> {
        let Some(stored) = self.0.store.get(&[id]).await?.pop().flatten() else {
            return self.conflicted(id).await;
        };
        let project = stored.record().project();
        let Some(running) = self.0.project(project) else { return Ok(None) };
        let mut states = vec![StateChange {
            state: MessageState::Stored,
            time: stored.received_at(),
            reason: "durable on this node".into(),
        }];
        let about = self.outputs_about(project, id).await?;
        let about = about.as_ref().map(|(height, outputs)| (*height, outputs.as_slice()));
        self.add_later_states(&running, &stored, about, &mut states).await?;
        let (settlements, settlement_count) = self.settlements_of(project, id, about).await?;
        Ok(Some(MessageLife { project: running.name.clone(), states, settlements, settlement_count }))
    }

    async fn settlements_of(
        &self,
        project: ProjectId,
        id: MessageId,
        about: Option<(u64, &[Output])>,
    ) -> Result<(Vec<MessageSettlement>, u64), Error> {
        let place = self.0.parts.vfs.outputs_of(project, id).await?;
        let (Some((_, first, _)), Some((height, outputs))) = (place, about) else {
            return Ok((Vec::new(), 0));
        };
        settle::of_message(&self.0, project, (height, first, outputs)).await
    }

    async fn add_later_states(
        &self,
        project: &Project,
        stored: &Stored,
        about: Option<(u64, &[Output])>,
        states: &mut Vec<StateChange>,
    ) -> Result<(), Error> {
        let (id, journal) = (stored.record().id(), &self.0.parts.journal);
        let Some((_, height, index)) = journal.ordered(&[id]).await?.pop().flatten() else {
            let why = project.halt_reason().map_or_else(
                || "durable on this node; waits for the next block".to_owned(),
                |why| format!("durable on this node; the project is halted: {why}"),
            );
            if let Some(last) = states.last_mut() {
                last.reason = why;
            }
            return Ok(());
        };
        let time =
            journal.block(project.id, height).await?.map_or(Timestamp::NONE, |b| b.block.header().time);
        let mut reach = |state, reason| states.push(StateChange { state, time, reason });
        reach(MessageState::Ordered, format!("entry {index} of block {height}"));
        let Some((_, outputs)) = about else { return Ok(()) };
        if let Some(why) = stage_execute::rejection(outputs) {
            reach(MessageState::Rejected, why.code().to_owned());
        } else {
            reach(MessageState::Executed, describe(&stage_execute::results(outputs)));
        }
        if *project.attested.borrow() >= height {
            let of = project.genesis.members.len();
            reach(MessageState::Attested, format!("by {} of {of}", project.genesis.quorum()));
        }
        Ok(())
    }

    /// Whether a message was refused because another had its sequence number.
    async fn conflicted(&self, id: MessageId) -> Result<Option<MessageLife>, Error> {
        for project in self.0.all_projects() {
            let conflicts = self.0.parts.storage.conflicts(project.id, CONFLICTS).await?;
            let Some(found) = conflicts.into_iter().find(|c| c.refused.record.id() == id) else { continue };
            let states = vec![StateChange {
                state: MessageState::Conflicted,
                time: found.refused.received_at,
                reason: format!("message {} has its sequence number or event id", found.kept),
            }];
            let (project, settlements) = (project.name.clone(), Vec::new());
            return Ok(Some(MessageLife { project, states, settlements, settlement_count: 0 }));
        }
        Ok(None)
    }
}

/// Since when a removed project is, and what of it is known to go on without looking it up.
fn removed_reason(height: Option<u64>, project: &Project) -> String {
    let settling = project.counters.settling.load(std::sync::atomic::Ordering::Relaxed);
    let rest = match settling {
        0 => String::new(),
        n => format!("; {n} settlements go on"),
    };
    format!("by its owner at height {}{rest}", height.unwrap_or_default())
}

/// The most results that a message's reason tells of: events may lead to many.
const MOST_DESCRIBED: usize = 16;

pub(crate) fn describe(results: &[HandlerResult]) -> String {
    if results.is_empty() {
        return "no route takes this event type".into();
    }
    let one = |r: &HandlerResult| {
        let event = r.event.as_ref().map_or_else(String::new, |event| format!("event {event}: "));
        match &r.error {
            None => format!("{event}{}.{} gave {}", r.applet, r.handler, r.code),
            Some(why) => format!("{event}{}.{} failed: {why}", r.applet, r.handler),
        }
    };
    let mut shown: Vec<String> = results.iter().take(MOST_DESCRIBED).map(one).collect();
    if let Some(more) = results.len().checked_sub(MOST_DESCRIBED).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    shown.join("; ")
}

#[async_trait]
impl Query for Pipeline {
    async fn message(&self, id: MessageId) -> Result<Option<MessageLife>, w3bstream_endpoint::Error> {
        self.life(id).await.map_err(|e| {
            w3bstream_endpoint::Error::new(w3bstream_endpoint::ErrorKind::State, "the message's state")
                .with_source(e)
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.readiness()
    }

    fn metrics(&self) -> String {
        let mut out = String::new();
        let all = self.0.all_projects();
        let projects: Vec<_> = all.iter().map(|p| (p.name.clone(), p.counters.clone())).collect();
        counters::write_metrics(&mut out, &projects);
        let guests: Vec<_> = all.iter().map(|p| (p.name.clone(), &p.guest_metrics)).collect();
        guest_counts::write_guest_metrics(&mut out, &guests);
        let counts: Vec<_> = all.iter().map(|p| (p.name.clone(), &p.guest_counts)).collect();
        guest_counts::write_guest_counts(&mut out, &counts);
        guest_counts::write_engine_stats(&mut out, self.0.parts.engine.stats());
        let halted: Vec<_> = all.iter().map(|p| (p.name.clone(), p.halt_reason().is_some())).collect();
        counters::write_halted(&mut out, &halted);
        self.0.refusals.write_metrics(&mut out);
        crate::canary::write_metrics(&mut out, &self.0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_tells_of_the_first_results_and_how_many_more_there_are() {
        let result = |event: Option<&str>| HandlerResult {
            applet: "a".parse().unwrap(),
            handler: "h".into(),
            code: 0,
            error: None,
            gas: 1,
            event: event.map(|name| name.parse().unwrap()),
            answer: None,
        };
        let few = describe(&[result(None), result(Some("seen"))]);
        assert_eq!(few, "a.h gave 0; event seen: a.h gave 0");
        assert!(!describe(&vec![result(None); MOST_DESCRIBED]).contains("more"));
        let many = describe(&vec![result(None); MOST_DESCRIBED + 2]);
        assert_eq!(many.matches("gave").count(), MOST_DESCRIBED);
        assert!(many.ends_with("; and 2 more"), "{many}");
    }
}
