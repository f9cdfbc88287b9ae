//! The functions that name a contract: `ws_call_contract`, `ws_send_tx`, `ws_send_tx_with_operator`.
//!
//! They take the original system's JSON: `{"to", "value", "data", "operatorName"}` with the address as `0x…`, the value as
//! decimal text in wei, and the data as hex digits with or without `0x`. Other members are not looked at.

use serde::Deserialize;
use w3bstream_types::{
    Address, Canonical as _, ChainRule, ContractAnswer, ContractCall, Digest, MAX_CALL_DATA_BYTES,
    OperatorName, Output, OutputKind, TransactionRequest,
};

use super::{Args, Guest, Span, Stop, code, give, pay, price, scope};

/// The longest JSON that is read, in bytes.
const MAX_JSON_BYTES: u32 = 2 * MAX_CALL_DATA_BYTES as u32 + 1_024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    to: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    pub(super) operator_name: String,
    /// Only `ws_api_call` looks at it.
    #[serde(default)]
    pub(super) chain_name: String,
}

/// What a guest asks of a contract.
struct Request {
    to: Address,
    value: u128,
    data: Vec<u8>,
    operator: String,
}

/// Reads the JSON; the reason is for who wrote the applet.
fn parse(json: &[u8]) -> Result<Request, String> {
    check(serde_json::from_slice(json).map_err(|e| format!("the JSON is wrong: {e}"))?)
}

fn check(asked: Asked) -> Result<Request, String> {
    // Upper-case digits are a checksum to those who write them (ERC-55).
    let to = asked.to.to_ascii_lowercase().parse().map_err(|e| format!("to: {e}"))?;
    let value = match asked.value.as_str() {
        "" => 0,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map_err(|_| "value: more wei than there are".to_owned())?
        }
        other => return Err(format!("value: {other:?} is no decimal number")),
    };
    let digits = asked.data.strip_prefix("0x").unwrap_or(&asked.data);
    let data = hex::decode(digits).map_err(|_| "data: expected hex digits".to_owned())?;
    if data.len() > MAX_CALL_DATA_BYTES {
        return Err(format!("data: {} bytes, {MAX_CALL_DATA_BYTES} is the most", data.len()));
    }
    Ok(Request { to, value, data, operator: asked.operator_name })
}

/// Reads the JSON out of memory; `None`, with a line in the log, if it is no request.
fn request<G: Guest + ?Sized>(
    guest: &mut G,
    (at, len): (i32, i32),
    name: &str,
) -> Result<Option<Request>, Stop> {
    let Some(span) = Span::new(guest, at, len).filter(|s| s.len <= MAX_JSON_BYTES) else {
        return Ok(None);
    };
    pay(guest, price::COMPUTE_BYTE * u64::from(span.len))?;
    let json = span.take(guest)?;
    match parse(&json) {
        Ok(request) => Ok(Some(request)),
        Err(why) => {
            scope::with(|c| c.log(3, format!("{name}: {why}").as_bytes(), false))?;
            Ok(None)
        }
    }
}

/// `ws_call_contract(chain, json, out)`: what the contract returns. −1: bad memory, no such request, a chain that the
/// manifest does not let be read, a call that reverts, or an answer that the block does not have.
pub(super) fn call<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(request) = request(guest, (args.i32(1), args.i32(2)), "ws_call_contract")? else {
        return Ok(code::FAILED);
    };
    let Some(chain_id) = scope::with(|c| c.chain(args.i32(0), |rule| rule.read, "read = true"))? else {
        return Ok(code::FAILED);
    };
    pay(guest, price::CONTRACT_CALL)?;
    let call = ContractCall { chain_id, to: request.to, data: request.data };
    match scope::with(|c| c.contract(&call))?? {
        Some(ContractAnswer::Returned(data)) => give(guest, &data, (args.i32(3), args.i32(4))),
        Some(ContractAnswer::Reverted(_)) => {
            scope::with(|c| c.log(3, b"ws_call_contract: the contract reverts", false))?;
            Ok(code::FAILED)
        }
        None => Ok(code::FAILED),
    }
}

/// `ws_send_tx(chain, json, out)`: the id of the request, as `0x` and 64 hex digits; the hash is looked up by it later.
/// −1: bad memory, no such request, or a chain to which the manifest does not let be sent. With an operator, whose
/// account sends.
pub(super) fn send<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>, operator: bool) -> Result<i32, Stop> {
    let name = if operator { "ws_send_tx_with_operator" } else { "ws_send_tx" };
    let Some(request) = request(guest, (args.i32(1), args.i32(2)), name)? else { return Ok(code::FAILED) };
    let chain = u64::from(args.i32(0).cast_unsigned());
    match ask(guest, request, (Some(chain), operator))? {
        Ok(id) => give(guest, format!("0x{id}").as_bytes(), (args.i32(3), args.i32(4))),
        Err(why) => refuse(name, &why),
    }
}

