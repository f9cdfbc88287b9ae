//! What a final block does: a pure function of the block, the messages and control transactions that it
//! names, and the state before it. Every node of a subnet must find the same.

use std::ops::Range;
use std::sync::Arc;

use w3bstream_engine::{Cut, Engine, LogLine};
use w3bstream_types::{
    AppletName, Canonical, ContractAnswer, ContractCall, Control, ControlTx, Database, DeviceRegistration,
    Digest, Entry, EventType, Form, GuestLimits, MAX_SESSION_LAG_MS, Manifest, MessageId, Ordered, Output,
    OutputKind, ProjectId, Record, RefusalKind, SequenceWindow, SessionMessage, SourceId, SqlBlock,
    Timestamp, TokenRegistration, Transcript, TriggerOn, WindowVerdict,
};
use w3bstream_vfs::{Applied, SqlSession, Writes, key};
use w3bstream_wallet::DeviceStatus;

use crate::Error;
use crate::call::{Traced, Trial};
use crate::crew::{self, Hands};
use crate::lanes;
use crate::registry::{Draft, Image};
use crate::segment::{LaneDone, Modules, Runner, Segment};

/// Reads the state as it was before the block. Blocks.
pub(crate) trait StateReader {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    fn program(&mut self, digest: Digest) -> Result<Vec<u8>, Error>;
    /// What a contract answers; `None` if the block does not say.
    fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, Error>;
    /// The project's database; opened when it is first asked for.
    fn sql(&mut self) -> Result<&mut dyn SqlSession, Error>;
    /// Ends the use of the database and gives what was done to it.
    fn finish_sql(&mut self) -> Result<SqlBlock, Error>;
    /// Another reader of the same state, without the database, for another thread. `None` if what is read must be read in
    /// the block's order.
    fn fork(&self) -> Option<Box<dyn StateReader + Send>>;
}

/// Everything that an application needs.
pub(crate) struct Applier<'a> {
    pub(crate) project: ProjectId,
    /// The block's time.
    pub(crate) time: Timestamp,
    pub(crate) image: &'a Image,
    pub(crate) engine: Arc<dyn Engine>,
    /// The operator's caps on guests.
    pub(crate) caps: GuestLimits,
    pub(crate) state: &'a mut dyn StateReader,
    /// What is tried beside it.
    pub(crate) trial: Trial,
    /// Who runs it.
    pub(crate) hands: Hands,
}

/// What the block did.
#[derive(Debug)]
pub(crate) struct Effects {
    pub(crate) applied: Applied,
    pub(crate) draft: Draft,
    pub(crate) logs: Vec<(AppletName, MessageId, LogLine)>,
    /// What limits took away from calls without ending them.
    pub(crate) cuts: Vec<(AppletName, Cut)>,
    /// Each call that was to be traced.
    pub(crate) calls: Vec<Traced>,
}

/// The work in progress on one block.
struct Work<'a> {
    base: Applier<'a>,
    height: u64,
    draft: Draft,
    writes: Writes,
    outputs: Vec<Output>,
    index: Vec<(MessageId, u64, u64)>,
    logs: Vec<(AppletName, MessageId, LogLine)>,
    cuts: Vec<(AppletName, Cut)>,
    modules: Arc<Modules>,
    calls: Vec<Traced>,
}

/// A message, and why the state does not allow it, if it does not.
type Judged<'a> = (usize, &'a Record, Option<RefusalKind>);

impl<'a> Applier<'a> {
    /// Applies a block. `entries` are its entries in order, resolved.
    pub(crate) fn apply(self, height: u64, entries: &Arc<Vec<(Entry, Resolved)>>) -> Result<Effects, Error> {
        let mut work = Work {
            base: self,
            height,
            draft: Draft::default(),
            writes: Writes::new(),
            outputs: Vec::new(),
            index: Vec::new(),
            logs: Vec::new(),
            modules: Arc::default(),
            cuts: Vec::new(),
            calls: Vec::new(),
        };
        let mut begin = 0;
        for (end, (_, resolved)) in entries.iter().enumerate() {
            if let Resolved::Control(tx) = resolved {
                // It may change what the messages behind it meet.
                work.messages(entries, begin..end)?;
                work.control(tx)?;
                begin = end + 1;
            }
        }
        work.messages(entries, begin..entries.len())?;
        work.finish()
    }
}

/// An entry with what it names.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    Message(Box<Ordered>),
    Control(Box<ControlTx>),
    Transcript(Box<Transcript>),
}

