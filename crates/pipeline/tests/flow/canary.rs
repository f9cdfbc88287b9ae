//! Modules that run beside an applet's own.

use w3bstream_pipeline::CanaryStatus;

use super::*;

fn applet() -> w3bstream_types::AppletName {
    "counts".parse().unwrap()
}

impl Run {
    async fn beside(&self, project: ProjectId, module: &str) -> Result<CanaryStatus, String> {
        let started = self.pipeline.start_canary(project, (None, module.as_bytes().to_vec())).await;
        started.map_err(|e| e.to_string())
    }

    /// Waits until the canary has run or dropped so many calls, or has ended.
    async fn compared(&self, project: ProjectId, calls: u64) -> CanaryStatus {
        for _ in 0..1000 {
            let status = self.pipeline.canaries(project).pop().unwrap();
            if status.calls + status.dropped >= calls || status.ended.is_some() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the canary does not get there: {:?}", self.pipeline.canaries(project));
    }

    async fn count(&self, project: ProjectId) -> u8 {
        self.pipeline.applet_value(project, (&applet(), None), b"count").await.unwrap().unwrap()[0]
    }
}

/// Roots and outputs of a project that got so many messages, with a canary beside it or without.
async fn results(canary: Option<&str>) -> Vec<(Digest, Vec<Output>)> {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
    if let Some(canary) = canary {
        run.beside(project, canary).await.unwrap();
    }
    for counter in 0..10 {
        let accepted = run.send(world.message(project, counter)).await.unwrap();
        assert_eq!(accepted.results[0].code, i32::try_from(counter).unwrap());
    }
    if canary.is_some() {
        run.compared(project, 10).await;
    }
    let height = run.pipeline.projects()[0].applied;
    run.stop().await;
    let (vfs, mut all) = (world.vfs.reopen(), Vec::new());
    for height in 1..=height {
        let (root, _, outputs) = vfs.result(project, height).await.unwrap().unwrap();
        all.push((root, outputs));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_changes_nothing_of_its_project() {
    let alone = results(None).await;
    assert!(alone.len() > 10);
    for canary in ["jumps", "fails", "hoards", "panics"] {
        assert_eq!(results(Some(canary)).await, alone, "{canary}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_has_a_state_of_its_own_and_tells_what_differs() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
    run.send(world.message(project, 0)).await.unwrap();
    let begun = run.beside(project, "jumps").await.unwrap();
    assert_eq!((begun.calls, begun.since), (0, run.pipeline.projects()[0].applied));
    for counter in 1..6 {
        run.send(world.message(project, counter)).await.unwrap();
    }
    let status = run.compared(project, 5).await;
    assert_eq!((status.calls, status.dropped, status.gas_old, status.gas_new), (5, 0, 50, 50), "{status:?}");
    // The second call of it finds 2 and writes 12; from then on it returns what it has counted itself.
    assert_eq!(status.differences, BTreeMap::from([("write", 1), ("code", 3)]));
    let shown: Vec<_> = status.first.iter().map(|d| (d.old.as_str(), d.new.as_str())).collect();
    assert_eq!(shown, [("0x03", "0x0c"), ("3", "12"), ("4", "22"), ("5", "32")]);
    assert_eq!(status.first[0].message, Some(world.message(project, 2).id()));
    assert_eq!(run.count(project).await, 6);
    let metrics = run.pipeline.metrics();
    let line = "w3b_canary_differences_total{project=\"p\",applet=\"counts\",field=\"code\"} 3\n";
    assert!(metrics.contains(line), "{metrics}");
    let stopped = run.pipeline.stop_canary(project, &applet()).unwrap();
    assert_eq!(stopped.ended.as_deref(), Some("it was stopped"));
    run.send(world.message(project, 6)).await.unwrap();
    assert_eq!(run.pipeline.canaries(project)[0].calls, 5, "it gets nothing more");

    // Gas alone is counted, and kept once.
    run.beside(project, "slower").await.unwrap();
    for counter in 7..10 {
        run.send(world.message(project, counter)).await.unwrap();
    }
    let status = run.compared(project, 3).await;
    assert_eq!((status.differences.get("gas"), status.first.len()), (Some(&3), 1), "{status:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_falls_behind_sees_the_state_of_its_block() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
    run.beside(project, "sleeps").await.unwrap();
    for counter in 0..20 {
        run.send(world.message(project, counter)).await.unwrap();
    }
    let status = run.compared(project, 20).await;
    assert_eq!((status.calls, status.dropped, status.differences.len()), (20, 0, 0), "{status:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_queue_are_dropped_and_counted_and_nothing_else_goes_wrong() {
    let mut world = World::new();
    world.canaries.queue_calls = 3;
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
    run.beside(project, "sleeps").await.unwrap();
    // Together, so that a block has more of them than there is room for; then one by one.
    for answer in futures_util::future::join_all((0..32).map(|n| run.send(world.message(project, n)))).await {
        answer.unwrap();
    }
    for counter in 32..40 {
        run.send(world.message(project, counter)).await.unwrap();
        run.compared(project, counter.into()).await;
    }
    let status = run.compared(project, 40).await;
    assert!(status.dropped > 0 && status.calls > 0, "{status:?}");
    assert_eq!((status.calls + status.dropped, status.differences.len()), (40, 0), "{status:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_harm_ends_a_canary() {
    let mut world = World::new();
    world.canaries.bytes = 6000;
    world.canaries.most = 1;
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
    let mut counter = 0;
    for (module, why) in
        [("hoards", "its state differs in more than 6000 bytes"), ("panics", "its engine panicked")]
    {
        run.beside(project, module).await.unwrap();
        let refused = run.beside(project, module).await.unwrap_err();
        assert!(refused.contains("limits.canaries"), "{refused}");
        for _ in 0..14 {
            run.send(world.message(project, counter)).await.unwrap();
            counter += 1;
        }
        let status = run.compared(project, 100).await;
        assert!(status.ended.as_deref().unwrap().contains(why), "{status:?}");
    }
    assert_eq!(run.count(project).await, 28);
    run.stop().await;
}
