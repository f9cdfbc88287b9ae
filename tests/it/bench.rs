//! `bench ingest` against a node in a process of its own, with few messages: every way to send them, and what it counts.

use std::process::{Command, Output};

use serde_json::Value;
use w3bstream_benches::{bare, readings};

use crate::support::{Home, Process, binary};

/// A node with gRPC and the project of the comparisons.
async fn world() -> (Home, Process) {
    let home = Home::new().unwrap();
    let grpc = [
        ("W3BSTREAM_GRPC__ENABLED", "true".to_owned()),
        ("W3BSTREAM_GRPC__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let process = home.start(&grpc).await.unwrap();
    let folder = home.dir.path().join("readings");
    readings::write(&folder).unwrap();
    let deployed = w3b(&home, &["project", "deploy"], &[folder.to_str().unwrap()]).await;
    assert!(deployed.status.success(), "{deployed:?}");
    (home, process)
}

/// Runs a command without holding up what serves in this process.
async fn w3b(home: &Home, command: &[&str], arguments: &[&str]) -> Output {
    let (dir, mut all) = (home.node_dir(), Command::new(binary()));
    all.args(command).arg("--dir").arg(dir).args(arguments);
    tokio::task::spawn_blocking(move || all.output()).await.unwrap().expect("the binary starts")
}

const FEW: [&str; 9] =
    ["--json", "--project", "readings", "--connections", "2", "--messages", "20", "--warm-up", "3"];

async fn ingest(home: &Home, more: &[&str]) -> Value {
    let output = w3b(home, &["bench", "ingest"], &[&FEW[..], more].concat()).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{more:?}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn counter(process: &Process, name: &str) -> u64 {
    process.admin.get("/v1/projects/readings").await.unwrap()["counters"][name].as_u64().unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn every_way_to_send_is_measured_and_every_message_counted() {
    block_on(async {
        let (home, process) = world().await;
        let ways = [
            &["--qos", "0"][..],
            &["--qos", "1", "--in-flight", "3"],
            &["--qos", "2"],
            &["--via", "http"],
            &["--via", "http-batch", "--in-flight", "7"],
            &["--via", "grpc"],
            &["--via", "grpc-stream"],
        ];
        let mut sent = 0;
        for way in ways {
            for auth in ["signed", "token", "session"] {
                let told = ingest(&home, &[way, &["--auth", auth]].concat()).await;
                sent += 2 * 23;
                assert_eq!((&told["messages"], &told["lost"]), (&40.into(), &0.into()), "{way:?} {auth}");
                let silent = way.contains(&"0");
                assert_eq!(told["p99_ms"].is_null(), silent, "{way:?} {auth}: {told}");
                assert_eq!(counter(&process, "w3b_messages_accepted_total").await, sent, "{way:?} {auth}");
            }
        }
        let told = ingest(&home, &["--until", "executed"]).await;
        assert_eq!(counter(&process, "w3b_messages_executed_total").await, sent + 46, "{told}");
        assert_eq!(counter(&process, "w3b_handler_failures_total").await, 0);
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn a_rival_gets_the_same_messages() {
    block_on(async {
        let (home, process) = world().await;
        let (tell, told) = tokio::sync::oneshot::channel();
        let rival = bare::serve("127.0.0.1:0".parse().unwrap(), |bound| {
            let _ = tell.send(bound);
        });
        let compare = async {
            let bare = format!("http://{}", told.await.unwrap());
            let mqtt = process.running.mqtt.clone().unwrap();
            for via in ["mqtt", "http", "http-batch", "grpc", "grpc-stream"] {
                // To a broker like this one the same bytes are repeats, which are acknowledged as well.
                let rival = if via == "mqtt" { &mqtt } else { &bare };
                let told = ingest(&home, &["--via", via, "--rival", rival]).await;
                assert_eq!(told["rival"]["messages"], 40, "{via}: {told}");
                assert!(told["ratio"].as_f64().is_some_and(|r| r > 0.0), "{via}: {told}");
            }
            let gone = [&FEW[..], &["--rival", "mqtt://127.0.0.1:1"]].concat();
            let refused = w3b(&home, &["bench", "ingest"], &gone).await;
            let text = String::from_utf8_lossy(&refused.stderr);
            assert!(
                refused.status.code() == Some(1) && text.contains("the rival mqtt://127.0.0.1:1"),
                "{text}"
            );
        };
        tokio::select! {
            served = rival => panic!("the rival ended: {served:?}"),
            () = compare => {}
        }
        assert!(process.terminate().await.unwrap().success());
    });
}
