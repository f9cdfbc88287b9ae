//! The original's system API, and the old forms of functions.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use w3bstream_types::{ChainRule, OutputKind, Trigger, TriggerOn};

use super::Checked;
use super::rig::{Rig, ensure, handler, same, saving};
use crate::Engine;
use crate::abi::code;

const OUT: &str = "(i32.const 16) (i32.const 20)";
const TO: &str = "0x00000000000000000000000000000000000000c0";

/// Requests by handler: (method, path, event type, body).
fn requests() -> Vec<(&'static str, Value)> {
    let request = |method: &str, path: &str, body: Value| {
        json!({
            "Method": method,
            "Url": format!("w3bstream://w3bstream.com/system/{path}"),
            "Header": { "Eventtype": ["sent"] },
            "Body": STANDARD.encode(body.to_string()),
        })
    };
    let transaction = |chain: &str, to: &str| json!({ "chainName": chain, "operatorName": "", "to": to, "value": "7", "data": "0aff" });
    let hello = request("GET", "hello", json!({}));
    let nameless = json!({ "Method": "GET", "Url": hello["Url"], "Header": {} });
    vec![
        ("hello", hello),
        ("nameless", nameless),
        (
            "elsewhere",
            json!({ "Method": "GET", "Url": "https://example.org/", "Header": { "Eventtype": ["e"] } }),
        ),
        ("unknown", request("GET", "goodbye", json!({}))),
        ("wrong_method", request("GET", "send_tx", json!({}))),
        ("read", request("GET", "read_tx?hash=0x1", json!({}))),
        ("prove", request("POST", "gen_zk_proof", json!({ "imageID": "addition" }))),
        ("send", request("POST", "send_tx", transaction("iotex-testnet", TO))),
        ("other_chain", request("POST", "send_tx", transaction("5", TO))),
        ("no_chain", request("POST", "send_tx", transaction("moon", TO))),
        ("no_address", request("POST", "send_tx", transaction("4690", "0x1"))),
        ("no_body", request("POST", "send_tx", json!(1))),
    ]
}

fn rig(engine: &Arc<dyn Engine>) -> Result<Rig, String> {
    let mut fields = String::new();
    for (place, (name, request)) in (0..).zip(requests()) {
        let at = 1_000 + 600 * place;
        let text = request.to_string();
        fields += &format!("(data (i32.const {at}) \"{}\")", text.replace('"', "\\22"));
        fields +=
            &saving(name, &format!("(call $api_call (i32.const {at}) (i32.const {}) {OUT})", text.len()));
        if name == "hello" {
            fields += &handler("cut", &format!("(call $api_call (i32.const {at}) (i32.const 9) {OUT})"));
        }
    }
    fields += &handler("outside", &format!("(call $api_call (i32.const 65530) (i32.const 9) {OUT})"));
    let mut rig = Rig::new(engine, &fields)?;
    rig.chains =
        vec![ChainRule { chain_id: 4_690, read: false, send: true, confirmations: 1, operators: vec![] }];
    Ok(rig)
}

