//! Encodings that must never change: other nodes, old journals and signatures depend on them.
//!
//! After a deliberate change (with a new version of the type) write the fixtures anew with
//! `cargo test -p w3bstream-types --test it -- --ignored write_fixtures` and review the difference.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use w3bstream_types::receipt::Receipt;
use w3bstream_types::*;

use crate::sample::{self, Scenario};

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new("tests/fixtures").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap()
}

struct Cases(Vec<Value>);

impl Cases {
    fn add<T: Canonical + PartialEq + std::fmt::Debug>(&mut self, name: &str, value: &T) {
        let bytes = value.to_canonical();
        assert_eq!(&T::from_canonical(&bytes).unwrap(), value, "{name}");
        let (domain, digest) = (T::DOMAIN, value.digest().to_string());
        self.0.push(json!({"name": name, "domain": domain, "digest": digest, "hex": hex::encode(bytes)}));
    }
}

fn canonical() -> Value {
    let mut c = Cases(Vec::new());
    messages(&mut c);
    blocks(&mut c);
    controls(&mut c);
    json!({
        "source": "Made by this crate; what is checked is that they stay.",
        "ids": {
            "project": sample::project().to_string(),
            "token-message": sample::token().id().to_string(),
            "trigger-message": sample::trigger().id().to_string(),
            "session-message": sample::session().id().to_string(),
            "payload-digest": payload_digest(&[7; 16], b"payload").to_string(),
            "token-hash": token_hash("secret").to_string(),
        },
        "cases": c.0,
    })
}

fn messages(c: &mut Cases) {
    let (envelope, _) = sample::envelope(Algorithm::EdDSA, 2);
    let (jws, _) = sample::jws(Algorithm::ES256, 3);
    let (token, trigger, session) = (sample::token(), sample::trigger(), sample::session());
    c.add("header", envelope.header().unwrap());
    let all = [
        ("envelope", &envelope),
        ("jws", &jws),
        ("token", &token),
        ("trigger", &trigger),
        ("session", &session),
    ];
    for (name, record) in all {
        match record.form() {
            Form::Envelope(form) => c.add(name, form),
            Form::Jws(form) => c.add(name, form),
            Form::Token(form) => c.add(name, form),
            Form::Session(form) => c.add(name, form),
            Form::Trigger(form) => {
                c.add(name, form);
                c.add("header of trigger", &form.header());
            }
        }
        c.add(&format!("record of {name}"), record);
    }
    c.add("window, empty", &SequenceWindow::default());
    let mut window = SequenceWindow::default();
    for counter in [0, 1, 5, 70, 64] {
        window.accept(Sequence::new(2, counter));
    }
    c.add("window", &window);
}

fn blocks(c: &mut Cases) {
    let s = Scenario::new(4, 3);
    let block = &s.block.block;
    c.add("entry, control", &block.entries()[0]);
    c.add("entry, message", &block.entries()[1]);
    c.add("block header", block.header());
    c.add("block", block);
    c.add("certificate", &s.block.certificate);
    c.add("certified block", &s.block);
    c.add("statement", &s.attestation.statement);
    c.add("attestation", &s.attestation);
    c.add("member", &s.subnet.genesis.members[0]);
    c.add("genesis", &s.subnet.genesis);
    c.add("output", &s.outputs[2]);
    let receipt = s.receipt(sample::ENVELOPE, true);
    c.add("result", &receipt.results()[0]);
    c.add("result with error", &receipt.results()[1]);
    c.add("event", &sample::event());
    c.add("receipt's ordering", &receipt.ordering);
    c.add("receipt's output", &receipt.execution.outputs[0]);
    c.add("receipt's settlement", &sample::settled());
    c.add("receipt of an envelope with payload", &receipt);
    c.add("receipt of an envelope", &s.receipt(sample::ENVELOPE, false));
    c.add("receipt of a jws", &s.receipt(sample::JWS, false));
    c.add("receipt of a token", &s.receipt(sample::TOKEN, false));
    c.add("receipt of a trigger", &s.receipt(sample::TRIGGER, true));
    c.add("receipt of a session", &Scenario::of_session(4, 3).receipt(0, true));
}

