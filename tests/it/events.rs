//! Events between handlers and answers to who waits for them, on a node in a process of its own, and again after crashes.

use std::time::{Duration, Instant};

use hyper::{Method, header};
use serde_json::{Value, json};
use w3bstream_node::Http;
use w3bstream_tests::{AFTER, MARK, POINT};
use w3bstream_types::{Envelope, ProjectId};

use crate::support::{Device, Home, Process, id_of, settled};

/// `measured` sends two events `seen` and answers with its payload; `seen` counts. `again` counts and sends itself, and gives
/// what the host says to that. `fails` sends an event and traps. `slow` counts to 600 million, and then as `seen` does.
const MODULE: &str = r#"(module
  (import "env" "ws_get_data" (func $data (param i32 i32 i32) (result i32)))
  (import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_send_event" (func $event (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_send_answer" (func $answer (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 100) "seen") (data (i32.const 110) "again") (data (i32.const 120) "count")
  (global $heap (mut i32) (i32.const 65536))
  (func (export "alloc") (param i32) (result i32)
    global.get $heap
    (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func $add
    (if (i32.eqz (call $get (i32.const 120) (i32.const 5) (i32.const 24) (i32.const 28)))
      (then (i32.store (i32.const 200) (i32.load (i32.load (i32.const 24))))))
    (i32.store (i32.const 200) (i32.add (i32.load (i32.const 200)) (i32.const 1)))
    (drop (call $set (i32.const 120) (i32.const 5) (i32.const 200) (i32.const 4))))
  (func $send (param $size i32)
    (drop (call $event (i32.const 100) (i32.const 4) (i32.load (i32.const 16)) (local.get $size))))
  (func (export "measured") (param i32) (result i32)
    (drop (call $data (local.get 0) (i32.const 16) (i32.const 20)))
    (call $send (i32.load (i32.const 20)))
    (call $send (i32.const 1))
    (call $answer (i32.load (i32.const 16)) (i32.load (i32.const 20))))
  (func (export "seen") (param i32) (result i32) (call $add) (i32.const 0))
  (func (export "again") (param i32) (result i32)
    (call $add)
    (call $event (i32.const 110) (i32.const 5) (i32.const 0) (i32.const 0)))
  (func (export "fails") (param i32) (result i32)
    (call $add)
    (call $send (i32.const 0))
    unreachable)
  (func (export "slow") (param i32) (result i32) (local $n i32)
    (loop $on
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $on (i32.lt_u (local.get $n) (i32.const 600000000))))
    (call $add)
    (call $answer (i32.const 120) (i32.const 5))))"#;

const MANIFEST: &str = r#"name = "cold-chain"
ack = "durable"

[[applets]]
name = "events"
module = "events.wasm"
routes = [
  { event-type = "measured", handler = "measured" },
  { event-type = "seen", handler = "seen" },
  { event-type = "again", handler = "again" },
  { event-type = "fails", handler = "fails" },
  { event-type = "slow", handler = "slow" },
]

[applets.limits]
gas = 10000000000
"#;

/// A device that sends to the project.
struct Client {
    device: Device,
    project: ProjectId,
    counter: u32,
}

impl Client {
    async fn new(home: &Home, process: &Process) -> Self {
        let (device, project) = home.device(&process.admin).await.unwrap();
        Self { device, project, counter: 0 }
    }

    fn message(&mut self, event_type: &str) -> Envelope {
        let payload = format!("{event_type} {}", self.counter).into_bytes();
        self.counter += 1;
        self.device.message_of(self.project, self.counter - 1, (event_type, payload))
    }

    /// Sends a message and waits for its results.
    async fn ask(&mut self, process: &Process, event_type: &str) -> Value {
        let message = self.message(event_type);
        let (status, _, body) = post(process, &message, "?wait=20000").await.expect("an answer");
        assert_eq!((status, &body["mode"]), (201, &json!("executed")), "{body}");
        body["results"].clone()
    }
}

