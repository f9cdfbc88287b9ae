//! A real node whose engine runs in worker processes, and what happens when one is killed.

use std::path::Path;
use std::time::{Duration, Instant};

use hyper::{Method, header};
use serde_json::Value;
use w3bstream_node::{Admin, Http};
use w3bstream_types::{Control, DeviceRegistration, Envelope, ProjectId};

use crate::support::{Device, Home, Process};

const WITHIN: Duration = Duration::from_secs(60);

fn settings(workers: u32) -> [(&'static str, String); 2] {
    [("W3BSTREAM_ENGINE__PROCESS", "true".to_owned()), ("W3BSTREAM_ENGINE__WORKERS", workers.to_string())]
}

/// A project of one applet, whose handler does what `body` does.
fn write_project(home: &Home, name: &str, ack: &str, body: &str) -> std::path::PathBuf {
    let dir = home.dir.path().join(name);
    std::fs::create_dir(&dir).unwrap();
    let module = format!(
        r#"(module (memory (export "memory") 1) (func (export "run") (param i32) (result i32) {body}))"#
    );
    std::fs::write(dir.join("a.wasm"), wat::parse_str(module).unwrap()).unwrap();
    let text = format!(
        "name = \"{name}\"\nack = \"{ack}\"\n\n[[applets]]\nname = \"a\"\nmodule = \"a.wasm\"\n\
         limits = {{ gas = 10000000000 }}\nroutes = [{{ event-type = \"default\", handler = \"run\" }}]\n"
    );
    std::fs::write(dir.join("w3bstream.toml"), text).unwrap();
    dir
}

async fn deployed(home: &Home, admin: &Admin, dir: &Path) -> (Device, ProjectId) {
    let name = dir.file_name().unwrap().to_str().unwrap();
    let (done, shown) = home.cli(&["project", "deploy"], dir);
    assert!(done, "{shown}");
    let device = Device::new("device").unwrap();
    let registration =
        DeviceRegistration { device: device.key.did(), key: device.key.public(), event_types: vec![] };
    let change = Control::RegisterDevice(registration);
    admin.change(&name.parse().unwrap(), change, &home.owner).await.unwrap();
    let status = admin.get(&format!("/v1/projects/{name}")).await.unwrap();
    (device, status["id"].as_str().unwrap().parse().unwrap())
}

async fn send(process: &Process, project: &str, message: &Envelope) -> Value {
    let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
    let url = format!("{}/v1/projects/{project}/events", process.running.http);
    let bytes = w3bstream_wire::encode_envelope(message);
    let answer = Http::default().send((Method::POST, &url), &kind, bytes).await.unwrap();
    assert_eq!(answer.status.as_u16(), 201, "{:?}", answer.json());
    answer.json().unwrap()
}

/// The numbers of a row of the node's metrics.
async fn metric(process: &Process, row: &str) -> u64 {
    let url = format!("{}/metrics", process.running.http);
    let answer = Http::default().send((Method::GET, &url), &[], vec![]).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Process ids of a node's workers, with what they have used of the processor in hundredths of a second.
fn workers(node: u32) -> Vec<(u32, u64)> {
    let of = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let (state, parent, used) = (fields.first()?, fields.get(1)?, fields.get(11)?);
        let ours = *state != "Z" && parent.parse() == Ok(node);
        ours.then(|| used.parse().ok().map(|used| (pid, used)))?
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| of(entry.unwrap())).collect()
}

fn kill(pid: u32) {
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success(), "{pid} is gone");
}

