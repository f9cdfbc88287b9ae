//! What a final block does: a pure function of the block, the messages and control transactions that it
//! names, and the state before it. Every node of a subnet must find the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use w3bstream_engine::{Cut, Engine, LogLine, Module, Outcome};
use w3bstream_types::{
    Applet, AppletName, Canonical, ContractAnswer, ContractCall, Control, ControlTx, Database,
    DeviceRegistration, Digest, Entry, EventType, Form, GuestLimits, MAX_SESSION_LAG_MS, Manifest, MessageId,
    Ordered, Output, OutputKind, ProjectId, Record, RefusalKind, ResultRecord, Route, SequenceWindow,
    SessionMessage, SourceId, SqlBlock, Timestamp, TokenRegistration, Transcript, TriggerOn, WindowVerdict,
};
use w3bstream_vfs::{Applied, SqlSession, Writes, key};
use w3bstream_wallet::DeviceStatus;

use crate::call::{Frame, GuestView, Traced, Trial};
use crate::events::{Chain, Event};
use crate::registry::{Draft, Image};
use crate::{Error, ErrorKind};

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
}

/// Everything that an application needs.
pub(crate) struct Applier<'a> {
    pub(crate) project: ProjectId,
    /// The block's time.
    pub(crate) time: Timestamp,
    pub(crate) image: &'a Image,
    pub(crate) engine: &'a dyn Engine,
    /// The operator's caps on guests.
    pub(crate) caps: &'a GuestLimits,
    pub(crate) state: &'a mut dyn StateReader,
    /// What is tried beside it.
    pub(crate) trial: Trial,
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
    draft: Draft,
    writes: Writes,
    outputs: Vec<Output>,
    index: Vec<(MessageId, u64, u64)>,
    logs: Vec<(AppletName, MessageId, LogLine)>,
    cuts: Vec<(AppletName, Cut)>,
    modules: BTreeMap<Digest, Arc<dyn Module>>,
    calls: Vec<Traced>,
}

