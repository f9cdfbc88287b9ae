//! The command line against a node in a process of its own: what people meet, good and bad.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Device, Home, binary, settled};

fn w3b(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the binary starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_message_goes_from_the_command_line_to_a_verified_receipt() {
    block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        home.deploy(&process.admin).await.unwrap();
        let dir = home.node_dir();
        let (dir, key) = (dir.to_str().unwrap(), home.dir.path().join("device.jwk"));
        let key = key.to_str().unwrap();
        let added = w3b(&["device", "add", "--json", "--dir", dir, "--project", "cold-chain", key]);
        assert!(added.status.success(), "{}", text(&added));
        let did =
            serde_json::from_slice::<Value>(&added.stdout).unwrap()["device"].as_str().unwrap().to_owned();
        let payload = r#"{"device":"truck-7","t":1262304000000,"c":4200}"#;
        let send =
            ["send", "--json", "--dir", dir, "--project", "cold-chain", "--type", "reading", "--device", key];
        let sent = w3b(&[&send[..], &[payload]].concat());
        assert!(sent.status.success(), "{}", text(&sent));
        let id = serde_json::from_slice::<Value>(&sent.stdout).unwrap()["id"].as_str().unwrap().to_owned();
        let waited = w3b(&["message", "--dir", dir, &id, "--wait", "attested"]);
        assert!(
            waited.status.success() && text(&waited).contains("cold-chain.reading gave 0"),
            "{}",
            text(&waited)
        );
        let receipt = home.dir.path().join("receipt.json");
        let receipt = receipt.to_str().unwrap();
        let got = w3b(&["receipt", "get", "--dir", dir, &id, "--output", receipt]);
        assert!(got.status.success(), "{}", text(&got));
        check_receipt(&home, receipt, &did, dir);
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn the_status_page_tells_strangers_less() {
    block_on(async {
        let home = Home::new().unwrap();
        let details = ["recent_messages", "recent_refusals", "recent_devices", "payer", "accounts"];
        for (setting, host, full) in [
            ("auto", "127.0.0.1", true),
            ("auto", "node.example", false),
            ("full", "node.example", true),
            ("brief", "127.0.0.1", false),
        ] {
            let process = home.start(&[("W3BSTREAM_HTTP__STATUS", setting.to_owned())]).await.unwrap();
            if process.admin.get("/v1/projects/cold-chain").await.is_err() {
                home.deploy(&process.admin).await.unwrap();
            }
            let url = format!("{}/v1/status", process.running.http);
            let headers = [(hyper::header::HOST, host.to_owned())];
            let http = w3bstream_node::Http::default();
            let answer = http.send((hyper::Method::GET, &url), &headers, vec![]).await.unwrap().ok().unwrap();
            let status = answer.json().unwrap();
            assert_eq!(status["full"], full, "{setting} {host}");
            let project = status["projects"][0].as_object().unwrap();
            assert_eq!(project["name"], "cold-chain");
            let told = details.iter().filter(|d| project.contains_key(**d)).count();
            assert_eq!(told, if full { details.len() } else { 0 }, "{setting} {host}: {project:?}");
            assert!(process.terminate().await.unwrap().success());
        }
    });
}

fn check_receipt(home: &Home, receipt: &str, did: &str, dir: &str) {
    let alone = w3b(&["receipt", "verify", receipt]);
    assert_eq!(alone.status.code(), Some(1), "{}", text(&alone));
    assert!(text(&alone).contains("not anchored"), "{}", text(&alone));
    assert!(w3b(&["receipt", "verify", receipt, "--self-consistent"]).status.success());
    let status = w3b(&["project", "status", "--json", "--dir", dir, "cold-chain"]);
    let genesis =
        serde_json::from_slice::<Value>(&status.stdout).unwrap()["genesis"].as_str().unwrap().to_owned();
    let anchors = home.dir.path().join("anchors.toml");
    std::fs::write(&anchors, format!("devices = [{did:?}]\ngenesis = [{genesis:?}]\n")).unwrap();
    let anchors_path = anchors.to_str().unwrap();
    let trusted = w3b(&["receipt", "verify", receipt, "--trust", anchors_path]);
    assert!(trusted.status.success() && text(&trusted).contains("The receipt holds."), "{}", text(&trusted));
    // Somebody else's anchors: the same file must fail.
    std::fs::write(&anchors, format!("devices = [{did:?}]\ngenesis = [{:?}]\n", "0".repeat(64))).unwrap();
    let foreign = w3b(&["receipt", "verify", receipt, "--trust", anchors_path]);
    assert_eq!(foreign.status.code(), Some(1), "{}", text(&foreign));
    // A changed file: the broken link is named.
    let changed = std::fs::read_to_string(receipt).unwrap().replacen("\"height\": \"", "\"height\": \"1", 1);
    let forged = home.dir.path().join("forged.json");
    std::fs::write(&forged, changed).unwrap();
    let broken = w3b(&["receipt", "verify", forged.to_str().unwrap(), "--self-consistent"]);
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken));
}

