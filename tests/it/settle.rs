//! The demo's whole path on a small file: signed readings to statements that a contract took with a proof.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::support::binary;

/// Hourly values of two devices over three days, one of them below zero, with an hour that is missing and a row that is
/// wrong.
fn readings() -> String {
    let mut csv = String::from("when,celsius,device\n");
    for day in 1..=3 {
        for hour in (0..24).filter(|h| (day, *h) != (2, 7)) {
            for (device, base) in [("cellar", 8), ("freezer", -20)] {
                writeln!(csv, "2024-05-0{day} {hour:02}:30,{}.{hour},{device}", base + day).unwrap();
            }
        }
    }
    csv.push_str("2024-05-03 12:45,warm,cellar\n");
    csv
}

#[test]
fn days_are_proven_and_settled_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("readings.csv");
    std::fs::write(&file, readings()).unwrap();
    let mut command = Command::new(binary());
    command.args(["demo", "--json", "--all", "--time", "when", "--value", "celsius", "--device", "device"]);
    command.arg("--data").arg(&file).arg("--dir").arg(dir.path().join("node"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["messages"].as_u64(), told["refused"].as_u64()), (Some(142), Some(0)), "{told}");
    assert_eq!(told["skipped"]["bad_rows"], 1, "{told}");
    // Two days of each device were closed by the next day's first reading.
    assert_eq!((told["settled"].as_u64(), told["unsettled"].as_u64()), (Some(4), Some(0)), "{told}");
    assert_eq!(told["proofs"].as_u64(), Some(4), "{told}");
    assert!(
        told["gas"].as_u64().unwrap() > 4 * 200_000,
        "a proof costs the contract at least its pairings: {told}"
    );
    its_receipt_leads_to_the_chain(&told);
}

/// The receipt of a message that settled a day: with what the reader knew, and with a block or a key that is not theirs.
fn its_receipt_leads_to_the_chain(told: &Value) {
    let path = |name: &str| told[name].as_str().unwrap().to_owned();
    let verify = |anchors: &str, more: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["receipt", "verify", &path("receipt"), "--trust", anchors]).args(more);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let line = |text: &str, link: &str| {
        text.lines().find(|l| l.trim_start().starts_with(link)).unwrap_or_default().to_owned()
    };
    let (anchors, key) = (path("anchors"), path("key"));
    let (holds, text) = verify(&anchors, &["--key", &key]);
    assert!(holds && line(&text, "proof").contains("proven       by groth16-bn254"), "{text}");
    assert!(line(&text, "settlement").contains("proven       by your anchors, block 31337:0x"), "{text}");
    // Without the key the proof is the contract's word.
    let (holds, text) = verify(&anchors, &[]);
    assert!(holds && line(&text, "proof").contains("not checked"), "{text}");
    let other = format!("{anchors}.other.toml");
    let known = std::fs::read_to_string(&anchors).unwrap();
    let at = known.find("31337:0x").unwrap() + "31337:0x".len();
    let digit = if known[at..].starts_with('0') { "1" } else { "0" };
    std::fs::write(&other, format!("{}{digit}{}", &known[..at], &known[at + 1..])).unwrap();
    let (holds, text) = verify(&other, &["--key", &key]);
    assert!(!holds && line(&text, "settlement").contains("not among the anchors"), "{text}");
}
