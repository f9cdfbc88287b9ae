//! The guest's interface, `ws` version [`crate::ABI_VERSION`]: what a module may import, what it must export, and
//! what each host function does. Written once for all engines.
//!
//! # What a program is
//! It exports `memory` and one or more handlers `fn(i32) -> i32`. If it imports a function that hands data to
//! it, it also exports `alloc(i32) -> i32`, or `malloc` of that type. It is called in a fresh instance:
//! first its start function, then `_initialize` if it exports one without parameters and results (a WASI
//! reactor), then the handler with the event's resource id. `_start` is never called.
//!
//! # Handing data to a guest
//! Functions with a pair (address pointer, size pointer) call the guest's `alloc(size)`, write the data there, then the
//! address and the size as little-endian u32 to the two pointers. If any of these lies outside memory the
//! answer is 5. If `alloc` traps, the call ends with that trap. Called from within `alloc` itself, such a function
//! answers 5 and does nothing, so host and guest never nest deeper than that.
//!
//! # Functions
//! Module `env`: `ws_log`, `ws_get_data`, `ws_set_data`, `ws_get_db`, `ws_set_db`, `ws_get_sql_db`, `ws_set_sql_db`, `ws_get_env`,
//! `ws_send_mqtt_msg`, `ws_get_mqtt_msg`, `ws_get_event_type`, `ws_call_contract`, `ws_send_tx` (in the form with a chain and
//! in that of 2022 without), `ws_send_tx_with_operator`, `ws_api_call`, our own `ws_get_context`, `ws_settle`, `ws_send_event` and `ws_send_answer`, and
//! AssemblyScript's `abort`, `trace`, `seed`. Module `stat`:
//! `ws_submit_metrics`. Module `wasi_snapshot_preview1`: all 46 functions, denying everything but standard
//! output and error, which go to the log. Answers are those of [`code`].
//!
//! # Implementing an engine
//! [`Program::prepare`], compile [`Program::bytes`], link [`Program::functions`] to [`invoke`] over a
//! [`Guest`], and run each call by [`execute`] over a [`Machine`].

mod assemblyscript;
mod call;
mod context;
mod contract;
mod event;
mod functions;
pub mod price;
mod program;
mod rfc3339;
mod scope;
mod sql;
mod system;
mod wasi;
mod ws;

pub use call::{MAX_STACK_SLOTS, MAX_TABLE_ELEMENTS, Machine, Stopped, execute};
pub use context::{LOG_TRUNCATED, count_dropped};
pub use functions::HostFunction;
pub use program::{Program, is_wasi};

use crate::{Error, GuestError};
use context::Context;
use functions::Action;

/// What host functions answer, by the numbers of the original system's first version.
pub mod code {
    /// Done.
    pub const OK: i32 = 0;
    /// No such resource or key.
    pub const NOT_FOUND: i32 = 2;
    /// The data could not be copied into the guest.
    pub const COPY_FAILED: i32 = 5;
    /// The request could not be read out of the guest.
    pub const READ_FAILED: i32 = 6;
    /// The request is none.
    pub const HOST_INTERNAL: i32 = 7;
    /// No such setting.
    pub const ENV_NOT_FOUND: i32 = 8;
    /// The project has no database.
    pub const NO_DATABASE: i32 = 9;
    /// The event would be one too many in its chain.
    pub const TOO_DEEP: i32 = 11;
    /// The message has caused as many events, or bytes of them, as it may.
    pub const TOO_MANY: i32 = 12;
    /// Anything else.
    pub const FAILED: i32 = -1;
}

/// A parameter or result of a host function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// The bits of a 64-bit float.
    F64(u64),
}

/// The guest is to be stopped, or has been. The engine raises a trap of its choice; [`execute`] knows the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap;

impl std::fmt::Display for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("guest stopped")
    }
}

impl std::error::Error for Trap {}

/// A running guest, as host functions need it. Addresses are those of its exported memory.
pub trait Guest {
    /// Bytes of its memory now.
    fn memory_size(&mut self) -> u64;

    /// Fills `into` from address `at`. `false`, without a change that matters, if that is not all inside memory.
    fn read(&mut self, at: u32, into: &mut [u8]) -> bool;

    /// Writes `bytes` to address `at`. `false`, without writing, if that is not all inside memory.
    fn write(&mut self, at: u32, bytes: &[u8]) -> bool;

    /// Calls the export [`Program::alloc`].
    ///
    /// # Errors
    /// [`Stopped`].
    fn alloc(&mut self, size: i32) -> Result<i32, Stopped>;

    /// Reads [`crate::instrument::Reserved::Gas`].
    fn gas(&mut self) -> i64;

    /// Sets [`crate::instrument::Reserved::Gas`].
    fn set_gas(&mut self, gas: i64);
}