/// `ws_send_tx(json)` of 2022: no chain and no answer but the code. The chain is the only one to which the manifest lets
/// be sent.
pub(super) fn send_of_2022<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(request) = request(guest, (args.i32(0), args.i32(1)), "ws_send_tx")? else {
        return Ok(code::FAILED);
    };
    match ask(guest, request, (None, false))? {
        Ok(_) => Ok(code::OK),
        Err(why) => refuse("ws_send_tx", &why),
    }
}

fn refuse(name: &str, why: &str) -> Result<i32, Stop> {
    scope::with(|c| c.log(3, format!("{name}: {why}").as_bytes(), false))?;
    Ok(code::FAILED)
}

/// As [`send`], for what was read already.
pub(super) fn request_transaction<G: Guest + ?Sized>(
    guest: &mut G,
    asked: Asked,
    by: (Option<u64>, bool),
) -> Result<Result<Digest, String>, Stop> {
    match check(asked) {
        Ok(request) => ask(guest, request, by),
        Err(why) => Ok(Err(why)),
    }
}

/// Makes a transaction an output. `None` as the chain stands for the only one that may be sent to.
fn ask<G: Guest + ?Sized>(
    guest: &mut G,
    request: Request,
    (chain, operator): (Option<u64>, bool),
) -> Result<Result<Digest, String>, Stop> {
    let operator = match operator.then(|| request.operator.parse::<OperatorName>()).transpose() {
        Ok(operator) => operator,
        Err(e) => return Ok(Err(format!("operatorName: {e}"))),
    };
    let allows =
        |rule: &ChainRule| rule.send && operator.as_ref().is_none_or(|name| rule.operators.contains(name));
    let found = scope::with(|c| {
        let mut rules = c.call.chains.iter().filter(|r| allows(r) && chain.is_none_or(|id| id == r.chain_id));
        (rules.next().map(|r| r.chain_id), rules.next().is_some())
    })?;
    let what = operator.as_ref().map_or("send = true".to_owned(), |name| format!("the operator {name}"));
    let chain_id = match (found, chain) {
        ((Some(id), false), _) => id,
        (_, Some(id)) => {
            return Ok(Err(format!("the manifest's [[chains]] has no chain-id = {id} with {what}")));
        }
        (_, None) => {
            return Ok(Err(
                "without a chain, the manifest's [[chains]] must have one with send = true".into()
            ));
        }
    };
    pay(guest, price::TRANSACTION + price::OUTPUT_BYTE * request.data.len() as u64)?;
    let id = scope::with(|c| c.next_request())?;
    let asked = TransactionRequest { id, operator, value: request.value, data: request.data };
    let (target, data) = (request.to.as_bytes().to_vec(), asked.to_canonical());
    scope::with(|c| c.output(Output { kind: OutputKind::Transaction, chain_id, target, data }))??;
    Ok(Ok(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_original_wrote_them() {
        let to = "0x00000000000000000000000000000000000000Ab";
        let read =
            parse(format!(r#"{{"to":"{to}","value":"12","data":"0aff","other":1}}"#).as_bytes()).unwrap();
        assert_eq!(read.to.as_bytes()[19], 0xab);
        assert_eq!((read.value, read.data.as_slice()), (12, &[0x0a, 0xff][..]));
        let prefixed = parse(format!(r#"{{"to":"{to}","data":"0x0aff"}}"#).as_bytes()).unwrap();
        assert_eq!((prefixed.value, prefixed.data.as_slice()), (0, &[0x0a, 0xff][..]));
        let max = u128::MAX;
        assert_eq!(parse(format!(r#"{{"to":"{to}","value":"{max}"}}"#).as_bytes()).unwrap().value, max);
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_member() {
        let to = "0x00000000000000000000000000000000000000ab";
        let long = "00".repeat(MAX_CALL_DATA_BYTES + 1);
        for (json, named) in [
            ("{}".to_owned(), "to"),
            (r#"{"to":"0x12"}"#.to_owned(), "to"),
            (format!(r#"{{"to":"{to}","value":"-1"}}"#), "value"),
            (format!(r#"{{"to":"{to}","value":"0x1"}}"#), "value"),
            (format!(r#"{{"to":"{to}","value":"{}0"}}"#, u128::MAX), "value"),
            (format!(r#"{{"to":"{to}","data":"0x0"}}"#), "data"),
            (format!(r#"{{"to":"{to}","data":"zz"}}"#), "data"),
            (format!(r#"{{"to":"{to}","data":"{long}"}}"#), "data"),
            ("[".to_owned(), "JSON"),
        ] {
            let why = parse(json.as_bytes()).err().unwrap();
            assert!(why.contains(named), "{why}");
        }
    }
}
