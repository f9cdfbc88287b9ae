//! Rooms and an engine whose programs are words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use w3bstream_engine::{Call, Cut, Engine, GuestError, HostState, LogLine, Module, Outcome, Uses};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    AckMode, Algorithm, Applet, Block, BlockRules, Canonical as _, ContractAnswer, ContractCall, Control,
    ControlTx, Database, DeviceRegistration, Did, Digest, Draft, Entry, Form, GuestLimits, Manifest, Ordered,
    Output, OutputKind, Partition, Place, Position, ProjectId, Record, Route, SecretKey, Sequence, SqlBlock,
    SqlBudget, SqlEntry, SqlOutcome, SqlRows, SqlStatement, SqlValue, Stored, Timestamp, TokenMessage,
    TokenRegistration, Trust,
};
use w3bstream_vfs::{SqlSession, key};
use w3bstream_wallet::DeviceStatus;

use crate::apply::{Applier, Effects, Resolved, StateReader};
use crate::call::{Trace, Trial};
use crate::crew::{Hands, Helpers};
use crate::registry::Image;
use crate::{Error, ErrorKind};

/// An engine whose programs are words: what they use and what they do.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Calls that are in a handler `meets`, and the most that were.
    pub(super) inside: Arc<Mutex<(usize, usize)>>,
}

#[derive(Debug)]
struct Word {
    text: String,
    inside: Arc<Mutex<(usize, usize)>>,
}

impl Engine for Words {
    fn name(&self) -> &str {
        "words"
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, w3bstream_engine::Error> {
        let text = String::from_utf8_lossy(program).into_owned();
        Ok(Arc::new(Word { text, inside: self.inside.clone() }))
    }
}

fn state(why: &str) -> w3bstream_engine::Error {
    w3bstream_engine::Error::new(w3bstream_engine::ErrorKind::State, why.to_owned())
}

impl Word {
    fn has(&self, word: &str) -> bool {
        self.text.split(' ').any(|w| w == word)
    }

    fn enter(&self) {
        let mut inside = self.inside.lock().unwrap();
        inside.0 += 1;
        inside.1 = inside.1.max(inside.0);
    }

    fn stay(&self, time: Duration) {
        self.enter();
        std::thread::sleep(time);
        self.inside.lock().unwrap().0 -= 1;
    }

