//! Clients of the original W3bstream on a node in a process of its own. Tests are named after the traps of the original that
//! they show to be closed; docs/original-clients.md has the list.

use hyper::{Method, header};
use serde_json::{Value, json};
use w3bstream_node::Http;
use w3bstream_types::{Address, Algorithm, Digest, SecretKey};

use crate::support::{Home, Process};

/// Handlers: `start` counts in its state and gives the count, `seven` gives 7, `fail` traps, `slow` never ends, `env` gives
/// the first byte of the setting `K`, or 100 more than the host's error.
const APPLET: &str = r#"(module
  (import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_set_db" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "env" "ws_get_env" (func $env (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "kK")
  (func (export "alloc") (param i32) (result i32) (i32.const 65536))
  (func (export "start") (param i32) (result i32)
    (if (i32.eqz (call $get (i32.const 0) (i32.const 1) (i32.const 32) (i32.const 36)))
      (then (i32.store8 (i32.const 16) (i32.load8_u (i32.load (i32.const 32))))))
    (i32.store8 (i32.const 16) (i32.add (i32.load8_u (i32.const 16)) (i32.const 1)))
    (drop (call $set (i32.const 0) (i32.const 1) (i32.const 16) (i32.const 1)))
    (i32.load8_u (i32.const 16)))
  (func (export "seven") (param i32) (result i32) (i32.const 7))
  (func (export "fail") (param i32) (result i32) unreachable)
  (func (export "slow") (param i32) (result i32) (loop (br 0)) (i32.const 0))
  (func (export "env") (param i32) (result i32) (local $code i32)
    (local.set $code (call $env (i32.const 1) (i32.const 1) (i32.const 32) (i32.const 36)))
    (if (result i32) (local.get $code)
      (then (i32.add (i32.const 100) (local.get $code)))
      (else (i32.load8_u (i32.load (i32.const 32)))))))"#;

/// A node with the original's routes, and a client that is logged in.
struct Site {
    home: Home,
    process: Process,
    http: Http,
    token: String,
}

struct Reply {
    status: u16,
    body: Value,
}

impl Site {
    async fn new() -> anyhow::Result<Self> {
        Self::start(Home::new()?).await
    }

    async fn start(home: Home) -> anyhow::Result<Self> {
        let on = [
            ("W3BSTREAM_LEGACY__ENABLED", "true".to_owned()),
            ("W3BSTREAM_LEGACY__LISTEN", "127.0.0.1:0".to_owned()),
        ];
        let process = home.start(&on).await?;
        let mut site = Self { home, process, http: Http::default(), token: String::new() };
        let password = std::fs::read_to_string(site.home.node_dir().join("legacy-password"))?;
        let login = json!({ "username": "admin", "password": password.trim() });
        let reply = site.call(Method::PUT, "/srv-applet-mgr/v0/login", login).await?;
        assert_eq!(reply.status, 200, "{}", reply.body);
        site.token = reply.body["token"].as_str().unwrap().to_owned();
        Ok(site)
    }

