//! A host in memory, so that an applet's handlers can be tested natively.
//!
//! It behaves as a node does towards one applet: state is kept between events, a read sees what the same
//! call wrote, a handler that panics changes nothing, one that returns an error keeps what it wrote.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Error, Event, FromEvent, Reply, event};

/// A line that the applet logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 2 error, 3 warn, 4 info, 5 debug, 6 trace.
    pub level: i32,
    /// The text.
    pub text: String,
}

/// An MQTT message that the applet asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Published {
    /// The payload as text, replacing what is not UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A statement that the applet asked to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The settlement's name in the manifest.
    pub name: String,
    /// The statement.
    pub statement: Vec<u8>,
}

/// An event that the applet sent to handlers of its project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvent {
    /// Its type.
    pub event_type: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// How many events may follow from each other, as a manifest has it that says nothing else.
pub const MAX_EVENT_DEPTH: u64 = 8;
/// How many events one message may cause, likewise. This host counts those of one call.
pub const MAX_EVENTS: usize = 64;
/// How many bytes of types and payloads, likewise.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Where events come from, as a host tells the applet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The project's id.
    pub project: [u8; 32],
    /// The device's DID and its SHA-256; `None` for a token's event.
    pub device: Option<(String, [u8; 32])>,
    /// The payload's salt.
    pub salt: Option<[u8; 16]>,
    /// The sender's time.
    pub time: u64,
}

/// What one call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the handler's export would return: 0, or the error's code.
    pub code: i32,
    /// The keys that it set.
    pub writes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The messages that it asked for, in order.
    pub published: Vec<Published>,
    /// The events that it sent, in order. This host delivers them to nobody.
    pub events: Vec<SentEvent>,
    /// What it answered.
    pub answer: Option<Vec<u8>>,
    /// The statements that it asked to settle, in order.
    pub settled: Vec<Settled>,
    /// The transactions that it asked for, in order, as the JSON that the node gets: chain first.
    pub sent: Vec<(u32, String)>,
    /// The SQL that it executed, in order, as the JSON that the node gets.
    pub sql: Vec<String>,
    /// The metrics that it submitted, in order.
    pub metrics: Vec<String>,
    /// What it logged.
    pub logs: Vec<LogLine>,
    /// How many host calls it made; a project limits them.
    pub host_calls: u64,
}

/// A host in memory.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Shared with the call under way, which adds its writes only when it returns.
    kv: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    env: Arc<BTreeMap<String, String>>,
    settlements: Arc<BTreeMap<String, usize>>,
    contracts: Arc<BTreeMap<(u32, String), Vec<u8>>>,
    sending: Arc<BTreeSet<u32>>,
    sql: Arc<BTreeMap<String, String>>,
    api: Arc<BTreeMap<String, String>>,
    sender: Sender,
    depth: u64,
    calls: i32,
}

