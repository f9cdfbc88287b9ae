//! What AssemblyScript's standard library imports from `env`.

use super::{Args, Guest, Span, Stop, Value, draw, scope};

/// Longest string that is read, in UTF-16 units.
const MAX_UNITS: u32 = 2_048;

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Abort,
    Trace,
    Seed,
}

pub(super) fn run<G: Guest + ?Sized>(
    guest: &mut G,
    action: Action,
    args: Args<'_>,
) -> Result<Option<Value>, Stop> {
    match action {
        Action::Abort => abort(guest, args).map(|()| None),
        Action::Trace => trace(guest, args).map(|()| None),
        Action::Seed => seed(guest).map(Some),
    }
}

/// `abort(message, file, line, column)`: logs an error and returns. The compiler puts a trap behind it.
fn abort<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<(), Stop> {
    let message = string(guest, args.i32(0))?;
    let file = string(guest, args.i32(1))?;
    let (line, column) = (args.i32(2).cast_unsigned(), args.i32(3).cast_unsigned());
    let text = format!("abort: {message} at {file}:{line}:{column}");
    scope::with(|c| c.log(2, text.as_bytes(), false))
}

/// `trace(message, n, a0, … a4)`: logs the message and its first n numbers.
fn trace<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<(), Stop> {
    let mut text = format!("trace: {}", string(guest, args.i32(0))?);
    let count = usize::try_from(args.i32(1)).unwrap_or(0).min(5);
    for place in 0..count {
        text.push_str(if place == 0 { " " } else { ", " });
        text.push_str(&args.f64(2 + place).to_string());
    }
    scope::with(|c| c.log(6, text.as_bytes(), false))
}

/// `seed()`: a number from 0 to 1 that depends on the call alone.
fn seed<G: Guest + ?Sized>(guest: &mut G) -> Result<Value, Stop> {
    let block = draw(guest)?;
    let bits = block.iter().take(8).fold(0_u64, |v, b| v << 8 | u64::from(*b)) >> 11;
    // 53 bits are exact in a float, and so is the division by a power of two.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let seed = bits as f64 / (1_u64 << 53) as f64;
    Ok(Value::F64(seed.to_bits()))
}

/// A string object: UTF-16LE, its length in bytes as u32 before it. Null and bad memory read as empty.
fn string<G: Guest + ?Sized>(guest: &mut G, at: i32) -> Result<String, Stop> {
    let header = at.checked_sub(4).and_then(|h| Span::new(guest, h, 4));
    let (true, Some(header)) = (at != 0, header) else { return Ok(String::new()) };
    let len = header.take(guest)?.iter().rev().fold(0_u32, |v, b| v << 8 | u32::from(*b));
    let len = len.min(MAX_UNITS * 2) & !1;
    let Some(span) = Span::new(guest, at, len.cast_signed()) else { return Ok(String::new()) };
    let bytes = span.take(guest)?;
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| pair.iter().rev().fold(0, |v, b| v << 8 | u16::from(*b))).collect();
    Ok(String::from_utf16_lossy(&units))
}