impl<'a> Applier<'a> {
    /// Applies a block. `entries` are its entries in order, resolved.
    pub(crate) fn apply(self, height: u64, entries: &[(Entry, Resolved)]) -> Result<Effects, Error> {
        let mut work = Work {
            base: self,
            draft: Draft::default(),
            writes: Writes::new(),
            outputs: Vec::new(),
            index: Vec::new(),
            logs: Vec::new(),
            cuts: Vec::new(),
            modules: BTreeMap::new(),
            calls: Vec::new(),
        };
        for (place, (_, resolved)) in (1..).zip(entries) {
            match resolved {
                Resolved::Control(tx) => work.control(tx)?,
                // What it says is asked for by the handlers.
                Resolved::Transcript(_) => {}
                Resolved::Message(ordered) => work.message(place, ordered.record())?,
            }
        }
        work.finish(height)
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

    fn finish(mut self, height: u64) -> Result<Effects, Error> {
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
        let applied = Applied { height, writes, outputs, manifest, index, sql };
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

    fn message(&mut self, place: i32, record: &Record) -> Result<(), Error> {
        let first = self.outputs.len() as u64;
        match self.judge(record) {
            Err(kind) => self.outputs.push(Output {
                kind: OutputKind::Rejected,
                chain_id: 0,
                target: record.id().0.as_bytes().to_vec(),
                data: kind.code().as_bytes().to_vec(),
            }),
            Ok(manifest) => self.handle((place, record), &manifest)?,
        }
        self.index.push((record.id(), first, self.outputs.len() as u64 - first));
        Ok(())
    }

    /// Runs a message's handlers, then those of the events that they sent, in the order in which they sent them.
    fn handle(&mut self, message: (i32, &Record), manifest: &Arc<Manifest>) -> Result<(), Error> {
        let (mut chain, mut event) = (Chain::default(), None);
        loop {
            let of = event.as_ref().map_or(message.1.event_type(), |event: &Event| &event.event_type);
            let routes = manifest.routes(of);
            let calls = routes.len() as u64;
            for (call, route) in (0..).zip(routes) {
                let about = About { message, event: event.as_ref(), call, calls };
                self.run(route, &about, (manifest, &mut chain))?;
            }
            event = chain.next();
            if event.is_none() {
                return Ok(());
            }
        }
    }

    /// Whether the state of this height allows the message. Admission asked the same of an earlier state.
    fn judge(&mut self, record: &Record) -> Result<Arc<Manifest>, RefusalKind> {
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
        Ok(manifest)
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

    fn module(&mut self, applet: &Applet) -> Result<Arc<dyn Module>, Error> {
        if let Some(module) = self.base.trial.instead_of(&applet.name) {
            return Ok(module.clone());
        }
        let digest = applet.program;
        if let Some(module) = self.modules.get(&digest) {
            return Ok(module.clone());
        }
        let program = self.base.state.program(digest)?;
        let module = self.base.engine.load(&program).map_err(|e| {
            Error::new(ErrorKind::Fatal, format!("program {digest} was deployed but does not load"))
                .with_source(e)
        })?;
        self.modules.insert(digest, module.clone());
        Ok(module)
    }

    fn run(
        &mut self,
        (applet, route): (&Applet, &Route),
        about: &About<'_>,
        (manifest, chain): (&Arc<Manifest>, &mut Chain),
    ) -> Result<(), Error> {
        let module = self.module(applet)?;
        let (rid, record) = about.message;
        let frame = Frame {
            record,
            rid,
            event: about.event,
            caused: chain.caused(about.event),
            applet: &applet.name,
            handler: &route.handler,
            limits: applet.limits.capped_by(self.base.caps),
            manifest,
            device: record.of_device(),
            block_time: self.base.time,
        };
        let mut view = GuestView {
            applet: &applet.name,
            writes: &self.writes,
            state: &mut *self.base.state,
            database: manifest.database.as_ref(),
            in_sql: false,
        };
        let mut outcome = module.call(frame.call(), &mut view)?;
        if view.in_sql {
            self.base.state.sql()?.end_call(outcome.result.is_ok())?;
        }
        if self.base.trial.traces(&applet.name) {
            self.calls.push(frame.traced(&outcome));
        }
        chain.take(&mut outcome.outputs, (frame.id(), about.event), (record, manifest))?;
        self.keep(&frame, (&*module, about), outcome);
        Ok(())
    }

    /// Takes over what a call did: its result, its outputs, its writes, its log.
    fn keep(&mut self, frame: &Frame<'_>, (module, about): (&dyn Module, &About<'_>), outcome: Outcome) {
        let (applet, message) = (frame.applet, frame.record.id());
        let (code, error) = match outcome.result {
            Ok(code) => (code, None),
            Err(why) => (-1, Some(why.code().to_owned())),
        };
        let result = ResultRecord {
            message,
            applet: applet.clone(),
            handler: frame.handler.to_owned(),
            program: module.program(),
            instrumented: module.instrumented(),
            code,
            error,
            gas: outcome.gas,
            call: about.call,
            calls: about.calls,
            outputs: outcome.outputs.len() as u64,
            event: about.event.map(|event| event.id),
        };
        let (target, data) = (message.0.as_bytes().to_vec(), result.to_canonical());
        self.outputs.push(Output { kind: OutputKind::Result, chain_id: 0, target, data });
        self.outputs.extend(outcome.outputs);
        let keyed = outcome.writes.into_iter().map(|(k, v)| (key::guest(applet, &[], &k), Some(v)));
        self.writes.extend(keyed);
        let removed = outcome.removed.into_iter().map(|k| (key::guest(applet, &[], &k), None));
        self.writes.extend(removed);
        if !outcome.cut.is_none() {
            self.cuts.push((applet.clone(), outcome.cut));
        }
        self.logs.extend(outcome.logs.into_iter().map(|line| (applet.clone(), message, line)));
    }
}

/// What a handler is called with.
struct About<'a> {
    /// The message and its place in the block: itself, or what caused the event.
    message: (i32, &'a Record),
    /// The event; `None` for the message itself.
    event: Option<&'a Event>,
    /// Which of the calls with the message, or with the event, this is.
    call: u64,
    /// How many they are.
    calls: u64,
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
