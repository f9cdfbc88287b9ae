//! Wills of sessions that outlive the endpoint.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use w3bstream_endpoint::Endpoint as _;
use w3bstream_endpoint_mqtt::{MqttConfig, MqttEndpoint};
use w3bstream_types::Submission;

use crate::support::{Client, Hello, TOPIC, bind, block_on, bodies, body, config, counted, packet};

fn at(dir: &Path) -> MqttConfig {
    MqttConfig { sessions_file: Some(dir.join("mqtt.db")), open_topics: vec!["site/#".into()], ..config() }
}

async fn end(endpoint: Arc<MqttEndpoint>, gently: bool) {
    if gently {
        endpoint.close().await.unwrap();
    }
    drop(endpoint);
    // The database's threads end with it.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn watch(endpoint: &MqttEndpoint) -> Client {
    let mut watcher = Client::connect(endpoint, &Hello::new(true, "watcher")).await;
    assert_eq!(watcher.subscribe("site/gone", 1).await, 1);
    watcher
}

fn leaving(delay: u8) -> Hello {
    let will = Some(("site/gone".into(), b"bye".to_vec()));
    Hello { will, will_delay: delay, ..Hello::new(true, "dev").resuming() }
}

#[test]
fn a_will_that_waits_is_submitted_after_the_restart_and_once() {
    block_on(async {
        for gently in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let endpoint = bind(at(dir.path())).await;
            drop(Client::connect(&endpoint, &leaving(2)).await);
            counted(&endpoint, |m| m.connections_now == 0).await;
            end(endpoint, gently).await;

            let endpoint = bind(at(dir.path())).await;
            let mut watcher = watch(&endpoint).await;
            assert!(watcher.is_quiet().await, "its delay is not over");
            let (topic, id, _, payload) = watcher.message().await;
            assert_eq!((topic.as_str(), payload.as_slice()), ("site/gone", &b"bye"[..]));
            watcher.write(&packet(0x40, &id.to_be_bytes())).await;
            end(endpoint, gently).await;

            let endpoint = bind(at(dir.path())).await;
            let mut watcher = watch(&endpoint).await;
            tokio::time::sleep(Duration::from_millis(2500)).await;
            assert!(watcher.is_quiet().await, "once");
            assert_eq!(endpoint.metrics().sessions_now, 2, "the session goes on");
        }
    });
}

#[test]
fn a_connection_that_the_nodes_end_cuts_leaves_its_will_unless_it_comes_back() {
    block_on(async {
        for (gently, delay) in [(true, 0), (false, 0), (true, 1), (false, 1)] {
            let dir = tempfile::tempdir().unwrap();
            let endpoint = bind(at(dir.path())).await;
            let mut watcher = watch(&endpoint).await;
            let mut rude = Client::connect(&endpoint, &leaving(delay)).await;
            let mut back = Client::connect(&endpoint, &Hello { id: "back", ..leaving(5) }).await;
            // Both are stored: a CONNACK leaves when what it says is.
            end(endpoint, gently).await;
            if gently {
                assert_eq!((rude.goodbye().await, back.goodbye().await), (Some(0x8b), Some(0x8b)));
                assert_eq!(watcher.goodbye().await, Some(0x8b), "no will came before");
            }
            let endpoint = bind(at(dir.path())).await;
            let mut watcher = watch(&endpoint).await;
            let mut again =
                Client::connect(&endpoint, &Hello { will: None, ..Hello { id: "back", ..leaving(5) } }).await;
            assert_eq!(again.connack[0], 1);
            assert_eq!(watcher.message().await.3, b"bye", "of the one that does not come back");
            tokio::time::sleep(Duration::from_millis(5500)).await;
            assert!(watcher.is_quiet().await, "the other one's was taken back");
            again.write(&packet(0xe0, &[])).await;
            assert_eq!(again.read().await, None);
        }
    });
}

#[test]
fn a_device_that_said_goodbye_leaves_no_will_over_a_restart() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = bind(at(dir.path())).await;
        let mut polite = Client::connect(&endpoint, &leaving(1)).await;
        polite.write(&packet(0xe0, &[])).await;
        assert_eq!(polite.read().await, None);
        end(endpoint, false).await;
        let endpoint = bind(at(dir.path())).await;
        let mut watcher = watch(&endpoint).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(watcher.is_quiet().await);
    });
}

#[test]
fn a_signed_will_goes_to_the_node_after_the_restart_and_one_without_a_place_nowhere() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = bind(at(dir.path())).await;
        let signed = Hello { will: Some((TOPIC.into(), bodies(1)[0].clone())), ..leaving(1) };
        drop(Client::connect(&endpoint, &signed).await);
        drop(Client::connect(&endpoint, &Hello { id: "other", ..leaving(1) }).await);
        counted(&endpoint, |m| m.connections_now == 0).await;
        end(endpoint, false).await;
        // The topic of the other one is open no more.
        let endpoint = bind(MqttConfig { open_topics: vec![], ..at(dir.path()) }).await;
        let arrival = crate::support::next(&endpoint).await;
        assert!(matches!(arrival.received.submission, Submission::Signed(_)));
        assert_eq!(body(&arrival.received), bodies(1)[0], "byte for byte");
        assert!(timeout(Duration::from_millis(1200), endpoint.next()).await.is_err(), "once");
    });
}

#[test]
fn a_session_that_ended_while_there_was_no_node_leaves_its_will() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = bind(at(dir.path())).await;
        let mut short = leaving(60);
        short.properties = vec![0x11, 0, 0, 0, 1];
        drop(Client::connect(&endpoint, &short).await);
        counted(&endpoint, |m| m.connections_now == 0).await;
        end(endpoint, false).await;
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let endpoint = bind(at(dir.path())).await;
        let mut watcher = watch(&endpoint).await;
        assert_eq!(watcher.message().await.3, b"bye");
        assert_eq!(endpoint.metrics().sessions_now, 1, "the watcher's");
    });
}
