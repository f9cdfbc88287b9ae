//! The traits that an engine implements.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::sync::Arc;

use w3bstream_types::{
    ChainRule, ContractAnswer, ContractCall, Did, Digest, EventType, GuestLimits, Output, ProjectId,
    Settlement, SqlBudget, SqlOutcome, SqlRefusal, SqlStatement, Trigger,
};

use crate::Error;

/// One handler call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The exported function, `fn(i32) -> i32`.
    pub handler: &'a str,
    /// What `ws_get_event_type` gives.
    pub event_type: &'a EventType,
    /// What `ws_get_data` gives.
    pub payload: &'a [u8],
    /// The resource id that the handler gets: positive, the same on every node.
    pub rid: i32,
    /// What `ws_get_context` gives.
    pub source: Source<'a>,
    /// The project's settings, sorted by name.
    pub env: &'a [(String, String)],
    /// What the guest may settle with `ws_settle`.
    pub settlements: &'a [Settlement],
    /// What the guest may do on chains.
    pub chains: &'a [ChainRule],
    /// What tells the guest of what it began.
    pub triggers: &'a [Trigger],
    /// Names this call for ever: what it asks to send is named after it.
    pub id: Digest,
    /// Limits of this call.
    pub limits: &'a GuestLimits,
}

impl<'a> Call<'a> {
    /// A call with an event from nowhere, for which nothing is declared; its resource id is 1. What else it has is set by struct
    /// update.
    #[must_use]
    pub fn of(
        handler: &'a str,
        event_type: &'a EventType,
        payload: &'a [u8],
        limits: &'a GuestLimits,
    ) -> Self {
        Self {
            handler,
            event_type,
            payload,
            rid: 1,
            source: Source::default(),
            env: &[],
            settlements: &[],
            chains: &[],
            triggers: &[],
            id: Digest::ZERO,
            limits,
        }
    }
}

/// Where an event comes from, as the host knows it: not the payload's word.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The project's id.
    pub project: Option<ProjectId>,
    /// The DID of the device that signed; `None` for an event of a token or of a trigger.
    pub device: Option<&'a Did>,
    /// The payload's salt, which sender and members know and nobody else; `None` if the form has none.
    pub salt: Option<&'a [u8; 16]>,
    /// The time that the sender gave, in milliseconds since the epoch; 0 if it gave none.
    pub time: u64,
    /// What the message has set off before this call.
    pub caused: Caused,
    /// The time of the block that runs the call, in milliseconds since the epoch. All members of a subnet know it.
    pub block_time: u64,
}

/// The events that follow from a message, up to a call. All members of a subnet count the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caused {
    /// How many events lead from the message to the one that the call is about: 0 for the message itself.
    pub depth: u64,
    /// How many events handlers of the message have sent.
    pub events: u64,
    /// The bytes of their types and payloads.
    pub bytes: u64,
}

/// What a running guest may read of the project's state. Implemented by the pipeline. The key is the
/// guest's own; the implementation adds namespace, applet and partition.
pub trait HostState {
    /// The value of a key as it was before this call.
    ///
    /// # Errors
    /// If the state cannot be read. The call is then abandoned without an outcome.
    fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// What a contract answers. `None` if that is not known: every node must answer alike, so this is not the place to
    /// ask a chain, but a transcript on which they have agreed.
    ///
    /// # Errors
    /// As [`Self::kv_get`].
    fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, Error> {
        let _ = call;
        Ok(None)
    }

    /// Whether the project has a database.
    fn has_database(&self) -> bool {
        false
    }

    /// Runs a statement on the project's database. What it changes is seen by the call's later statements; whoever made
    /// the call keeps it if the call returned, and undoes it if not.
    ///
    /// # Errors
    /// As [`Self::kv_get`].
    fn sql(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Error> {
        let _ = (statement, budget);
        Ok(SqlOutcome::refused(SqlRefusal::NoDatabase))
    }
}

/// Why a handler did not return. The text is stable and part of what a subnet agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GuestError {
    /// The module does not export the handler as `fn(i32) -> i32`.
    NoHandler,
    /// The gas of the call was used up.
    OutOfGas,
    /// Calls were nested too deeply, or frames too large.
    StackOverflow,
    /// `unreachable`, a division by zero, an access outside memory, a wrong indirect call, …
    Trap,
    /// The guest called `proc_exit`.
    Exit,
    /// Memory or tables would have been over their limit when the module was started. (Growth beyond the limit
    /// later is no error: it answers −1.)
    MemoryLimit,
    /// More outputs than the limit.
    OutputLimit,
    /// More key-value bytes than the limit.
    KvLimit,
    /// More host calls than the limit.
    HostCallLimit,
    /// More bytes of SQL than the limit.
    SqlLimit,
}

