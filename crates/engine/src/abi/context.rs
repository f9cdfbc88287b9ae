//! What the host keeps of one call.

use std::collections::BTreeMap;

use w3bstream_types::{
    ChainRule, ContractAnswer, ContractCall, Digest, Output, SqlBudget, SqlOutcome, SqlStatement,
    TransactionRequest,
};

use super::{Stop, code};
use crate::{Call, Caused, Cut, Error, GuestError, HostState, LogLine};

/// Stands at the end of the last line that a guest could log before its limit was reached.
pub const LOG_TRUNCATED: &str = " [log limit reached]";

/// Says at the end of a log how many lines are not there beside the one that was cut short. `cut` is how many were cut or
/// left away.
pub fn count_dropped(logs: &mut [LogLine], cut: u64) {
    if let (Some(last), 2..) = (logs.last_mut(), cut) {
        last.text.push_str(&format!(" [{} more lines left away]", cut - 1));
    }
}

/// Bytes that an output or a resource counts beside its own.
const ENTRY_BYTES: u64 = 32;

/// One call: what it may use, and what it has done.
pub(crate) struct Context<'a> {
    pub(super) call: Call<'a>,
    state: &'a mut dyn HostState,
    pub(super) stopped: Option<Stop>,
    in_alloc: bool,
    host_calls: u64,
    kv_bytes: u64,
    sql_bytes: u64,
    output_bytes: u64,
    log_bytes: u64,
    log_full: bool,
    resources: BTreeMap<i32, Vec<u8>>,
    resource_bytes: u64,
    pub(super) writes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) outputs: Vec<Output>,
    pub(super) logs: Vec<LogLine>,
    pub(super) cut: Cut,
    /// What was written to standard output and error behind the last line's end.
    streams: [Vec<u8>; 2],
    /// What random numbers of this call come from, once one was drawn.
    seed: Option<Digest>,
    drawn: u64,
    /// Transactions that it asked for.
    requests: u64,
    /// Events that it sent, and what the message has caused before.
    caused: Caused,
    answered: bool,
}

impl<'a> Context<'a> {
    pub(super) fn new(call: Call<'a>, state: &'a mut dyn HostState) -> Self {
        let caused = call.source.caused;
        Self {
            call,
            state,
            stopped: None,
            in_alloc: false,
            host_calls: 0,
            kv_bytes: 0,
            sql_bytes: 0,
            output_bytes: 0,
            log_bytes: 0,
            log_full: false,
            resources: BTreeMap::new(),
            resource_bytes: 0,
            writes: BTreeMap::new(),
            outputs: Vec::new(),
            logs: Vec::new(),
            cut: Cut::default(),
            streams: [Vec::new(), Vec::new()],
            seed: None,
            drawn: 0,
            requests: 0,
            caused,
            answered: false,
        }
    }

    pub(super) fn count_host_call(&mut self) -> Result<(), Stop> {
        self.host_calls += 1;
        if self.host_calls > self.call.limits.host_calls {
            return Err(Stop::Guest(GuestError::HostCallLimit));
        }
        Ok(())
    }

    /// Keeps why the guest is stopped. The first reason stays.
    pub(super) fn stop(&mut self, stop: Stop) {
        if !matches!(stop, Stop::Trapped) {
            self.stopped.get_or_insert(stop);
        }
    }

    /// Whether the guest may be asked for memory now; it is then marked as being asked.
    pub(super) fn enter_alloc(&mut self) -> bool {
        !std::mem::replace(&mut self.in_alloc, true)
    }

    pub(super) fn leave_alloc(&mut self) {
        self.in_alloc = false;
    }

    pub(super) fn resource(&self, rid: i32) -> Option<Vec<u8>> {
        let own = || (rid == self.call.rid).then(|| self.call.payload.to_vec());
        self.resources.get(&rid).cloned().or_else(own)
    }

    /// Sets a resource. All together they are held to the limit of key-value bytes, since a guest uses
    /// them likewise.
    pub(super) fn set_resource(&mut self, rid: i32, data: Vec<u8>) -> Result<(), Stop> {
        self.resource_bytes += data.len() as u64 + ENTRY_BYTES;
        if self.resource_bytes > self.call.limits.kv_bytes {
            return Err(Stop::Guest(GuestError::KvLimit));
        }
        self.resources.insert(rid, data);
        Ok(())
    }

