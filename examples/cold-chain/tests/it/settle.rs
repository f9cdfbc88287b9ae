//! Statements about closed days, against the example day that the circuit's tools have proved.

use serde_json::Value;
use w3bstream_example_cold_chain::reading;
use w3bstream_sdk::mock::{Host, Outcome, Sender};

use super::readings::{Reading, root, rows};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// The example: a day of Seattle, its statement and the circuit's input.
pub(crate) fn example() -> Value {
    let path = root().join("circuits/cold-chain-day/examples/seattle-2010-01-01.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn id(value: &Value) -> [u8; 32] {
    let text = value.as_str().unwrap();
    std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
}

/// The device of the example, with the salt that the payload of this hour has there.
pub(crate) fn sender(hour: u8) -> Sender {
    let statement = &example()["statement"];
    let mut salt = [0; 16];
    salt[15] = hour + 1;
    Sender {
        project: id(&statement["project"]),
        device: Some(("did:key:z6MkExample".into(), id(&statement["device"]))),
        salt: Some(salt),
        time: 0,
    }
}

pub(crate) fn hour(time: i64) -> u8 {
    (time % DAY_MS / HOUR_MS) as u8
}

fn host() -> Host {
    Host::new().env("settle", "true").settlement("day", 9)
}

fn send(host: &mut Host, time: i64, milli_celsius: i64) -> Outcome {
    host.set_sender(sender(hour(time)));
    let payload = Reading { date: String::new(), time, milli_celsius }.payload("t");
    let outcome = host.deliver(reading, "reading", &payload);
    assert_eq!(outcome.code, 0, "{:?}", outcome.logs);
    outcome
}

/// The statement's integers: day, n, lo, hi, a, r.
fn numbers(outcome: &Outcome) -> [i64; 6] {
    let [settled] = outcome.settled.as_slice() else { panic!("{:?}", outcome.settled) };
    assert_eq!((settled.name.as_str(), settled.statement.len()), ("day", 288));
    std::array::from_fn(|i| {
        i64::from_be_bytes(settled.statement[32 * (i + 2) + 24..][..8].try_into().unwrap())
    })
}

fn witness(outcome: &Outcome) -> (String, Value) {
    let mut found = outcome.writes.iter().filter(|(key, _)| key.starts_with(b"witness/"));
    let (key, value) = found.next().unwrap();
    assert!(found.next().is_none());
    (String::from_utf8(key.clone()).unwrap(), serde_json::from_slice(value).unwrap())
}

#[test]
fn a_real_day_gives_the_statement_and_the_private_numbers_that_were_proved() {
    let (mut host, example) = (host(), example());
    let rows = rows("seattle");
    for row in &rows[..24] {
        assert!(send(&mut host, row.time, row.milli_celsius).settled.is_empty());
    }
    let outcome = send(&mut host, rows[24].time, rows[24].milli_celsius);
    let wanted = &example["statement"];
    let int = |name: &str| wanted[name].as_i64().unwrap();
    assert_eq!(numbers(&outcome), ["day", "n", "lo", "hi", "a", "r"].map(int));
    let statement = &outcome.settled[0].statement;
    assert_eq!(statement[..32], id(&wanted["project"]));
    assert_eq!(statement[32..64], id(&wanted["device"]));
    let (key, private) = witness(&outcome);
    let commitment: String = statement[256..].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(key, format!("witness/{commitment}"));
    assert_eq!(private["salt"], example["input"]["salt"]);
    assert_eq!(private["readings"], example["input"]["readings"]);
    assert_eq!(private.as_object().unwrap().len(), 2);
    // The commitment is the last of the public numbers, in decimal digits.
    let public = example["public"].as_array().unwrap();
    let digits = statement[256..].iter().fold(vec![0_u8], |digits, byte| {
        let mut carry = u32::from(*byte);
        let mut digits: Vec<u8> = digits
            .iter()
            .map(|digit| {
                let value = u32::from(*digit) * 256 + carry;
                carry = value / 10;
                (value % 10) as u8
            })
            .collect();
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
        digits
    });
    let decimal: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
    assert_eq!(public[10], decimal.as_str());
}

#[test]
fn the_first_reading_of_an_hour_counts_and_hours_may_be_missing() {
    let mut host = host();
    for (time, c) in [(5 * HOUR_MS, -7), (5 * HOUR_MS + 1, 900), (2 * HOUR_MS, 4), (6 * HOUR_MS - 1, -900)] {
        send(&mut host, time, c);
    }
    let outcome = send(&mut host, 3 * DAY_MS, 1);
    // −3 = −2 · 2 + 1.
    assert_eq!(numbers(&outcome), [0, 2, -7, 4, -2, 1]);
    let readings = witness(&outcome).1["readings"].clone();
    assert_eq!(
        (readings[0].as_str(), readings[1].as_str(), readings[2].as_str()),
        (Some("4"), Some("-7"), Some("0"))
    );
    assert_eq!(readings.as_array().unwrap().len(), 24);
}

#[test]
fn a_day_is_settled_once() {
    let mut host = host();
    send(&mut host, DAY_MS, 5);
    assert!(send(&mut host, 0, 1).settled.is_empty(), "a reading of a day before the open one");
    assert_eq!(numbers(&send(&mut host, 2 * DAY_MS, 6))[..2], [1, 1]);
    assert!(send(&mut host, DAY_MS + 1, 7).settled.is_empty(), "a late reading");
    assert_eq!(numbers(&send(&mut host, 3 * DAY_MS, 6))[..4], [2, 1, 6, 6]);
    assert_eq!(host.state().keys().filter(|key| key.starts_with(b"series/")).count(), 1);
}

#[test]
fn devices_are_those_that_signed() {
    let mut host = host();
    send(&mut host, 0, 5);
    let mut other = sender(1);
    other.device = Some(("did:key:z6MkOther".into(), [9; 32]));
    host.set_sender(other);
    let payload = br#"{"device":"t","t":86400000,"c":1}"#;
    assert!(host.deliver(reading, "reading", payload).settled.is_empty(), "its first day");
    let outcome = send(&mut host, DAY_MS, 6);
    assert_eq!(numbers(&outcome)[..4], [0, 1, 5, 5]);
}

#[test]
fn a_commitment_depends_on_every_salt() {
    let commitment = |salt: Option<u8>| {
        let mut host = host();
        for (i, byte) in [Some(1), salt].into_iter().enumerate() {
            let mut from = sender(0);
            from.salt = byte.map(|byte| [byte; 16]);
            host.set_sender(from);
            let payload = format!(r#"{{"device":"t","t":{},"c":1}}"#, i as i64 * HOUR_MS);
            host.deliver(reading, "reading", payload.as_bytes());
        }
        send(&mut host, DAY_MS, 1).settled[0].statement[256..].to_vec()
    };
    let all = [commitment(None), commitment(Some(1)), commitment(Some(2))];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    assert_eq!(commitment(None), commitment(Some(0)), "no salt counts as 0");
}

#[test]
fn what_cannot_be_settled_is_summed_up_all_the_same() {
    let days = |mut host: Host, device: bool| {
        let mut last = Outcome::default();
        for day in 0..2 {
            let mut from = sender(0);
            from.device = from.device.filter(|_| device);
            host.set_sender(from);
            let payload = format!(r#"{{"device":"t","t":{},"c":1}}"#, day * DAY_MS);
            last = host.deliver(reading, "reading", payload.as_bytes());
            assert_eq!(last.code, 0);
        }
        assert_eq!(last.published.len(), 1, "the summary");
        (last, host.state().keys().any(|key| key.starts_with(b"series/")))
    };
    let (outcome, kept) = days(Host::new().settlement("day", 9), true);
    assert!(outcome.settled.is_empty() && !kept, "not switched on");
    let (outcome, kept) = days(host(), false);
    assert!(outcome.settled.is_empty() && !kept, "a token's events");
    let (outcome, _) = days(Host::new().env("settle", "true"), true);
    assert!(outcome.settled.is_empty() && outcome.writes.keys().all(|key| !key.starts_with(b"witness/")));
    assert!(outcome.logs.iter().any(|line| line.level == 3 && line.text.contains("ws_settle answered 2")));
}