#[test]
fn bad_messages_are_refused_and_the_node_goes_on() {
    block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let project = home.deploy(&process.admin).await.unwrap();
        let mut good = Device::new("good").unwrap();
        let stranger = Device::new("stranger").unwrap();
        home.register(&process.admin, &good.key).await.unwrap();
        let http = w3bstream_node::Http::default();
        let url = format!("{}/v1/projects/cold-chain/events", process.running.http);
        let post = async |bytes: Vec<u8>| {
            let kind = [(hyper::header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
            let answer = http.send((hyper::Method::POST, &url), &kind, bytes).await.unwrap();
            let code = answer.json().unwrap()["code"].as_str().unwrap_or("").to_owned();
            (answer.status.as_u16(), code)
        };
        let encode = w3bstream_wire::encode_envelope;
        assert_eq!(post(encode(&stranger.message(project, 0))).await, (403, "unknown-device".into()));
        let mut forged = encode(&good.message(project, 0));
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert_eq!(post(forged).await.0, 403);
        assert_eq!(post(b"nonsense".to_vec()).await, (400, "malformed".into()));
        assert_eq!(post(vec![0; 3 * 1024 * 1024]).await, (413, "too-large".into()));
        let elsewhere = w3bstream_types::ProjectId(w3bstream_types::Digest::of(b"elsewhere"));
        assert_eq!(post(encode(&good.message(elsewhere, 0))).await, (403, "wrong-audience".into()));
        // The same sequence number with other bytes, after the first was accepted.
        assert_eq!(post(encode(&good.message(project, 7))).await.0, 201);
        assert_eq!(post(encode(&good.message(project, 7))).await.0, 200, "a repeat is accepted");
        let twin = Device::with_key("good-twin", good.key.clone());
        assert_eq!(post(encode(&twin.message(project, 7))).await, (409, "conflict".into()));
        let missing = format!("{}/v1/projects/nothing/events", process.running.http);
        let kind = [(hyper::header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
        let answer = http
            .send((hyper::Method::POST, &missing), &kind, encode(&good.message(project, 8)))
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), 404);
        // After all that the node still takes good ones, over both protocols.
        good.over_http(&http, &process.running.http, project).await.unwrap();
        good.over_mqtt(process.running.mqtt.as_deref().unwrap(), project).await.unwrap();
        assert!(good.acked.len() >= 31, "{}", good.acked.len());
        let status = settled(&process.admin).await.unwrap();
        assert_eq!(status["state"], "Ready");
        // Revoked for ever.
        let revoke = w3bstream_types::Control::RevokeDevice(good.key.did());
        process.admin.change(&"cold-chain".parse().unwrap(), revoke, &home.owner).await.unwrap();
        assert_eq!(post(encode(&good.message(project, 500))).await, (403, "revoked".into()));
        let again = home.register(&process.admin, &good.key).await.unwrap_err().to_string();
        assert!(again.contains("was revoked"), "{again}");
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn what_an_operator_can_get_wrong_is_explained() {
    block_on(async {
        let home = Home::new().unwrap();
        let dir = home.node_dir();
        let shown = dir.to_str().unwrap();
        let again = w3b(&["init", "--dir", shown]);
        assert!(!again.status.success() && text(&again).contains("holds a node already"), "{}", text(&again));
        let wrong = home.dir.path().join("wrong");
        std::fs::write(&wrong, "not the passphrase").unwrap();
        set_private(&wrong);
        let run = |extra: &[&str]| {
            let free = ["--http=127.0.0.1:0", "--mqtt=127.0.0.1:0", "--admin=127.0.0.1:0"];
            let given = |flag: &&str| extra.iter().any(|e| e.starts_with(&flag[..flag.len() - 11]));
            let ports: Vec<&str> = free.into_iter().filter(|f| !given(f)).collect();
            w3b(&[&["run", "--dir", shown][..], &ports, extra].concat())
        };
        let refused = run(&["--passphrase-file", wrong.to_str().unwrap()]);
        assert!(!refused.status.success() && text(&refused).contains("passphrase"), "{}", text(&refused));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for (flag, setting) in
            [("--http", "http.listen"), ("--mqtt", "mqtt.listen"), ("--admin", "admin.listen")]
        {
            let refused = run(&[&format!("{flag}={address}")]);
            let shown = text(&refused);
            assert!(
                !refused.status.success() && shown.contains(setting) && shown.contains(&address),
                "{flag}: {shown}"
            );
        }
        let process = home.start(&[]).await.unwrap();
        let second = run(&[]);
        assert!(text(&second).contains("another process runs a node"), "{}", text(&second));
        let no_project = w3b(&["project", "status", "--dir", shown, "nothing"]);
        assert!(text(&no_project).contains("serves no project \"nothing\""), "{}", text(&no_project));
        assert!(process.terminate().await.unwrap().success());
        let stopped = w3b(&["project", "list", "--dir", shown]);
        assert!(text(&stopped).contains("w3bstream run --dir"), "{}", text(&stopped));
        std::fs::write(dir.join("node.toml"), "[htpp]\n").unwrap();
        let refused = run(&[]);
        assert!(
            text(&refused).contains("line 1") && text(&refused).contains("\"http\""),
            "{}",
            text(&refused)
        );
    });
}

#[test]
fn a_data_folder_of_a_newer_version_is_left_alone() {
    block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        home.deploy(&process.admin).await.unwrap();
        assert!(process.terminate().await.unwrap().success());
        let databases: Vec<_> = databases(&home.node_dir());
        assert!(databases.len() >= 3, "journal, vfs and storage: {databases:?}");
        for path in &databases {
            let whole = std::fs::read(path).unwrap();
            let mut newer = whole.clone();
            // SQLite's file format, §1.3: the user version is the big-endian u32 at offset 60.
            newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
            std::fs::write(path, &newer).unwrap();
            let refused = home.start(&[]).await.err().map(|e| format!("{e:#}")).unwrap_or_default();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                refused.contains(name) && refused.contains("99") && refused.contains("newer"),
                "{name}: {refused}"
            );
            assert_eq!(std::fs::read(path).unwrap(), newer, "{name} was changed");
            std::fs::write(path, &whole).unwrap();
        }
        let process = home.start(&[]).await.unwrap();
        assert_eq!(settled(&process.admin).await.unwrap()["state"], "Ready");
        assert!(process.terminate().await.unwrap().success());
    });
}

/// All SQLite files below `dir`.
fn databases(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(databases(&path));
        } else if std::fs::read(&path).unwrap().starts_with(b"SQLite format 3\0") {
            found.push(path);
        }
    }
    found
}

fn set_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn wrong_usage_ends_with_code_2() {
    assert_eq!(w3b(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(w3b(&["demo", "--data", "x.csv"]).status.code(), Some(2));
    assert!(w3b(&["--help"]).status.success());
}