/// Status and body of an answer.
fn answered(rig: &mut Rig, handler: &str) -> Result<(u64, Value), String> {
    let bytes = rig.saved(handler)?;
    let answer: Value = serde_json::from_slice(&bytes).map_err(|e| format!("{handler}: no JSON: {e}"))?;
    let body = STANDARD.decode(answer["Body"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
    let body = serde_json::from_slice(&body).map_err(|e| format!("{handler}: no JSON in the body: {e}"))?;
    let status = answer["StatusCode"].as_u64().ok_or_else(|| format!("{handler}: no StatusCode"))?;
    same("Proto", answer["Proto"].as_str().unwrap_or_default(), "HTTP/1.1")?;
    let begins = answer["Status"].as_str().is_some_and(|s| s.starts_with(&status.to_string()));
    ensure(begins, || format!("{handler}: Status is {}", answer["Status"]))?;
    Ok((status, body))
}

pub(super) fn the_system_api_answers(engine: &Arc<dyn Engine>) -> Checked {
    let mut rig = rig(engine)?;
    same("hello", &answered(&mut rig, "hello")?, &(200, json!({ "message": "hello" })))?;
    for (name, status, said) in [
        ("nameless", 400, "Eventtype"),
        ("elsewhere", 404, "w3bstream://w3bstream.com/system/"),
        ("unknown", 404, "gen_zk_proof"),
        ("wrong_method", 405, "POST"),
        ("read", 501, "[[triggers]]"),
        ("prove", 404, "[[settlements]]"),
        ("send", 403, "sent = {}"),
    ] {
        let (got, body) = answered(&mut rig, name)?;
        same(&format!("status of {name}"), &got, &status)?;
        let why = body["error"].as_str().unwrap_or_default();
        ensure(why.contains(said), || format!("{name}: `{why}` does not name {said}"))?;
    }
    rig.returns("cut", code::HOST_INTERNAL)?;
    rig.returns("outside", code::READ_FAILED)?;
    Ok(())
}

pub(super) fn the_system_api_sends_transactions(engine: &Arc<dyn Engine>) -> Checked {
    let mut rig = rig(engine)?;
    rig.triggers = vec![Trigger {
        name: "sent".parse().map_err(|e| format!("{e}"))?,
        event_type: "sent".parse().map_err(|e| format!("{e}"))?,
        on: TriggerOn::Sent(w3bstream_types::SentTrigger {}),
    }];
    let (status, body) = answered(&mut rig, "send")?;
    same("status", &status, &200)?;
    let outcome = rig.returns("send", code::OK)?;
    let [output] = outcome.outputs.as_slice() else {
        return Err(format!("one transaction gave {} outputs", outcome.outputs.len()));
    };
    same("kind and chain", &(output.kind, output.chain_id), &(OutputKind::Transaction, 4_690))?;
    let id = w3bstream_types::TransactionRequest::id_of(&w3bstream_types::Digest::of(b"call"), 0);
    same("answer", &body, &json!({ "transactionID": format!("0x{id}"), "state": "INIT" }))?;
    for (name, said) in [
        ("other_chain", "chain-id = 5"),
        ("no_chain", "moon"),
        ("no_address", "to:"),
        ("no_body", "transaction"),
    ] {
        let (status, body) = answered(&mut rig, name)?;
        same(&format!("status of {name}"), &status, &400)?;
        let why = body["error"].as_str().unwrap_or_default();
        ensure(why.contains(said), || format!("{name}: `{why}` does not name {said}"))?;
        let outcome = rig.returns(name, code::OK)?;
        ensure(outcome.outputs.is_empty(), || format!("{name} became an output"))?;
    }
    Ok(())
}

pub(super) fn old_forms_answer(engine: &Arc<dyn Engine>) -> Checked {
    let json = format!(r#"{{"to":"{TO}","value":"1","data":""}}"#);
    let fields = [
        format!("(data (i32.const 1000) \"{}\")", json.replace('"', "\\22")),
        handler("send", &format!("(call $send_tx_2022 (i32.const 1000) (i32.const {}))", json.len())),
        handler("cut", "(call $send_tx_2022 (i32.const 1000) (i32.const 5))"),
        saving("topic", &format!("(call $get_mqtt (local.get $rid) {OUT} (i32.const 24) (i32.const 28))")),
        saving("message", &format!("(call $get_mqtt (local.get $rid) (i32.const 24) (i32.const 28) {OUT})")),
        saving("other", &format!("(call $get_mqtt (i32.const 99) {OUT} (i32.const 24) (i32.const 28))")),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    rig.returns("send", code::FAILED)?;
    let rule =
        |chain_id| ChainRule { chain_id, read: false, send: true, confirmations: 1, operators: vec![] };
    rig.chains = vec![rule(7)];
    let outcome = rig.returns("send", code::OK)?;
    let got: Vec<_> = outcome.outputs.iter().map(|o| (o.kind, o.chain_id)).collect();
    same("outputs", got.as_slice(), &[(OutputKind::Transaction, 7)])?;
    rig.returns("cut", code::FAILED)?;
    rig.chains.push(rule(8));
    rig.returns("send", code::FAILED)?;
    same("topic", rig.saved("topic")?.as_slice(), b"reading")?;
    same("message", rig.saved("message")?.as_slice(), b"payload")?;
    rig.returns("other", code::NOT_FOUND)?;
    Ok(())
}
