//! The commands around a project, against a node in a process of its own: `project new|check`, `logs`, `top`. That what
//! `project new` writes also builds is tested by scripts/test-kits, which has the compilers.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Home, binary};

fn w3b(dir: &Path, words: &[&str]) -> (bool, String) {
    let output = Command::new(binary()).args(words).current_dir(dir).output().expect("the binary starts");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Makes a project and puts the committed module of the same sources where its build would.
fn make(dir: &Path, name: &str, language: &str) -> Value {
    let (made, shown) = w3b(dir, &["project", "new", name, "--lang", language, "--json"]);
    assert!(made, "{shown}");
    let folder = dir.join(name);
    let said: Value = serde_json::from_str(&shown).unwrap();
    for file in said["files"].as_array().unwrap() {
        let text = std::fs::read_to_string(folder.join(file.as_str().unwrap())).unwrap();
        assert!(!text.trim().is_empty(), "{file} is empty");
    }
    let manifest = std::fs::read_to_string(folder.join("w3bstream.toml")).unwrap();
    let module = manifest.split("module = \"").nth(1).and_then(|t| t.split('"').next()).unwrap();
    let module = folder.join(module);
    std::fs::create_dir_all(module.parent().unwrap()).unwrap();
    // No module of Go's is committed: it has Go's runtime in it.
    let built = if language == "go" { "c" } else { language };
    std::fs::copy(format!("../artefacts/applets/counter.{built}.wasm"), module).unwrap();
    said
}

#[test]
fn a_new_project_is_complete_and_deploys_in_every_language() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let dir = home.project_dir().unwrap();
        for (language, files) in [
            ("rust", &["Cargo.toml", "src/lib.rs", "w3bstream-sdk/src/lib.rs", ".cargo/config.toml"][..]),
            (
                "assemblyscript",
                &["package.json", "assembly/index.ts", "assembly/w3bstream.ts", "tests/host.mjs"],
            ),
            ("c", &["Makefile", "src/applet.c", "w3bstream.h", "w3bstream_mock.h", "tests/test.c"]),
            (
                "go",
                &["go.mod", "main.go", "main_test.go", "w3bstream/w3bstream.go", "w3bstream/host_wasm.go"],
            ),
        ] {
            let name = format!("kit-{language}");
            let said = make(&dir, &name, language);
            let written: Vec<&str> =
                said["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            for file in files {
                assert!(written.contains(file), "{language}: {written:?}");
            }
            let (good, shown) = w3b(&dir.join(&name), &["project", "check"]);
            assert!(good && shown.contains("handlers") && shown.contains("count"), "{language}: {shown}");
            let (deployed, shown) = home.cli(&["project", "deploy"], dir.join(&name));
            assert!(deployed, "{language}: {shown}");
            let key = home.dir.path().join(format!("{name}.jwk"));
            let (added, shown) = home.cli(&["device", "add", "--project", &name], &key);
            assert!(added, "{shown}");
            let key = key.to_str().unwrap();
            let (sent, shown) =
                home.cli(&["send", "--project", &name, "--type", "door", "--device", key], "{}");
            let answer: Value = serde_json::from_str(&shown).unwrap();
            assert!(sent && answer["results"][0]["code"] == 0, "{language}: {shown}");
            let state = format!("/v1/projects/{name}/state/{name}/count");
            assert_eq!(process.admin.get_bytes(&state).await.unwrap(), b"1");
        }
        let (again, shown) = w3b(&dir, &["project", "new", "kit-c", "--lang", "c"]);
        assert!(!again && shown.contains("exists already"), "{shown}");
        let (unknown, shown) = w3b(&dir, &["project", "new", "other", "--lang", "cobol"]);
        assert!(!unknown && shown.contains("assemblyscript") && !dir.join("other").exists(), "{shown}");
        assert!(process.terminate().await.unwrap().success());
    });
}