    /// Waits until two calls are here at once, for ten seconds at most.
    fn meet(&self) {
        let begun = std::time::Instant::now();
        self.enter();
        while self.inside.lock().unwrap().1 < 2 && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.inside.lock().unwrap().0 -= 1;
    }
}

impl Module for Word {
    fn program(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    fn instrumented(&self) -> Digest {
        self.program()
    }

    fn handlers(&self) -> Vec<String> {
        vec!["run".into(), "also".into()]
    }

    fn uses(&self) -> Uses {
        // `lies` sends events and does not say so.
        Uses { events: self.has("events"), database: self.has("database") }
    }

    fn call(&self, call: Call<'_>, host: &mut dyn HostState) -> Result<Outcome, w3bstream_engine::Error> {
        let first = call.payload.first().copied().unwrap_or_default();
        match first {
            200 => return Err(state(&format!("{} {}", call.rid, call.handler))),
            201 => panic!("on purpose"),
            202 => self.meet(),
            203 => self.stay(Duration::from_millis(100)),
            n if n % 4 == 0 => std::thread::sleep(Duration::from_micros(50)),
            _ => std::thread::yield_now(),
        }
        let name = vec![b'k', first % 3];
        let sum = host.kv_get(b"sum")?.unwrap_or_default();
        let value = host.kv_get(&name)?.unwrap_or_default();
        let mut asked = Vec::new();
        if self.has("database") && host.has_database() {
            let text = format!("{} {}", self.text, call.rid);
            let outcome = host.sql(&SqlStatement { text, params: vec![] }, &SqlBudget::UNLIMITED)?;
            asked = format!("{:?}", outcome.result).into_bytes();
        }
        let caused = call.source.caused;
        let caused = format!("{}/{}/{}", caused.depth, caused.events, caused.bytes);
        let parts = [&sum[..], &value, &asked, call.payload, call.event_type.as_str().as_bytes()];
        let mixed = Digest::tagged("words", &[&parts.concat()[..], caused.as_bytes(), call.id.as_bytes()]);
        let mixed = mixed.as_bytes();
        let line = LogLine { level: 4, text: format!("{} {:?}", call.rid, &mixed[..4]) };
        let mut outcome = Outcome {
            result: Ok(i32::from(mixed[0])),
            gas: u64::from(mixed[1]),
            writes: BTreeMap::from([(b"sum".to_vec(), mixed.to_vec()), (name.clone(), mixed[..3].to_vec())]),
            removed: BTreeSet::new(),
            outputs: vec![output(OutputKind::Mqtt, "seen", &mixed[..8])],
            logs: vec![line],
            cut: Cut::default(),
        };
        if first % 5 == 0 {
            outcome.writes.remove(&name);
            outcome.removed.insert(name);
        }
        if (self.has("events") || self.has("lies"))
            && call.source.caused.depth < 3
            && mixed[2].is_multiple_of(2)
        {
            let to = if mixed[3].is_multiple_of(2) { "left" } else { "right" };
            outcome.outputs.push(output(OutputKind::Event, to, &[mixed[0] % 200]));
            outcome.outputs.push(output(OutputKind::Event, "nobodys", b""));
        }
        if mixed[4].is_multiple_of(7) {
            (outcome.writes, outcome.removed, outcome.outputs) = Default::default();
            outcome.result = Err(GuestError::Trap);
        }
        Ok(outcome)
    }
}

fn output(kind: OutputKind, target: &str, data: &[u8]) -> Output {
    Output { kind, chain_id: 0, target: target.into(), data: data.to_vec() }
}

/// A database that answers how many statements were kept before.
#[derive(Debug, Default)]
struct Log {
    kept: Vec<SqlEntry>,
    call: Vec<SqlEntry>,
}

impl SqlSession for Log {
    fn declare(
        &mut self,
        _: Option<&Database>,
        _: &Database,
    ) -> Result<Result<(), String>, w3bstream_vfs::Error> {
        Ok(Ok(()))
    }

    fn begin_call(&mut self) -> Result<(), w3bstream_vfs::Error> {
        assert!(self.call.is_empty());
        Ok(())
    }

    fn run(&mut self, statement: &SqlStatement, _: &SqlBudget) -> Result<SqlOutcome, w3bstream_vfs::Error> {
        self.call.push(SqlEntry::Run(statement.clone()));
        let count = SqlValue::Integer((self.kept.len() + self.call.len()) as i64);
        let rows = SqlRows { columns: vec!["n".into()], rows: vec![vec![count]] };
        Ok(SqlOutcome { gas: 1, result: Ok(rows) })
    }

    fn end_call(&mut self, keep: bool) -> Result<(), w3bstream_vfs::Error> {
        let call = std::mem::take(&mut self.call);
        self.kept.extend(call.into_iter().filter(|_| keep));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SqlBlock, w3bstream_vfs::Error> {
        let rows = vec![(("t".to_owned(), 1), Some(Digest::of(&self.kept.len().to_be_bytes())))];
        Ok(SqlBlock { log: self.kept, rows })
    }
}

#[derive(Debug, Default)]
struct Rooms {
    state: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    programs: Arc<BTreeMap<Digest, Vec<u8>>>,
    sql: Option<Box<Log>>,
    forked: bool,
}

impl StateReader for Rooms {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state.get(key).cloned())
    }

    fn program(&mut self, digest: Digest) -> Result<Vec<u8>, Error> {
        let gone = || Error::new(ErrorKind::Fatal, format!("there is no program {digest}"));
        self.programs.get(&digest).cloned().ok_or_else(gone)
    }

    fn contract(&mut self, _: &ContractCall) -> Result<Option<ContractAnswer>, Error> {
        Ok(None)
    }

