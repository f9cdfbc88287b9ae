//! A project that its owner removes, on a node in a process of its own: with the command, and with the power gone at each
//! step of it.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use hyper::{Method, header};
use serde_json::Value;
use w3bstream_node::Http;
use w3bstream_types::receipt::Receipt;
use w3bstream_types::{Envelope, ProjectId};

use crate::deploy::{Place, module};
use crate::support::{Device, Home, Process, id_of, settled};

/// What a device is told: the status, and a refusal's code.
async fn answer(process: &Process, message: &Envelope) -> (u16, String) {
    let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
    let url = format!("{}/v1/projects/cold-chain/events", process.running.http);
    let bytes = w3bstream_wire::encode_envelope(message);
    let answer = Http::default().send((Method::POST, &url), &kind, bytes).await.unwrap();
    let code = answer.json().unwrap()["code"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), code)
}

async fn removed(process: &Process) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let project = process.admin.get("/v1/projects/cold-chain").await.unwrap();
        if project["state"] == "Removed" {
            return project;
        }
        assert!(Instant::now() < until, "{project}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What was sent is kept and is shown, and nothing more is taken.
async fn is_over(process: &Process, (device, project): (&Device, ProjectId), sent: u32) {
    let status = removed(process).await;
    assert!(status["removed"].as_u64().is_some(), "{status}");
    for counter in 0..sent {
        let message = device.message(project, counter);
        let id = id_of(&message);
        let life = process.admin.get(&format!("/v1/messages/{id}")).await.unwrap();
        let states: Vec<_> = life["states"].as_array().unwrap().iter().map(|s| s["state"].clone()).collect();
        assert_eq!(states, ["stored", "ordered", "executed", "attested"], "message {counter}");
        assert_eq!(answer(process, &message).await, (200, String::new()), "a repeat is known");
        let receipt = process.admin.get_bytes(&format!("/v1/receipts/{id}?payload=true")).await.unwrap();
        assert!(Receipt::from_json(&receipt).unwrap().verify(None).is_ok(), "its receipt verifies");
    }
    assert_eq!(answer(process, &device.message(project, 5000)).await, (410, "removed".into()));
}

#[test]
fn the_owner_removes_a_project_and_what_it_did_stays_to_be_read() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let place = Place::new(&home);
        place.deploy(&module(1, "one", "x"));
        let (device, project) = home.device(&process.admin).await.unwrap();
        for counter in 0..10 {
            process.send(&device.message(project, counter)).await.unwrap();
        }
        let (code, told) = place.run(&["project", "remove", "cold-chain"]);
        assert!(code == Some(1) && told["error"].as_str().unwrap().contains("--yes"), "{told}");
        assert_eq!(answer(&process, &device.message(project, 10)).await.0, 201, "it was not removed");
        let (code, told) = place.run(&["project", "remove", "cold-chain", "--yes"]);
        assert_eq!((code, &told["before"]), (Some(0), &false.into()), "{told}");
        let height = told["removed"].as_u64().unwrap();
        assert!(told["under_way"].as_object().unwrap().values().all(|n| n == 0), "{told}");
        is_over(&process, (&device, project), 11).await;
        let (code, all) = place.run(&["project", "list"]);
        assert_eq!(
            (code, &all[0]["state"], &all[0]["removed"]),
            (Some(0), &"Removed".into(), &height.into())
        );
        let (code, status) = place.run(&["project", "status", "cold-chain"]);
        assert_eq!((code, status["versions"].as_array().unwrap().len()), (Some(0), 1), "{status}");
        let (code, again) = place.run(&["project", "remove", "cold-chain"]);
        assert_eq!((code, &again["removed"], &again["before"]), (Some(0), &height.into(), &true.into()));
        for (words, last) in [
            (&["project", "deploy"][..], place.dir.to_str().unwrap()),
            (&["project", "rollback"], "cold-chain"),
        ] {
            let (done, told) = home.cli(words, last);
            assert!(!done, "{told}");
            assert!(words[1] == "rollback" || told.contains("another name"), "{told}");
        }
        let (_, replayed) = place.run(&["applet", "replay", "--project", "cold-chain"]);
        assert_eq!(replayed["state"], "same", "its blocks can still be run again: {replayed}");
        assert!(process.terminate().await.unwrap().success());
        let process = home.start(&[]).await.unwrap();
        is_over(&process, (&device, project), 11).await;
        assert!(process.terminate().await.unwrap().success());
    });
}

/// The steps of a removal, with how often each is passed before it since the start.
const STEPS: [(&str, u64); 8] = [
    ("order.built", 1),
    ("order.committed", 0),
    ("order.journaled", 0),
    ("execute.started", 0),
    ("execute.ran", 0),
    ("execute.applied", 0),
    ("attest.signed", 0),
    ("attest.journaled", 0),
];

#[test]
fn a_removal_goes_on_wherever_the_node_was_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (point, before) in STEPS {
            let home = Home::new().unwrap();
            let process = home.start(&[]).await.unwrap();
            let place = Place::new(&home);
            place.deploy(&module(1, "one", "x"));
            let (device, project) = home.device(&process.admin).await.unwrap();
            for counter in 0..3 {
                process.send(&device.message(project, counter)).await.unwrap();
            }
            settled(&process.admin).await.unwrap();
            process.terminate().await.unwrap();

            let mark = home.dir.path().join("mark");
            let env = [
                (w3bstream_tests::POINT, point.to_owned()),
                (w3bstream_tests::AFTER, (before + 1).to_string()),
                (w3bstream_tests::MARK, mark.display().to_string()),
            ];
            let mut process = home.start(&env).await.unwrap();
            let remove = home.command(&["project", "remove", "cold-chain", "--yes"]).output();
            let status = process.ended().await.unwrap();
            assert!(status.signal() == Some(9) && mark.exists(), "{point}: {status} {remove:?}");

            let process = home.start(&[]).await.unwrap();
            is_over(&process, (&device, project), 3).await;
            assert!(process.terminate().await.unwrap().success());
        }
    });
}