#[test]
fn check_says_what_deploying_would() {
    let dir = tempfile::tempdir().unwrap();
    let (made, shown) = w3b(dir.path(), &["project", "new", "doors", "--lang", "c"]);
    assert!(made && shown.contains("make test") && shown.contains("project dev"), "{shown}");
    let project = dir.path().join("doors");
    let (good, shown) = w3b(&project, &["project", "check"]);
    assert!(
        !good && shown.contains("cannot read its module") && shown.contains("build/doors.wasm"),
        "{shown}"
    );
    std::fs::create_dir(project.join("build")).unwrap();
    let module = project.join("build/doors.wasm");
    std::fs::copy("../artefacts/applets/geofence.c.wasm", &module).unwrap();
    let (good, shown) = w3b(&project, &["project", "check", "w3bstream.toml"]);
    assert!(!good && shown.contains("no handler \"count\"") && shown.contains("position"), "{shown}");
    std::fs::write(&module, "no module").unwrap();
    let (good, shown) = w3b(&project, &["project", "check"]);
    assert!(!good && shown.contains("applet doors"), "{shown}");
    std::fs::copy("../artefacts/applets/counter.c.wasm", &module).unwrap();
    let (good, shown) = w3b(dir.path(), &["project", "check", "doors", "--json"]);
    let said: Value = serde_json::from_str(&shown).unwrap();
    assert!(good && said["applets"][0]["handlers"].to_string().contains("count"), "{shown}");
    let manifest = std::fs::read_to_string(project.join("w3bstream.toml")).unwrap();
    std::fs::write(project.join("w3bstream.toml"), manifest.replace("ack =", "akc =")).unwrap();
    let (good, shown) = w3b(&project, &["project", "check"]);
    assert!(!good && shown.contains("line 3") && shown.contains("\"ack\""), "{shown}");
}

/// What a command line for this node prints as JSON.
fn json(home: &Home, words: &[&str]) -> Value {
    let output = home.command(words).arg("--json").output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}: {text}"))
}

#[test]
fn logs_and_top_show_what_applets_do() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let (deployed, shown) = home.cli(&["project", "deploy"], "../examples/applets/log");
        assert!(deployed, "{shown}");
        let key = home.dir.path().join("device.jwk");
        let (added, shown) = home.cli(&["device", "add", "--project", "log"], &key);
        assert!(added, "{shown}");
        let key = key.to_str().unwrap();
        let send = |text: &str| {
            let (sent, shown) =
                home.cli(&["send", "--project", "log", "--type", "greeting", "--device", key], text);
            assert!(sent, "{shown}");
        };
        for text in ["one", "two", "three"] {
            send(text);
        }
        let lines = json(&home, &["logs", "--project", "log", "--lines", "2"]);
        let lines = lines.as_array().unwrap().iter();
        let texts: Vec<_> =
            lines.map(|l| (l["number"].as_u64(), l["text"].as_str().unwrap().to_owned())).collect();
        assert_eq!(texts, [(Some(2), "greeting: two".to_owned()), (Some(3), "greeting: three".to_owned())]);
        assert_eq!(json(&home, &["logs", "--project", "log", "--level", "3"]), serde_json::json!([]));
        assert_eq!(json(&home, &["logs", "--project", "log", "--applet", "other"]), serde_json::json!([]));
        follow(&home, &send);
        let rows = json(&home, &["top", "--once", "--every", "0.2"]);
        assert!(rows[0]["project"] == "log" && rows[0]["devices"] == 1, "{rows}");
        assert!(rows[0]["height"].as_u64() > Some(3) && rows[0]["in/s"].is_f64(), "{rows}");
        let shown = home.command(&["top", "--once", "--every", "0.2"]).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.starts_with("PROJECT") && shown.contains("\nlog "), "{shown}");
        assert!(process.terminate().await.unwrap().success());
    });
}

/// `logs --follow` prints what comes while it runs, and what was there before once.
fn follow(home: &Home, send: &impl Fn(&str)) {
    use std::io::{BufRead as _, BufReader};
    let mut command = home.command(&["logs", "--project", "log", "--follow", "--json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    for text in ["one", "two", "three"] {
        assert_eq!(next()["text"], format!("greeting: {text}"));
    }
    send("four");
    send("five");
    for (text, number) in [("greeting: four", 4), ("greeting: five", 5)] {
        let line = next();
        assert!(line["text"] == text && line["number"] == number, "{line}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