    fn sql(&mut self) -> Result<&mut dyn SqlSession, Error> {
        assert!(!self.forked, "a lane without the database asks it");
        Ok(&mut **self.sql.get_or_insert_default())
    }

    fn finish_sql(&mut self) -> Result<SqlBlock, Error> {
        Ok(self.sql.take().map(|log| log.finish()).transpose()?.unwrap_or_default())
    }

    fn fork(&self) -> Option<Box<dyn StateReader + Send>> {
        let (state, programs) = (self.state.clone(), self.programs.clone());
        Some(Box::new(Self { state, programs, sql: None, forked: true }))
    }
}

/// One applet: its program's words, whether it is split, and its event types.
pub(super) type Described = (&'static str, bool, Vec<&'static str>);

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(Algorithm::EdDSA, &[seed; 32]).unwrap()
}

pub(super) fn did(seed: u8) -> Did {
    Did::key(&secret(seed).public())
}

pub(super) fn manifest(version: u64, applets: &[Described], database: bool) -> Manifest {
    let route = |(i, event_type): (usize, &&str)| Route {
        event_type: event_type.parse().unwrap(),
        handler: if i % 2 == 0 { "run".into() } else { "also".into() },
    };
    let applet = |(i, (program, split, routes)): (usize, &Described)| Applet {
        name: format!("a{i}").parse().unwrap(),
        program: Digest::of(program.as_bytes()),
        routes: routes.iter().enumerate().map(route).collect(),
        limits: GuestLimits::default(),
        partition: if *split { Partition::Device } else { Partition::None },
    };
    Manifest {
        name: "p".parse().unwrap(),
        owner: did(1),
        version,
        ack: AckMode::Durable,
        max_payload_bytes: 1024,
        allow_tokens: true,
        allow_sessions: false,
        blocks: BlockRules::default(),
        env: vec![],
        applets: applets.iter().enumerate().map(applet).collect(),
        settlements: vec![],
        chains: vec![],
        triggers: vec![],
        database: database.then(|| Database { max_bytes: 1, tables: vec![] }),
    }
}

/// An entry of a block.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// Of the device or publisher (9) of this number, of this type, with this payload.
    Message(u8, &'static str, u8),
    /// Another version, without the first applet.
    Deploy,
    /// Another version, with every applet split.
    Split,
    Revoke(u8),
}

/// A project before a block.
pub(super) struct World {
    pub(super) manifest: Manifest,
    pub(super) engine: Arc<Words>,
    rooms: Rooms,
    image: Image,
}

impl World {
    pub(super) fn new(applets: &[Described], database: bool) -> Self {
        let manifest = manifest(1, applets, database);
        let mut image = Image { manifest: Some(Arc::new(manifest.clone())), ..Image::default() };
        for seed in 10..16 {
            let (device, key) = (did(seed), secret(seed).public());
            let registered = DeviceRegistration { device: device.clone(), key, event_types: vec![] };
            image.devices.insert(device, DeviceStatus::Registered(Arc::new(registered)));
        }
        let publisher = TokenRegistration {
            publisher: "gate".parse().unwrap(),
            token_hash: Digest::ZERO,
            event_types: vec![],
        };
        image.publishers.insert(publisher.publisher.clone(), Arc::new(publisher));
        let programs = applets.iter().map(|(p, _, _)| (Digest::of(p.as_bytes()), p.as_bytes().to_vec()));
        let before = manifest.applets.iter().map(|a| (key::guest(&a.name, &[], b"sum"), b"before".to_vec()));
        let state = Arc::new(before.collect());
        let rooms = Rooms { state, programs: Arc::new(programs.collect()), sql: None, forked: false };
        Self { manifest, engine: Arc::default(), rooms, image }
    }