    async fn send(
        &self,
        (method, path): (Method, &str),
        headers: &[(header::HeaderName, String)],
        body: Vec<u8>,
    ) -> anyhow::Result<Reply> {
        let url = format!("{}{path}", self.process.running.legacy.clone().unwrap());
        let answer = self.http.send((method, &url), headers, body).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let body = answer.json().unwrap_or(Value::String(text));
        Ok(Reply { status: answer.status.as_u16(), body })
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Reply> {
        let headers = [(header::AUTHORIZATION, format!("Bearer {}", self.token))];
        self.send(
            (method, path),
            &headers,
            if body.is_null() { vec![] } else { body.to_string().into_bytes() },
        )
        .await
    }

    async fn v0(&self, method: Method, path: &str, body: Value, status: u16) -> Value {
        let reply = self.call(method, &format!("/srv-applet-mgr/v0/{path}"), body).await.unwrap();
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        reply.body
    }

    /// Uploads the applet with these strategies and deploys it. Gives the applet as the node shows it.
    async fn upload(&self, project: &str, name: &str, strategies: &[(&str, &str)]) -> Value {
        let reply = self.try_upload(project, name, strategies).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        let id = text(&reply.body, "appletID");
        let instance = self.v0(Method::POST, &format!("deploy/applet/{id}"), Value::Null, 201).await;
        assert_eq!(instance["state"], "STARTED");
        self.v0(Method::GET, &format!("applet/data/{id}"), Value::Null, 200).await
    }

    async fn try_upload(&self, project: &str, name: &str, strategies: &[(&str, &str)]) -> Reply {
        let strategies: Vec<Value> =
            strategies.iter().map(|(t, h)| json!({ "eventType": t, "handler": h })).collect();
        let info = json!({ "appletName": name, "wasmName": "x.wasm", "strategies": strategies });
        self.upload_module(project, APPLET, info).await
    }

    /// Uploads a module with what the original's form calls its info.
    async fn upload_module(&self, project: &str, module: &str, info: Value) -> Reply {
        let mut body = format!(
            "--B\r\nContent-Disposition: form-data; name=\"info\"\r\n\r\n{info}\r\n--B\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"x.wasm\"\r\nContent-Type: application/wasm\r\n\r\n"
        )
        .into_bytes();
        body.extend(wat::parse_str(module).unwrap());
        body.extend(b"\r\n--B--\r\n");
        let headers = [
            (header::AUTHORIZATION, format!("Bearer {}", self.token)),
            (header::CONTENT_TYPE, "multipart/form-data; boundary=B".to_owned()),
        ];
        let path = format!("/srv-applet-mgr/v0/applet/x/{project}");
        self.send((Method::POST, &path), &headers, body).await.unwrap()
    }

    /// A project with the applet, and a publisher's token.
    async fn project(&self, name: &str, strategies: &[(&str, &str)]) -> (Value, String) {
        let made = self.v0(Method::POST, "project", json!({ "name": name }), 201).await;
        self.upload(name, "counter", strategies).await;
        let publisher = json!({ "name": "dev", "key": "dev_1" });
        let made_publisher = self.v0(Method::POST, &format!("publisher/x/{name}"), publisher, 201).await;
        (made, text(&made_publisher, "token"))
    }

    async fn event(&self, channel: &str, query: &str, token: &str) -> Reply {
        let headers = [(header::AUTHORIZATION, token.to_owned())];
        let path = format!("/srv-applet-mgr/v0/event/{channel}?{query}");
        self.send((Method::POST, &path), &headers, b"payload".to_vec()).await.unwrap()
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn codes(reply: &Reply) -> Vec<i64> {
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.body["results"].as_array().unwrap().iter().map(|r| r["code"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn trap_01_to_03_tokens_channels_and_times() {
    let site = Site::new().await.unwrap();
    let (project, token) = site.project("First_Project", &[]).await;
    // Without strategies DEFAULT reaches start.
    for header in [format!("Bearer {token}"), token.clone()] {
        codes(&site.event("First_Project", "", &header).await);
    }
    let path = format!("/srv-applet-mgr/v0/event/first-project?authorization={token}");
    assert_eq!(site.send((Method::POST, &path), &[], vec![]).await.unwrap().status, 201);
    let refused = site.event("First_Project", "", "Bearer wrong").await;
    assert_eq!((refused.status, &refused.body["key"]), (401, &json!("InvalidAuthValue")));
    for name in ["code", "msg", "desc", "canBeTalk", "id", "sources", "fields"] {
        assert!(refused.body.get(name).is_some(), "{}", refused.body);
    }
    let channel = text(&project, "channel");
    assert_eq!(channel, format!("aid_{}_First_Project", text(&project, "accountID")));
    for channel in [channel.as_str(), "eth_0xab5801a7d398351b8be11c439e05c5b3259aec9b_First_Project"] {
        let reply = site.event(channel, "eventType=DEFAULT", &token).await;
        codes(&reply);
        assert_eq!(reply.body["channel"], channel);
    }
    let now = w3bstream_types::Clock::now(&w3bstream_types::SystemClock).millis() / 1000;
    let reply = site.event("First_Project", &format!("timestamp={now}&eventID=ABC"), &token).await;
    codes(&reply);
    assert_eq!(reply.body["timestamp"], now * 1000);
    assert_eq!((&reply.body["eventID"], &reply.body["publisherKey"]), (&json!("abc"), &json!("dev_1")));
    let again = site.event("First_Project", &format!("timestamp={now}&eventID=abc"), &token).await;
    assert_eq!(codes(&again), codes(&reply), "sent again, it is answered as before and not executed");
    let (first, second) = ("eventID=no-time", "eventID=NO-TIME");
    let first = codes(&site.event("First_Project", first, &token).await);
    assert_eq!(codes(&site.event("First_Project", second, &token).await), first);
    let old = site.event("First_Project", "timestamp=1000000", &token).await;
    assert!(old.body["timestamp"].as_u64().unwrap() >= now * 1000, "{}", old.body);
    assert!(old.body["eventID"].as_str().unwrap().ends_with("_w3b"));
    assert_eq!(site.event("nobody", "", &token).await.status, 404);
}

#[tokio::test]
async fn trap_04_and_05_default_takes_the_rest_and_one_failure_changes_no_other_result() {
    let site = Site::new().await.unwrap();
    let strategies =
        [("DEFAULT", "start"), ("SEVEN", "seven"), ("ALL", "fail"), ("ALL", "slow"), ("ALL", "seven")];
    let (_, token) = site.project("p", &strategies).await;
    site.upload("p", "second", &[("ALL", "seven")]).await;
    assert_eq!(codes(&site.event("p", "eventType=SEVEN", &token).await), [7]);
    assert_eq!(
        codes(&site.event("p", "eventType=OTHER", &token).await),
        [1],
        "DEFAULT takes what nobody names"
    );
    assert_eq!(codes(&site.event("p", "", &token).await), [2]);
    let all = site.event("p", "eventType=ALL", &token).await;
    assert_eq!(codes(&all), [-1, -1, 7, 7]);
    let results = all.body["results"].as_array().unwrap();
    assert!(
        results[0]["error"].is_string()
            && results[1]["error"].is_string()
            && results[2].get("error").is_none()
    );
    assert_eq!((&results[3]["appletName"], &results[3]["returnValue"]), (&json!("second"), &Value::Null));
    assert_ne!(results[2]["instanceID"], results[3]["instanceID"]);
}

#[tokio::test]
async fn trap_11_a_handler_that_is_not_exported_is_refused() {
    let site = Site::new().await.unwrap();
    site.v0(Method::POST, "project", json!({ "name": "p" }), 201).await;
    let reply = site.try_upload("p", "a", &[("DEFAULT", "nothing")]).await;
    let id = text(&reply.body, "appletID");
    let refused = site.v0(Method::POST, &format!("deploy/applet/{id}"), Value::Null, 400).await;
    assert!(refused["desc"].as_str().unwrap().contains("nothing"), "{refused}");
    let instance = site.v0(Method::GET, &format!("deploy/applet/{id}"), Value::Null, 200).await;
    assert_eq!(instance["state"], "CREATED", "a deployment that is refused changes nothing");
}

#[tokio::test]
async fn trap_12_and_14_state_survives_a_restart_and_settings_are_a_projects_own() {
    let site = Site::new().await.unwrap();
    let (_, token) = site.project("p", &[("DEFAULT", "start"), ("ENV", "env")]).await;
    let (_, other) = site.project("q", &[("ENV", "env")]).await;
    let set = |value: &str| json!({ "env": [["K", value]] });
    site.v0(Method::POST, "project_config/x/p/PROJECT_ENV", set("A"), 201).await;
    assert_eq!(codes(&site.event("p", "eventType=ENV", &token).await), [65]);
    assert_eq!(codes(&site.event("q", "eventType=ENV", &other).await), [108], "not found");
    site.v0(Method::POST, "project_config/x/q/PROJECT_ENV", set("B"), 201).await;
    assert_eq!(codes(&site.event("q", "eventType=ENV", &other).await), [66]);
    assert_eq!(codes(&site.event("p", "", &token).await), [1]);
    let Site { home, process, .. } = site;
    assert!(process.terminate().await.unwrap().success(), "{}", home.log());
    let site = Site::start(home).await.unwrap();
    assert_eq!(codes(&site.event("p", "", &token).await), [2], "token, names and state are kept");
    assert_eq!(codes(&site.event("p", "eventType=ENV", &token).await), [65]);
    let shown = site.v0(Method::GET, "project_config/x/p/PROJECT_ENV", Value::Null, 200).await;
    assert_eq!(shown, set("A"));
}

/// Asks for the statement that is its payload, and gives the answer's first byte and 1,000 times its length; or 100 more than
/// the host's error.
const SQL_APPLET: &str = r#"(module
  (import "env" "ws_get_data" (func $data (param i32 i32 i32) (result i32)))
  (import "env" "ws_get_sql_db" (func $get (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "alloc") (param i32) (result i32)
    global.get $heap
    (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func (export "start") (param i32) (result i32) (local $code i32)
    (drop (call $data (local.get 0) (i32.const 16) (i32.const 20)))
    (local.set $code (call $get (i32.load (i32.const 16)) (i32.load (i32.const 20)) (i32.const 24) (i32.const 28)))
    (if (result i32) (local.get $code)
      (then (i32.add (i32.const 100) (local.get $code)))
      (else (if (result i32) (i32.load (i32.const 28))
        (then (i32.add (i32.mul (i32.const 1000) (i32.load (i32.const 28))) (i32.load8_u (i32.load (i32.const 24)))))
        (else (i32.const 0)))))))"#;

#[tokio::test]
async fn trap_06_and_13_rows_have_three_shapes_and_a_database_is_a_projects_own() {
    let site = Site::new().await.unwrap();
    let mut tokens = Vec::new();
    let strategies = json!([{ "eventType": "DEFAULT", "handler": "start" }]);
    let info = json!({ "appletName": "sql", "start": true, "strategies": strategies });
    for name in ["one", "two", "none"] {
        site.v0(Method::POST, "project", json!({ "name": name }), 201).await;
        if name != "none" {
            let database = json!({ "schemas": [{ "schema": "public", "tables": [{ "name": "t_row", "desc": "",
                "cols": [{ "name": "f_n", "constrains": { "datatype": "INT64" } },
                         { "name": "f_price", "constrains": { "datatype": "NUMERIC", "null": true } }],
                "keys": [{ "name": "primary", "isUnique": true, "columnNames": ["f_n"] }] }] }] });
            let path = format!("project_config/x/{name}/PROJECT_DATABASE");
            site.v0(Method::POST, &path, database.clone(), 201).await;
            assert_eq!(site.v0(Method::GET, &path, Value::Null, 200).await, database);
        }
        let reply = site.upload_module(name, SQL_APPLET, info.clone()).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        let publisher = json!({ "name": "dev", "key": "dev_1" });
        let made = site.v0(Method::POST, &format!("publisher/x/{name}"), publisher, 201).await;
        tokens.push((name, text(&made, "token")));
    }
    let ask = |at: usize, statement: &'static str| {
        let (site, (name, token)) = (&site, &tokens[at]);
        async move {
            let statement = json!({ "statement": statement, "params": [] }).to_string();
            let headers = [(header::AUTHORIZATION, token.clone())];
            let path = format!("/srv-applet-mgr/v0/event/{name}?eventType=DEFAULT");
            codes(&site.send((Method::POST, &path), &headers, statement.into_bytes()).await.unwrap())
        }
    };
    // Nothing, one object, an array: {"f_n":1}, [{"f_n":1},{"f_n":2}]; a number that is text, and NULL.
    assert_eq!(ask(0, "SELECT f_n FROM t_row").await, [0]);
    assert_eq!(
        ask(0, "INSERT INTO t_row (f_n, f_price) VALUES (1, '1.10') RETURNING f_n").await,
        [9_000 + 123]
    );
    assert_eq!(ask(0, "SELECT f_price FROM t_row").await, [18_000 + 123], "{}", r#"{"f_price":"1.10"}"#);
    assert_eq!(ask(0, "INSERT INTO t_row (f_n) VALUES (2) RETURNING f_price").await, [16_000 + 123]);
    assert_eq!(ask(0, "SELECT f_n FROM t_row").await, [21_000 + 91]);
    assert_eq!(ask(0, "INSERT INTO t_row (f_n) VALUES (2)").await, [99]);
    assert_eq!(ask(1, "SELECT f_n FROM t_row").await, [0], "another project's rows are not there");
    assert_eq!(ask(2, "SELECT f_n FROM t_row").await, [109], "a project without a database is told so");
    let smaller = json!({ "schemas": [{ "tables": [{ "name": "t_row",
        "cols": [{ "name": "f_n", "constrains": { "datatype": "INT64" } }] }] }] });
    let path = "/srv-applet-mgr/v0/project_config/x/one/PROJECT_DATABASE";
    let refused = site.call(Method::POST, path, smaller).await.unwrap();
    assert!(refused.status == 400 && refused.body.to_string().contains("f_price"), "{}", refused.body);
}

#[tokio::test]
async fn trap_20_a_module_that_is_not_the_named_one_is_refused() {
    let site = Site::new().await.unwrap();
    site.v0(Method::POST, "project", json!({ "name": "p" }), 201).await;
    let wrong = "0".repeat(32);
    let refused = site.upload_module("p", APPLET, json!({ "appletName": "a", "wasmMd5": wrong })).await;
    let why = refused.body.to_string();
    assert!(refused.status == 400 && why.contains("wasmMd5") && why.contains(&wrong), "{why}");
    // The reason names the file's own.
    let right = why.split(|c: char| !c.is_ascii_hexdigit()).find(|w| w.len() == 32 && *w != wrong).unwrap();
    let taken = site.upload_module("p", APPLET, json!({ "appletName": "a", "wasmMd5": right })).await;
    assert_eq!(taken.status, 201, "{}", taken.body);
}

#[tokio::test]
async fn trap_18_a_task_of_an_unregistered_key_is_refused_and_a_registered_one_is_found_again() {
    let site = Site::new().await.unwrap();
    let (project, _) = site.project("p", &[]).await;
    let key = SecretKey::from_bytes(Algorithm::ES256K, &[9; 32]).unwrap();
    let unsigned =
        format!(r#"{{"nonce":1,"projectID":"{}","payload":{{"x":1}}}}"#, text(&project, "projectID"));
    let signature = key.sign_recoverable(Digest::of(unsigned.as_bytes()).as_bytes()).unwrap();
    let hex: String = signature[..64].iter().map(|b| format!("{b:02x}")).collect();
    let body = format!("{},\"signature\":\"0x{hex}\"}}", unsigned.trim_end_matches('}').to_owned() + "}");
    let task = || site.send((Method::POST, "/v1/task"), &[], body.clone().into_bytes());
    let refused = task().await.unwrap();
    assert_eq!(refused.status, 403, "{}", refused.body);
    let did = format!("did:io:{}", Address::of_key(&key.public()).unwrap());
    site.v0(Method::POST, "publisher/x/p", json!({ "name": "pebble", "key": did }), 201).await;
    let taken = task().await.unwrap();
    assert_eq!(taken.status, 200, "{}", taken.body);
    let id = text(&taken.body, "taskID");
    assert_eq!(task().await.unwrap().body, taken.body, "a repeat is the same task");
    let states = site.send((Method::GET, &format!("/v1/task/{id}")), &[], vec![]).await.unwrap().body;
    assert_eq!((&states["taskID"], &states["projectID"]), (&json!(id), &project["projectID"]));
    assert_eq!(states["states"][0]["state"], "packed");
    let none = site.send((Method::GET, "/v1/task/0x00"), &[], vec![]).await.unwrap();
    assert_eq!((none.status, &none.body["states"]), (200, &json!([])));
}

#[tokio::test]
async fn trap_19_every_state_of_a_message_has_a_comment_and_its_trust_is_a_tokens() {
    let site = Site::new().await.unwrap();
    let (project, token) = site.project("p", &[]).await;
    let number: u64 = text(&project, "projectID").parse().unwrap();
    let headers = [(header::AUTHORIZATION, format!("Bearer {token}"))];
    let body = json!({ "projectID": number, "projectVersion": "0.1", "data": "{}" }).to_string();
    let sent = site.send((Method::POST, "/message"), &headers, body.into_bytes()).await.unwrap();
    assert_eq!(sent.status, 200, "{}", sent.body);
    let id = text(&sent.body, "messageID");
    let shown = site.send((Method::GET, &format!("/message/{id}")), &[], vec![]).await.unwrap().body;
    let states = shown["states"].as_array().unwrap();
    assert!(
        states.len() >= 3 && states[0]["state"] == "received" && states[1]["state"] == "packed",
        "{shown}"
    );
    assert!(
        states.iter().all(|s| !text(s, "comment").is_empty() && text(s, "time").ends_with('Z')),
        "{shown}"
    );
    let receipt = loop {
        match site.process.admin.get(&format!("/v1/receipts/{id}")).await {
            Ok(receipt) => break receipt,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    let receipt = receipt.to_string();
    assert!(receipt.contains("token"), "{receipt}");
}

#[tokio::test]
async fn batches_register_devices_and_anonymous_publishers_need_no_token() {
    let site = Site::new().await.unwrap();
    let (_, token) = site.project("p", &[("DEFAULT", "seven")]).await;
    let key =
        site.v0(Method::POST, "account_access_key", json!({ "name": "k", "expirationDays": 1 }), 201).await;
    let key = text(&key, "accessKey");
    let batch = json!([{"device_id": "d/1", "payload": "a"}, {"device_id": "Ü", "event_type": "T", "payload": "b", "timestamp": 5}]);
    let push = |token: String| {
        let path = "/srv-applet-mgr/v0/event/p?eventType=DA-TA_PU-SH";
        let headers = [(header::AUTHORIZATION, format!("Bearer {token}"))];
        let (site, body) = (&site, batch.to_string().into_bytes());
        async move { site.send((Method::POST, path), &headers, body).await.unwrap() }
    };
    let pushed = push(key.clone()).await;
    assert_eq!(pushed.status, 201, "{}", pushed.body);
    for (index, one) in pushed.body.as_array().unwrap().iter().enumerate() {
        assert_eq!((&one["index"], &one["results"][0]["code"]), (&json!(index), &json!(7)), "{one}");
    }
    assert_eq!(push(token).await.status, 401, "a publisher's token is no account's key");
    let listed = site.v0(Method::GET, "publisher/x/p/datalist", Value::Null, 200).await;
    assert_eq!(listed["total"], 3);
    assert_eq!(site.event("p", "", "").await.status, 401);
    site.v0(Method::POST, "publisher/x/p/anonymous", Value::Null, 201).await;
    assert_eq!(codes(&site.event("p", "", "").await), [7]);
    site.v0(Method::DELETE, "account_access_key/k", Value::Null, 204).await;
    assert_eq!(push(key).await.status, 401);
}

#[tokio::test]
async fn what_is_stopped_deleted_or_somebody_elses_does_not_run() {
    let site = Site::new().await.unwrap();
    let (_, token) = site.project("p", &[("DEFAULT", "seven")]).await;
    let applets = site.v0(Method::GET, "applet/x/p/datalist", Value::Null, 200).await;
    let instance = text(&applets["data"][0]["instance"], "instanceID");
    site.v0(Method::PUT, &format!("deploy/{instance}/HUNGUP"), Value::Null, 204).await;
    assert_eq!(codes(&site.event("p", "", &token).await), [0_i64; 0]);
    site.v0(Method::PUT, &format!("deploy/{instance}/START"), Value::Null, 204).await;
    assert_eq!(codes(&site.event("p", "", &token).await), [7]);
    // Event types that the node cannot tell apart are refused, and nothing changes.
    let applet = text(&applets["data"][0], "appletID");
    let strategy = json!({ "appletID": applet, "eventType": "A_B", "handler": "seven" });
    let made = site.v0(Method::POST, "strategy/x/p", strategy, 201).await;
    let strategy = json!({ "appletID": applet, "eventType": "a-b", "handler": "seven" });
    site.v0(Method::POST, "strategy/x/p", strategy, 400).await;
    site.v0(Method::DELETE, &format!("strategy/data/{}", text(&made, "strategyID")), Value::Null, 204).await;
    // Another account sees nothing of it.
    let login = json!({ "username": "bob", "password": "secret" });
    site.v0(Method::POST, "register/admin", login.clone(), 201).await;
    let bob = site.v0(Method::PUT, "login", login, 200).await;
    let headers = [(header::AUTHORIZATION, format!("Bearer {}", text(&bob, "token")))];
    let path = "/srv-applet-mgr/v0/project/x/p/data";
    assert_eq!(site.send((Method::GET, path), &headers, vec![]).await.unwrap().status, 404);
    let create = json!({ "name": "bobs" }).to_string().into_bytes();
    let made = site.send((Method::POST, "/srv-applet-mgr/v0/project"), &headers, create).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.body);
    // Deleted, a publisher and a project take nothing more; made again, the old token stays worthless.
    site.v0(Method::DELETE, "project/x/p", Value::Null, 204).await;
    assert_eq!(site.event("p", "", &token).await.status, 401);
    let (_, new) = site.project("p", &[("DEFAULT", "seven")]).await;
    assert_eq!(site.event("p", "", &token).await.status, 401);
    assert_eq!(codes(&site.event("p", "", &new).await), [7]);
}

#[tokio::test]
async fn the_routes_are_off_unless_they_are_switched_on() {
    let home = Home::new().unwrap();
    let process = home.start(&[]).await.unwrap();
    assert!(process.running.legacy.is_none());
    assert!(!home.node_dir().join("legacy.sqlite").exists());
}