/// Waits until something is there.
async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + WITHIN;
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_killed_worker_halts_its_project_and_no_other() {
    run(async {
        let home = Home::new().unwrap();
        let process = home.start(&settings(2)).await.unwrap();
        let slow = write_project(&home, "slow", "durable", "(loop $l (br $l)) (i32.const 0)");
        let quick = write_project(&home, "quick", "executed", "(i32.const 7)");
        let (slow, slow_id) = deployed(&home, &process.admin, &slow).await;
        let (quick, quick_id) = deployed(&home, &process.admin, &quick).await;
        let answer = send(&process, "quick", &quick.message(quick_id, 0)).await;
        assert_eq!(answer["results"][0]["code"], 7, "{answer}");
        let node = process.running.pid;
        let before = workers(node);
        assert!((1..=2).contains(&before.len()), "{before:?}");

        send(&process, "slow", &slow.message(slow_id, 0)).await;
        // Of the workers, the one that has the call is at work.
        let busy = until("nobody works", async || {
            let used = |pid| before.iter().find(|(p, _)| *p == pid).map_or(0, |(_, used)| *used);
            workers(node).into_iter().find(|(pid, now)| *now >= used(*pid) + 20).map(|(pid, _)| pid)
        });
        let busy = busy.await;
        let answer = send(&process, "quick", &quick.message(quick_id, 1)).await;
        assert_eq!(answer["results"][0]["code"], 7, "beside it: {answer}");
        kill(busy);
        let status = until("it does not halt", async || {
            let status = process.admin.get("/v1/projects/slow").await.unwrap();
            (status["state"] == "Halted").then_some(status)
        });
        let reason = status.await["reason"].as_str().unwrap().to_owned();
        for named in
            ["handler \"run\"", &format!("worker process {busy}"), "signal 9", "docs/worker-processes.md"]
        {
            assert!(reason.contains(named), "{named}: {reason}");
        }
        for counter in 2..5 {
            let answer = send(&process, "quick", &quick.message(quick_id, counter)).await;
            assert_eq!(answer["results"][0]["code"], 7, "afterwards: {answer}");
        }
        assert_eq!(metric(&process, "w3b_engine_workers_ended_total{reason=\"signal\"}").await, 1);
        assert!(metric(&process, "w3b_engine_workers ").await >= 1);
        assert!(metric(&process, "w3b_engine_worker_starts_total").await >= 2);
        assert!(process.terminate().await.unwrap().success());
        assert_eq!(workers(node), []);

        // It is halted still, until the operator says that it may go on.
        let process = home.start(&settings(2)).await.unwrap();
        let status = process.admin.get("/v1/projects/slow").await.unwrap();
        assert_eq!((&status["state"], status["reason"].as_str()), (&"Halted".into(), Some(&*reason)));
        let (refused, why) = home.cli(&["project", "resume"], "quick");
        assert!(!refused && why.contains("not halted"), "{why}");
        let (done, shown) = home.cli(&["project", "resume"], "slow");
        assert!(done && shown.contains("signal 9"), "{shown}");
        assert!(process.terminate().await.unwrap().success());
        let process = home.start(&settings(2)).await.unwrap();
        let status = process.admin.get("/v1/projects/slow").await.unwrap();
        assert_ne!(status["state"], "Halted", "{status}");
        let node = process.running.pid;
        until("it does not go on with its message", async || {
            workers(node).into_iter().find(|(_, used)| *used >= 50)
        })
        .await;
    });
}

#[test]
fn a_node_that_is_killed_leaves_no_workers() {
    run(async {
        let home = Home::new().unwrap();
        let mut process = home.start(&settings(1)).await.unwrap();
        let endless = write_project(&home, "slow", "durable", "(loop $l (br $l)) (i32.const 0)");
        let (device, id) = deployed(&home, &process.admin, &endless).await;
        send(&process, "slow", &device.message(id, 0)).await;
        let node = process.running.pid;
        let busy = until("nobody works", async || {
            workers(node).into_iter().find(|(_, used)| *used >= 50).map(|(pid, _)| pid)
        });
        let busy = busy.await;
        let command = std::fs::read_to_string(format!("/proc/{busy}/cmdline")).unwrap();
        assert!(command.contains("engine-worker\0--engine\0wasmer\0--settings\0"), "{command}");
        kill(node);
        process.ended().await.unwrap();
        until("it goes on without its node", async || {
            let stat = std::fs::read_to_string(format!("/proc/{busy}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])).then_some(())
        })
        .await;
    });
}

#[test]
fn what_is_wrong_with_the_engines_settings_is_said_by_the_node() {
    run(async {
        let home = Home::new().unwrap();
        let mut wrong = settings(1).to_vec();
        wrong.push(("W3BSTREAM_ENGINE__INSTANCE", "3".to_owned()));
        let why = home.start(&wrong).await.err().expect("it must not start").to_string();
        assert!(why.contains("[engine] of node.toml") && why.contains("`instance`"), "{why}");
    });
}