    /// The project behind a block.
    pub(super) fn after(mut self, effects: Effects) -> Self {
        let state = Arc::make_mut(&mut self.rooms.state);
        for (key, value) in effects.applied.writes {
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
        self.image.adopt(effects.draft);
        self
    }

    /// Without one of the programs.
    pub(super) fn without(mut self, program: &str) -> Self {
        Arc::make_mut(&mut self.rooms.programs).remove(&Digest::of(program.as_bytes()));
        self
    }

    fn record(&self, project: ProjectId, (source, event_type, payload): (u8, &str, u8), n: u32) -> Record {
        let event_type = event_type.parse().unwrap();
        if source == 9 {
            return Record::new(Form::Token(TokenMessage {
                project,
                publisher: "gate".parse().unwrap(),
                event_id: n.to_string(),
                event_type,
                time: Timestamp(1),
                payload: vec![payload],
                token_hash: Digest::ZERO,
            }));
        }
        let draft = Draft {
            audience: project,
            key: did(source).default_key_id(),
            event_type,
            sequence: Sequence::new(0, n),
            time: Timestamp(1),
            payload: vec![payload],
        };
        Record::new(Form::Envelope(draft.sign_envelope([0; 16], &secret(source))))
    }

    pub(super) fn entries(&self, given: &[Given]) -> Arc<Vec<(Entry, Resolved)>> {
        let project = self.manifest.project();
        let place = Place {
            genesis: Digest::ZERO,
            epoch: 0,
            height: 1,
            parent: Digest::ZERO,
            time: Timestamp(7),
            proposer: 0,
        };
        let mut nonce = 0;
        let mut control = |change| {
            nonce += 1;
            let tx = ControlTx::sign(project, nonce, change, &secret(1));
            (Entry::Control(tx.id()), Resolved::Control(Box::new(tx)))
        };
        let entry = |(n, given): (u32, &Given)| match given {
            Given::Message(source, event_type, payload) => {
                let record = self.record(project, (*source, event_type, *payload), n);
                let entry = Entry::Message(record.id());
                let stored = Stored::from_store(record, Trust::Signature, Timestamp(1), Position(n.into()));
                let ordered = Ordered::new(stored, &Block::new(place, vec![entry]), 0).unwrap();
                (entry, Resolved::Message(Box::new(ordered)))
            }
            Given::Deploy => {
                let mut next = self.manifest.clone();
                (next.version, next.applets) = (2, next.applets.split_off(1));
                control(Control::Deploy(Box::new(next)))
            }
            Given::Split => {
                let mut next = self.manifest.clone();
                next.version = 2;
                next.applets.iter_mut().for_each(|a| a.partition = Partition::Device);
                control(Control::Deploy(Box::new(next)))
            }
            Given::Revoke(device) => control(Control::RevokeDevice(did(*device))),
        };
        Arc::new((0..).zip(given).map(entry).collect())
    }

    /// Applies a block on so many threads.
    pub(super) fn apply(
        &self,
        threads: usize,
        entries: &Arc<Vec<(Entry, Resolved)>>,
    ) -> Result<Effects, Error> {
        self.apply_with(Helpers::new(threads, Tasks::new("test")), entries)
    }

    pub(super) fn apply_with(
        &self,
        helpers: Helpers,
        entries: &Arc<Vec<(Entry, Resolved)>>,
    ) -> Result<Effects, Error> {
        let mut rooms = Rooms {
            state: self.rooms.state.clone(),
            programs: self.rooms.programs.clone(),
            ..Rooms::default()
        };
        let applier = Applier {
            project: self.manifest.project(),
            time: Timestamp(7),
            image: &self.image,
            engine: self.engine.clone(),
            caps: GuestLimits::default(),
            state: &mut rooms,
            trial: Trial { swap: None, trace: Trace::All },
            hands: Hands { helpers, pace: Arc::default() },
        };
        applier.apply(1, entries)
    }
}

/// All that a block did, to the byte.
pub(super) fn shown(effects: &Effects) -> String {
    let Effects { applied, logs, cuts, calls, draft } = effects;
    let windows: BTreeMap<_, _> = draft.windows.iter().map(|(did, w)| (did, w.to_canonical())).collect();
    format!("{applied:#?}\n{logs:#?}\n{cuts:?}\n{calls:#?}\n{windows:#?}\n{:?}", draft.nonce)
}
