//! What the tests of other brokers have shown: rules of the standard that are easily missed.

use w3bstream_endpoint::{Publication, Publisher as _};
use w3bstream_endpoint_mqtt::{MqttConfig, MqttEndpoint};

use crate::support::{Client, Hello, bind, block_on, config, packet, text};

fn open() -> MqttConfig {
    MqttConfig { open_topics: vec!["site/#".into()], ..config() }
}

async fn send(endpoint: &MqttEndpoint) {
    let publication =
        Publication { topic: "out/x".into(), payload: b"x".to_vec(), idempotency_key: String::new() };
    endpoint.publish(publication).await.unwrap();
}

#[test]
fn in_mqtt_5_a_client_without_an_id_need_not_begin_anew() {
    block_on(async {
        let endpoint = bind(config()).await;
        let hello = Hello { clean: false, ..Hello::new(true, "") };
        let client = Client::connect(&endpoint, &hello).await;
        assert_eq!(client.connack[0], 0, "no session is there");
        let named = client.connack.windows(8).any(|w| w[0] == 0x12 && w[3..].starts_with(b"w3b-"));
        assert!(named, "it is given an id: {:?}", client.connack);
        let hello = Hello { properties: vec![0x11, 0, 0, 0, 60], ..hello };
        assert_eq!(Client::connect(&endpoint, &hello).await.connack[0], 0);
        let refused = Client::say(&endpoint, &Hello { clean: false, ..Hello::new(false, "") }).await;
        assert_eq!(refused.connack[1], 2, "in 3.1.1 it must");
    });
}

/// What answers a message of this QoS that it does not go with.
#[test]
fn an_acknowledgement_of_another_kind_ends_the_connection() {
    block_on(async {
        let endpoint = bind(config()).await;
        for (v5, qos, wrong) in [
            (true, 1, 0x50),
            (true, 1, 0x70),
            (true, 2, 0x40),
            (true, 2, 0x70),
            (false, 1, 0x50),
            (false, 2, 0x40),
        ] {
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "c")).await;
            assert_eq!(client.subscribe("out/x", qos).await, qos);
            send(&endpoint).await;
            let (_, id, _, _) = client.message().await;
            client.write(&packet(wrong, &id.to_be_bytes())).await;
            assert_eq!(client.goodbye().await, v5.then_some(0x82), "{wrong:#x} at QoS {qos}");
        }
        // Released already: PUBACK and a refusal come too late, PUBREC again does not.
        let mut client = Client::connect(&endpoint, &Hello::new(true, "c")).await;
        assert_eq!(client.subscribe("out/x", 2).await, 2);
        send(&endpoint).await;
        let id = client.message().await.1.to_be_bytes();
        for _ in 0..2 {
            client.write(&packet(0x50, &id)).await;
            assert_eq!(client.read().await, Some((0x62, id.to_vec())));
        }
        client.write(&packet(0x40, &id)).await;
        assert_eq!(client.goodbye().await, Some(0x82));
    });
}

#[test]
fn texts_with_a_null_are_malformed_wherever_they_are() {
    block_on(async {
        let endpoint = bind(open()).await;
        for v5 in [false, true] {
            let none: &[u8] = if v5 { &[0] } else { &[] };
            let filter =
                |text: &str| packet(0x82, &[&[0, 1], none, &crate::support::text(text), &[0]].concat());
            let taken_back =
                |text: &str| packet(0xa2, &[&[0, 1], none, &crate::support::text(text)].concat());
            let topic = packet(0x32, &[&text("site/\0")[..], &[0, 1], none, b"x"].concat());
            for bytes in [filter("site/\0"), filter(""), taken_back("a\0"), taken_back(""), topic] {
                let mut client = Client::connect(&endpoint, &Hello::new(v5, "c")).await;
                client.write(&bytes).await;
                assert_eq!(client.goodbye().await, v5.then_some(0x81));
            }
            for topic in ["", "site/\0"] {
                let hello = Hello { will: Some((topic.into(), b"x".to_vec())), ..Hello::new(v5, "c") };
                let mut client = Client::say(&endpoint, &hello).await;
                // There is no code for it in 3.1.1.
                assert_eq!(client.connack.get(1).copied(), v5.then_some(0x81), "{topic:?}");
                assert_eq!(client.read().await, None);
            }
        }
    });
}

#[test]
fn a_session_without_an_expiry_ends_with_its_connection_whoever_takes_its_place() {
    block_on(async {
        let endpoint = bind(open()).await;
        for v5 in [false, true] {
            let mut first = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
            assert_eq!(first.subscribe("site/x", 1).await, 1);
            let second = Client::connect(&endpoint, &Hello { clean: false, ..Hello::new(v5, "dev") }).await;
            assert_eq!(second.connack[0], 0, "nothing of the first is left");
            assert_eq!(first.goodbye().await, v5.then_some(0x8e));
            assert_eq!(endpoint.metrics().subscriptions_now, 0);
        }
        // It cannot be kept after all either.
        let mut client = Client::connect(&endpoint, &Hello::new(true, "brief")).await;
        client.write(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 9])).await;
        assert_eq!(client.goodbye().await, Some(0x82));
    });
}

#[test]
fn a_will_that_waits_is_due_when_its_session_is_begun_anew() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut watcher = Client::connect(&endpoint, &Hello::new(true, "w")).await;
        assert_eq!(watcher.subscribe("site/gone", 0).await, 0);
        let will = Some(("site/gone".into(), b"bye".to_vec()));
        let hello = Hello { will, will_delay: 60, ..Hello::new(true, "dev").resuming() };
        let _first = Client::connect(&endpoint, &hello).await;
        let resumed = Client::connect(&endpoint, &hello).await;
        assert_eq!(resumed.connack[0], 1);
        assert!(watcher.is_quiet().await, "the session goes on");
        let _anew = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        assert_eq!(watcher.message().await.3, b"bye");
        assert!(watcher.is_quiet().await, "once");
    });
}

#[test]
fn who_disconnects_and_connects_at_once_finds_what_it_left() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut watcher = Client::connect(&endpoint, &Hello::new(true, "w")).await;
        assert_eq!(watcher.subscribe("site/gone", 0).await, 0);
        let hello =
            Hello { will: Some(("site/gone".into(), b"bye".to_vec())), ..Hello::new(true, "dev").resuming() };
        for round in 0..40 {
            let mut client = Client::connect(&endpoint, &hello).await;
            assert_eq!(client.connack[0], 0, "round {round}: the session was ended");
            // A session expiry of 0: nothing is kept, and no will is submitted.
            client.write(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0])).await;
            drop(client);
        }
        assert!(watcher.is_quiet().await, "no will was submitted");
        assert_eq!(endpoint.metrics().takeovers, 0);
        // Who stays is asked too, and loses its session all the same.
        let mut stays = Client::connect(&endpoint, &hello).await;
        let _next = Client::connect(&endpoint, &hello).await;
        assert_eq!(stays.goodbye().await, Some(0x8e));
        assert_eq!(endpoint.metrics().takeovers, 1);
    });
}