impl GuestError {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoHandler,
        Self::OutOfGas,
        Self::StackOverflow,
        Self::Trap,
        Self::Exit,
        Self::MemoryLimit,
        Self::OutputLimit,
        Self::KvLimit,
        Self::HostCallLimit,
        Self::SqlLimit,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoHandler => "no-handler",
            Self::OutOfGas => "out-of-gas",
            Self::StackOverflow => "stack-overflow",
            Self::Trap => "trap",
            Self::Exit => "exit",
            Self::MemoryLimit => "memory-limit",
            Self::OutputLimit => "output-limit",
            Self::KvLimit => "kv-limit",
            Self::HostCallLimit => "host-call-limit",
            Self::SqlLimit => "sql-limit",
        }
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A line that a guest logged. Not part of what a subnet agrees on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// As the guest gave it: 2 error, 3 warn, 4 info, 5 debug, 6 trace; anything else counts as info.
    pub level: i32,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the handler returned, or why it did not.
    pub result: Result<i32, GuestError>,
    /// Gas used.
    pub gas: u64,
    /// The guest's keys that it set. Empty if it failed.
    pub writes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The guest's keys that it removed; none is in `writes`. Empty if it failed.
    pub removed: BTreeSet<Vec<u8>>,
    /// Side effects that it asked for, in order. Empty if it failed. An event has its type as target and its payload as
    /// data; an answer has the handler's name as target.
    pub outputs: Vec<Output>,
    /// What it logged, up to its limit, also if it failed.
    pub logs: Vec<LogLine>,
    /// What limits took away without ending the call.
    pub cut: Cut,
}

/// What the limits of a call took away without ending it, for who looks. Not part of what a subnet agrees on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Lines that were not logged since the log was full, and the one that was cut short.
    pub log_lines: u64,
    /// Events that were not sent.
    pub events: u64,
}

impl Cut {
    /// Whether nothing was taken away.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.log_lines == 0 && self.events == 0
    }
}

/// Numbers about an engine since it was made, for who looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Calls that have an instance now.
    pub running: u64,
    /// Calls that found all instances in use, and waited for one.
    pub waited: u64,
}

impl std::ops::Add for EngineStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { running: self.running + other.running, waited: self.waited + other.waited }
    }
}

/// A way to run WebAssembly.
pub trait Engine: Send + Sync + Debug {
    /// The engine's name, such as `wasmer`.
    fn name(&self) -> &str;

    /// Instruments, checks and compiles a program, or finds it in the cache. Takes CPU time; callers on async
    /// threads hand it to a blocking one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a program of a kind that this engine does not run, such as a WASI program.
    /// [`crate::ErrorKind::BadProgram`] naming what is wrong with the module: no WebAssembly, a feature that is
    /// not admitted, no `memory` export, no `alloc` although an import needs it, an unknown import with the
    /// nearest known one. [`crate::ErrorKind::Host`] if the compiler fails on what it should take.
    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error>;

    /// Numbers about it. An engine that counts nothing gives zeros.
    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

/// What a program can do that reaches beyond its own applet, by what it imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// It may send events to handlers of the project.
    pub events: bool,
    /// It may ask the project's database.
    pub database: bool,
}

impl Uses {
    /// All of it.
    pub const ALL: Self = Self { events: true, database: true };
    /// Nothing of it.
    pub const NOTHING: Self = Self { events: false, database: false };
}

/// A program that is ready to run.
pub trait Module: Send + Sync + Debug {
    /// SHA-256 of the program as it was given.
    fn program(&self) -> Digest;

    /// SHA-256 of the program as it runs.
    fn instrumented(&self) -> Digest;

    /// The exported functions that can be handlers: of type `fn(i32) -> i32`, or, in a WASI program, `fn()`.
    fn handlers(&self) -> Vec<String>;

    /// What the program can do that reaches beyond its own applet. Calls of programs that do nothing of it run at the same
    /// time as those of other applets; whoever says less than the program does fails the block.
    fn uses(&self) -> Uses {
        Uses::ALL
    }

    /// Runs a handler in a fresh instance. Blocks until it is done.
    ///
    /// # Errors
    /// [`Error`] only for what is not the guest's doing: state that cannot be read, a host limit. What the
    /// guest did wrong is in the outcome.
    fn call(&self, call: Call<'_>, state: &mut dyn HostState) -> Result<Outcome, Error>;
}
