//! The functions `ws_*`.

use w3bstream_types::{Digest, MAX_STATEMENT_FIELDS, Output, OutputKind, Settlement};

use super::{
    Args, Context, Guest, Span, Stop, Value, code, contract, event, give, pay, price, scope, sql, system,
};

/// Longest MQTT topic, in bytes.
const MAX_TOPIC_BYTES: u32 = 1_024;
/// Longest key, in bytes.
const MAX_KEY_BYTES: u32 = 1_024;

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Log,
    GetData,
    SetData,
    GetDb,
    SetDb,
    GetEnv,
    SendMqtt,
    GetEventType,
    SubmitMetrics,
    GetContext,
    Settle,
    CallContract,
    SendTx,
    SendTxWithOperator,
    SendTxOf2022,
    GetMqtt,
    ApiCall,
    SetSql,
    GetSql,
    SendEvent,
    SendAnswer,
}

pub(super) fn run<G: Guest + ?Sized>(guest: &mut G, action: Action, args: Args<'_>) -> Result<Value, Stop> {
    let answer = match action {
        Action::Log => log(guest, args),
        Action::GetData => get_data(guest, args),
        Action::SetData => set_data(guest, args),
        Action::GetDb => get_db(guest, args),
        Action::SetDb => set_db(guest, args),
        Action::GetEnv => get_env(guest, args),
        Action::SendMqtt => send_mqtt(guest, args),
        Action::GetEventType => get_event_type(guest, args),
        Action::SubmitMetrics => submit_metrics(guest, args),
        Action::GetContext => get_context(guest, args),
        Action::Settle => settle(guest, args),
        Action::CallContract => contract::call(guest, args),
        Action::SendTx => contract::send(guest, args, false),
        Action::SendTxWithOperator => contract::send(guest, args, true),
        Action::SendTxOf2022 => contract::send_of_2022(guest, args),
        Action::GetMqtt => get_mqtt(guest, args),
        Action::ApiCall => system::call(guest, args),
        Action::SetSql => sql::set(guest, args),
        Action::GetSql => sql::get(guest, args),
        Action::SendEvent => event::send(guest, args),
        Action::SendAnswer => event::answer(guest, args),
    };
    answer.map(Value::I32)
}

/// `ws_log(level, ptr, size)`: any level is accepted. −1: bad memory.
fn log<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(span) = Span::new(guest, args.i32(1), args.i32(2)) else { return Ok(code::FAILED) };
    pay(guest, price::copy(u64::from(span.len)))?;
    log_span(guest, args.i32(0), span)?;
    Ok(code::OK)
}

/// Logs what is in memory, copying no more than there is room for in the log.
fn log_span<G: Guest + ?Sized>(guest: &mut G, level: i32, span: Span) -> Result<(), Stop> {
    let room = u32::try_from(scope::with(|c| c.log_room())?).unwrap_or(u32::MAX);
    let text = span.peek(guest, room)?;
    scope::with(|c| c.log(level, &text, span.len > room))
}

/// `ws_get_data(rid, out)`: 2: no such resource.
fn get_data<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    match scope::with(|c| c.resource(args.i32(0)))? {
        Some(data) => give(guest, &data, (args.i32(1), args.i32(2))),
        None => Ok(code::NOT_FOUND),
    }
}

/// `ws_set_data(rid, ptr, size)`: 5: bad memory.
fn set_data<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(span) = Span::new(guest, args.i32(1), args.i32(2)) else { return Ok(code::COPY_FAILED) };
    let data = span.take(guest)?;
    scope::with(|c| c.set_resource(args.i32(0), data))??;
    Ok(code::OK)
}

/// A key: not empty, not too long, inside memory.
fn key<G: Guest + ?Sized>(guest: &mut G, at: i32, len: i32) -> Result<Option<Vec<u8>>, Stop> {
    match Span::new(guest, at, len) {
        Some(span) if (1..=MAX_KEY_BYTES).contains(&span.len) => span.take(guest).map(Some),
        _ => Ok(None),
    }
}

/// `ws_get_db(key, out)`: 2: no such key, or bad memory.
fn get_db<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(key) = key(guest, args.i32(0), args.i32(1))? else { return Ok(code::NOT_FOUND) };
    pay(guest, price::KV_GET)?;
    match scope::with(|c| c.kv_get(&key))?? {
        Some(value) => give(guest, &value, (args.i32(2), args.i32(3))),
        None => Ok(code::NOT_FOUND),
    }
}

/// `ws_set_db(key, value)`: 2: bad memory; −1: a key that cannot be stored.
fn set_db<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let (Some(_), Some(value)) =
        (Span::new(guest, args.i32(0), args.i32(1)), Span::new(guest, args.i32(2), args.i32(3)))
    else {
        return Ok(code::NOT_FOUND);
    };
    let Some(key) = key(guest, args.i32(0), args.i32(1))? else { return Ok(code::FAILED) };
    pay(guest, price::KV_SET + price::KV_SET_BYTE * (key.len() as u64 + u64::from(value.len)))?;
    let value = value.take(guest)?;
    scope::with(|c| c.kv_set(key, value))??;
    Ok(code::OK)
}

/// `ws_get_env(key, out)`: 8: no such setting, or bad memory.
fn get_env<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(key) = key(guest, args.i32(0), args.i32(1))? else { return Ok(code::ENV_NOT_FOUND) };
    let find = |c: &mut Context<'_>| {
        let found = c.call.env.iter().find(|(name, _)| name.as_bytes() == key.as_slice());
        found.map(|(_, value)| value.clone())
    };
    match scope::with(find)? {
        Some(value) => give(guest, value.as_bytes(), (args.i32(2), args.i32(3))),
        None => Ok(code::ENV_NOT_FOUND),
    }
}

