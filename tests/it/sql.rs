//! The project's database on a node in a process of its own, from a module's import to a statement of the owner, and again
//! after a crash and after a restart.

use std::path::Path;
use std::process::Command;

use hyper::{Method, header};
use serde_json::{Value, json};
use w3bstream_tests::{AFTER, MARK, POINT};
use w3bstream_types::{Algorithm, Control, DeviceRegistration, ProjectId};
use w3bstream_wallet_file::DeviceKey;

use crate::support::{Device, Home, Process, binary, settled};

/// Executes the statement that is its event's data, or asks it, by handler. `ask` gives the answer's length, and 1,000 more
/// than the code of a failure; `fail` executes and traps.
const MODULE: &str = r#"(module
  (import "env" "ws_get_data" (func $data (param i32 i32 i32) (result i32)))
  (import "env" "ws_set_sql_db" (func $set (param i32 i32) (result i32)))
  (import "env" "ws_get_sql_db" (func $get (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "alloc") (param i32) (result i32)
    global.get $heap
    (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func (export "change") (param i32) (result i32)
    (drop (call $data (local.get 0) (i32.const 16) (i32.const 20)))
    (call $set (i32.load (i32.const 16)) (i32.load (i32.const 20))))
  (func (export "ask") (param i32) (result i32) (local $code i32)
    (drop (call $data (local.get 0) (i32.const 16) (i32.const 20)))
    (local.set $code (call $get (i32.load (i32.const 16)) (i32.load (i32.const 20)) (i32.const 24) (i32.const 28)))
    (if (result i32) (local.get $code)
      (then (i32.add (i32.const 1000) (local.get $code)))
      (else (i32.load (i32.const 28)))))
  (func (export "fail") (param i32) (result i32)
    (drop (call $data (local.get 0) (i32.const 16) (i32.const 20)))
    (drop (call $set (i32.load (i32.const 16)) (i32.load (i32.const 20))))
    unreachable))"#;

fn manifest(columns: &str) -> String {
    format!(
        "name = \"cold-chain\"\nack = \"executed\"\n\n[[applets]]\nname = \"sql\"\nmodule = \"sql.wasm\"\nroutes = [\n\
         {{ event-type = \"temperature\", handler = \"change\" }},\n{{ event-type = \"ask\", handler = \"ask\" }},\n\
         {{ event-type = \"fail\", handler = \"fail\" }},\n]\n\n[database]\n[[database.tables]]\nname = \"readings\"\n\
         columns = [\n{{ name = \"id\", datatype = \"int64\", autoincrement = true }},\n\
         {{ name = \"device\", datatype = \"text\" }},\n{columns}]\n"
    )
}

fn cli(home: &Home, args: &[&str], last: &str) -> (bool, String) {
    let mut command = Command::new(binary());
    command.args(args).arg("--dir").arg(home.node_dir()).args(["--json", last]);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn deploy(home: &Home, project: &Path, columns: &str) -> (bool, String) {
    std::fs::write(project.join("sql.wasm"), wat::parse_str(MODULE).unwrap()).unwrap();
    std::fs::write(project.join("w3bstream.toml"), manifest(columns)).unwrap();
    cli(home, &["project", "deploy"], &project.display().to_string())
}

/// Rows of the owner's own statement.
fn rows(home: &Home, statement: &str) -> Value {
    let (done, shown) = cli(home, &["project", "sql", "cold-chain"], statement);
    assert!(done, "{statement}: {shown}");
    let answer: Value = serde_json::from_str(&shown).unwrap_or_else(|e| panic!("{e}: {shown}"));
    answer["rows"].clone()
}

/// A device that sends statements, and what they gave.
struct Client {
    device: Device,
    project: ProjectId,
    counter: u32,
}

impl Client {
    async fn new(home: &Home, process: &Process) -> Self {
        let device = Device::with_key("device", DeviceKey::generate(Algorithm::EdDSA).unwrap());
        let (did, key) = (device.key.did(), device.key.public());
        let change = Control::RegisterDevice(DeviceRegistration { device: did, key, event_types: vec![] });
        process.admin.change(&"cold-chain".parse().unwrap(), change, &home.owner).await.unwrap();
        let status = process.admin.get("/v1/projects/cold-chain").await.unwrap();
        Self { device, project: status["id"].as_str().unwrap().parse().unwrap(), counter: 0 }
    }

    /// Sends a statement; `None` if the node ended meanwhile.
    async fn try_send(&mut self, process: &Process, event_type: &str, text: &str) -> Option<Value> {
        let statement = json!({ "statement": text, "params": [] }).to_string();
        let message =
            self.device.message_of(self.project, self.counter, (event_type, statement.into_bytes()));
        self.counter += 1;
        let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
        let url = format!("{}/v1/projects/cold-chain/events", process.running.http);
        let bytes = w3bstream_wire::encode_envelope(&message);
        let answer = w3bstream_node::Http::default().send((Method::POST, &url), &kind, bytes).await.ok()?;
        assert_eq!(answer.status.as_u16(), 201, "{text}: {:?}", answer.json());
        Some(answer.json().unwrap()["results"][0].clone())
    }

    async fn send(&mut self, process: &Process, event_type: &str, text: &str) -> Value {
        self.try_send(process, event_type, text).await.expect("an answer")
    }
}

#[test]
fn a_database_is_used_survives_a_crash_and_grows() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let project = home.dir.path().join("project");
        std::fs::create_dir(&project).unwrap();
        let (deployed, shown) = deploy(&home, &project, "");
        assert!(deployed, "{shown}");
        let mut client = Client::new(&home, &process).await;
        for name in ["a", "b"] {
            let insert = format!("INSERT INTO readings (device) VALUES ('{name}')");
            assert_eq!(client.send(&process, "temperature", &insert).await["code"], 0);
        }
        // The three shapes, by their lengths: nothing, {"id":1}, [{"id":1},{"id":2}].
        for (ask, length) in [("id > 2", 0), ("id = 1", 8), ("id > 0", 19)] {
            let ask = format!("SELECT id FROM readings WHERE {ask}");
            assert_eq!(client.send(&process, "ask", &ask).await["code"], length, "{ask}");
        }
        assert_eq!(client.send(&process, "ask", "SELECT random()").await["code"], 999);
        let failed = client.send(&process, "fail", "DELETE FROM readings").await;
        assert_eq!(failed["error"], "trap");
        assert_eq!(rows(&home, "SELECT id, device FROM readings"), json!([[1, "a"], [2, "b"]]));
        assert!(!cli(&home, &["project", "sql", "cold-chain"], "DELETE FROM readings").0);
        assert!(process.terminate().await.unwrap().success());

        // The node kills itself between the block in the journal and its execution, and behind the state's commit.
        for (n, point) in ["execute.started", "execute.ran", "execute.applied"].into_iter().enumerate() {
            let mark = home.dir.path().join(format!("mark-{point}"));
            let env =
                [(POINT, point.to_owned()), (AFTER, "1".to_owned()), (MARK, mark.display().to_string())];
            let mut process = home.start(&env).await.unwrap();
            let insert = format!("INSERT INTO readings (device) VALUES ('crash-{n}')");
            let _ = client.try_send(&process, "temperature", &insert).await;
            process.ended().await.unwrap();
            assert!(mark.exists(), "{point} was not reached\n{}", home.log());
            // What was begun is made good before the next point, or it would be reached before the next message comes.
            let process = home.start(&[]).await.unwrap();
            settled(&process.admin).await.unwrap();
            assert_eq!(rows(&home, "SELECT count(*) FROM readings"), json!([[3 + n]]), "{point}");
            assert!(process.terminate().await.unwrap().success());
        }
        let process = home.start(&[]).await.unwrap();
        let all = rows(&home, "SELECT id, device FROM readings ORDER BY id");
        assert_eq!(all, json!([[1, "a"], [2, "b"], [3, "crash-0"], [4, "crash-1"], [5, "crash-2"]]));

        // It grows, and loses nothing.
        let (deployed, shown) =
            deploy(&home, &project, "{ name = \"note\", datatype = \"text\", default = \"none\" },\n");
        assert!(deployed, "{shown}");
        assert_eq!(rows(&home, "SELECT note FROM readings WHERE id = 1"), json!([["none"]]));
        let (deployed, shown) = deploy(&home, &project, "");
        assert!(!deployed && shown.contains("column note must stay"), "{shown}");
        assert!(process.terminate().await.unwrap().success());
        let process = home.start(&[]).await.unwrap();
        assert_eq!(rows(&home, "SELECT count(*), max(note) FROM readings"), json!([[5, "none"]]));
        let last = "INSERT INTO readings (device, note) VALUES ('last', 'x')";
        assert_eq!(client.send(&process, "temperature", last).await["code"], 0);
        assert_eq!(rows(&home, "SELECT id FROM readings WHERE note = 'x'"), json!([[6]]));
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn trap_20_a_file_that_is_not_the_named_one_is_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let project = home.dir.path().join("project");
        std::fs::create_dir(&project).unwrap();
        let (deployed, shown) = deploy(&home, &project, "");
        assert!(deployed, "{shown}");
        // What is deployed names its program.
        let module = wat::parse_str(MODULE).unwrap();
        let digest = w3bstream_types::Digest::of(&module).to_string();
        let status = process.admin.get("/v1/projects/cold-chain").await.unwrap().to_string();
        assert!(status.contains(&digest), "{status}");
        let named = manifest("")
            .replace("module = \"sql.wasm\"", &format!("module = \"sql.wasm\"\nsha256 = \"{digest}\""));
        std::fs::write(project.join("w3bstream.toml"), named).unwrap();
        let path = project.display().to_string();
        let (deployed, shown) = cli(&home, &["project", "deploy"], &path);
        assert!(deployed, "{shown}");
        std::fs::write(
            project.join("sql.wasm"),
            wat::parse_str("(module (memory (export \"memory\") 1))").unwrap(),
        )
        .unwrap();
        let (deployed, shown) = cli(&home, &["project", "deploy"], &path);
        assert!(!deployed && shown.contains(&digest) && shown.contains("sha256 is"), "{shown}");
        assert!(process.terminate().await.unwrap().success());
    });
}