    /// A key as the guest sees it: its own writes first.
    pub(super) fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.writes.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => self.state.kv_get(key),
        }
    }

    pub(super) fn kv_set(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Stop> {
        self.kv_bytes += (key.len() + value.len()) as u64;
        if self.kv_bytes > self.call.limits.kv_bytes {
            return Err(Stop::Guest(GuestError::KvLimit));
        }
        self.writes.insert(key, value);
        Ok(())
    }

    pub(super) fn output(&mut self, output: Output) -> Result<(), Stop> {
        self.output_bytes += (output.target.len() + output.data.len()) as u64 + ENTRY_BYTES;
        if self.output_bytes > self.call.limits.output_bytes {
            return Err(Stop::Guest(GuestError::OutputLimit));
        }
        self.outputs.push(output);
        Ok(())
    }

    /// Why an event of so many bytes cannot be sent; `None` if it can.
    pub(super) fn refuse_event(&mut self, bytes: u64) -> Option<i32> {
        let (caused, limits) = (self.caused, self.call.limits);
        let (code, why) = if caused.depth >= limits.event_depth {
            let why = format!("no event is sent: {} events led here, the limit event-depth", caused.depth);
            (code::TOO_DEEP, why)
        } else if caused.events >= limits.events || caused.bytes.saturating_add(bytes) > limits.event_bytes {
            let why = format!(
                "no event of {bytes} bytes is sent: the message has caused {} of {} events, {} of {} bytes",
                caused.events, limits.events, caused.bytes, limits.event_bytes
            );
            (code::TOO_MANY, why)
        } else {
            return None;
        };
        self.cut.events += 1;
        self.log(3, why.as_bytes(), false);
        Some(code)
    }

    /// Sends an event that [`Self::refuse_event`] lets through.
    pub(super) fn send_event(&mut self, event: Output) -> Result<(), Stop> {
        self.caused.events += 1;
        self.caused.bytes += (event.target.len() + event.data.len()) as u64;
        self.output(event)
    }

    /// Whether the call has answered; it has from now on.
    pub(super) fn answers(&mut self) -> bool {
        std::mem::replace(&mut self.answered, true)
    }

    /// The rule for a chain; why there is none, in words for who wrote the manifest.
    pub(super) fn chain(&mut self, id: i32, allows: impl Fn(&ChainRule) -> bool, what: &str) -> Option<u64> {
        let id = u64::from(id.cast_unsigned());
        let found = self.call.chains.iter().any(|rule| rule.chain_id == id && allows(rule));
        if !found {
            let why = format!("the manifest's [[chains]] has no chain-id = {id} with {what}");
            self.log(3, why.as_bytes(), false);
        }
        found.then_some(id)
    }

    /// What a contract answers, by the block's transcript.
    pub(super) fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, Error> {
        self.state.contract(call)
    }

    pub(super) fn has_database(&mut self) -> bool {
        self.state.has_database()
    }

    /// Runs a statement on the project's database.
    pub(super) fn sql(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Error> {
        self.state.sql(statement, budget)
    }

    /// Bytes that rows may still have.
    pub(super) fn sql_room(&self) -> u64 {
        self.call.limits.sql_bytes.saturating_sub(self.sql_bytes)
    }

    /// Counts bytes of a statement, or of its rows.
    pub(super) fn count_sql(&mut self, bytes: u64) -> Result<(), Stop> {
        self.sql_bytes = self.sql_bytes.saturating_add(bytes);
        if self.sql_bytes > self.call.limits.sql_bytes {
            return Err(Stop::Guest(GuestError::SqlLimit));
        }
        Ok(())
    }

    /// The id of the next transaction that this call asks for.
    pub(super) fn next_request(&mut self) -> Digest {
        let n = self.requests;
        self.requests += 1;
        TransactionRequest::id_of(&self.call.id, n)
    }

    /// Bytes that may still be logged.
    pub(super) fn log_room(&self) -> u64 {
        if self.log_full { 0 } else { self.call.limits.log_bytes.saturating_sub(self.log_bytes) }
    }

    /// Logs a line, or as much of it as there is room for. `cut` says that `text` is only its beginning.
    pub(super) fn log(&mut self, level: i32, text: &[u8], cut: bool) {
        if self.log_full {
            self.cut.log_lines += 1;
            return;
        }
        let room = usize::try_from(self.log_room()).unwrap_or(usize::MAX);
        let mut text = String::from_utf8_lossy(text).into_owned();
        if cut || room == 0 || text.len() > room {
            let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text.push_str(LOG_TRUNCATED);
            self.log_full = true;
            self.cut.log_lines += 1;
        }
        // A line's end counts, so that empty lines have an end too.
        self.log_bytes += text.len() as u64 + 1;
        self.logs.push(LogLine { level, text });
    }

    /// Writes to standard output (0) or error (1). Whole lines are logged; the rest waits for its end.
    pub(super) fn print(&mut self, stream: usize, bytes: &[u8]) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(buffer) = self.streams.get_mut(stream) else { return };
            buffer.extend_from_slice(part);
            let full = buffer.len() as u64 > self.call.limits.log_bytes.saturating_sub(self.log_bytes);
            if part.ends_with(b"\n") || full || self.log_full {
                self.flush(stream);
            }
        }
    }

    /// Logs what waits for its line's end.
    pub(super) fn flush(&mut self, stream: usize) {
        let Some(buffer) = self.streams.get_mut(stream) else { return };
        let line = std::mem::take(buffer);
        if line.is_empty() {
            return;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        self.log(if stream == 0 { 4 } else { 2 }, line, false);
    }

    /// Bytes that the next block of random numbers takes to compute.
    pub(super) fn random_bytes(&self) -> u64 {
        32 + if self.seed.is_some() { 0 } else { self.call.payload.len() as u64 }
    }

    /// The next block of the call's random numbers. They depend on the call alone: resource id, handler, event type
    /// and payload. Every node draws the same, and whoever knows the event can foretell them.
    pub(super) fn random(&mut self) -> [u8; 32] {
        self.drawn += 1;
        let call = &self.call;
        // The payload may be large, and a block costs no more than 32 bytes: it is hashed once.
        let seed = self.seed.get_or_insert_with(|| {
            let (rid, event_type) = (call.rid.to_be_bytes(), call.event_type.as_str().as_bytes());
            Digest::tagged("w3b/guest-seed", &[&rid, call.handler.as_bytes(), event_type, call.payload])
        });
        *Digest::tagged("w3b/guest-random", &[seed.as_bytes(), &self.drawn.to_be_bytes()]).as_bytes()
    }
}
