//! `ws_api_call`: the original system's API for guests, a request of HTTP in JSON.
//!
//! ```json
//! {"Method": "POST", "Url": "w3bstream://w3bstream.com/system/send_tx", "Header": {"Eventtype": ["sent"]}, "Body": "e30="}
//! ```
//!
//! The answer is one as of HTTP, in JSON too. What a request begins is told later, as an event of the type that its
//! header names; the manifest has a trigger of that type. A request that cannot be done is answered with a status and a
//! body that say why: only what is no request at all gets a code.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use w3bstream_types::TriggerOn;

use super::contract::{self, Asked};
use super::{Args, Guest, Span, Stop, code, give, pay, price, scope};

/// The longest request, in bytes: the data of a transaction as hex in base64, twice, and the rest.
const MAX_REQUEST_BYTES: u32 = 512 * 1024;
/// What every address begins with.
const ROOT: &str = "w3bstream://w3bstream.com/system/";

/// Names that the original gave to chains, with their ids.
const CHAINS: &[(&str, u64)] = &[
    ("iotex-mainnet", 4_689),
    ("iotex-testnet", 4_690),
    ("ethereum-mainnet", 1),
    ("goerli", 5),
    ("polygon-mainnet", 137),
    ("mumbai", 80_001),
    ("arbitrum-one", 42_161),
    ("arbitrum-goerli", 421_613),
    ("op-mainnet", 10),
    ("op-goerli", 420),
    ("base-mainnet", 8_453),
    ("base-goerli", 84_531),
    ("zksync-era-mainnet", 324),
    ("zksync-era-testnet", 280),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    header: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    body: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    status: String,
    status_code: u16,
    proto: &'static str,
    header: BTreeMap<&'static str, [&'static str; 1]>,
    body: String,
}

