//! Functions that the WASI layer would take from the host: clocks, sleep, randomness, and the end.

use w3bstream_engine::GuestError;
use w3bstream_engine::abi::price;
use wasmer::Value;

use crate::book::Stop;
use crate::link::{Stopped, View, arg, arg32};
use crate::rules::{MAX_SUBSCRIPTIONS, Own, errno};

/// Nanoseconds between two looks at the clock.
const RESOLUTION: u64 = 1_000;
/// The clocks: realtime, monotonic, process, thread.
const CLOCKS: u64 = 4;

pub(crate) fn run(view: &mut View<'_>, own: Own, args: &[Value]) -> Result<i32, Stopped> {
    match own {
        Own::Yield => Ok(errno::SUCCESS),
        Own::ClockResolution | Own::ClockTime if arg(args, 0) >= CLOCKS => Ok(errno::INVAL),
        Own::ClockResolution => Ok(put(view, arg32(args, 1), &RESOLUTION.to_le_bytes())),
        Own::ClockTime => {
            let now = view.book.lock().now();
            Ok(put(view, arg32(args, 2), &now.to_le_bytes()))
        }
        Own::Random => random(view, arg32(args, 0), arg32(args, 1)),
        Own::Poll => poll(view, args),
        Own::Exit => exit(view, arg32(args, 0).cast_signed()),
    }
}

fn put(view: &mut View<'_>, at: u32, bytes: &[u8]) -> i32 {
    if view.write(at, bytes) { errno::SUCCESS } else { errno::FAULT }
}

/// `proc_exit`: 0 is the end of a call that did what it should, and anything else of one that failed.
fn exit(view: &View<'_>, code: i32) -> Result<i32, Stopped> {
    if code == 0 {
        return view.stop(Stop::Done);
    }
    view.book.lock().log(2, format!("exited with code {code}"));
    view.stop(Stop::Guest(GuestError::Exit))
}

/// Random numbers that depend on the call alone. Every node draws the same, and whoever knows the event can foretell them.
fn random(view: &mut View<'_>, at: u32, len: u32) -> Result<i32, Stopped> {
    if u64::from(at) + u64::from(len) > view.memory_size() {
        return Ok(errno::FAULT);
    }
    view.pay(price::COMPUTE_BYTE * u64::from(len))?;
    let (mut at, mut left) = (at, len);
    while left > 0 {
        let block = view.book.lock().random();
        let part = left.min(32);
        if !view.write(at, block.get(..part as usize).unwrap_or(&block)) {
            return Ok(errno::FAULT);
        }
        (at, left) = (at.wrapping_add(part), left - part);
    }
    Ok(errno::SUCCESS)
}

/// A subscription of `poll_oneoff`.
struct Subscription {
    userdata: u64,
    wants: Wants,
}

enum Wants {
    /// The time, in nanoseconds since the epoch.
    Time(u64),
    /// A descriptor to read from (1) or to write to (2).
    Descriptor(u8, u32),
    /// Something that preview 1 does not know.
    Unknown(u8),
}

const SUBSCRIPTION_BYTES: usize = 48;
const EVENT_BYTES: usize = 32;

fn subscription(bytes: &[u8], now: u64) -> Subscription {
    let number = |from: usize, len: usize| {
        let bytes = bytes.get(from..from + len).unwrap_or_default();
        bytes.iter().rev().fold(0_u64, |v, b| v << 8 | u64::from(*b))
    };
    let wants = match bytes.get(8).copied().unwrap_or(u8::MAX) {
        0 if number(16, 4) >= CLOCKS => Wants::Unknown(0),
        0 if number(40, 2) & 1 == 1 => Wants::Time(number(24, 8)),
        0 => Wants::Time(now.saturating_add(number(24, 8))),
        kind @ (1 | 2) => Wants::Descriptor(kind, u32::try_from(number(16, 4)).unwrap_or(u32::MAX)),
        kind => Wants::Unknown(kind),
    };
    Subscription { userdata: number(0, 8), wants }
}

fn event(userdata: u64, error: i32, kind: u8) -> [u8; EVENT_BYTES] {
    let mut event = [0; EVENT_BYTES];
    let (head, tail) = event.split_at_mut(8);
    head.copy_from_slice(&userdata.to_le_bytes());
    if let [low, high, tag, ..] = tail {
        [*low, *high] = u16::try_from(error).unwrap_or(0).to_le_bytes();
        *tag = kind;
    }
    event
}

/// `poll_oneoff`: nothing is ever waited for. Descriptors are ready; without any, the clock is put forward to the first time
/// that is asked for.
fn poll(view: &mut View<'_>, args: &[Value]) -> Result<i32, Stopped> {
    let (from, to, count) = (arg32(args, 0), arg32(args, 1), arg32(args, 2));
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(errno::INVAL);
    }
    view.pay(100 * u64::from(count))?;
    let mut bytes = vec![0; count as usize * SUBSCRIPTION_BYTES];
    if !view.read(from, &mut bytes) {
        return Ok(errno::FAULT);
    }
    let now = view.book.lock().now();
    let all: Vec<Subscription> =
        bytes.chunks_exact(SUBSCRIPTION_BYTES).map(|bytes| subscription(bytes, now)).collect();
    let times = all.iter().filter_map(|s| if let Wants::Time(time) = s.wants { Some(time) } else { None });
    let first = times.min().unwrap_or(now);
    let waits = all.iter().all(|s| matches!(s.wants, Wants::Time(_)));
    let now = if waits {
        let mut book = view.book.lock();
        book.sleep_until(first);
        first.max(now)
    } else {
        now
    };
    let mut events = Vec::new();
    for one in &all {
        match one.wants {
            Wants::Time(time) if time > now => {}
            Wants::Time(_) => events.extend(event(one.userdata, errno::SUCCESS, 0)),
            Wants::Unknown(kind) => events.extend(event(one.userdata, errno::INVAL, kind)),
            Wants::Descriptor(kind, fd) => {
                let open = view.book.lock().open.contains(&fd);
                let error = if open { errno::SUCCESS } else { errno::BADF };
                events.extend(event(one.userdata, error, kind));
            }
        }
    }
    let written = u32::try_from(events.len() / EVENT_BYTES).unwrap_or(u32::MAX);
    if !view.write(to, &events) {
        return Ok(errno::FAULT);
    }
    Ok(put(view, arg32(args, 3), &written.to_le_bytes()))
}