/// Why a host function does not return.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The guest's doing.
    Guest(GuestError),
    /// The host's doing: no outcome.
    Host(Error),
    /// The guest trapped inside `alloc`; the reason is known already.
    Trapped,
}

impl From<Stopped> for Stop {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Trapped => Self::Trapped,
            Stopped::Host(e) => Self::Host(e),
        }
    }
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Host(e)
    }
}

/// Runs a host function that the guest has called. To be called inside [`execute`], on its thread.
///
/// # Errors
/// [`Trap`] if the call ends here; the reason is kept for [`execute`].
pub fn invoke<G: Guest + ?Sized>(
    guest: &mut G,
    function: &HostFunction,
    args: &[Value],
) -> Result<Option<Value>, Trap> {
    let begin = scope::with(|c| c.count_host_call()).and_then(|counted| counted);
    let answer = begin.and_then(|()| pay(guest, price::HOST_CALL)).and_then(|()| {
        let args = Args(args);
        match function.action {
            Action::Ws(action) => ws::run(guest, action, args).map(Some),
            Action::AssemblyScript(action) => assemblyscript::run(guest, action, args),
            Action::Wasi(action) => wasi::run(guest, action, args),
        }
    });
    answer.map_err(|stop| {
        // Outside of a call there is nobody to tell; the trap is told anyway.
        let _ = scope::with(|context| context.stop(stop));
        Trap
    })
}

/// Parameters by place. A wrong type cannot occur, since imports are checked; it reads as zero.
#[derive(Clone, Copy)]
struct Args<'a>(&'a [Value]);

impl Args<'_> {
    fn i32(self, place: usize) -> i32 {
        match self.0.get(place) {
            Some(Value::I32(v)) => *v,
            _ => 0,
        }
    }

    fn f64(self, place: usize) -> f64 {
        match self.0.get(place) {
            Some(Value::F64(bits)) => f64::from_bits(*bits),
            _ => 0.0,
        }
    }
}

/// Takes gas from the guest.
fn pay<G: Guest + ?Sized>(guest: &mut G, amount: u64) -> Result<(), Stop> {
    let left = guest.gas().saturating_sub(i64::try_from(amount).unwrap_or(i64::MAX));
    guest.set_gas(left);
    if left < 0 { Err(Stop::Guest(GuestError::OutOfGas)) } else { Ok(()) }
}

/// A stretch of guest memory that lies inside it.
#[derive(Clone, Copy)]
struct Span {
    at: u32,
    len: u32,
}

impl Span {
    /// `None` if it is not all inside memory. Negative numbers are what they are as unsigned.
    fn new<G: Guest + ?Sized>(guest: &mut G, at: i32, len: i32) -> Option<Self> {
        let (at, len) = (at.cast_unsigned(), len.cast_unsigned());
        (u64::from(at) + u64::from(len) <= guest.memory_size()).then_some(Self { at, len })
    }

    /// Pays for the bytes and copies them out.
    fn take<G: Guest + ?Sized>(self, guest: &mut G) -> Result<Vec<u8>, Stop> {
        pay(guest, price::copy(u64::from(self.len)))?;
        self.peek(guest, self.len)
    }

    /// Copies out at most `most` bytes, without payment.
    fn peek<G: Guest + ?Sized>(self, guest: &mut G, most: u32) -> Result<Vec<u8>, Stop> {
        let mut bytes = vec![0; self.len.min(most) as usize];
        if !guest.read(self.at, &mut bytes) {
            let what = "the engine refused to read memory that it said is there";
            return Err(Error::new(crate::ErrorKind::Host, what).into());
        }
        Ok(bytes)
    }
}

/// Pays for the next block of random numbers and draws it.
fn draw<G: Guest + ?Sized>(guest: &mut G) -> Result<[u8; 32], Stop> {
    let bytes = scope::with(|c| c.random_bytes())?;
    pay(guest, price::COMPUTE_BYTE * bytes)?;
    scope::with(|c| c.random())
}

/// Hands `data` to the guest; see the module docs. The answer is the function's.
fn give<G: Guest + ?Sized>(guest: &mut G, data: &[u8], (address, size): (i32, i32)) -> Result<i32, Stop> {
    // Before anything else: the caller has copied the data already.
    pay(guest, price::copy(data.len() as u64))?;
    let (Ok(len), true) = (i32::try_from(data.len()), scope::with(|c| c.enter_alloc())?) else {
        return Ok(code::COPY_FAILED);
    };
    let at = guest.alloc(len)?;
    scope::with(|c| c.leave_alloc())?;
    let copied = guest.write(at.cast_unsigned(), data)
        && guest.write(address.cast_unsigned(), &at.to_le_bytes())
        && guest.write(size.cast_unsigned(), &len.to_le_bytes());
    Ok(if copied { code::OK } else { code::COPY_FAILED })
}

#[cfg(test)]
mod tests;
