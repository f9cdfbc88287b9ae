//! What properties are written with: programs as text, a state in memory, a call with defaults.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use w3bstream_types::{
    ChainRule, ContractAnswer, ContractCall, Did, Digest, EventType, GuestLimits, ProjectId, Settlement,
    SqlBudget, SqlOutcome, SqlRefusal, SqlRows, SqlStatement, SqlValue, Trigger,
};

use super::Checked;
use crate::{Call, Caused, Engine, Error, GuestError, HostState, Module, Outcome, Source};

/// State of a project in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState(pub BTreeMap<Vec<u8>, Vec<u8>>);

/// What [`MemoryState`] says that contracts answer: those whose data begin with `r` revert, those with `n` are not known,
/// all others return what they were asked, backwards.
pub(super) fn answer(call: &ContractCall) -> Option<ContractAnswer> {
    match call.data.first() {
        Some(b'r') => Some(ContractAnswer::Reverted(b"no".to_vec())),
        Some(b'n') => None,
        _ => Some(ContractAnswer::Returned(call.data.iter().rev().copied().collect())),
    }
}

/// What [`MemoryState`] says of SQL, by the statement's text: it is no database, but an engine only carries what one says.
fn database(statement: &SqlStatement, budget: &SqlBudget) -> SqlOutcome {
    let columns = |n: usize| (1..=n).map(|i| format!("c{i}")).collect();
    let rows = |rows: Vec<Vec<SqlValue>>| SqlOutcome {
        gas: budget.step * 10 + budget.row + budget.row_byte,
        result: Ok(SqlRows { columns: columns(rows.first().map_or(0, Vec::len)), rows }),
    };
    match statement.text.as_str() {
        "none" => rows(vec![]),
        "params" => rows(vec![statement.params.clone()]),
        "many" => rows(vec![statement.params.clone(), statement.params.clone()]),
        "dear" => SqlOutcome { gas: budget.gas, result: Err(SqlRefusal::OutOfGas) },
        "large" => SqlOutcome { gas: 1, result: Err(SqlRefusal::TooMuch) },
        other => SqlOutcome { gas: 1, result: Err(SqlRefusal::Refused(format!("near {other:?}"))) },
    }
}

impl HostState for MemoryState {
    /// One that has an entry of the key `no database` has none.
    fn has_database(&self) -> bool {
        !self.0.contains_key(b"no database".as_slice())
    }

