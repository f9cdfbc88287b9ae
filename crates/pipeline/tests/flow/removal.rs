//! The end of a project: what came before it is kept and finished, and nothing comes after it.

use w3bstream_chain_dev::Mining;
use w3bstream_endpoint::Sessions;
use w3bstream_pipeline::UnderWay;
use w3bstream_types::{CronTrigger, Missed, TriggerOn, Verified};

use super::triggers::trigger;
use super::*;

const WITHOUT_SETTLEMENTS: ReceiptContent = ReceiptContent { payload: true, settlements: false };

impl Run {
    /// What is under way once every block is attested.
    async fn left(&self, project: ProjectId) -> UnderWay {
        loop {
            let left = self.pipeline.under_way(project).await.unwrap();
            if left.blocks == 0 {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn is_over(&self, world: &World, project: ProjectId, height: u64) {
        let status = self.pipeline.projects().pop().unwrap();
        assert_eq!((status.state, status.removed), ("Removed", Some(height)), "{status:?}");
        let refused = self.send(world.message(project, 1000)).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Removed, "{refused}");
        assert!(refused.detail.contains(&format!("height {height}")), "{refused}");
        let name = "p".parse().unwrap();
        let challenge = Sessions::challenge(&self.pipeline, &name).unwrap_err();
        assert_eq!(challenge.kind, RefusalKind::Removed);
        let registry = self.pipeline.registry();
        assert!(registry.project(&name).is_none() && registry.projects().is_empty(), "nobody connects to it");
        // Nothing changes it any more, also no higher version.
        let mut manifest = world.manifest(AckMode::Durable, &["counts"]);
        manifest.version = 9;
        for change in [Control::Deploy(Box::new(manifest)), Control::Remove, register(&key(9))] {
            let why = world.change(self, project, change).await.unwrap_err();
            assert!(why.contains(&format!("removed at height {height}")), "{why}");
        }
    }
}

#[test]
fn what_was_accepted_before_a_removal_is_executed_and_nothing_after_it() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        // Most of it waits to be ordered when the removal comes, and some comes while it is on its way.
        let early: Vec<Record> = (0..200).map(|c| world.message(project, c)).collect();
        for record in &early {
            run.send(record.clone()).await.unwrap();
        }
        let late = (200..300).map(|counter| run.send(world.message(project, counter)));
        let (removed, late) =
            tokio::join!(world.change(&run, project, Control::Remove), futures_util::future::join_all(late));
        let height = removed.unwrap();
        let mut accepted: Vec<MessageId> = early.iter().map(Record::id).collect();
        for answer in late {
            match answer {
                Ok(answer) => accepted.push(answer.id),
                Err(why) => {
                    assert!(matches!(why.kind, RefusalKind::NotReady | RefusalKind::Removed), "{why}")
                }
            }
        }
        for id in &accepted[..200] {
            assert_eq!(run.reaches(*id, MessageState::Attested).await, LIFE);
        }
        // One that was being stored at that moment may be rejected, and says so.
        for id in &accepted[200..] {
            let states = run.reaches(*id, MessageState::Attested).await;
            assert!(states == LIFE || states.contains(&MessageState::Rejected), "{states:?}");
        }
        for id in [accepted[0], accepted[199]] {
            assert!(run.pipeline.receipt(id, WITHOUT_SETTLEMENTS).await.unwrap().verify(None).is_ok());
        }
        assert_eq!(run.pipeline.versions(project, 10).await.unwrap().len(), 1, "its history stays");
        run.is_over(&world, project, height).await;
        let again = run.send(early[7].clone()).await.unwrap();
        assert!(again.duplicate && again.id == early[7].id(), "what was accepted stays accepted");
        // This node has nothing to publish with: that waits, and is told.
        let left = run.left(project).await;
        assert!(
            left.publications >= 200
                && left == UnderWay { publications: left.publications, ..UnderWay::default() },
            "{left}"
        );
        run.stop().await;

        let run = world.start().await;
        run.pipeline.resume().await.unwrap();
        run.is_over(&world, project, height).await;
        assert!(run.send(early[7].clone()).await.unwrap().duplicate);
        let receipt = run.pipeline.receipt(accepted[199], WITHOUT_SETTLEMENTS).await.unwrap();
        assert!(receipt.verify(None).is_ok());
        run.stop().await;
    });
}