/// `ws_send_mqtt_msg(topic, message)`: −1: bad memory, or no topic to publish to.
fn send_mqtt<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let (Some(topic), Some(message)) =
        (Span::new(guest, args.i32(0), args.i32(1)), Span::new(guest, args.i32(2), args.i32(3)))
    else {
        return Ok(code::FAILED);
    };
    if topic.len == 0 || topic.len > MAX_TOPIC_BYTES {
        return Ok(code::FAILED);
    }
    let topic = topic.take(guest)?;
    if topic.iter().any(|b| matches!(b, b'+' | b'#' | 0)) || std::str::from_utf8(&topic).is_err() {
        return Ok(code::FAILED);
    }
    pay(guest, price::OUTPUT + price::OUTPUT_BYTE * (topic.len() as u64 + u64::from(message.len)))?;
    let data = message.take(guest)?;
    scope::with(|c| c.output(Output { kind: OutputKind::Mqtt, chain_id: 0, target: topic, data }))??;
    Ok(code::OK)
}

/// `ws_get_event_type(rid, out)`: 2: no such event.
fn get_event_type<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let own =
        |c: &mut Context<'_>| (args.i32(0) == c.call.rid).then(|| c.call.event_type.as_str().to_owned());
    match scope::with(own)? {
        Some(name) => give(guest, name.as_bytes(), (args.i32(1), args.i32(2))),
        None => Ok(code::NOT_FOUND),
    }
}

/// `ws_get_mqtt_msg(rid, topic out, payload out)`: the event as a message, its type being the topic. 2: no such event.
fn get_mqtt<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let own = |c: &mut Context<'_>| {
        let payload = c.resource(args.i32(0))?;
        (args.i32(0) == c.call.rid).then(|| (c.call.event_type.as_str().to_owned(), payload))
    };
    let Some((topic, payload)) = scope::with(own)? else { return Ok(code::NOT_FOUND) };
    match give(guest, topic.as_bytes(), (args.i32(1), args.i32(2)))? {
        code::OK => give(guest, &payload, (args.i32(3), args.i32(4))),
        failed => Ok(failed),
    }
}

/// Items of `ws_get_context`.
mod item {
    pub(super) const PROJECT: i32 = 1;
    pub(super) const DEVICE: i32 = 2;
    pub(super) const DEVICE_HASH: i32 = 3;
    pub(super) const SALT: i32 = 4;
    pub(super) const TIME: i32 = 5;
    pub(super) const DEPTH: i32 = 6;
}

/// `ws_get_context(rid, item, out)`: what the host knows of the event's source. 2: no such event or item, or the
/// event has none.
fn get_context<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let find = |c: &mut Context<'_>| {
        let source = (args.i32(0) == c.call.rid).then_some(c.call.source)?;
        match args.i32(1) {
            item::PROJECT => Some(source.project?.0.as_bytes().to_vec()),
            item::DEVICE => Some(source.device?.as_str().as_bytes().to_vec()),
            item::DEVICE_HASH => Some(Digest::of(source.device?.as_str().as_bytes()).as_bytes().to_vec()),
            item::SALT => Some(source.salt?.to_vec()),
            item::TIME => Some(source.time.to_be_bytes().to_vec()),
            item::DEPTH => (source.caused.depth > 0).then(|| source.caused.depth.to_be_bytes().to_vec()),
            _ => None,
        }
    };
    match scope::with(find)? {
        Some(value) => give(guest, &value, (args.i32(2), args.i32(3))),
        None => Ok(code::NOT_FOUND),
    }
}

/// `ws_settle(name, statement)`: 2: no such settlement in the manifest; −1: bad memory, or no statement of its
/// fields.
fn settle<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let (Some(name), Some(statement)) =
        (Span::new(guest, args.i32(0), args.i32(1)), Span::new(guest, args.i32(2), args.i32(3)))
    else {
        return Ok(code::FAILED);
    };
    let most = (MAX_STATEMENT_FIELDS * 32) as u32;
    if name.len > MAX_KEY_BYTES || statement.len > most {
        return Ok(code::FAILED);
    }
    let name = name.take(guest)?;
    pay(guest, price::OUTPUT + price::OUTPUT_BYTE * u64::from(statement.len))?;
    let data = statement.take(guest)?;
    let make = |c: &mut Context<'_>| {
        let wanted = |s: &&Settlement| s.name.as_str().as_bytes() == name.as_slice();
        let settlement = c.call.settlements.iter().find(wanted).ok_or(code::NOT_FOUND)?;
        settlement.words(&data).map_err(|_| code::FAILED)?;
        let (chain_id, target) = (settlement.chain_id, settlement.target());
        Ok(Output { kind: OutputKind::Settlement, chain_id, target, data })
    };
    match scope::with(make)? {
        Ok(output) => {
            scope::with(|c| c.output(output))??;
            Ok(code::OK)
        }
        Err(code) => Ok(code),
    }
}

/// `ws_submit_metrics(ptr, size)`: −1: bad memory, or no JSON object.
fn submit_metrics<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(span) = Span::new(guest, args.i32(0), args.i32(1)) else { return Ok(code::FAILED) };
    pay(guest, price::COMPUTE_BYTE * u64::from(span.len))?;
    let data = span.take(guest)?;
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&data).is_err() {
        return Ok(code::FAILED);
    }
    pay(guest, price::OUTPUT + price::OUTPUT_BYTE * data.len() as u64)?;
    scope::with(|c| c.output(Output { kind: OutputKind::Metric, chain_id: 0, target: vec![], data }))??;
    Ok(code::OK)
}
