//! WASI preview 1 for modules whose toolchain imports it anyway: standard output and error go to the log, standard
//! input is at its end, there are no arguments, variables, files, sockets or sleep, the clocks stand at the block's time, and random
//! numbers depend on the call alone.

use super::{Args, Guest, Span, Stop, Value, draw, pay, price, scope};
use crate::GuestError;

/// Error numbers, as WASI preview 1 gives them.
pub(super) mod errno {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const BADF: i32 = 8;
    pub(crate) const FAULT: i32 = 21;
    pub(crate) const INVAL: i32 = 28;
    pub(crate) const NOSYS: i32 = 52;
    pub(crate) const NOTCAPABLE: i32 = 76;
}

use errno::{BADF, FAULT, INVAL, SUCCESS};

/// Most buffers in one call of `fd_write`.
const MAX_BUFFERS: u32 = 1_024;
/// The right to write to a descriptor.
const RIGHT_WRITE: u64 = 1 << 6;
/// The right to read from a descriptor.
const RIGHT_READ: u64 = 1 << 1;

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Succeeds and does nothing.
    Empty,
    /// Answers with that error.
    Deny(i32),
    /// A count and a size, both zero.
    NoSizes,
    ClockResolution,
    ClockTime,
    FdStat,
    Read,
    Write,
    Random,
    Exit,
}

pub(super) fn run<G: Guest + ?Sized>(
    guest: &mut G,
    action: Action,
    args: Args<'_>,
) -> Result<Option<Value>, Stop> {
    let answer = match action {
        Action::Empty => SUCCESS,
        Action::Deny(errno) => errno,
        Action::NoSizes => {
            let zero = [0; 4];
            put(guest, args.i32(0), &zero).max(put(guest, args.i32(1), &zero))
        }
        Action::ClockResolution => put(guest, args.i32(1), &1_000_000_u64.to_le_bytes()),
        Action::ClockTime => {
            // Never zero, which runtimes such as Go's take for a clock that is broken.
            let millis = scope::with(|c| c.call.source.block_time)?.max(1);
            put(guest, args.i32(2), &millis.saturating_mul(1_000_000).to_le_bytes())
        }
        Action::FdStat => fd_stat(guest, args),
        Action::Read if args.i32(0) == 0 => put(guest, args.i32(3), &[0; 4]),
        Action::Read => BADF,
        Action::Write => write(guest, args)?,
        Action::Random => random(guest, args)?,
        Action::Exit => return Err(Stop::Guest(GuestError::Exit)),
    };
    Ok(Some(Value::I32(answer)))
}

fn put<G: Guest + ?Sized>(guest: &mut G, at: i32, bytes: &[u8]) -> i32 {
    if guest.write(at.cast_unsigned(), bytes) { SUCCESS } else { FAULT }
}

/// The three standard streams are character devices, so that C libraries print line by line.
fn fd_stat<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> i32 {
    let rights = match args.i32(0) {
        0 => RIGHT_READ,
        1 | 2 => RIGHT_WRITE,
        _ => return BADF,
    };
    let mut stat = [0; 24];
    stat[0] = 2;
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    put(guest, args.i32(1), &stat)
}

fn write<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let stream = match args.i32(0) {
        1 => 0,
        2 => 1,
        _ => return Ok(BADF),
    };
    let count = args.i32(2).cast_unsigned();
    if count > MAX_BUFFERS {
        return Ok(INVAL);
    }
    let Some(list) = Span::new(guest, args.i32(1), (count * 8).cast_signed()) else { return Ok(FAULT) };
    let list = list.take(guest)?;
    let mut total = 0_u32;
    for entry in list.chunks_exact(8) {
        let word = |part: &[u8]| part.iter().rev().fold(0_u32, |v, b| v << 8 | u32::from(*b));
        let (at, len) = (word(&entry[..4]), word(&entry[4..]));
        let Some(span) = Span::new(guest, at.cast_signed(), len.cast_signed()) else { return Ok(FAULT) };
        let Some(sum) = total.checked_add(len) else { return Ok(INVAL) };
        total = sum;
        pay(guest, price::copy(u64::from(len)))?;
        // One byte more than there is room for, so that the log knows that something is missing.
        let room = u32::try_from(scope::with(|c| c.log_room())?).unwrap_or(u32::MAX).saturating_add(1);
        let text = span.peek(guest, room)?;
        scope::with(|c| c.print(stream, &text))?;
    }
    Ok(put(guest, args.i32(3), &total.to_le_bytes()))
}

fn random<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(span) = Span::new(guest, args.i32(0), args.i32(1)) else { return Ok(FAULT) };
    let (mut at, mut left) = (span.at, span.len);
    while left > 0 {
        let block = draw(guest)?;
        let part = left.min(32);
        let bytes = block.get(..part as usize).unwrap_or(&block);
        if !guest.write(at, bytes) {
            return Ok(FAULT);
        }
        (at, left) = (at.wrapping_add(part), left - part);
    }
    Ok(SUCCESS)
}