impl Host {
    /// A host without state and settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a setting.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        Arc::make_mut(&mut self.env).insert(name.into(), value.into());
        self
    }

    /// Adds a settlement to the manifest, whose statements have this many words.
    #[must_use]
    pub fn settlement(mut self, name: &str, words: usize) -> Self {
        Arc::make_mut(&mut self.settlements).insert(name.into(), words);
        self
    }

    /// Adds what a contract returns to a call, by the JSON of the call as the SDK writes it: `{"to":"0x…","data":"…"}`.
    #[must_use]
    pub fn contract(mut self, chain: u32, json: &str, returns: impl Into<Vec<u8>>) -> Self {
        Arc::make_mut(&mut self.contracts).insert((chain, json.into()), returns.into());
        self
    }

    /// Lets transactions be sent to a chain.
    #[must_use]
    pub fn chain(mut self, chain: u32) -> Self {
        Arc::make_mut(&mut self.sending).insert(chain);
        self
    }

    /// Adds what the database answers to a query, by the JSON of the query as the SDK writes it:
    /// `{"statement":"…","params":[…]}`. A query without an answer gives no rows.
    #[must_use]
    pub fn sql(mut self, json: &str, answer: &str) -> Self {
        Arc::make_mut(&mut self.sql).insert(json.into(), answer.into());
        self
    }

    /// Adds what the system API answers to a request, by the request's JSON.
    #[must_use]
    pub fn api(mut self, request: &str, answer: &str) -> Self {
        Arc::make_mut(&mut self.api).insert(request.into(), answer.into());
        self
    }

    /// Events follow from so many others from now on; 0 for messages themselves.
    pub fn set_depth(&mut self, depth: u64) {
        self.depth = depth;
    }

    /// Events come from this sender from now on.
    pub fn set_sender(&mut self, sender: Sender) {
        self.sender = sender;
    }

    /// The value of a key.
    #[must_use]
    pub fn kv(&self, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.kv.get(key.as_ref()).map(Vec::as_slice)
    }

    /// The value of a key, if it is text.
    #[must_use]
    pub fn kv_text(&self, key: impl AsRef<[u8]>) -> Option<&str> {
        self.kv(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All keys and values, sorted by key.
    #[must_use]
    pub fn state(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.kv
    }

    /// Sets a key, as if an earlier call had.
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        Arc::make_mut(&mut self.kv).insert(key.as_ref().into(), value.as_ref().into());
    }

    /// As [`Host::call`], for a closure whose types are then known.
    pub fn deliver(
        &mut self,
        handler: impl FnOnce(Event) -> Result<(), Error>,
        event_type: &str,
        payload: &[u8],
    ) -> Outcome {
        self.call(handler, event_type, payload)
    }

    /// Calls a handler with an event, on this thread. A panic of the handler goes on to the caller, and
    /// leaves the state as it was.
    pub fn call<T: FromEvent, R: Reply, E: Into<Error>>(
        &mut self,
        handler: impl FnOnce(T) -> Result<R, E>,
        event_type: &str,
        payload: &[u8],
    ) -> Outcome {
        self.calls = self.calls.wrapping_add(1).max(1);
        let call = Call {
            rid: self.calls,
            event_type: event_type.into(),
            payload: payload.into(),
            kv: self.kv.clone(),
            env: self.env.clone(),
            settlements: self.settlements.clone(),
            contracts: self.contracts.clone(),
            sending: self.sending.clone(),
            sql: self.sql.clone(),
            api: self.api.clone(),
            resources: BTreeMap::new(),
            sender: self.sender.clone(),
            depth: self.depth,
            outcome: Outcome::default(),
        };
        let running = Running::start(call);
        let code = event::run(self.calls, handler);
        let Some(call) = running.finish() else { return Outcome { code, ..Outcome::default() } };
        drop(call.kv);
        Arc::make_mut(&mut self.kv).extend(call.outcome.writes.clone());
        Outcome { code, ..call.outcome }
    }
}

/// A call that is under way.
#[derive(Debug)]
struct Call {
    rid: i32,
    event_type: String,
    payload: Vec<u8>,
    kv: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    env: Arc<BTreeMap<String, String>>,
    settlements: Arc<BTreeMap<String, usize>>,
    contracts: Arc<BTreeMap<(u32, String), Vec<u8>>>,
    sending: Arc<BTreeSet<u32>>,
    sql: Arc<BTreeMap<String, String>>,
    api: Arc<BTreeMap<String, String>>,
    resources: BTreeMap<i32, Vec<u8>>,
    sender: Sender,
    depth: u64,
    outcome: Outcome,
}

