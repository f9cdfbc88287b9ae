//! Live changes: who listens hears each message's life, and nobody else pays for it.

use w3bstream_endpoint::{FeedFilter, Heard};

use super::*;

#[test]
fn who_listens_hears_each_step_of_each_message_once() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        run.send(world.message(project, 0)).await.unwrap();
        let device = Did::key(&world.device.public()).to_string();
        let mut listener = world.feed.listen(FeedFilter {
            project: Some("p".parse().unwrap()),
            source: Some(device.clone()),
            ..FeedFilter::default()
        });
        let mut other = world
            .feed
            .listen(FeedFilter { event_type: Some("other".parse().unwrap()), ..FeedFilter::default() });
        let mut lives: BTreeMap<MessageId, Vec<MessageState>> = BTreeMap::new();
        for counter in 1..=20 {
            let record = world.message(project, counter);
            lives.insert(record.id(), Vec::new());
            run.send(record).await.unwrap();
        }
        while lives.values().any(|states| states.len() < LIFE.len()) {
            let heard = tokio::time::timeout(Duration::from_secs(10), listener.next()).await;
            let Some(Heard::Change(change)) = heard.expect("every step is told") else {
                panic!("all is told")
            };
            assert_eq!((change.source.as_str(), change.event_type.as_str()), (device.as_str(), "reading"));
            assert!(change.change.time > Timestamp::NONE && !change.change.reason.is_empty(), "{change:?}");
            // The message before anybody listened may still be on its way.
            if let Some(states) = lives.get_mut(&change.id) {
                states.push(change.change.state);
            }
        }
        // A message is durable before its block, and told by another task than that which orders.
        for (id, states) in lives {
            let mut sorted = states.clone();
            sorted.sort_unstable_by_key(|s| LIFE.iter().position(|l| l == s));
            assert_eq!(sorted, LIFE, "{id}: {states:?}");
            assert_eq!(states[states.len() - 2..], LIFE[2..], "{id}: {states:?}");
        }
        assert!(futures_util::FutureExt::now_or_never(other.next()).is_none(), "nothing of another type");
        run.stop().await;
    });
}
