//! Which versions were in force.

use w3bstream_journal::{Journal as _, RecordId, Write};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_as_they_were_accepted_and_found_again_in_blocks() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
    run.pipeline.put_program(b"fails".to_vec()).await.unwrap();
    let next = |version, programs: &[&str]| {
        let manifest = Manifest { version, ..world.manifest(AckMode::Executed, programs) };
        Control::Deploy(Box::new(manifest))
    };
    world.change(&run, project, next(2, &["fails"])).await.unwrap();
    // Ordered, and refused by the rules that all members follow.
    assert!(world.change(&run, project, next(2, &["counts"])).await.is_err());
    world.change(&run, project, next(7, &["counts"])).await.unwrap();
    let listed = run.pipeline.versions(project, 100).await.unwrap();
    let shown: Vec<_> = listed.iter().map(|v| (v.version, v.restores, v.applets.len())).collect();
    assert_eq!(shown, [(7, Some(1), 1), (2, None, 1), (1, None, 1)]);
    assert_eq!(listed[0].by, Did::key(&world.owner.public()));
    assert!(listed[0].height > listed[1].height && listed[0].time >= listed[1].time);
    assert_eq!(run.pipeline.versions(project, 1).await.unwrap(), listed[..1]);
    let tx = run.pipeline.version(project, 2).await.unwrap();
    assert_eq!((tx.id(), tx.verify(&world.owner.public())), (listed[1].control, Ok(())));
    assert!(run.pipeline.version(project, 3).await.is_err());
    run.stop().await;

    // A folder of a node that did not note them.
    let journal = world.journal.reopen();
    let all = RecordId { project, space: "deployments", key: Vec::new() };
    let keys = journal.records(&all, 100).await.unwrap();
    assert_eq!(keys.len(), 4, "each that was ordered");
    let forget = keys.into_iter().map(|(key, _)| Write::Record(RecordId { key, ..all.clone() }, None));
    journal.commit(forget.collect()).await.unwrap();
    let run = world.start().await;
    run.pipeline.resume().await.unwrap();
    assert_eq!(run.pipeline.versions(project, 100).await.unwrap(), listed);
    run.stop().await;
}