/// The status, where to ask, and the body; an error if the node ended meanwhile.
async fn post(process: &Process, message: &Envelope, query: &str) -> anyhow::Result<(u16, String, Value)> {
    let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
    let url = format!("{}/v1/projects/cold-chain/events{query}", process.running.http);
    let bytes = w3bstream_wire::encode_envelope(message);
    let answer = Http::default().send((Method::POST, &url), &kind, bytes).await?;
    let body = answer.json()?;
    Ok((answer.status.as_u16(), format!("/v1/messages/{}", body["id"].as_str().unwrap_or_default()), body))
}

/// How often `seen`, `again` and `slow` have counted.
async fn count(process: &Process) -> u32 {
    let path = "/v1/projects/cold-chain/state/events/count";
    let bytes = process.admin.get_bytes(path).await.unwrap_or_else(|_| vec![0; 4]);
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn column<'a>(results: &'a Value, name: &str) -> Vec<&'a Value> {
    results.as_array().unwrap().iter().map(|r| &r[name]).collect()
}

async fn start(home: &Home) -> (Process, Client) {
    start_with(home, MANIFEST).await
}

async fn start_with(home: &Home, manifest: &str) -> (Process, Client) {
    let process = home.start(&[]).await.unwrap();
    let project = home.project_dir().unwrap();
    std::fs::write(project.join("events.wasm"), wat::parse_str(MODULE).unwrap()).unwrap();
    std::fs::write(project.join("w3bstream.toml"), manifest).unwrap();
    let (deployed, shown) = home.cli(&["project", "deploy"], &project);
    assert!(deployed, "{shown}");
    let client = Client::new(home, &process).await;
    (process, client)
}

#[test]
fn events_of_handlers_are_executed_once_through_crashes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let (process, mut client) = start(&home).await;
        let results = client.ask(&process, "measured").await;
        let (null, seen) = (Value::Null, json!("seen"));
        assert_eq!(column(&results, "event"), [&null, &seen, &seen]);
        assert_eq!(column(&results, "answer"), [&json!("measured 0"), &null, &null]);
        assert_eq!(count(&process).await, 2);
        // A chain without an end has one, and says so.
        let results = client.ask(&process, "again").await;
        let codes: Vec<i64> = column(&results, "code").iter().map(|c| c.as_i64().unwrap()).collect();
        assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 0, 11]);
        assert_eq!(count(&process).await, 11);
        // Nothing follows from a call that failed.
        let results = client.ask(&process, "fails").await;
        assert_eq!(column(&results, "error"), [&json!("trap")]);
        assert_eq!(count(&process).await, 11);
        assert!(process.terminate().await.unwrap().success());

        let mut sent = Vec::new();
        for (n, point) in ["execute.started", "execute.ran", "execute.applied"].into_iter().enumerate() {
            let mark = home.dir.path().join(format!("mark-{point}"));
            let env =
                [(POINT, point.to_owned()), (AFTER, "1".to_owned()), (MARK, mark.display().to_string())];
            let mut process = home.start(&env).await.unwrap();
            let message = client.message("measured");
            sent.push(message.clone());
            let _ = post(&process, &message, "").await;
            process.ended().await.unwrap();
            assert!(mark.exists(), "{point} was not reached\n{}", home.log());
            let process = home.start(&[]).await.unwrap();
            settled(&process.admin).await.unwrap();
            assert_eq!(count(&process).await, 13 + 2 * u32::try_from(n).unwrap(), "{point}");
            assert!(process.terminate().await.unwrap().success());
        }
        // Who sends it all again gets the same results, and nothing is counted.
        let process = home.start(&[]).await.unwrap();
        for message in &sent {
            let (status, _, body) = post(&process, message, "?wait=20000").await.unwrap();
            assert_eq!((status, &body["duplicate"]), (200, &json!(true)), "{body}");
            assert_eq!(column(&body["results"], "event"), [&null, &seen, &seen]);
        }
        assert_eq!(count(&process).await, 17);
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn an_answer_comes_within_the_deadline_or_later_and_the_message_is_executed_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let (process, mut client) = start(&home).await;
        // Who does not wait is told what the project promises.
        let (status, _, body) = post(&process, &client.message("measured"), "").await.unwrap();
        assert_eq!((status, &body["mode"], &body["results"]), (201, &json!("durable"), &json!([])));
        let message = client.message("slow");
        let begun = Instant::now();
        // On a machine with much to do it may take longer than that to store it.
        let (status, place, body) = loop {
            let answer = post(&process, &message, "?wait=300").await.unwrap();
            if answer.0 != 504 {
                break answer;
            }
        };
        assert_eq!((status, &body["mode"]), (202, &json!("durable")), "{body}");
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert_eq!(body["id"], id_of(&message).to_string());
        let url = format!("{}{place}", process.running.http);
        let life = Http::default().send((Method::GET, &url), &[], vec![]).await.unwrap();
        assert_eq!(life.status.as_u16(), 200);
        // The same again, with more patience: several at once get the one answer.
        let again = || async {
            loop {
                let (status, _, body) = post(&process, &message, "?wait=30000").await.unwrap();
                assert_eq!(body["duplicate"], json!(true), "{status}: {body}");
                if status != 202 {
                    return (status, body["results"][0].clone());
                }
                assert!(begun.elapsed() < Duration::from_secs(150));
            }
        };
        let (a, b) = tokio::join!(again(), again());
        for (status, result) in [a, b] {
            assert_eq!((status, &result["answer"], &result["code"]), (200, &json!("count"), &json!(0)));
        }
        // Two events of the first message, and the slow one once.
        assert_eq!(count(&process).await, 3);
        for bad in ["?wait=0", "?wait=30001", "?wait=-1", "?wait=soon"] {
            let (status, _, body) = post(&process, &message, bad).await.unwrap();
            assert_eq!((status, &body["code"]), (400, &json!("malformed")), "{bad}");
        }
        assert!(process.terminate().await.unwrap().success());
    });
}

