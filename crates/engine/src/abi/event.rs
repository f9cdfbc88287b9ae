//! Events from handlers to handlers, and the answer to who waits for one.

use w3bstream_types::{EventType, Output, OutputKind};

use super::{Args, Guest, Span, Stop, code, pay, price, scope};

/// Longest event type, in bytes.
const MAX_TYPE_BYTES: u32 = 63;

/// `ws_send_event(type, payload)`: −1: bad memory, or no event type; 11: the chain of events is as long as it may be; 12: the
/// message has caused as many events, or bytes of them, as it may.
pub(super) fn send<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let (Some(name), Some(payload)) =
        (Span::new(guest, args.i32(0), args.i32(1)), Span::new(guest, args.i32(2), args.i32(3)))
    else {
        return Ok(code::FAILED);
    };
    if name.len > MAX_TYPE_BYTES {
        return Ok(code::FAILED);
    }
    let name = name.take(guest)?;
    if !std::str::from_utf8(&name).is_ok_and(|name| name.parse::<EventType>().is_ok()) {
        return Ok(code::FAILED);
    }
    let bytes = name.len() as u64 + u64::from(payload.len);
    if let Some(refused) = scope::with(|c| c.refuse_event(bytes))? {
        return Ok(refused);
    }
    pay(guest, price::OUTPUT + price::OUTPUT_BYTE * bytes)?;
    let data = payload.take(guest)?;
    scope::with(|c| c.send_event(Output { kind: OutputKind::Event, chain_id: 0, target: name, data }))??;
    Ok(code::OK)
}

/// `ws_send_answer(ptr, size)`: −1: bad memory, or the call has answered already.
pub(super) fn answer<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(span) = Span::new(guest, args.i32(0), args.i32(1)) else { return Ok(code::FAILED) };
    if scope::with(|c| c.answers())? {
        return Ok(code::FAILED);
    }
    pay(guest, price::OUTPUT + price::OUTPUT_BYTE * u64::from(span.len))?;
    let data = span.take(guest)?;
    scope::with(|c| {
        let target = c.call.handler.as_bytes().to_vec();
        c.output(Output { kind: OutputKind::Answer, chain_id: 0, target, data })
    })??;
    Ok(code::OK)
}
