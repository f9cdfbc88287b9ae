//! What the node publishes through brokers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use w3bstream_endpoint::{ErrorKind, Publication, Publisher as _};
use w3bstream_endpoint_brokers::{BrokerConfig, BrokersConfig, BrokersEndpoint};

use crate::fake::{Fake, V4, V5, block_on, metrics, open, packet, quick, until};

fn command() -> Publication {
    Publication {
        topic: "w3b/kit/cmd/did:key:z6".to_owned(),
        payload: b"open".to_vec(),
        idempotency_key: "out-7".to_owned(),
    }
}

async fn online(endpoint: &BrokersEndpoint) {
    until("the connection", || endpoint.status()[0].connected).await;
}

#[test]
fn a_publication_is_done_when_the_broker_has_it() {
    block_on(async {
        for speech in [V5, V4] {
            let fake = Fake::new(speech).await;
            let endpoint = fake.open();
            let mut conn = fake.accept().await;
            online(&endpoint).await;
            let publishing = endpoint.publish(command());
            tokio::pin!(publishing);
            let (topic, id, rest) = tokio::select! {
                message = conn.message() => message,
                done = &mut publishing => panic!("done before the broker has it: {done:?}"),
            };
            assert_eq!(topic, "w3b/kit/cmd/did:key:z6");
            assert!(rest.ends_with(b"open"), "{rest:?}");
            let key = [&[0x26, 0, 6][..], b"w3b-id", &[0, 5], b"out-7"].concat();
            assert_eq!(rest.windows(key.len()).any(|w| w == key), conn.v5, "the key: {rest:?}");
            assert!(
                timeout(Duration::from_millis(100), &mut publishing).await.is_err(),
                "not acknowledged yet"
            );
            conn.write(&packet(0x40, &id.to_be_bytes())).await;
            publishing.await.unwrap();
            assert_eq!((metrics(&endpoint).sent, metrics(&endpoint).sent_acknowledged), (1, 1));
        }
    });
}

#[test]
fn what_no_broker_has_is_to_be_published_again() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let endpoint = fake.open();
        let away = endpoint.publish(command()).await.unwrap_err();
        assert_eq!(away.kind(), ErrorKind::Overloaded, "{away}");
        let mut conn = fake.accept().await;
        online(&endpoint).await;

        let (refused, ()) = tokio::join!(endpoint.publish(command()), async {
            let (_, id, _) = conn.message().await;
            let [high, low] = id.to_be_bytes();
            conn.write(&packet(0x40, &[high, low, 0x87])).await;
        });
        assert!(refused.unwrap_err().to_string().contains("NotAuthorized"));

        let (cut, ()) = tokio::join!(endpoint.publish(command()), async move {
            conn.message().await;
            drop(conn);
        });
        assert!(cut.unwrap_err().to_string().contains("ended before the acknowledgement"));
    });
}

#[test]
fn a_broker_that_never_acknowledges_holds_up_nobody_for_long() {
    block_on(async {
        let fake = Fake::new(V4).await;
        let config = BrokersConfig {
            publish_timeout: Duration::from_millis(100),
            max_outgoing_in_flight: 2,
            max_queued_messages: 3,
            ..quick(fake.broker())
        };
        let endpoint = open(config);
        let mut conn = fake.accept().await;
        online(&endpoint).await;
        let tasks: Vec<_> = (0..8).map(|_| Arc::clone(&endpoint)).collect();
        let publish = |endpoint: Arc<BrokersEndpoint>| async move { endpoint.publish(command()).await };
        let mut errors = Vec::new();
        for endpoint in tasks {
            errors.push(publish(endpoint).await.unwrap_err().to_string());
        }
        // Two on their way, three in the queue, and then no more.
        assert!(errors[..5].iter().all(|e| e.contains("publish_timeout")), "{errors:?}");
        assert!(errors[5..].iter().all(|e| e.contains("max_queued_messages")), "{errors:?}");
        conn.message().await;
        conn.message().await;
        assert!(conn.is_quiet().await, "no more than max_outgoing_in_flight are on their way");
    });
}

#[test]
fn a_topic_with_wildcards_is_refused_and_a_broker_without_publications_gets_none() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let endpoint = open(quick(BrokerConfig { publish: false, ..fake.broker() }));
        let mut conn = fake.accept().await;
        online(&endpoint).await;
        let wrong = Publication { topic: "a/+".to_owned(), ..command() };
        assert_eq!(endpoint.publish(wrong).await.unwrap_err().kind(), ErrorKind::Config);
        endpoint.publish(command()).await.unwrap();
        assert!(conn.is_quiet().await);
    });
}

#[test]
fn limits_of_the_broker_are_kept() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let endpoint = fake.open();
        let mut conn = fake.knock().await;
        // Receive Maximum 1, Maximum Packet Size 100.
        conn.grant(false, &[0x21, 0, 1, 0x27, 0, 0, 0, 100]).await;
        let (_, subscribe) = conn.read().await.unwrap();
        conn.write(&packet(0x90, &[subscribe[0], subscribe[1], 0, 1])).await;
        online(&endpoint).await;
        let large = Publication { payload: vec![b'x'; 100], ..command() };
        assert!(endpoint.publish(large).await.unwrap_err().to_string().contains("so large"));
        let (first, second, ()) =
            tokio::join!(endpoint.publish(command()), endpoint.publish(command()), async {
                let (_, id, _) = conn.message().await;
                assert!(conn.is_quiet().await, "one at a time");
                conn.write(&packet(0x40, &id.to_be_bytes())).await;
                let (_, id, _) = conn.message().await;
                conn.write(&packet(0x40, &id.to_be_bytes())).await;
            });
        first.and(second).unwrap();
    });
}
