//! Blocks that are run again: with the programs that they had, and with another.

use w3bstream_pipeline::{Field, ReplayRequest, ReplayState, ReplayStatus};

use super::*;

async fn replay(run: &Run, project: ProjectId, request: ReplayRequest) -> ReplayStatus {
    let begun = run.pipeline.start_replay(project, request).await.unwrap();
    assert_eq!(begun.state, ReplayState::Running);
    for _ in 0..1000 {
        let status = run.pipeline.replay(project).unwrap();
        if status.state != ReplayState::Running {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the replay does not end");
}

fn with(module: &str) -> ReplayRequest {
    ReplayRequest { module: Some(module.as_bytes().to_vec()), ..ReplayRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_tells_what_another_module_would_have_done() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
    let mut heights = Vec::new();
    for counter in 0..6 {
        run.send(world.message(project, counter)).await.unwrap();
        heights.push(run.pipeline.projects()[0].applied);
    }
    let before = run.pipeline.projects()[0].clone();

    let alone = replay(&run, project, ReplayRequest::default()).await;
    assert_eq!((alone.state, alone.calls, alone.gas_old), (ReplayState::Same, 6, 60), "{alone:?}");
    assert_eq!((alone.from, alone.to, alone.height), (1, before.applied, before.applied));
    let renamed = replay(&run, project, with("counts again")).await;
    assert_eq!((renamed.state, renamed.gas_new), (ReplayState::Same, 60), "{renamed:?}");
    assert_eq!(renamed.program, Some(Digest::of(b"counts again")));

    let trapped = replay(&run, project, with("fails")).await;
    let first = trapped.difference.clone().unwrap();
    assert_eq!((trapped.state, first.field, first.height), (ReplayState::Different, Field::Code, heights[0]));
    assert_eq!((first.old.as_str(), first.new.as_str()), ("0", "trap"));
    assert_eq!(first.message, Some(world.message(project, 0).id()));
    assert_eq!((first.applet.unwrap().as_str(), first.handler.unwrap().as_str()), ("counts", "run"));
    // The state at the beginning of a span is that of the blocks before it.
    let span = ReplayRequest { from: Some(heights[3]), to: Some(heights[4]), ..with("fails") };
    let later = replay(&run, project, span).await.difference.unwrap();
    assert_eq!((later.height, later.old.as_str()), (heights[3], "3"));

    let slower = replay(&run, project, with("slower")).await;
    let first = slower.difference.unwrap();
    assert_eq!((first.field, first.old.as_str(), first.new.as_str()), (Field::Gas, "10", "11"));
    let ignored = replay(&run, project, ReplayRequest { ignore_gas: true, ..with("slower") }).await;
    assert_eq!((ignored.state, ignored.gas_old, ignored.gas_new), (ReplayState::Same, 60, 66));

    let after = run.pipeline.projects()[0].clone();
    assert_eq!((after.applied, after.attested), (before.applied, before.applied), "nothing was ordered");
    let count =
        run.pipeline.applet_value(project, (&"counts".parse().unwrap(), None), b"count").await.unwrap();
    assert_eq!(count, Some(vec![6]));
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_cannot_be_is_refused() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts", "fails"]).await;
    let last = run.pipeline.projects()[0].applied;
    let span = |from, to| ReplayRequest { from: Some(from), to: Some(to), ..ReplayRequest::default() };
    for request in [span(0, 1), span(2, 1), span(1, last + 1)] {
        let refused = run.pipeline.start_replay(project, request).await.unwrap_err().to_string();
        assert!(refused.contains("no span of blocks"), "{refused}");
    }
    let refused = run.pipeline.start_replay(project, with("x")).await.unwrap_err().to_string();
    assert!(refused.contains("name the applet") && refused.contains("counts, fails"), "{refused}");
    let unknown = ReplayRequest { applet: Some("none".parse().unwrap()), ..with("x") };
    let refused = run.pipeline.start_replay(project, unknown).await.unwrap_err().to_string();
    assert!(refused.contains("there is no applet none"), "{refused}");
    assert!(run.pipeline.replay(project).is_none());
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_result_of_the_same_program_is_named_a_failure_of_determinism() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["fickle"]).await;
    for counter in 0..3 {
        FICKLE.store(u64::from(counter == 2), Ordering::SeqCst);
        run.send(world.message(project, counter)).await.unwrap();
    }
    let height = run.pipeline.projects()[0].applied;
    FICKLE.store(0, Ordering::SeqCst);
    let status = replay(&run, project, ReplayRequest::default()).await;
    let first = status.difference.unwrap();
    assert_eq!(
        (status.state, first.height, first.field),
        (ReplayState::NotDeterministic, height, Field::Gas)
    );
    assert_eq!((first.old.as_str(), first.new.as_str()), ("11", "10"));
    assert_eq!(first.message, Some(world.message(project, 2).id()));
    // What another module would do is told as long as what was is known.
    let earlier = ReplayRequest { to: Some(height - 1), ignore_gas: true, ..with("counts") };
    assert_eq!(replay(&run, project, earlier).await.state, ReplayState::Same);
    run.stop().await;
}