thread_local! {
    static CURRENT: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// Makes a call the thread's current one, until it is dropped: also when the handler panics.
struct Running {
    /// A call that was under way already: a handler under test may use a host of its own.
    outer: Option<Call>,
}

impl Running {
    fn start(call: Call) -> Self {
        Self { outer: CURRENT.replace(Some(call)) }
    }

    fn finish(mut self) -> Option<Call> {
        let call = CURRENT.replace(self.outer.take());
        std::mem::forget(self);
        call
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.set(self.outer.take());
    }
}

/// The functions that the rest of the SDK calls, with the answers and codes of a node.
pub(crate) mod host {
    use super::{
        CURRENT, Call, LogLine, MAX_EVENT_BYTES, MAX_EVENT_DEPTH, MAX_EVENTS, Published, SentEvent, Settled,
    };

    const FAILED: i32 = -1;
    const NOT_FOUND: i32 = 2;
    const NO_SETTING: i32 = 8;
    /// Bytes of the longest key and the longest topic.
    const MAX_NAME: usize = 1_024;

    /// Runs `f` on the current call. Outside of one there is no host, and every call fails.
    fn current<T>(f: impl FnOnce(&mut Call) -> Result<T, i32>) -> Result<T, i32> {
        CURRENT.with_borrow_mut(|call| {
            let call = call.as_mut().ok_or(FAILED)?;
            call.outcome.host_calls += 1;
            f(call)
        })
    }

    fn code(result: Result<(), i32>) -> i32 {
        result.err().unwrap_or(0)
    }

    pub(crate) fn log(level: i32, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        // Logging never fails, also not on a node.
        let _ = current(|call| {
            call.outcome.logs.push(LogLine { level, text });
            Ok(())
        });
    }

    pub(crate) fn get_data(rid: i32) -> Result<Vec<u8>, i32> {
        current(|call| match call.resources.get(&rid) {
            Some(set) => Ok(set.clone()),
            None if rid == call.rid => Ok(call.payload.clone()),
            None => Err(NOT_FOUND),
        })
    }

    pub(crate) fn get_event_type(rid: i32) -> Result<Vec<u8>, i32> {
        current(|call| if rid == call.rid { Ok(call.event_type.clone().into()) } else { Err(NOT_FOUND) })
    }

    pub(crate) fn get_db(key: &[u8]) -> Result<Vec<u8>, i32> {
        current(|call| call.outcome.writes.get(key).or_else(|| call.kv.get(key)).cloned().ok_or(NOT_FOUND))
    }

    pub(crate) fn set_db(key: &[u8], value: &[u8]) -> i32 {
        code(current(|call| {
            if key.is_empty() || key.len() > MAX_NAME {
                return Err(FAILED);
            }
            call.outcome.writes.insert(key.into(), value.into());
            Ok(())
        }))
    }

    pub(crate) fn get_env(key: &[u8]) -> Result<Vec<u8>, i32> {
        current(|call| {
            let name = std::str::from_utf8(key).map_err(|_| NO_SETTING)?;
            call.env.get(name).map(|value| value.clone().into()).ok_or(NO_SETTING)
        })
    }

    pub(crate) fn send_mqtt(topic: &[u8], payload: &[u8]) -> i32 {
        code(current(|call| {
            let topic = std::str::from_utf8(topic).map_err(|_| FAILED)?;
            if topic.is_empty() || topic.len() > MAX_NAME || topic.contains(['+', '#', '\0']) {
                return Err(FAILED);
            }
            call.outcome.published.push(Published { topic: topic.into(), payload: payload.into() });
            Ok(())
        }))
    }

    pub(crate) fn get_context(rid: i32, item: i32) -> Result<Vec<u8>, i32> {
        current(|call| {
            let sender = &call.sender;
            let value = match (rid == call.rid, item) {
                (true, 1) => Some(sender.project.to_vec()),
                (true, 2) => sender.device.as_ref().map(|(did, _)| did.clone().into()),
                (true, 3) => sender.device.as_ref().map(|(_, hash)| hash.to_vec()),
                (true, 4) => sender.salt.map(Vec::from),
                (true, 5) => Some(sender.time.to_be_bytes().to_vec()),
                (true, 6) => (call.depth > 0).then(|| call.depth.to_be_bytes().to_vec()),
                _ => None,
            };
            value.ok_or(NOT_FOUND)
        })
    }

    pub(crate) fn settle(name: &[u8], statement: &[u8]) -> i32 {
        code(current(|call| {
            let name = std::str::from_utf8(name).map_err(|_| NOT_FOUND)?;
            let words = call.settlements.get(name).ok_or(NOT_FOUND)?;
            if statement.len() != words * 32 {
                return Err(FAILED);
            }
            call.outcome.settled.push(Settled { name: name.into(), statement: statement.into() });
            Ok(())
        }))
    }

    pub(crate) fn call_contract(chain: i32, json: &[u8]) -> Result<Vec<u8>, i32> {
        current(|call| {
            let json = std::str::from_utf8(json).map_err(|_| FAILED)?;
            call.contracts.get(&(chain.cast_unsigned(), json.into())).cloned().ok_or(FAILED)
        })
    }

    pub(crate) fn send_tx(chain: i32, json: &[u8]) -> Result<Vec<u8>, i32> {
        current(|call| {
            let (chain, json) = (chain.cast_unsigned(), std::str::from_utf8(json).map_err(|_| FAILED)?);
            if !call.sending.contains(&chain) {
                return Err(FAILED);
            }
            call.outcome.sent.push((chain, json.into()));
            Ok(format!("0x{:064x}", call.outcome.sent.len()).into())
        })
    }

    pub(crate) fn send_tx_with_operator(chain: i32, json: &[u8]) -> Result<Vec<u8>, i32> {
        send_tx(chain, json)
    }

    pub(crate) fn set_sql_db(json: &[u8]) -> i32 {
        code(current(|call| {
            call.outcome.sql.push(String::from_utf8(json.into()).map_err(|_| FAILED)?);
            Ok(())
        }))
    }

    pub(crate) fn get_sql_db(json: &[u8]) -> Result<Vec<u8>, i32> {
        current(|call| {
            let json = std::str::from_utf8(json).map_err(|_| FAILED)?;
            Ok(call.sql.get(json).cloned().unwrap_or_default().into())
        })
    }

    pub(crate) fn set_data(rid: i32, data: &[u8]) -> i32 {
        code(current(|call| {
            call.resources.insert(rid, data.into());
            Ok(())
        }))
    }

    pub(crate) fn get_mqtt(rid: i32) -> Result<(Vec<u8>, Vec<u8>), i32> {
        Ok((get_event_type(rid)?, get_data(rid)?))
    }

    pub(crate) fn api_call(json: &[u8]) -> Result<Vec<u8>, i32> {
        const NO_REQUEST: i32 = 7;
        current(|call| {
            let json = std::str::from_utf8(json).map_err(|_| NO_REQUEST)?;
            call.api.get(json).map(|answer| answer.clone().into()).ok_or(NO_REQUEST)
        })
    }

    pub(crate) fn send_event(name: &[u8], payload: &[u8]) -> i32 {
        code(current(|call| {
            let of_a_type = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
            let name = std::str::from_utf8(name).map_err(|_| FAILED)?;
            if name.is_empty() || name.len() > 63 || !name.as_bytes().iter().all(of_a_type) {
                return Err(FAILED);
            }
            if call.depth >= MAX_EVENT_DEPTH {
                return Err(11);
            }
            let events = &mut call.outcome.events;
            let bytes: usize = events.iter().map(|e| e.event_type.len() + e.payload.len()).sum();
            if events.len() >= MAX_EVENTS || bytes + name.len() + payload.len() > MAX_EVENT_BYTES {
                return Err(12);
            }
            events.push(SentEvent { event_type: name.into(), payload: payload.into() });
            Ok(())
        }))
    }

    pub(crate) fn send_answer(bytes: &[u8]) -> i32 {
        code(current(|call| {
            if call.outcome.answer.is_some() {
                return Err(FAILED);
            }
            call.outcome.answer = Some(bytes.into());
            Ok(())
        }))
    }

    pub(crate) fn submit_metrics(object: &[u8]) -> i32 {
        code(current(|call| {
            crate::json::Object::parse(object).map_err(|_| FAILED)?;
            call.outcome.metrics.push(String::from_utf8_lossy(object).into_owned());
            Ok(())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kv, metrics, mqtt};

    fn count(event: Event) -> Result<(), Error> {
        let n = kv::get_i64("n")?.unwrap_or(0) + 1;
        kv::set_i64("n", n)?;
        assert_eq!(kv::get_i64("n")?, Some(n), "a call reads its own writes");
        match event.data() {
            b"fail" => Err(Error::new(7, "asked to")),
            b"panic" => panic!("asked to"),
            _ => Ok(()),
        }
    }

    #[test]
    fn state_outlives_a_call_and_an_error_but_not_a_panic() {
        let mut host = Host::new();
        assert_eq!(host.deliver(count, "e", b"").code, 0);
        let failed = host.deliver(count, "e", b"fail");
        assert_eq!((failed.code, failed.logs[0].text.as_str()), (7, "asked to"));
        assert_eq!(failed.logs[0].level, 2);
        assert_eq!(host.kv_text("n"), Some("2"));
        let trapped =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.deliver(count, "e", b"panic")));
        assert!(trapped.is_err());
        assert_eq!(host.kv_text("n"), Some("2"));
        assert_eq!(kv::get("n").unwrap_err().code(), Error::HOST, "no call is under way after a panic");
    }

    #[test]
    fn outputs_are_kept_in_order_and_bad_ones_refused() {
        let mut host = Host::new();
        let outcome = host.deliver(
            |event| {
                assert_eq!(event.event_type()?, "door-open");
                mqtt::publish("a/b", "1")?;
                mqtt::publish("a/c", "2")?;
                metrics::submit(r#"{"opened":1}"#)?;
                assert!(mqtt::publish("a/#", "3").is_err());
                assert!(mqtt::publish(&"t".repeat(1_025), "3").is_err());
                assert!(kv::set("", "3").is_err());
                assert!(kv::set("k".repeat(1_025), "3").is_err());
                assert!(metrics::submit("[1]").is_err());
                Ok(())
            },
            "door-open",
            b"",
        );
        assert_eq!(outcome.code, 0);
        let topics: Vec<_> = outcome.published.iter().map(|m| (m.topic.as_str(), m.text())).collect();
        assert_eq!(topics, [("a/b", "1".to_owned()), ("a/c", "2".to_owned())]);
        assert_eq!(outcome.metrics, [r#"{"opened":1}"#]);
        assert_eq!(outcome.host_calls, 10);
        assert!(outcome.writes.is_empty());
    }

    #[test]
    fn contracts_answer_what_they_were_given_and_transactions_are_kept() {
        use crate::contract;
        let mut host = Host::new().contract(5, r#"{"to":"0xab","data":"01"}"#, [7]).chain(6);
        let outcome = host.deliver(
            |_| {
                assert_eq!(contract::call(5, "0xab", &[1])?, [7]);
                assert!(contract::call(5, "0xab", &[2]).is_err());
                assert!(contract::call(6, "0xab", &[1]).is_err());
                let ids = [contract::send(6, "0xab", 3, &[])?, contract::send_as("pay", 6, "0xab", 0, &[4])?];
                assert!(ids[0] != ids[1] && ids[0].len() == 66);
                assert!(contract::send(5, "0xab", 3, &[]).is_err());
                Ok(())
            },
            "e",
            b"",
        );
        assert_eq!(outcome.code, 0);
        let sent: Vec<_> = outcome.sent.iter().map(|(chain, json)| (*chain, json.as_str())).collect();
        assert_eq!(
            sent,
            [
                (6, r#"{"to":"0xab","data":"","value":"3"}"#),
                (6, r#"{"to":"0xab","data":"04","value":"0","operatorName":"pay"}"#)
            ]
        );
    }

    #[test]
    fn an_event_of_another_call_is_unknown() {
        let mut host = Host::new();
        let outcome = host.deliver(|event| Event::read(event.rid() + 1).map(drop), "e", b"");
        assert_eq!(outcome.code, Error::HOST);
        assert_eq!(outcome.logs[0].text, "ws_get_data answered 2");
    }
}