    fn sql(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Error> {
        Ok(database(statement, budget))
    }

    fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, Error> {
        Ok(answer(call))
    }
}

/// Imports and helpers that most programs of the kit share. Out pointers are at 16 and 20; `$save` keeps what they
/// say under the key `out`.
const PRELUDE: &str = r#"
(import "env" "ws_log" (func $log (param i32 i32 i32) (result i32)))
(import "env" "ws_get_data" (func $get_data (param i32 i32 i32) (result i32)))
(import "env" "ws_set_data" (func $set_data (param i32 i32 i32) (result i32)))
(import "env" "ws_get_db" (func $get_db (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_set_db" (func $set_db (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_get_env" (func $get_env (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_send_mqtt_msg" (func $mqtt (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_get_event_type" (func $event_type (param i32 i32 i32) (result i32)))
(import "env" "ws_get_context" (func $context (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_settle" (func $settle (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_call_contract" (func $call_contract (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "ws_send_tx" (func $send_tx (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "ws_send_tx" (func $send_tx_2022 (param i32 i32) (result i32)))
(import "env" "ws_get_mqtt_msg" (func $get_mqtt (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "ws_api_call" (func $api_call (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_send_tx_with_operator" (func $send_tx_as (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "ws_set_sql_db" (func $set_sql (param i32 i32) (result i32)))
(import "env" "ws_get_sql_db" (func $get_sql (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_send_event" (func $event (param i32 i32 i32 i32) (result i32)))
(import "env" "ws_send_answer" (func $answer (param i32 i32) (result i32)))
(import "stat" "ws_submit_metrics" (func $metrics (param i32 i32) (result i32)))
(import "env" "abort" (func $abort (param i32 i32 i32 i32)))
(import "env" "trace" (func $trace (param i32 i32 f64 f64 f64 f64 f64)))
(import "env" "seed" (func $seed (result f64)))
(memory (export "memory") 1)
(data (i32.const 8) "out")
(func $save
  (drop (call $set_db (i32.const 8) (i32.const 3) (i32.load (i32.const 16)) (i32.load (i32.const 20)))))
"#;

/// An `alloc` that hands out memory from 32 KiB upwards.
pub(super) const ALLOC: &str = r#"
(global $heap (mut i32) (i32.const 32768))
(func (export "alloc") (param i32) (result i32)
  global.get $heap
  (global.set $heap (i32.add (global.get $heap) (local.get 0))))
"#;

/// A module's bytes from its fields as text.
pub(super) fn module(fields: &str) -> Result<Vec<u8>, String> {
    let text = format!("(module {fields})");
    wat::parse_str(&text).map_err(|e| format!("the kit's own program is wrong: {e}\n{text}"))
}

/// A handler as text. `$rid` is its parameter, `$a` and `$b` are locals.
pub(super) fn handler(name: &str, body: &str) -> String {
    format!("(func (export \"{name}\") (param $rid i32) (result i32) (local $a i32) (local $b i32) {body})")
}

/// A handler that calls something with out pointers, saves what it got, and returns its answer.
pub(super) fn saving(name: &str, call: &str) -> String {
    handler(
        name,
        &format!("(local.set $a {call}) (if (i32.eqz (local.get $a)) (then (call $save))) (local.get $a)"),
    )
}

/// A program with a state and the defaults of a call.
pub(super) struct Rig {
    pub(super) module: Arc<dyn Module>,
    pub(super) state: MemoryState,
    pub(super) payload: Vec<u8>,
    pub(super) env: Vec<(String, String)>,
    pub(super) device: Option<Did>,
    pub(super) settlements: Vec<Settlement>,
    pub(super) chains: Vec<ChainRule>,
    pub(super) triggers: Vec<Trigger>,
    pub(super) caused: Caused,
    pub(super) limits: GuestLimits,
    pub(super) rid: i32,
}

impl Rig {
    /// A program on the prelude, with `alloc`.
    pub(super) fn new(engine: &Arc<dyn Engine>, fields: &str) -> Result<Self, String> {
        Self::bare(engine, &format!("{PRELUDE} {ALLOC} {fields}"))
    }

    /// A program on the prelude, without `alloc`.
    pub(super) fn without_alloc(engine: &Arc<dyn Engine>, fields: &str) -> Result<Self, String> {
        Self::bare(engine, &format!("{PRELUDE} {fields}"))
    }

    /// A program on nothing.
    pub(super) fn bare(engine: &Arc<dyn Engine>, fields: &str) -> Result<Self, String> {
        let module = engine.load(&module(fields)?).map_err(|e| format!("a good program is refused: {e}"))?;
        Ok(Self {
            module,
            state: MemoryState::default(),
            payload: b"payload".to_vec(),
            env: vec![],
            device: None,
            settlements: vec![],
            chains: vec![],
            triggers: vec![],
            caused: Caused::default(),
            limits: GuestLimits { gas: 10_000_000, ..GuestLimits::default() },
            rid: 7,
        })
    }

    /// Calls a handler.
    pub(super) fn call(&mut self, handler: &str) -> Result<Outcome, String> {
        let event_type: EventType = "reading".parse().map_err(|e| format!("{e}"))?;
        let call = Call {
            handler,
            event_type: &event_type,
            payload: &self.payload,
            rid: self.rid,
            env: &self.env,
            source: Source {
                caused: self.caused,
                ..self.device.as_ref().map_or_else(Source::default, |device| Source {
                    project: Some(ProjectId(Digest::of(b"project"))),
                    device: Some(device),
                    salt: Some(&[9; 16]),
                    time: 258,
                    ..Source::default()
                })
            },
            settlements: &self.settlements,
            chains: &self.chains,
            triggers: &self.triggers,
            id: Digest::of(b"call"),
            limits: &self.limits,
        };
        self.module.call(call, &mut self.state).map_err(|e| format!("handler {handler}: no outcome: {e}"))
    }

    /// Calls a handler, which must return `code`.
    pub(super) fn returns(&mut self, handler: &str, code: i32) -> Result<Outcome, String> {
        let outcome = self.call(handler)?;
        same(&format!("result of {handler}"), &outcome.result, &Ok(code))?;
        Ok(outcome)
    }

    /// Calls a handler, which must fail.
    pub(super) fn fails(&mut self, handler: &str, error: GuestError) -> Result<Outcome, String> {
        let outcome = self.call(handler)?;
        same(&format!("result of {handler}"), &outcome.result, &Err(error))?;
        let dropped = outcome.writes.is_empty() && outcome.outputs.is_empty();
        ensure(dropped, || format!("{handler} failed, but its writes or outputs were kept"))?;
        Ok(outcome)
    }

    /// Calls a handler made by [`saving`] and gives what it saved.
    pub(super) fn saved(&mut self, handler: &str) -> Result<Vec<u8>, String> {
        let mut outcome = self.returns(handler, 0)?;
        outcome.writes.remove(b"out".as_slice()).ok_or_else(|| format!("{handler} saved nothing"))
    }
}

/// Both are equal.
pub(super) fn same<T: PartialEq + Debug + ?Sized>(what: &str, got: &T, want: &T) -> Checked {
    ensure(got == want, || format!("{what} is {got:?}, expected {want:?}"))
}

/// It holds.
pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}