/// A status with a body: members in the order of their names, whatever features the JSON library is built with.
struct Reply(u16, BTreeMap<&'static str, String>);

impl Reply {
    fn refused(status: u16, why: impl std::fmt::Display) -> Self {
        Self(status, BTreeMap::from([("error", why.to_string())]))
    }

    fn to_json(&self) -> Vec<u8> {
        let reason = match self.0 {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            501 => "Not Implemented",
            _ => "Forbidden",
        };
        let response = Response {
            status: format!("{} {reason}", self.0),
            status_code: self.0,
            proto: "HTTP/1.1",
            header: BTreeMap::from([("Content-Type", ["application/json"])]),
            body: STANDARD.encode(serde_json::to_vec(&self.1).unwrap_or_default()),
        };
        // Text and numbers always have a JSON form.
        serde_json::to_vec(&response).unwrap_or_default()
    }
}

/// `ws_api_call(json, out)`. 6: bad memory; 7: no request; 5: the answer could not be copied.
pub(super) fn call<G: Guest + ?Sized>(guest: &mut G, args: Args<'_>) -> Result<i32, Stop> {
    let Some(span) = Span::new(guest, args.i32(0), args.i32(1)).filter(|s| s.len <= MAX_REQUEST_BYTES) else {
        return Ok(code::READ_FAILED);
    };
    pay(guest, price::COMPUTE_BYTE * u64::from(span.len))?;
    let json = span.take(guest)?;
    let Ok(request) = serde_json::from_slice::<Request>(&json) else { return Ok(code::HOST_INTERNAL) };
    let reply = answer(guest, &request)?;
    if reply.0 != 200 {
        let why = reply.1.get("error").map_or("", String::as_str);
        let line = format!("ws_api_call: {} {}: {} {why}", request.method, request.url, reply.0);
        scope::with(|c| c.log(3, line.as_bytes(), false))?;
    }
    give(guest, &reply.to_json(), (args.i32(2), args.i32(3)))
}

fn answer<G: Guest + ?Sized>(guest: &mut G, request: &Request) -> Result<Reply, Stop> {
    let Some((path, query)) = request.url.strip_prefix(ROOT).map(|p| p.split_once('?').unwrap_or((p, "")))
    else {
        return Ok(Reply::refused(404, format!("there is nothing but {ROOT}…")));
    };
    let header = request.header.iter().find(|(name, _)| name.eq_ignore_ascii_case("eventtype"));
    let Some(event_type) = header.and_then(|(_, values)| values.first()) else {
        return Ok(Reply::refused(400, "the header Eventtype is missing: it names the event of the result"));
    };
    let wanted = match path {
        "hello" | "read_tx" => "GET",
        "send_tx" | "gen_zk_proof" => "POST",
        _ => {
            return Ok(Reply::refused(404, "the paths are hello, read_tx, send_tx, gen_zk_proof"));
        }
    };
    if !request.method.eq_ignore_ascii_case(wanted) {
        return Ok(Reply::refused(405, format!("{path} is asked for with {wanted}")));
    }
    match path {
        "hello" => Ok(Reply(200, BTreeMap::from([("message", "hello".to_owned())]))),
        "send_tx" => send(guest, request, event_type),
        "read_tx" => Ok(Reply::refused(
            501,
            format!(
                "a handler cannot wait for a chain ({query}); name the transaction in the manifest: [[triggers]] with \
                 transaction = {{ chain-id = …, hash = \"0x…\" }}"
            ),
        )),
        _ => Ok(Reply::refused(
            404,
            "there is no such image: what is proven stands in the manifest, as [[settlements]] with a proof",
        )),
    }
}

/// Asks for a transaction, whose fate is told by the manifest's trigger `sent`.
fn send<G: Guest + ?Sized>(guest: &mut G, request: &Request, event_type: &str) -> Result<Reply, Stop> {
    let told = scope::with(|c| {
        let of = |t: &&w3bstream_types::Trigger| matches!(t.on, TriggerOn::Sent(_));
        c.call.triggers.iter().find(of).map(|t| t.event_type.to_string())
    })?;
    if told.as_deref() != Some(event_type) {
        let why = format!(
            "nothing would be told as {event_type:?}: give the manifest [[triggers]] with event-type = {event_type:?} \
             and sent = {{}}"
        );
        return Ok(Reply::refused(403, why));
    }
    let body = STANDARD.decode(request.body.as_deref().unwrap_or_default());
    let asked = body.map_err(|e| e.to_string()).and_then(|b| {
        serde_json::from_slice::<Asked>(&b).map_err(|e| format!("the body is no transaction: {e}"))
    });
    let (asked, chain) = match asked.and_then(|a| chain_of(&a.chain_name).map(|chain| (a, chain))) {
        Ok(found) => found,
        Err(why) => return Ok(Reply::refused(400, why)),
    };
    let by_operator = !asked.operator_name.is_empty();
    match contract::request_transaction(guest, asked, (Some(chain), by_operator))? {
        Ok(id) => {
            let body = [("transactionID", format!("0x{id}")), ("state", "INIT".to_owned())];
            Ok(Reply(200, BTreeMap::from(body)))
        }
        Err(why) => Ok(Reply::refused(400, why)),
    }
}

fn chain_of(name: &str) -> Result<u64, String> {
    let known = CHAINS.iter().find(|(known, _)| *known == name).map(|(_, id)| *id);
    known.or_else(|| name.parse().ok()).ok_or_else(|| {
        format!("chainName: {name:?} is no chain that is known by name; give its id, such as \"4690\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_have_names_and_numbers() {
        assert_eq!(chain_of("iotex-testnet"), Ok(4_690));
        assert_eq!(chain_of("31337"), Ok(31_337));
        assert!(chain_of("solana-devnet").unwrap_err().contains("solana-devnet"));
    }

    #[test]
    fn an_answer_has_the_originals_members() {
        let json: serde_json::Value =
            serde_json::from_slice(&Reply(200, BTreeMap::from([("a", "1".to_owned())])).to_json()).unwrap();
        assert_eq!(json["Status"], "200 OK");
        assert_eq!(json["StatusCode"], 200);
        assert_eq!(json["Proto"], "HTTP/1.1");
        assert_eq!(json["Header"]["Content-Type"][0], "application/json");
        assert_eq!(STANDARD.decode(json["Body"].as_str().unwrap()).unwrap(), br#"{"a":"1"}"#);
    }
}
