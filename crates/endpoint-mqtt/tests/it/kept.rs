//! Sessions that outlive the endpoint.

use std::path::Path;
use std::sync::Arc;

use w3bstream_endpoint::{Endpoint, Publication, Publisher};
use w3bstream_endpoint_mqtt::{MqttConfig, MqttEndpoint};

use crate::support::{Client, Hello, bind, block_on, config, packet};

fn at(dir: &Path) -> MqttConfig {
    let open_topics = vec!["site/#".into()];
    MqttConfig { sessions_file: Some(dir.join("mqtt.db")), open_topics, ..config() }
}

async fn send(endpoint: &MqttEndpoint, payload: &str) {
    let publication =
        Publication { topic: "out/x".into(), payload: payload.into(), idempotency_key: String::new() };
    endpoint.publish(publication).await.unwrap();
}

/// Ends the endpoint: in good order, or as a crash would.
async fn end(endpoint: Arc<MqttEndpoint>, gently: bool) {
    if gently {
        endpoint.close().await.unwrap();
    }
    drop(endpoint);
    // The database's threads end with it.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}

#[test]
fn a_session_goes_on_after_a_restart() {
    block_on(async {
        for (v5, gently) in [(true, true), (true, false), (false, true), (false, false)] {
            let dir = tempfile::tempdir().unwrap();
            let endpoint = bind(at(dir.path())).await;
            let hello = Hello::new(v5, "dev").resuming();
            let mut client = Client::connect(&endpoint, &hello).await;
            assert_eq!(client.subscribe("out/#", 2).await, 2);
            send(&endpoint, "1").await;
            let (_, first, _, _) = client.message().await;
            client.write(&packet(0x50, &first.to_be_bytes())).await;
            assert_eq!(client.read().await.unwrap().0, 0x62);
            send(&endpoint, "2").await;
            let (_, second, _, _) = client.message().await;
            drop(client);
            while endpoint.metrics().connections_now > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            send(&endpoint, "3").await;
            end(endpoint, gently).await;

            let endpoint = bind(at(dir.path())).await;
            assert_eq!(endpoint.metrics().sessions_now, 1);
            let mut client = Client::connect(&endpoint, &hello).await;
            assert_eq!(client.connack[0], 1, "the session is there");
            assert_eq!(
                client.read().await,
                Some((0x62, first.to_be_bytes().to_vec())),
                "released, not sent again"
            );
            let again = client.message().await;
            assert_eq!((again.1, again.2, again.3), (second, true, b"2".to_vec()));
            let waited = client.message().await;
            assert_eq!((waited.2, waited.3), (false, b"3".to_vec()));
            for (kind, id) in [(0x70, first), (0x50, second), (0x50, waited.1)] {
                client.write(&packet(kind, &id.to_be_bytes())).await;
            }
            for id in [second, waited.1] {
                assert_eq!(client.read().await, Some((0x62, id.to_be_bytes().to_vec())));
                client.write(&packet(0x70, &id.to_be_bytes())).await;
            }
            // The answer to a ping leaves when what came before it is kept.
            client.write(&packet(0xc0, &[])).await;
            assert_eq!(client.read().await, Some((0xd0, vec![])));
            end(endpoint, gently).await;

            let endpoint = bind(at(dir.path())).await;
            let mut client = Client::connect(&endpoint, &hello).await;
            assert_eq!(client.connack[0], 1);
            assert!(client.is_quiet().await, "nothing is owed");
            send(&endpoint, "4").await;
            assert_eq!(client.message().await.3, b"4", "the subscription is there");
            end(endpoint, gently).await;
        }
    });
}

#[test]
fn a_session_that_ended_does_not_come_back() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = bind(at(dir.path())).await;
        let mut clean = Client::connect(&endpoint, &Hello::new(true, "clean")).await;
        assert_eq!(clean.subscribe("out/#", 1).await, 1);
        let mut kept = Client::connect(&endpoint, &Hello::new(true, "was-kept").resuming()).await;
        assert_eq!(kept.subscribe("out/#", 1).await, 1);
        // DISCONNECT with a session expiry of 0.
        kept.write(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0])).await;
        assert_eq!(kept.read().await, None);
        let mut left = Client::connect(&endpoint, &Hello::new(true, "unsubscribed").resuming()).await;
        assert_eq!(left.subscribe("out/#", 1).await, 1);
        left.write(&packet(0xa2, &[&[0, 3, 0][..], &crate::support::text("out/#")].concat())).await;
        assert_eq!(left.read().await, Some((0xb0, vec![0, 3, 0, 0])));
        end(endpoint, false).await;
        let endpoint = bind(at(dir.path())).await;
        assert_eq!((endpoint.metrics().sessions_now, endpoint.metrics().subscriptions_now), (1, 0));
        for (id, present) in [("clean", 0), ("was-kept", 0), ("unsubscribed", 1)] {
            let client = Client::connect(&endpoint, &Hello::new(true, id).resuming()).await;
            assert_eq!(client.connack[0], present, "{id}");
        }
    });
}

#[test]
fn a_retained_message_is_there_after_a_restart() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = bind(at(dir.path())).await;
        let mut client = Client::connect(&endpoint, &Hello::new(false, "c")).await;
        for (id, payload) in [(1_u8, "x"), (2, "kept")] {
            let body = [&crate::support::text("site/a")[..], &[0, id], payload.as_bytes()].concat();
            client.write(&packet(0x33, &body)).await;
            assert_eq!(client.puback().await.id, u16::from(id));
        }
        end(endpoint, false).await;
        let endpoint = bind(at(dir.path())).await;
        let mut client = Client::connect(&endpoint, &Hello::new(false, "d")).await;
        assert_eq!(client.subscribe("site/#", 0).await, 0);
        assert_eq!(client.message().await, ("site/a".into(), 0, false, b"kept".to_vec()));
    });
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_not_touched() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mqtt.db"), b"something else, and long enough to be looked at")
            .unwrap();
        let (clock, gate) = (w3bstream_types::SystemClock, w3bstream_endpoint::OpenGate);
        let error = MqttEndpoint::bind(at(dir.path()), Arc::new(clock), Arc::new(gate)).await.unwrap_err();
        assert!(error.to_string().contains("mqtt.db"), "{error}");
        let there = std::fs::read(dir.path().join("mqtt.db")).unwrap();
        assert!(there.starts_with(b"something else"));
    });
}
