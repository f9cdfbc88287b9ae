//! One handler's call: what it is given, what it sees of the state, and what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use w3bstream_engine::{Call, Caused, GuestError, HostState, Module, Outcome, Source};
use w3bstream_types::{
    AppletName, ContractAnswer, ContractCall, Database, Did, Digest, GuestLimits, Manifest, MessageId,
    Output, Record, SqlBudget, SqlOutcome, SqlRefusal, SqlStatement, Timestamp,
};
use w3bstream_vfs::{Writes, key};

use crate::Error;
use crate::apply::StateReader;
use crate::events::Event;

/// What a block's execution does beside what it always does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trial {
    /// A module that runs in place of an applet's own.
    pub(crate) swap: Option<(AppletName, Arc<dyn Module>)>,
    /// Whose calls are traced.
    pub(crate) trace: Trace,
}

/// Whose calls are traced.
#[derive(Clone, Debug, Default)]
pub(crate) enum Trace {
    /// Nobody's.
    #[default]
    Off,
    /// Everybody's.
    All,
    /// Those of some applets.
    Of(BTreeSet<AppletName>),
}

impl Trial {
    pub(crate) fn instead_of(&self, applet: &AppletName) -> Option<&Arc<dyn Module>> {
        self.swap.as_ref().filter(|(name, _)| name == applet).map(|(_, module)| module)
    }

    pub(crate) fn traces(&self, applet: &AppletName) -> bool {
        match &self.trace {
            Trace::Off => false,
            Trace::All => true,
            Trace::Of(some) => some.contains(applet),
        }
    }
}

/// What a call did, without who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) result: Result<i32, GuestError>,
    pub(crate) gas: u64,
    /// The guest's own keys; `None` was removed.
    pub(crate) writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(crate) outputs: Vec<Output>,
}

impl Done {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let set = outcome.writes.iter().map(|(k, v)| (k.clone(), Some(v.clone())));
        let removed = outcome.removed.iter().map(|k| (k.clone(), None));
        Self {
            result: outcome.result,
            gas: outcome.gas,
            writes: set.chain(removed).collect(),
            outputs: outcome.outputs.clone(),
        }
    }
}

/// A call that was traced.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    /// The message's place in its block, from 1.
    pub(crate) rid: i32,
    pub(crate) message: MessageId,
    /// The event that it was called with, if not with the message itself.
    pub(crate) event: Option<Event>,
    pub(crate) caused: Caused,
    pub(crate) applet: AppletName,
    /// The part of the applet's state that it sees; empty if that is not split.
    pub(crate) partition: Vec<u8>,
    pub(crate) handler: String,
    pub(crate) limits: GuestLimits,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) done: Done,
}

impl Traced {
    /// The id of the event that it was called with.
    pub(crate) fn about(&self) -> Option<Digest> {
        self.event.as_ref().map(|event| event.id)
    }
}

/// A handler's call, with all that it is given.
pub(crate) struct Frame<'a> {
    pub(crate) record: &'a Record,
    pub(crate) rid: i32,
    /// The event that it is called with, if not with the message itself.
    pub(crate) event: Option<&'a Event>,
    /// What the message has set off so far.
    pub(crate) caused: Caused,
    pub(crate) applet: &'a AppletName,
    /// The part of the applet's state that it sees; empty if that is not split.
    pub(crate) partition: &'a [u8],
    pub(crate) handler: &'a str,
    pub(crate) limits: GuestLimits,
    pub(crate) manifest: &'a Arc<Manifest>,
    /// The device that sent it.
    pub(crate) device: Option<Did>,
    pub(crate) block_time: Timestamp,
}

impl Frame<'_> {
    pub(crate) fn call(&self) -> Call<'_> {
        let (record, event, manifest) = (self.record, self.event, self.manifest);
        Call {
            handler: self.handler,
            event_type: event.map_or(record.event_type(), |event| &event.event_type),
            payload: event.map_or(record.payload(), |event| &event.payload),
            rid: self.rid,
            source: Source {
                project: Some(record.project()),
                device: self.device.as_ref(),
                // It belongs to the message's payload.
                salt: record.salt().filter(|_| event.is_none()),
                time: record.time().0,
                caused: self.caused,
                block_time: self.block_time.0,
            },
            env: &manifest.env,
            settlements: &manifest.settlements,
            chains: &manifest.chains,
            triggers: &manifest.triggers,
            id: self.id(),
            limits: &self.limits,
        }
    }

    /// Names the call: a message reaches each handler of an applet once, and so does an event.
    pub(crate) fn id(&self) -> Digest {
        let about = self.event.map_or(self.record.id().0, |event| event.id);
        let parts = [&about.as_bytes()[..], self.applet.as_str().as_bytes(), self.handler.as_bytes()];
        Digest::tagged("w3b/handler-call/1", &parts)
    }

    pub(crate) fn traced(&self, outcome: &Outcome) -> Traced {
        Traced {
            rid: self.rid,
            message: self.record.id(),
            event: self.event.cloned(),
            caused: self.caused,
            applet: self.applet.clone(),
            partition: self.partition.to_vec(),
            handler: self.handler.to_owned(),
            limits: self.limits,
            manifest: self.manifest.clone(),
            done: Done::of(outcome),
        }
    }
}

/// A guest's view of the state: what was written already, then what was there before the block.
pub(crate) struct GuestView<'a> {
    pub(crate) applet: &'a AppletName,
    pub(crate) partition: &'a [u8],
    /// What its lane has written, and what the block wrote before.
    pub(crate) writes: [&'a Writes; 2],
    pub(crate) state: &'a mut dyn StateReader,
    /// The project's database, as the manifest declares it.
    pub(crate) database: Option<&'a Database>,
    /// Whether this call has used it.
    pub(crate) in_sql: bool,
}

impl GuestView<'_> {
    fn run_sql(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Error> {
        let Some(database) = self.database else { return Ok(SqlOutcome::refused(SqlRefusal::NoDatabase)) };
        let budget = SqlBudget { database_bytes: database.max_bytes, ..*budget };
        let session = self.state.sql()?;
        if !self.in_sql {
            session.begin_call()?;
            self.in_sql = true;
        }
        Ok(session.run(statement, &budget)?)
    }
}

impl HostState for GuestView<'_> {
    fn has_database(&self) -> bool {
        self.database.is_some()
    }

    fn sql(
        &mut self,
        statement: &SqlStatement,
        budget: &SqlBudget,
    ) -> Result<SqlOutcome, w3bstream_engine::Error> {
        self.run_sql(statement, budget).map_err(|e| {
            w3bstream_engine::Error::new(w3bstream_engine::ErrorKind::State, "the project's database")
                .with_source(e)
        })
    }

    fn kv_get(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, w3bstream_engine::Error> {
        let key = key::guest(self.applet, self.partition, name);
        if let Some(written) = self.writes.iter().find_map(|writes| writes.get(&key)) {
            return Ok(written.clone());
        }
        self.state.get(&key).map_err(|e| {
            w3bstream_engine::Error::new(w3bstream_engine::ErrorKind::State, "state of the applet")
                .with_source(e)
        })
    }

    fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, w3bstream_engine::Error> {
        self.state.contract(call).map_err(|e| {
            w3bstream_engine::Error::new(w3bstream_engine::ErrorKind::State, "answers of contracts")
                .with_source(e)
        })
    }
}