/// Until the full minute has come, and a little longer.
const A_MINUTE: Duration = Duration::from_secs(90);

#[test]
fn a_schedule_makes_a_block_without_traffic_and_its_moment_is_executed_once_through_a_crash() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let manifest = MANIFEST.replace(r#"event-type = "again""#, r#"event-type = "tick""#).replace(
            r#"handler = "again""#,
            r#"handler = "seen""#,
        ) + "\n[[triggers]]\nname = \"minutely\"\nevent-type = \"tick\"\ncron = { schedule = \"* * * * *\" }\n";
        let (process, _) = start_with(&home, &manifest).await;
        let until = Instant::now() + A_MINUTE;
        // Its first moment is one after the node has seen it.
        while process.admin.get("/v1/projects/cold-chain").await.unwrap()["triggers"][0]["next"].is_null() {
            assert!(Instant::now() < until, "the trigger does not begin\n{}", home.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let before = settled(&process.admin).await.unwrap()["height"].as_u64().unwrap();
        assert!(process.terminate().await.unwrap().success());
        // The next block is the moment's. The node kills itself when that was executed, perhaps before it has noted how far
        // the schedule has come.
        let mark = home.dir.path().join("mark");
        let env = [
            (POINT, "execute.applied".to_owned()),
            (AFTER, "1".to_owned()),
            (MARK, mark.display().to_string()),
        ];
        let mut process = home.start(&env).await.unwrap();
        while process.is_running() {
            assert!(Instant::now() < until + A_MINUTE, "no moment came\n{}", home.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(mark.exists());
        let process = home.start(&[]).await.unwrap();
        // Long enough for the trigger to look again, and less than a minute.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let after = settled(&process.admin).await.unwrap()["height"].as_u64().unwrap();
        assert_eq!((after - before, count(&process).await), (1, 1), "one block, one run");
        assert!(process.terminate().await.unwrap().success());
    });
}
