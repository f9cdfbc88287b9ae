//! Every member of every link is bound: change any of them, anywhere, and the receipt is not read or does not
//! verify.
//!
//! The rule for which link breaks: the one that was changed, or one that rests on it, directly or through
//! others ([`Link::depends_on`]). A genesis, for example, is consistent with itself whatever its creation time;
//! it is the block's reference to it that breaks.

use serde_json::{Map, Value, json};
use w3bstream_types::receipt::{Link, Receipt, Verdict};

use crate::sample::{self, Scenario};

/// The link that a path into the JSON belongs to.
fn link_of(path: &[String]) -> Option<Link> {
    Some(match path.first()?.as_str() {
        "message" if path.get(1).is_some_and(|p| p == "payload") => Link::Payload,
        "id" | "message" => Link::Message,
        "registration" => Link::Registration,
        "ordering" => Link::Ordering,
        "execution" => Link::Execution,
        "attestation" => Link::Attestation,
        "genesis" => Link::Genesis,
        "manifest" | "programs" => Link::Programs,
        _ => return None,
    })
}

fn rests_on(link: Link, cause: Link) -> bool {
    link == cause || link.depends_on().iter().any(|l| rests_on(*l, cause))
}

/// Another character of the same kind, so that most mutants still parse.
fn other_char(c: char) -> char {
    match c {
        '0' => '1',
        '1'..='9' => '0',
        'a' => 'b',
        'b'..='z' => 'a',
        'A' => 'B',
        'B'..='Z' => 'A',
        _ => 'x',
    }
}

fn mutate_string(text: &str) -> Vec<Value> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = vec![String::new(), format!("{text}0"), format!("0{text}"), text.to_uppercase()];
    // For a key id the middle is in the DID.
    for at in [0, chars.len() / 3, chars.len().saturating_sub(1)] {
        let mut other = chars.clone();
        if let Some(c) = other.get_mut(at) {
            *c = other_char(*c);
        }
        out.push(other.into_iter().collect());
    }
    // In an identifier of text such as a DID, the same digit in another case is another text.
    if let Some(at) = chars.iter().rposition(char::is_ascii_alphabetic) {
        let mut other = chars.clone();
        let c = other[at];
        other[at] = if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        out.push(other.into_iter().collect());
    }
    out.into_iter().filter(|t| t != text).map(Value::String).chain([Value::Null, json!(1)]).collect()
}

fn mutate_array(items: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    for at in 0..items.len() {
        let mut other = items.to_vec();
        other.remove(at);
        out.push(Value::Array(other));
        let mut other = items.to_vec();
        other.insert(at, items[at].clone());
        out.push(Value::Array(other));
        if at > 0 && items[at] != items[at - 1] {
            let mut other = items.to_vec();
            other.swap(at, at - 1);
            out.push(Value::Array(other));
        }
    }
    out.push(Value::Array([items, &[Value::Null]].concat()));
    out
}

fn mutate_object(object: &Map<String, Value>) -> Vec<Value> {
    let mut out = Vec::new();
    for name in object.keys() {
        let mut other = object.clone();
        other.remove(name);
        out.push(Value::Object(other));
        let mut other = object.clone();
        let value = other.remove(name).unwrap();
        other.insert(format!("{name}-x"), value);
        out.push(Value::Object(other));
    }
    let mut other = object.clone();
    other.insert("unknown".into(), json!("x"));
    out.push(Value::Object(other));
    out
}