fn controls(c: &mut Cases) {
    let manifest = sample::manifest();
    let key = sample::key(Algorithm::EdDSA, 4).public();
    let device = Did::key(&key);
    let registration =
        DeviceRegistration { device: device.clone(), key, event_types: vec!["temperature".parse().unwrap()] };
    let token = TokenRegistration {
        publisher: "gateway-1".parse().unwrap(),
        token_hash: token_hash("secret"),
        event_types: vec![],
    };
    c.add("limits", &manifest.applets[0].limits);
    c.add("route", &manifest.applets[0].routes[0]);
    c.add("applet", &manifest.applets[0]);
    let settlement = &manifest.settlements[0];
    c.add("settlement", settlement);
    c.add("proof rule", settlement.proof.as_ref().unwrap());
    for trigger in &manifest.triggers {
        c.add(&format!("trigger, {}", trigger.kind()), trigger);
        match &trigger.on {
            TriggerOn::Log(on) => c.add("log trigger", on),
            TriggerOn::Height(on) => c.add("height trigger", on),
            TriggerOn::Transaction(on) => c.add("transaction trigger", on),
            TriggerOn::Cron(on) => c.add("cron trigger", on),
            TriggerOn::Sent(on) => c.add("sent trigger", on),
        }
    }
    let transcript = sample::transcript();
    c.add("contract read", &transcript.reads()[0]);
    c.add("transcript", &transcript);
    c.add("entry, transcript", &Entry::Transcript(transcript.id()));
    c.add("transaction request", &sample::request());
    c.add("chain rule", &manifest.chains[0]);
    c.add("batch rule", &settlement.proof.as_ref().unwrap().batch.unwrap());
    c.add("manifest", &manifest);
    c.add("device", &registration);
    c.add("token registration", &token);
    let changes = [
        ("deploy", Control::Deploy(Box::new(manifest))),
        ("register device", Control::RegisterDevice(registration)),
        ("revoke device", Control::RevokeDevice(device)),
        ("register token", Control::RegisterToken(token)),
        ("revoke token", Control::RevokeToken("gateway-1".parse().unwrap())),
        ("remove", Control::Remove),
    ];
    for (nonce, (name, change)) in (1..).zip(changes) {
        c.add(name, &change);
        let owner = sample::key(Algorithm::EdDSA, 1);
        let tx = ControlTx::sign(sample::project(), nonce, change, &owner);
        tx.verify(&owner.public()).unwrap();
        c.add(&format!("control, {name}"), &tx);
    }
}

#[test]
fn encodings_are_those_of_the_fixtures() {
    let (fixture, now): (Value, Value) =
        (serde_json::from_str(&read("canonical.json")).unwrap(), canonical());
    let list = |v: &Value| v["cases"].as_array().unwrap().clone();
    for (old, new) in list(&fixture).iter().zip(list(&now)) {
        assert_eq!(*old, new, "{}", new["name"]);
    }
    assert_eq!(fixture, now);
    let domains: BTreeSet<_> = list(&now).iter().map(|c| c["domain"].as_str().unwrap().to_owned()).collect();
    assert_eq!(domains.len(), 46, "every type has its own domain and at least one fixture: {domains:?}");
}

fn receipts() -> Vec<(&'static str, Receipt)> {
    let s = Scenario::new(4, 3);
    vec![
        ("receipt-envelope.json", s.receipt(sample::ENVELOPE, true)),
        ("receipt-jws.json", s.receipt(sample::JWS, false)),
        ("receipt-token.json", s.receipt(sample::TOKEN, false)),
        ("receipt-trigger.json", s.receipt(sample::TRIGGER, true)),
        ("receipt-session.json", Scenario::of_session(4, 3).receipt(0, true)),
    ]
}

#[test]
fn receipts_are_those_of_the_fixtures() {
    for (name, receipt) in receipts() {
        assert_eq!(format!("{}\n", receipt.to_json().unwrap()), read(name), "{name}");
    }
}

#[test]
#[ignore = "writes the fixtures"]
fn write_fixtures() {
    let text = serde_json::to_string_pretty(&canonical()).unwrap();
    std::fs::write(fixture("canonical.json"), text + "\n").unwrap();
    for (name, receipt) in receipts() {
        std::fs::write(fixture(name), receipt.to_json().unwrap() + "\n").unwrap();
    }
}