impl Work<'_> {
    fn manifest(&self) -> Option<Arc<Manifest>> {
        self.draft.manifest.clone().or_else(|| self.base.image.manifest.clone())
    }

    /// The height at which the project was removed, if it was.
    fn removed(&self) -> Option<u64> {
        self.draft.removed.or(self.base.image.removed)
    }

    fn finish(mut self) -> Result<Effects, Error> {
        for (did, window) in &self.draft.windows {
            self.writes.insert(key::window(did), Some(window.to_canonical()));
        }
        let SqlBlock { log: sql, rows } = self.base.state.finish_sql()?;
        for ((table, number), digest) in rows {
            let value = digest.map(|d| d.as_bytes().to_vec());
            self.writes.insert(key::sql_row(&table, number), value);
        }
        let manifest = self.manifest().map_or(Digest::ZERO, |m| m.digest());
        let (writes, outputs, index) = (self.writes, self.outputs, self.index);
        let applied = Applied { height: self.height, writes, outputs, manifest, index, sql };
        Ok(Effects { applied, draft: self.draft, logs: self.logs, cuts: self.cuts, calls: self.calls })
    }

    fn control(&mut self, tx: &ControlTx) -> Result<(), Error> {
        let nonce = self.draft.nonce.unwrap_or(self.base.image.nonce);
        let outcome = if tx.nonce == nonce + 1 {
            self.draft.nonce = Some(tx.nonce);
            self.writes.insert(key::control_nonce(), Some(tx.nonce.to_be_bytes().to_vec()));
            self.change(tx)?
        } else {
            Err(format!("nonce {} does not follow {nonce}", tx.nonce))
        };
        let data = outcome.err().unwrap_or_default().into_bytes();
        let target = tx.id().as_bytes().to_vec();
        self.outputs.push(Output { kind: OutputKind::Control, chain_id: 0, target, data });
        Ok(())
    }

    /// Makes a change, or says why it cannot be made.
    fn change(&mut self, tx: &ControlTx) -> Result<Result<(), String>, Error> {
        let current = self.manifest();
        if let Err(why) = signed_by_owner(current.as_deref(), tx) {
            return Ok(Err(why));
        }
        if let Some(height) = self.removed() {
            return Ok(Err(format!(
                "the project was removed at height {height}; nothing changes it any more"
            )));
        }
        Ok(match &tx.change {
            Control::Deploy(manifest) => return self.deploy(current.as_deref(), manifest),
            Control::RegisterDevice(device) => self.register_device(device),
            Control::RevokeDevice(did) => {
                self.writes.insert(key::revoked_device(did), Some(vec![1]));
                self.draft.devices.insert(did.clone(), DeviceStatus::Revoked);
                Ok(())
            }
            Control::RegisterToken(token) => self.register_token(token),
            Control::RevokeToken(name) => {
                self.remove_token(name);
                Ok(())
            }
            Control::Remove => {
                self.writes.insert(key::removed(), Some(self.height.to_be_bytes().to_vec()));
                self.draft.removed = Some(self.height);
                Ok(())
            }
        })
    }

    fn deploy(&mut self, current: Option<&Manifest>, next: &Manifest) -> Result<Result<(), String>, Error> {
        if next.project() != self.base.project {
            return Ok(Err("the manifest is of another project".into()));
        }
        if let Err(e) = next.check() {
            return Ok(Err(e.to_string()));
        }
        if let Some(current) = current
            && next.version <= current.version
        {
            return Ok(Err(format!("version {} must be above {}", next.version, current.version)));
        }
        if let Some(Err(e)) = current.map(|current| next.keeps_partitions(current)) {
            return Ok(Err(e.to_string()));
        }
        let before = current.and_then(|m| m.database.as_ref());
        if let Err(why) = follows(before, next.database.as_ref()) {
            return Ok(Err(why));
        }
        if let Some(database) = &next.database
            && before != Some(database)
            && let Err(why) = self.base.state.sql()?.declare(before, database)?
        {
            return Ok(Err(format!("database: {why}")));
        }
        self.writes.insert(key::manifest(), Some(next.to_canonical()));
        self.draft.manifest = Some(Arc::new(next.clone()));
        Ok(Ok(()))
    }

    fn device(&self, record: &Record) -> DeviceStatus {
        let Some(did) = record.of_device() else { return DeviceStatus::Unknown };
        let found = self.draft.devices.get(&did).or_else(|| self.base.image.devices.get(&did));
        found.cloned().unwrap_or(DeviceStatus::Unknown)
    }

    fn register_device(&mut self, device: &DeviceRegistration) -> Result<(), String> {
        let known = self.draft.devices.get(&device.device);
        let known = known.or_else(|| self.base.image.devices.get(&device.device));
        if known == Some(&DeviceStatus::Revoked) {
            return Err(format!("{} was revoked; a revoked device cannot come back", device.device));
        }
        self.writes.insert(key::device(&device.device), Some(device.to_canonical()));
        let status = DeviceStatus::Registered(Arc::new(device.clone()));
        self.draft.devices.insert(device.device.clone(), status);
        Ok(())
    }

    fn token_of(&self, name: &w3bstream_types::PublisherName) -> Option<Arc<TokenRegistration>> {
        match self.draft.publishers.get(name) {
            Some(changed) => changed.clone(),
            None => self.base.image.publishers.get(name).cloned(),
        }
    }

    fn remove_token(&mut self, name: &w3bstream_types::PublisherName) {
        if let Some(old) = self.token_of(name) {
            self.writes.insert(key::token(&old.token_hash), None);
            self.writes.insert(key::publisher(name), None);
        }
        self.draft.publishers.insert(name.clone(), None);
    }

    fn register_token(&mut self, token: &TokenRegistration) -> Result<(), String> {
        let holder = self.base.image.tokens.get(&token.token_hash);
        if holder.is_some_and(|h| h.publisher != token.publisher) {
            return Err("another publisher has this token".into());
        }
        self.remove_token(&token.publisher);
        let name = token.publisher.as_str().as_bytes().to_vec();
        self.writes.insert(key::token(&token.token_hash), Some(name));
        self.writes.insert(key::publisher(&token.publisher), Some(token.to_canonical()));
        self.draft.publishers.insert(token.publisher.clone(), Some(Arc::new(token.clone())));
        Ok(())
    }

    /// Runs a segment: first all messages are judged, which no handler has a part in, then their handlers run.
    fn messages(&mut self, entries: &Arc<Vec<(Entry, Resolved)>>, range: Range<usize>) -> Result<(), Error> {
        let (mut judged, mut accepted) = (Vec::<Judged<'_>>::new(), Vec::new());
        for (index, (_, resolved)) in entries.iter().enumerate().take(range.end).skip(range.start) {
            // What a transcript says is asked for by the handlers.
            let Resolved::Message(ordered) = resolved else { continue };
            let verdict = self.judge(ordered.record());
            if verdict.is_ok() {
                accepted.push(index);
            }
            judged.push((index, ordered.record(), verdict.err()));
        }
        let done = match self.manifest() {
            Some(manifest) if !accepted.is_empty() => self.handle(manifest, entries, &accepted)?,
            _ => LaneDone::default(),
        };
        self.keep(judged, done);
        Ok(())
    }

    /// Runs the handlers of messages.
    fn handle(
        &mut self,
        manifest: Arc<Manifest>,
        entries: &Arc<Vec<(Entry, Resolved)>>,
        accepted: &[usize],
    ) -> Result<LaneDone, Error> {
        let mut segment = Segment {
            time: self.base.time,
            manifest,
            engine: self.base.engine.clone(),
            caps: self.base.caps,
            trial: self.base.trial.clone(),
            entries: entries.clone(),
            written: std::mem::take(&mut self.writes),
            modules: self.modules.clone(),
            whole: true,
            stop: usize::MAX.into(),
        };
        let (state, hands) = (&mut *self.base.state, &self.base.hands);
        let reader = if hands.helpers.any() { state.fork() } else { None };
        let lanes = match &reader {
            Some(_) => lanes::split(&segment, accepted, (state, &hands.pace))?,
            None => None,
        };
        let (segment, done) = match lanes.zip(reader) {
            Some((lanes, reader)) => {
                let (lanes, whole) = lanes;
                segment.whole = whole;
                let (segment, done) = crew::run(segment, lanes, (state, reader), hands)?;
                (segment, LaneDone::join(done))
            }
            None => {
                let lane = lanes::whole(&segment, accepted)?;
                let done = Runner::new(&segment, state).run(&lane, &mut || {})?;
                (segment, done)
            }
        };
        self.writes = segment.written;
        Ok(done)
    }

    /// Takes over what a segment did, in the block's order.
    fn keep(&mut self, judged: Vec<Judged<'_>>, done: LaneDone) {
        let mut pieces = done.pieces.into_iter().peekable();
        for (index, record, refused) in judged {
            let (id, first) = (record.id(), self.outputs.len() as u64);
            if let Some(kind) = refused {
                let (target, data) = (id.0.as_bytes().to_vec(), kind.code().as_bytes().to_vec());
                self.outputs.push(Output { kind: OutputKind::Rejected, chain_id: 0, target, data });
            }
            while let Some(piece) = pieces.next_if(|piece| piece.place.0 == index) {
                self.outputs.extend(piece.outputs);
                if !piece.cut.is_none() {
                    self.cuts.push((piece.applet.clone(), piece.cut));
                }
                self.logs.extend(piece.logs.into_iter().map(|line| (piece.applet.clone(), id, line)));
                self.calls.extend(piece.traced);
            }
            self.index.push((id, first, self.outputs.len() as u64 - first));
        }
        self.writes.extend(done.writes);
    }

    /// Whether the state of this height allows the message. Admission asked the same of an earlier state.
    fn judge(&mut self, record: &Record) -> Result<(), RefusalKind> {
        if self.removed().is_some() {
            return Err(RefusalKind::Removed);
        }
        let manifest = self.manifest().ok_or(RefusalKind::UnknownProject)?;
        let allowed = match record.source() {
            SourceId::Device(_) => match self.device(record) {
                DeviceStatus::Unknown => return Err(RefusalKind::UnknownDevice),
                DeviceStatus::Revoked => return Err(RefusalKind::Revoked),
                DeviceStatus::Registered(device) => device.event_types.clone(),
            },
            SourceId::Publisher(name) => {
                self.token_of(&name).ok_or(RefusalKind::Revoked)?.event_types.clone()
            }
            SourceId::Trigger(_) => self.trigger(record, &manifest)?,
        };
        if !allowed.is_empty() && !allowed.contains(record.event_type()) {
            return Err(RefusalKind::NotAllowed);
        }
        if let Form::Session(message) = record.form() {
            self.session(message, &manifest)?;
        }
        if let (Some(did), Some(sequence)) = (record.device(), record.sequence()) {
            let base = self.base.image.windows.get(&did);
            let window = self.draft.windows.entry(did);
            let window: &mut SequenceWindow = window.or_insert_with(|| base.cloned().unwrap_or_default());
            match window.accept(sequence) {
                WindowVerdict::New => {}
                WindowVerdict::Seen => return Err(RefusalKind::Conflict),
                WindowVerdict::TooOld => return Err(RefusalKind::TooOld),
            }
        }
        Ok(())
    }

    /// Whether the project still takes sessions, and this one did not end long before the block. The time of receipt,
    /// by which the message was admitted, is one node's; all members know the block's.
    fn session(&self, message: &SessionMessage, manifest: &Manifest) -> Result<(), RefusalKind> {
        if !manifest.allow_sessions {
            return Err(RefusalKind::NotAllowed);
        }
        let last = message.token.expires().0.saturating_add(MAX_SESSION_LAG_MS);
        if self.base.time.0 > last { Err(RefusalKind::BadToken) } else { Ok(()) }
    }

    /// The one event type of a trigger of this height's manifest. A moment is not before its time.
    fn trigger(&self, record: &Record, manifest: &Manifest) -> Result<Vec<EventType>, RefusalKind> {
        let Form::Trigger(message) = record.form() else { return Err(RefusalKind::Malformed) };
        let trigger = manifest.trigger(&message.trigger).ok_or(RefusalKind::Revoked)?;
        if matches!(trigger.on, TriggerOn::Cron(_)) && message.time > self.base.time {
            return Err(RefusalKind::NotAllowed);
        }
        Ok(vec![trigger.event_type.clone()])
    }
}

/// Whether the owner has signed a change: of the manifest in force, or of the first one.
fn signed_by_owner(current: Option<&Manifest>, tx: &ControlTx) -> Result<(), String> {
    let owner = match (current, &tx.change) {
        (Some(manifest), _) => &manifest.owner,
        (None, Control::Deploy(manifest)) => &manifest.owner,
        (None, _) => return Err("the project has no manifest yet".into()),
    };
    let key = owner.embedded_key().map_err(|e| e.to_string())?;
    tx.verify(&key).map_err(|e| e.to_string())
}

/// Whether one declaration of a database can follow another without losing data.
pub(crate) fn follows(before: Option<&Database>, next: Option<&Database>) -> Result<(), String> {
    match (before, next) {
        (Some(before), Some(next)) => next.follows(before).map_err(|e| e.to_string()),
        (Some(_), None) => {
            Err("the project's database has data and cannot be taken away: keep [database]".into())
        }
        (None, _) => Ok(()),
    }
}