/// All values that `value` is changed to, itself and what is inside, each with the path to what changed.
fn mutants(value: &Value, path: &[String]) -> Vec<(Vec<String>, Value)> {
    let here = match value {
        Value::String(text) => mutate_string(text),
        Value::Number(n) => {
            let n = n.as_i64().unwrap();
            vec![json!(n + 1), json!(n - 1), json!(n.to_string()), json!(n as f64 + 0.5), Value::Null]
        }
        Value::Bool(b) => vec![json!(!b)],
        Value::Null => vec![json!("x"), json!({})],
        Value::Array(items) => mutate_array(items),
        Value::Object(object) => mutate_object(object),
    };
    let mut out: Vec<_> = here.into_iter().map(|v| (path.to_vec(), v)).collect();
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        Value::Object(object) => object.iter().map(|(k, v)| (k.clone(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let below = [path, std::slice::from_ref(&name)].concat();
        for (at, changed) in mutants(child, &below) {
            let mut whole = value.clone();
            match &mut whole {
                Value::Array(items) => items[name.parse::<usize>().unwrap()] = changed,
                Value::Object(object) => drop(object.insert(name.clone(), changed)),
                _ => unreachable!(),
            }
            out.push((at, whole));
        }
    }
    out
}

fn is_of_before_the_settlement(receipt: &Receipt) -> bool {
    let report = receipt.verify(None);
    report.is_ok()
        && matches!(report.verdict(Link::Settlement), Some(Verdict::NotChecked(why)) if why.contains("none of"))
}

/// Returns how many mutants were read and then found out, and how many were not even read.
fn all_mutants_fail(receipt: &Receipt) -> (usize, usize) {
    let original: Value = serde_json::from_str(&receipt.to_json().unwrap()).unwrap();
    assert!(receipt.verify(None).is_ok());
    let (mut found, mut unread) = (0, 0);
    for (path, mutant) in mutants(&original, &[]) {
        let Ok(read) = Receipt::from_json(mutant.to_string().as_bytes()) else {
            unread += 1;
            continue;
        };
        let settlement_dropped = mutant.get("settlements").is_none();
        if settlement_dropped && original.get("settlements").is_some() {
            // Then it is the receipt as it was before the settlement ended.
            assert!(is_of_before_the_settlement(&read));
            continue;
        }
        if path.first().is_some_and(|name| name == "settlements") {
            // Where these lead is followed, and their mutants are found out, by those who know chains.
            continue;
        }
        let at = path.join("/");
        let report = read.verify(None);
        let payload_dropped = mutant["message"].get("payload").is_none();
        if payload_dropped && original["message"].get("payload").is_some() {
            // The one thing that may be left away: then it is the default receipt of the same message.
            assert!(report.is_ok() && matches!(report.verdict(Link::Payload), Some(Verdict::NotChecked(_))));
            continue;
        }
        if mutant["execution"]["outputs"] == json!([]) && report.is_ok() {
            // A rejection can be hidden, but then nothing is said of the execution and nothing is anchored.
            assert!(matches!(report.verdict(Link::Execution), Some(Verdict::NotChecked(_))));
            assert!(report.unanchored.contains(&Link::Execution));
            assert!(read.results().is_empty() && receipt.results().is_empty());
            continue;
        }
        let Some((broken, _)) = report.first_broken() else {
            panic!("changing {at} was not noticed:\n{report}\n{mutant}");
        };
        let cause = link_of(&path).unwrap_or_else(|| panic!("{at} belongs to no link"));
        assert!(rests_on(broken, cause), "{at} belongs to {cause}, but {broken} broke:\n{report}");
        found += 1;
    }
    (found, unread)
}

#[test]
fn every_member_of_an_envelopes_receipt_is_bound() {
    let (found, unread) = all_mutants_fail(&Scenario::new(1, 1).receipt(sample::ENVELOPE, true));
    assert!(found > 100 && unread > 300, "{found} {unread}");
}

#[test]
fn every_member_of_a_jws_receipt_is_bound() {
    let (found, unread) = all_mutants_fail(&Scenario::new(1, 1).receipt(sample::JWS, false));
    assert!(found > 100 && unread > 300, "{found} {unread}");
}

#[test]
fn every_member_of_a_token_receipt_is_bound() {
    let (found, unread) = all_mutants_fail(&Scenario::new(1, 1).receipt(sample::TOKEN, false));
    assert!(found > 100 && unread > 300, "{found} {unread}");
}

#[test]
fn every_member_of_a_sessions_receipt_is_bound() {
    let (found, unread) = all_mutants_fail(&Scenario::of_session(1, 1).receipt(0, false));
    assert!(found > 100 && unread > 300, "{found} {unread}");
}

#[test]
fn every_member_of_a_triggers_receipt_is_bound() {
    let (found, unread) = all_mutants_fail(&Scenario::new(1, 1).receipt(sample::TRIGGER, true));
    assert!(found > 100 && unread > 300, "{found} {unread}");
}

#[test]
fn every_member_of_a_rejections_receipt_is_bound() {
    let (found, unread) = all_mutants_fail(&Scenario::new(1, 1).receipt(sample::REJECTED, false));
    assert!(found > 100 && unread > 300, "{found} {unread}");
}

#[test]
fn every_member_of_a_quorums_receipt_is_bound() {
    let (found, unread) = all_mutants_fail(&Scenario::new(4, 3).receipt(sample::ENVELOPE, false));
    assert!(found > 100 && unread > 300, "{found} {unread}");
}

#[test]
fn repeated_members_are_refused() {
    let json = Scenario::new(1, 1).receipt(sample::ENVELOPE, false).to_json().unwrap();
    for name in ["id", "form", "height", "index", "kind", "did"] {
        let at = json.find(&format!("\"{name}\":")).unwrap();
        let line = json[at..].lines().next().unwrap();
        let doubled = format!("{}{}, {}", &json[..at], line.trim_end_matches(','), &json[at..]);
        let error = Receipt::from_json(doubled.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("duplicate field"), "{name}: {error}");
    }
}
