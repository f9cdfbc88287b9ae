//! Every limit of a guest on a node in a process of its own: once by the manifest, once by the operator's cap on a manifest that
//! asks for everything. For each the last call that is admitted, the first that is not, what its result says, which metric
//! tells of it, and that nobody else notices.

use std::fmt::Write as _;
use std::path::Path;

use hyper::{Method, header};
use serde_json::Value;
use w3bstream_node::Http;
use w3bstream_types::{Control, DeviceRegistration, Did, ProjectId};

use crate::support::{Device, Home, Process};

/// Each handler takes a number from its event, leaves a mark and a message, and does what it is named after so many times. A
/// handler whose `memory.grow` or `table.grow` is refused traps.
const MODULE: &str = r#"(module
  (import "env" "ws_get_data" (func $data (param i32 i32 i32) (result i32)))
  (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "ws_send_mqtt_msg" (func $mqtt (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_set_sql_db" (func $sql (param i32 i32) (result i32)))
  (import "env" "ws_send_event" (func $event (param i32 i32 i32 i32) (result i32)))
  (import "env" "seed" (func $seed (result f64)))
  (memory (export "memory") 2) (table $t 1 funcref)
  (data (i32.const 32) "mark") (data (i32.const 40) "k") (data (i32.const 48) "t") (data (i32.const 56) "nobody")
  (data (i32.const 64) "event-depth")
  (data (i32.const 1024) "LINE") (data (i32.const 2048) "SQL")
  (func (export "alloc") (param i32) (result i32) (i32.const 4096))
  (func $begin (param $rid i32) (result i32)
    (drop (call $data (local.get $rid) (i32.const 16) (i32.const 20)))
    (drop (call $set (i32.const 32) (i32.const 4) (i32.const 32) (i32.const 1)))
    (drop (call $mqtt (i32.const 48) (i32.const 1) (i32.const 48) (i32.const 1)))
    (i32.load (i32.const 4096)))
  (func (export "well") (param i32) (result i32) (i32.const 7))
  (func (export "gas") (param i32) (result i32) (local $n i32)
    (local.set $n (call $begin (local.get 0)))
    (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func (export "bytes") (param i32) (result i32) (local $n i32)
    (local.set $n (call $begin (local.get 0)))
    (loop $l
      (drop (call $data (local.get 0) (i32.const 16) (i32.const 20)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func (export "memory-bytes") (param i32) (result i32)
    (if (i32.eq (memory.grow (call $begin (local.get 0))) (i32.const -1)) (then unreachable))
    (i32.load8_u (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))))
  (func (export "table-elements") (param i32) (result i32)
    (if (i32.eq (table.grow $t (ref.null func) (call $begin (local.get 0))) (i32.const -1)) (then unreachable))
    (i32.const 0))
  (func $down (param $n i32) (result i32)
    (if (local.get $n) (then (drop (call $down (i32.sub (local.get $n) (i32.const 1)))))) (i32.const 0))
  (func (export "stack-slots") (param i32) (result i32) (call $down (call $begin (local.get 0))))
  (func (export "log-bytes") (param i32) (result i32) (local $n i32)
    (local.set $n (call $begin (local.get 0)))
    (loop $l
      (drop (call $log (i32.const 4) (i32.const 1024) (i32.const 99)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func (export "output-bytes") (param i32) (result i32)
    (call $mqtt (i32.const 48) (i32.const 1) (i32.const 1024) (call $begin (local.get 0))))
  (func (export "kv-bytes") (param i32) (result i32)
    (call $set (i32.const 40) (i32.const 1) (i32.const 1024) (call $begin (local.get 0))))
  (func (export "host-calls") (param i32) (result i32) (local $n i32)
    (local.set $n (call $begin (local.get 0)))
    (loop $l (drop (call $seed)) (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func (export "sql-bytes") (param i32) (result i32) (local $n i32)
    (local.set $n (call $begin (local.get 0)))
    (loop $l
      (if (call $sql (i32.const 2048) (i32.const 500)) (then unreachable))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0))
  (func (export "events") (param i32) (result i32) (local $n i32) (local $code i32)
    (local.set $n (call $begin (local.get 0)))
    (loop $l
      (local.set $code (call $event (i32.const 56) (i32.const 6) (i32.const 0) (i32.const 0)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $code))
  (func (export "event-bytes") (param i32) (result i32)
    (call $event (i32.const 56) (i32.const 6) (i32.const 1024) (call $begin (local.get 0))))
  (func (export "event-depth") (param i32) (result i32) (local $n i32)
    (local.set $n (call $begin (local.get 0)))
    (if (i32.eqz (local.get $n)) (then (return (i32.const 0))))
    (i32.store (i32.const 80) (i32.sub (local.get $n) (i32.const 1)))
    (call $event (i32.const 64) (i32.const 11) (i32.const 80) (i32.const 4))))"#;

/// A memory and a table that are too large before anything runs.
const LARGE: &str = r#"(module (memory (export "memory") 100) (table 9000 funcref)
  (func (export "well") (param i32) (result i32) (i32.const 7)))"#;

/// A row of the table of limits.
struct Case {
    /// The limit's name in manifests and in node.toml, which is the applet's, the handler's and the event type's too.
    name: &'static str,
    /// What the manifest of the first project sets; the operator's cap is what the second one gets.
    set: u64,
    cap: u64,
    /// By the limit: the largest number that is admitted.
    last: fn(u64) -> u64,
    /// What is beyond it, for how the call then ends.
    beyond: fn(u64) -> u64,
    ends: Ends,
}

#[derive(Clone, Copy)]
enum Ends {
    /// The call fails so.
    Fails(&'static str),
    /// The last of the message's calls gives this code; so many events were not sent.
    Code(i64),
    /// So many lines are not in the log.
    Cut(u64),
}

const CASES: [Case; 12] = [
    // How much a round of a loop costs is the engine's kit's to say.
    Case {
        name: "gas",
        set: 2_000_000,
        cap: 200_000_000,
        last: |_| 10,
        beyond: |gas| gas,
        ends: Ends::Fails("out-of-gas"),
    },
    // Two pages are there.
    Case {
        name: "memory-bytes",
        set: 4 << 16,
        cap: 8 << 16,
        last: |b| (b >> 16) - 2,
        beyond: |b| (b >> 16) - 1,
        ends: Ends::Fails("trap"),
    },
    Case {
        name: "table-elements",
        set: 50,
        cap: 100,
        last: |n| n - 1,
        beyond: |n| n,
        ends: Ends::Fails("trap"),
    },
    Case {
        name: "stack-slots",
        set: 1_000,
        cap: 2_000,
        last: |n| n / 100,
        beyond: |n| n,
        ends: Ends::Fails("stack-overflow"),
    },
    // Lines of 99 bytes and their ends.
    Case {
        name: "log-bytes",
        set: 500,
        cap: 1_000,
        last: |b| b / 100,
        beyond: |b| b / 100 + 3,
        ends: Ends::Cut(3),
    },
    // The mark's message is 34, and another one 33 and its payload.
    Case {
        name: "output-bytes",
        set: 1_000,
        cap: 2_000,
        last: |b| b - 67,
        beyond: |b| b - 66,
        ends: Ends::Fails("output-limit"),
    },
    // The mark is 5 bytes, and the key is one.
    Case {
        name: "kv-bytes",
        set: 1_000,
        cap: 2_000,
        last: |b| b - 6,
        beyond: |b| b - 5,
        ends: Ends::Fails("kv-limit"),
    },
    // Three are made to begin.
    Case {
        name: "host-calls",
        set: 300,
        cap: 600,
        last: |n| n - 3,
        beyond: |n| n - 2,
        ends: Ends::Fails("host-call-limit"),
    },
    Case {
        name: "sql-bytes",
        set: 1_000,
        cap: 2_000,
        last: |b| b / 500,
        beyond: |b| b / 500 + 1,
        ends: Ends::Fails("sql-limit"),
    },
    Case { name: "events", set: 3, cap: 6, last: |n| n, beyond: |n| n + 1, ends: Ends::Code(12) },
    Case {
        name: "event-bytes",
        set: 100,
        cap: 200,
        last: |b| b - 6,
        beyond: |b| b - 5,
        ends: Ends::Code(12),
    },
    Case { name: "event-depth", set: 2, cap: 4, last: |n| n, beyond: |n| n + 1, ends: Ends::Code(11) },
];

/// A project with an applet for each limit, one for copied bytes, one that is too large, and one without limits of its own.
fn write_project(dir: &Path, name: &str, limit: impl Fn(&Case) -> u64) {
    std::fs::create_dir(dir).unwrap();
    // 500 bytes of JSON, its escapes not counted.
    let sql = r#"{\"statement\":\"INSERT INTO t (v) VALUES (1)\",\"params\":[]"#;
    let sql = format!("{sql}{}}}", " ".repeat(499 + sql.matches('\\').count() - sql.len()));
    let module = MODULE.replace("LINE", &"x".repeat(99)).replace("SQL", &sql);
    std::fs::write(dir.join("all.wasm"), wat::parse_str(module).unwrap()).unwrap();
    std::fs::write(dir.join("large.wasm"), wat::parse_str(LARGE).unwrap()).unwrap();
    let mut text = format!("name = \"{name}\"\nack = \"executed\"\n");
    let mut applet = |name: &str, module: &str, limits: &str, handler: &str| {
        let _ = writeln!(
            text,
            "[[applets]]\nname = \"{name}\"\nmodule = \"{module}\"\nlimits = {{ {limits} }}\nroutes = [{}\
             {{ event-type = \"{name}\", handler = \"{handler}\" }}]",
            if module == "all.wasm" { "{ event-type = \"all\", handler = \"well\" }, " } else { "" }
        );
    };
    for case in &CASES {
        applet(case.name, "all.wasm", &format!("{} = {}", case.name, limit(case)), case.name);
    }
    applet("bytes", "all.wasm", "gas = 2000000", "bytes");
    applet("large-memory", "large.wasm", "memory-bytes = 6553599, table-elements = 9000", "well");
    applet("large-table", "large.wasm", "memory-bytes = 6553600, table-elements = 8999", "well");
    applet("spin", "all.wasm", "gas = 9223372036854775807", "gas");
    text += "[[database.tables]]\nname = \"t\"\ncolumns = [{ name = \"v\", datatype = \"int64\" }]\n";
    std::fs::write(dir.join("w3bstream.toml"), text).unwrap();
}

/// A project of the node, and a device of it.
struct Client<'a> {
    process: &'a Process,
    name: &'static str,
    id: ProjectId,
    device: Device,
    counter: std::cell::Cell<u32>,
    /// Calls that returned, each of which has sent a message.
    returned: std::cell::Cell<u64>,
}

impl<'a> Client<'a> {
    async fn new(
        home: &Home,
        process: &'a Process,
        name: &'static str,
        limit: impl Fn(&Case) -> u64,
    ) -> Self {
        let dir = home.dir.path().join(name);
        write_project(&dir, name, limit);
        let (deployed, shown) = home.cli(&["project", "deploy"], &dir);
        assert!(deployed, "{name}: {shown}");
        let device = Device::new("device").unwrap();
        let (did, key) = (device.key.did(), device.key.public());
        let change = Control::RegisterDevice(DeviceRegistration { device: did, key, event_types: vec![] });
        process.admin.change(&name.parse().unwrap(), change, &home.owner).await.unwrap();
        let id = ProjectId::new(&Did::key(&home.owner.public()), &name.parse().unwrap());
        Self { process, name, id, device, counter: 0.into(), returned: 0.into() }
    }

    /// Sends a number, and gives the message's results.
    async fn ask(&self, event_type: &str, n: u64, bytes: usize) -> Vec<Value> {
        let counter = self.counter.replace(self.counter.get() + 1);
        let mut payload = u32::try_from(n).unwrap().to_le_bytes().to_vec();
        payload.resize(bytes.max(4), 0);
        let message = self.device.message_of(self.id, counter, (event_type, payload));
        let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
        let url = format!("{}/v1/projects/{}/events", self.process.running.http, self.name);
        let body = w3bstream_wire::encode_envelope(&message);
        let answer = Http::default().send((Method::POST, &url), &kind, body).await.unwrap();
        assert_eq!(answer.status.as_u16(), 201, "{event_type} {n}: {:?}", answer.json());
        let results = answer.json().unwrap()["results"].as_array().unwrap().clone();
        if event_type != "all" {
            let returned = results.iter().filter(|r| r["error"].is_null()).count();
            self.returned.set(self.returned.get() + returned as u64);
        }
        results
    }

    /// Every applet but those that are too large does what it always does.
    async fn is_well(&self, after: &str) {
        let codes: Vec<Value> = self.ask("all", 0, 4).await.into_iter().map(|r| r["code"].clone()).collect();
        assert_eq!(codes, vec![Value::from(7); CASES.len() + 2], "{} after {after}", self.name);
    }

    async fn marked(&self, applet: &str) -> bool {
        let path = format!("/v1/projects/{}/state/{applet}/mark", self.name);
        self.process.admin.get_bytes(&path).await.is_ok()
    }

    async fn metric(&self, name: &str, labels: &str) -> u64 {
        metric(self.process, &format!("{name}{{project=\"{}\"{labels}}}", self.name)).await
    }

    /// A case beyond its limit, and at it; `beside` is another project.
    async fn check(&self, case: &Case, limit: u64, beside: &Self) {
        let (name, applet) = (case.name, format!(",applet=\"{}\"", case.name));
        let results = self.ask(name, (case.beyond)(limit), 4).await;
        let result = results.last().unwrap();
        let told = match case.ends {
            Ends::Fails(error) => {
                assert_eq!((result["error"].as_str(), results.len()), (Some(error), 1), "{name}: {result}");
                assert!(!self.marked(name).await, "{name}: a call that failed has changed something");
                if name == "gas" {
                    assert_eq!(result["gas"], limit.to_string());
                }
                (1, self.metric("w3b_handler_errors_total", &format!("{applet},error=\"{error}\"")).await)
            }
            Ends::Code(code) => {
                assert_eq!(result["code"], code, "{name}: {results:?}");
                (1, self.metric("w3b_events_refused_total", &applet).await)
            }
            Ends::Cut(lines) => {
                assert_eq!(result["code"], 0, "{name}: {result}");
                let path = format!("/v1/projects/{}/logs", self.name);
                let logs = self.process.admin.get(&path).await.unwrap();
                let last = logs.as_array().unwrap().iter().rfind(|l| l["applet"] == name).unwrap();
                let text = last["text"].as_str().unwrap();
                assert!(text.ends_with(&format!("reached] [{} more lines left away]", lines - 1)), "{text}");
                (lines, self.metric("w3b_log_lines_cut_total", &applet).await)
            }
        };
        assert_eq!(told.1, told.0, "{name}: what the metrics tell");
        self.is_well(name).await;
        beside.is_well(name).await;
        let results = self.ask(name, (case.last)(limit), 4).await;
        let well = results.iter().all(|r| r["code"] == 0 && r["error"].is_null());
        assert!(well, "{name} at its limit {limit}: {results:?}");
        assert!(self.marked(name).await, "{name}");
    }

    /// What has no limit of its own name.
    async fn check_others(&self, beside: &Self) {
        // Bytes that are copied are bounded by gas: four for a unit.
        let bytes = 60_000;
        let results = self.ask("bytes", 120, bytes).await;
        let gas = results[0]["gas"].as_str().unwrap().parse::<u64>().unwrap();
        let copies = 121 * bytes as u64 / 4;
        assert!((copies..copies + 121 * 250 + 20_000).contains(&gas), "{gas} gas for {copies}");
        let results = self.ask("bytes", 140, bytes).await;
        assert_eq!(results[0]["error"], "out-of-gas", "{results:?}");
        for applet in ["large-memory", "large-table"] {
            let results = self.ask(applet, 0, 4).await;
            assert_eq!(results[0]["error"], "memory-limit", "{applet}: {results:?}");
            let labels = format!(",applet=\"{applet}\",error=\"memory-limit\"");
            assert_eq!(self.metric("w3b_handler_errors_total", &labels).await, 1);
        }
        self.is_well("the others").await;
        beside.is_well("the others").await;
    }
}

async fn metric(process: &Process, row: &str) -> u64 {
    let url = format!("{}/metrics", process.running.http);
    let answer = Http::default().send((Method::GET, &url), &[], vec![]).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
    found.map_or(0, |n| n.parse().unwrap())
}

/// Calls of two projects at once wait for the one instance that there is.
async fn calls_wait(process: &Process, (one, two): (&Client<'_>, &Client<'_>)) {
    for _ in 0..20 {
        // A tenth of a second each.
        let (a, b) = tokio::join!(one.ask("spin", 10_000_000, 4), two.ask("spin", 10_000_000, 4));
        assert!(a[0]["code"] == 0 && b[0]["code"] == 0, "{a:?} {b:?}");
        if metric(process, "w3b_engine_waits_total").await > 0 {
            return;
        }
    }
    panic!("no call has waited");
}

#[test]
fn every_limit_ends_its_own_call_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let mut env = vec![("W3BSTREAM_ENGINE__INSTANCES".to_owned(), "1".to_owned())];
        for case in &CASES {
            let variable = case.name.to_uppercase().replace('-', "_");
            env.push((format!("W3BSTREAM_GUESTS__{variable}"), case.cap.to_string()));
        }
        // A case's own limit is what its calls meet, and no other.
        let env: Vec<(&str, String)> = env.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let process = home.start(&env).await.unwrap();
        let limited = Client::new(&home, &process, "limited", |case| case.set).await;
        let greedy = Client::new(&home, &process, "greedy", |_| i64::MAX.cast_unsigned()).await;
        for case in &CASES {
            limited.check(case, case.set, &greedy).await;
            greedy.check(case, case.cap, &limited).await;
        }
        limited.check_others(&greedy).await;
        calls_wait(&process, (&limited, &greedy)).await;
        // Nothing was sent by calls that failed.
        for client in [&limited, &greedy] {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
            let extra = 1;
            let wanted = client.returned.get() + extra;
            while client.metric("w3b_outputs_performed_total", "").await < wanted {
                assert!(
                    std::time::Instant::now() < until,
                    "{} of {wanted}",
                    client.metric("w3b_outputs_performed_total", "").await
                );
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            assert_eq!(client.metric("w3b_outputs_performed_total", "").await, wanted);
            assert_eq!(client.metric("w3b_project_halted", "").await, 0);
        }
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn every_limit_of_a_guest_has_a_case() {
    let limits = serde_json::to_value(w3bstream_types::GuestLimits::default()).unwrap();
    let mut names: Vec<&str> = limits.as_object().unwrap().keys().map(String::as_str).collect();
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    names.sort_unstable();
    cases.sort_unstable();
    assert_eq!(cases, names);
}
