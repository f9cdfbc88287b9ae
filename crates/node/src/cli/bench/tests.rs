use std::time::{Duration, Instant};

use clap::Parser as _;

use super::figures::{Measured, Run};
use super::load::Share;
use super::*;
use crate::cli::{Cli, Command as Top};

fn parsed(arguments: &[&str]) -> Result<Ingest, String> {
    let all = ["w3bstream", "bench", "ingest", "--project", "p"].iter().chain(arguments);
    match Cli::try_parse_from(all).map_err(|e| e.to_string())?.command {
        Top::Bench(Command::Ingest(args)) => Ok(*args),
        _ => Err("another command".into()),
    }
}

fn plan(arguments: &[&str]) -> Result<Plan, String> {
    parsed(arguments)?.plan().map_err(|e| e.to_string())
}

#[test]
fn what_is_not_said_has_a_value_that_fits() {
    let usual = plan(&[]).unwrap();
    assert_eq!((usual.via, usual.qos, usual.in_flight, usual.auth), (Via::Mqtt, 1, 10, Auth::Signed));
    for (via, in_flight) in [("http", 1), ("http-batch", 100), ("grpc", 10), ("grpc-stream", 10)] {
        assert_eq!(plan(&["--via", via]).unwrap().in_flight, in_flight, "{via}");
    }
    let paced = plan(&["--rate", "3000", "--connections", "30", "--seconds", "2.5"]).unwrap();
    assert_eq!(
        (paced.every, paced.most),
        (Some(Duration::from_millis(10)), Some(Duration::from_millis(2500)))
    );
}

#[test]
fn what_does_not_go_together_is_refused_with_the_way_out() {
    for (arguments, why) in [
        (&["--qos", "3"][..], "0..=2"),
        (&["--qos", "0", "--via", "grpc"], "--via mqtt"),
        (&["--via", "http", "--in-flight", "2"], "http-batch"),
        (&["--qos", "0", "--until", "executed"], "--qos 1"),
        (&["--bytes", "63"], "at least 64 bytes"),
        (&["--connections", "0"], "above 0"),
        (&["--rate", "0"], "above 0"),
        (&["--seconds=-1"], "above 0"),
        (&["--messages", "0"], "--messages"),
        (&["--via", "carrier-pigeon"], "grpc-stream"),
    ] {
        let refused = plan(arguments).unwrap_err();
        assert!(refused.contains(why), "{arguments:?}: {refused}");
    }
}

#[test]
fn readings_have_their_size_and_unlike_beginnings() {
    let mut seen = std::collections::BTreeSet::new();
    for (device, counter) in [(0, 0), (0, 1), (1, 0), (9999, 1_000_000)] {
        for bytes in [load::LEAST_PAYLOAD, 256] {
            let payload = load::payload(device, counter, bytes);
            assert_eq!(payload.len(), bytes);
            let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(json["d"], format!("bench-{device:04}"));
            seen.insert(payload[..35].to_vec());
        }
    }
    assert_eq!(seen.len(), 4, "the size changes nothing of the beginning, device and time do");
}

fn run(begun: Instant, millis: &[u64]) -> Run {
    let latencies: Vec<_> = millis.iter().copied().map(Duration::from_millis).collect();
    Run { begun, ended: begun + Duration::from_secs(2), sent: millis.len(), latencies }
}

#[test]
fn figures_are_of_all_connections_together() {
    let begun = Instant::now();
    let later = begun + Duration::from_secs(2);
    let upper: Vec<u64> = (51..=100).collect();
    let lower: Vec<u64> = (1..=50).collect();
    let measured = Measured { runs: vec![run(later, &upper), run(begun, &lower)], cpu_before: None };
    let told = measured.figures(None).to_json();
    assert_eq!((told["messages"].as_u64(), told["seconds"].as_f64()), (Some(100), Some(4.0)));
    assert_eq!(
        (&told["p50_ms"], &told["p99_ms"], &told["max_ms"]),
        (&50.0.into(), &99.0.into(), &100.0.into())
    );
    assert_eq!((told["lost"].as_u64(), told["messages_per_second"].as_f64()), (Some(0), Some(25.0)));
    let silent = Run { latencies: vec![], sent: 10, ..run(begun, &[]) };
    let told = Measured { runs: vec![silent], cpu_before: None }.figures(Some(8)).to_json();
    assert_eq!(
        (told["messages"].as_u64(), told["lost"].as_u64(), told["p50_ms"].is_null()),
        (Some(8), Some(2), true)
    );
    assert_eq!(told["messages_per_second"].as_f64(), Some(4.0));
    assert!(figures::cpu_seconds().is_some_and(|s| s >= 0.0), "Linux tells");
}

#[tokio::test]
async fn nothing_is_sent_when_the_time_is_over() {
    let plan =
        plan(&["--messages", "1000000", "--seconds", "0.2", "--rate", "100", "--connections", "1"]).unwrap();
    let warm = Share::warm_up(&plan);
    assert_eq!((warm.wanted(), warm.due(0).await.1, warm.due(9).await.1), (10, false, true));
    let share = Share::measured(&plan, Instant::now());
    let mut sent = 0;
    while !share.due(sent).await.1 {
        sent += 1;
    }
    // One at the beginning, then one each hundredth of a second; a busy machine may be late, but never early.
    assert_eq!(share.wanted(), sent + 1, "whoever waits for answers knows how many come");
    assert!((1..=20).contains(&sent), "{sent}");
}