#[test]
fn a_message_that_is_stored_too_late_is_rejected_and_a_forged_repeat_is_none() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let kept = world.message(project, 0);
        run.send(kept.clone()).await.unwrap();
        world.change(&run, project, Control::Remove).await.unwrap();
        // As by an admission that had begun before.
        let late = world.message(project, 1);
        let verified = Verified::by_signature(late.clone(), &world.device.public(), Timestamp(5)).unwrap();
        let store = w3bstream_storage::Store::new(Arc::new(world.storage.reopen()));
        store.append(vec![verified]).await.unwrap();
        assert_eq!(run.pipeline.under_way(project).await.unwrap().messages, 1);
        run.stop().await;
        let run = world.start().await;
        let states = run.reaches(late.id(), MessageState::Attested).await;
        assert!(states.contains(&MessageState::Rejected), "{states:?}");
        let counts = "counts".parse().unwrap();
        let count = run.pipeline.applet_value(project, (&counts, None), b"count").await.unwrap();
        assert_eq!(count, Some(vec![1]));
        // The same message with a signature of somebody else says nothing about what is stored.
        let forged = World { device: key(9), ..World::new() }.message_named(project, &world.device, 0);
        assert_eq!(forged.id(), kept.id());
        let refused = run.send(forged).await.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Removed);
        assert!(run.send(kept).await.unwrap().duplicate);
        run.stop().await;
    });
}

#[test]
fn only_the_owner_removes_a_project() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        let nonce = run.pipeline.next_nonce(project).await.unwrap();
        let foreign = ControlTx::sign(project, nonce, Control::Remove, &key(8));
        assert!(run.pipeline.submit(foreign).await.unwrap_err().to_string().contains("owner"));
        assert_eq!(run.send(world.message(project, 0)).await.unwrap().results.len(), 1);
        assert_eq!(run.pipeline.projects()[0].removed, None);
        // Another owner's project does not get the name.
        world.change(&run, project, Control::Remove).await.unwrap();
        let mut other = world.manifest(AckMode::Durable, &["counts"]);
        other.owner = Did::key(&key(8).public());
        let (id, change) = (other.project(), Control::Deploy(Box::new(other)));
        let why = run.pipeline.submit(ControlTx::sign(id, 1, change, &key(8))).await.unwrap_err().to_string();
        assert!(why.contains("has the name p") && why.contains("removed"), "{why}");
        run.stop().await;
    });
}

#[test]
fn what_was_attested_is_settled_after_the_removal() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let (project, executor) = world.deploy_settling(&run, None).await;
        world.chain.set_mining(Mining::OnDemand);
        for counter in 0..3 {
            run.send(world.message(project, counter)).await.unwrap();
        }
        world.change(&run, project, Control::Remove).await.unwrap();
        run.reaches(world.message(project, 2).id(), MessageState::Attested).await;
        let left = run.left(project).await;
        assert_eq!(left, UnderWay { settlements: 3, ..UnderWay::default() }, "{left}");
        let status = run.pipeline.projects().pop().unwrap();
        assert!(status.reason.contains("3 settlements go on"), "{}", status.reason);
        run.stop().await;
        let run = world.start().await;
        world.chain.set_mining(Mining::Instant);
        world.chain.mine();
        run.settled(project, 3).await;
        assert_eq!(world.executed(executor).await, 3);
        assert!(run.pipeline.under_way(project).await.unwrap().is_empty());
        run.stop().await;
    });
}

#[test]
fn triggers_and_canaries_end_with_their_project() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let cron = TriggerOn::Cron(CronTrigger { schedule: "* * * * *".into(), missed: Missed::All });
        let project = world.deploy_triggers(&run, 1, vec![trigger("minutes", cron)]).await;
        run.pipeline.start_canary(project, (None, b"count".to_vec())).await.unwrap();
        let told = async |more: usize| {
            let before = world.told().await.len();
            for _ in 0..100 {
                world.clock.0.fetch_add(60_000, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                if more > 0 && world.told().await.len() > before {
                    return true;
                }
            }
            world.told().await.len() > before
        };
        assert!(told(1).await, "it tells of minutes");
        world.change(&run, project, Control::Remove).await.unwrap();
        // A round that had begun may still tell of one.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!told(0).await, "it tells of none any more");
        assert!(run.pipeline.projects()[0].triggers.is_empty());
        let canary = run.pipeline.canaries(project).pop().unwrap();
        assert_eq!(canary.ended.as_deref(), Some("the project was removed"));
        let why = run.pipeline.start_canary(project, (None, b"count".to_vec())).await.unwrap_err();
        assert!(why.to_string().contains("was removed"), "{why}");
        run.stop().await;
    });
}
