//! A module beside an applet's own, on a node in a process of its own.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deploy::{Place, module};
use crate::support::{Device, Home, Process, settled};

async fn send(process: &Process, device: &Device, range: std::ops::Range<u32>) {
    let project = process.admin.get("/v1/projects/cold-chain").await.unwrap();
    let project = project["id"].as_str().unwrap().parse().unwrap();
    for counter in range {
        let answer = process.send(&device.message(project, counter)).await.unwrap();
        assert_eq!(answer["results"][0]["code"], 1, "{answer}");
    }
}

/// Waits until so many calls were compared.
async fn compared(place: &Place<'_>, calls: u64) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (code, all) = place.run(&["applet", "canary", "status", "--project", "cold-chain"]);
        assert_eq!(code, Some(0), "{all}");
        if all[0]["calls"].as_u64().unwrap() + all[0]["dropped"].as_u64().unwrap() >= calls {
            return all[0].clone();
        }
        assert!(Instant::now() < until, "{all}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_canary_runs_on_live_messages_and_harms_nobody() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        let place = Place::new(&home);
        place.deploy(&module(1, "one", "x"));
        let (device, _) = home.device(&process.admin).await.unwrap();
        let file = home.dir.path().join("canary.wasm");
        let start = ["applet", "canary", "start", "--project", "cold-chain", "--applet", "a", "--wasm"];
        let start = |module: &[u8]| {
            std::fs::write(&file, module).unwrap();
            place.run(&[&start[..], &[file.to_str().unwrap()]].concat())
        };
        let stop = ["applet", "canary", "stop", "--project", "cold-chain"];

        let (code, refused) = start(&wat::parse_str("(module (memory (export \"memory\") 1))").unwrap());
        assert!(code == Some(1) && refused["error"].as_str().unwrap().contains("no handler"), "{refused}");
        let (code, begun) = start(&module(1, "two", "x"));
        assert_eq!((code, &begun["applet"]), (Some(0), &"a".into()), "{begun}");
        send(&process, &device, 0..20).await;
        let status = compared(&place, 20).await;
        assert_eq!((&status["calls"], &status["differences"]["write"]), (&20.into(), &20.into()), "{status}");
        assert_eq!((&status["first"][0]["old"], &status["first"][0]["new"]), (&"one".into(), &"two".into()));
        let path = "/v1/projects/cold-chain/state/a/k";
        assert_eq!(process.admin.get_bytes(path).await.unwrap(), b"one", "nothing is applied");
        let metrics = format!("{}/metrics", process.running.http);
        let metrics = w3bstream_node::Http::default().send((hyper::Method::GET, &metrics), &[], vec![]).await;
        let metrics = String::from_utf8_lossy(&metrics.unwrap().body).into_owned();
        let line = "w3b_canary_differences_total{project=\"cold-chain\",applet=\"a\",field=\"write\"} 20";
        assert!(metrics.contains(line), "{metrics}");
        let (code, ended) = place.run(&stop);
        assert_eq!((code, &ended["ended"]), (Some(0), &"it was stopped".into()), "{ended}");

        // One that never ends is ended by its gas, and one that traps by its trap.
        for (body, field) in [("(loop (br 0)) (i32.const 0)", "out-of-gas"), ("unreachable", "trap")] {
            let module = format!(
                "(module (memory (export \"memory\") 1) (func (export \"run\") (param i32) (result i32) {body}))"
            );
            let (code, begun) = start(&wat::parse_str(module).unwrap());
            assert_eq!(code, Some(0), "{begun}");
            let next = if field == "trap" { 22 } else { 20 };
            send(&process, &device, next..next + 2).await;
            let status = compared(&place, 2).await;
            assert_eq!((&status["differences"]["code"], &status["first"][0]["new"]), (&2.into(), &field.into()));
            let (code, _) = place.run(&stop);
            assert_eq!(code, Some(0));
        }
        let project = settled(&process.admin).await.unwrap();
        assert_eq!(project["state"], "Ready", "{project}");
        let (code, same) = place.run(&["applet", "replay", "--project", "cold-chain"]);
        assert_eq!((code, &same["state"]), (Some(0), &"same".into()), "{same}");
        assert!(process.terminate().await.unwrap().success());
    });
}
