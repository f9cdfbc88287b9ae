//! Sessions, subscriptions, takeover, wills.

use w3bstream_endpoint::{Publication, Publisher};
use w3bstream_endpoint_mqtt::{MqttConfig, MqttEndpoint};

use crate::support::{Client, Hello, TOPIC, accepted, answer, bind, block_on, bodies, config, next, packet};

async fn send(endpoint: &MqttEndpoint, topic: &str, payload: &[u8]) {
    let publication =
        Publication { topic: topic.into(), payload: payload.into(), idempotency_key: "key-1".into() };
    endpoint.publish(publication).await.unwrap();
}

#[test]
pub(crate) fn subscribers_get_what_the_node_publishes() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut v4 = Client::connect(&endpoint, &Hello::new(false, "a")).await;
        let mut v5 = Client::connect(&endpoint, &Hello::new(true, "b")).await;
        assert_eq!(v4.subscribe("w3b/kit/cmd/+", 0).await, 0);
        assert_eq!(v5.subscribe("w3b/#", 1).await, 1);
        send(&endpoint, "w3b/kit/cmd/d", b"on").await;
        assert_eq!(v4.message().await, ("w3b/kit/cmd/d".into(), 0, false, b"on".to_vec()));
        let (topic, id, _, payload) = v5.message().await;
        assert_eq!((topic.as_str(), payload.as_slice()), ("w3b/kit/cmd/d", &b"on"[..]));
        assert_ne!(id, 0);
        v4.write(&packet(0xa2, &[&[0, 3][..], &crate::support::text("w3b/kit/cmd/+")].concat())).await;
        assert_eq!(v4.read().await, Some((0xb0, vec![0, 3])));
        send(&endpoint, "w3b/kit/cmd/d", b"off").await;
        assert!(v4.is_quiet().await);
        assert_eq!(endpoint.metrics().subscriptions_now, 1);
    });
}

#[test]
pub(crate) fn the_idempotency_key_comes_as_a_user_property() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "b")).await;
        assert_eq!(client.subscribe("out/x", 0).await, 0);
        send(&endpoint, "out/x", b"1").await;
        let (_, body) = client.read().await.unwrap();
        let property = [&[0x26, 0, 6][..], b"w3b-id", &[0, 5], b"key-1"].concat();
        assert!(body.windows(property.len()).any(|w| w == property), "{body:02x?}");
    });
}

#[test]
pub(crate) fn a_resumed_session_gets_what_it_missed_and_what_it_did_not_acknowledge() {
    block_on(async {
        for v5 in [false, true] {
            let endpoint = bind(config()).await;
            let hello = Hello::new(v5, "dev").resuming();
            let mut client = Client::connect(&endpoint, &hello).await;
            assert_eq!(client.connack[0], 0, "no session was there");
            assert_eq!(client.subscribe("w3b/kit/cmd/dev", 1).await, 1);
            send(&endpoint, "w3b/kit/cmd/dev", b"1").await;
            let (_, first, again, _) = client.message().await;
            assert!(!again);
            drop(client);
            while endpoint.metrics().connections_now > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            send(&endpoint, "w3b/kit/cmd/dev", b"2").await;
            let mut client = Client::connect(&endpoint, &hello).await;
            assert_eq!(client.connack[0], 1, "the session is still there");
            let repeated = client.message().await;
            assert_eq!((repeated.1, repeated.2, repeated.3), (first, true, b"1".to_vec()));
            let missed = client.message().await;
            assert_eq!((missed.2, missed.3), (false, b"2".to_vec()));
            for id in [first, missed.1] {
                client.write(&packet(0x40, &id.to_be_bytes())).await;
            }
            // The answer to a ping says that the acknowledgements were read.
            client.write(&packet(0xc0, &[])).await;
            assert_eq!(client.read().await, Some((0xd0, vec![])));
            // Now nothing is owed, and a clean start forgets the subscription.
            let mut client = Client::connect(&endpoint, &hello).await;
            assert!(client.is_quiet().await);
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
            assert_eq!(client.connack[0], 0);
            send(&endpoint, "w3b/kit/cmd/dev", b"3").await;
            assert!(client.is_quiet().await);
            assert_eq!(endpoint.metrics().sessions_now, 1);
        }
    });
}

#[test]
pub(crate) fn a_second_connection_takes_the_client_id_over() {
    block_on(async {
        for v5 in [false, true] {
            let endpoint = bind(config()).await;
            let mut old = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
            old.publish(TOPIC, 1, &bodies(1)[0]).await;
            let arrival = next(&endpoint).await;
            let mut new = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
            assert_eq!(old.goodbye().await, v5.then_some(0x8e));
            answer(arrival, accepted);
            assert!(new.is_quiet().await, "the answer was the old connection's");
            new.publish(TOPIC, 1, &bodies(1)[0]).await;
            answer(next(&endpoint).await, accepted);
            assert_eq!(new.puback().await.id, 1);
            assert_eq!((endpoint.metrics().takeovers, endpoint.metrics().sessions_now), (1, 1));
        }
    });
}

#[test]
pub(crate) fn an_empty_client_id_is_assigned_one() {
    block_on(async {
        let endpoint = bind(config()).await;
        let a = Client::connect(&endpoint, &Hello::new(true, "")).await;
        let b = Client::connect(&endpoint, &Hello::new(true, "")).await;
        let id = |c: &Client| {
            let at = c.connack.iter().position(|b| *b == 0x12).expect("Assigned Client Identifier");
            let len = usize::from(c.connack[at + 2]);
            String::from_utf8(c.connack[at + 3..at + 3 + len].to_vec()).unwrap()
        };
        assert_ne!(id(&a), id(&b));
        let _c = Client::connect(&endpoint, &Hello::new(false, "")).await;
        assert_eq!(endpoint.metrics().sessions_now, 3);
    });
}

#[test]
pub(crate) fn the_connack_says_what_is_spoken() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_in_flight_per_connection: 300, ..config() }).await;
        let mut hello = Hello::new(true, "dev");
        hello.keep_alive = 0;
        let client = Client::connect(&endpoint, &hello).await;
        let says = |property: &[u8]| client.connack.windows(property.len()).any(|w| w == property);
        // What is not named is spoken: QoS 2, Retain, subscription identifiers, shared subscriptions.
        for absent in [0x24, 0x25, 0x29, 0x2a] {
            assert!(!says(&[absent, 0]) && !says(&[absent, 1]), "{absent:#x} in {:02x?}", client.connack);
        }
        assert!(says(&[0x22, 0, 16]), "Topic Alias Maximum 16");
        assert!(says(&[0x21, 1, 44]), "Receive Maximum 300");
        assert!(says(&[0x27, 0, 4, 0, 0]), "Maximum Packet Size");
        assert!(says(&[0x13, 2, 88]), "Server Keep Alive 600");
    });
}

#[test]
pub(crate) fn a_will_is_submitted_when_the_device_goes_without_a_word() {
    block_on(async {
        for v5 in [false, true] {
            let endpoint = bind(config()).await;
            let mut hello = Hello::new(v5, "dev");
            hello.will = Some((TOPIC.into(), bodies(1)[0].clone()));
            let mut polite = Client::connect(&endpoint, &hello).await;
            polite.write(&packet(0xe0, &[])).await;
            assert_eq!(polite.read().await, None);
            let rude = Client::connect(&endpoint, &hello).await;
            drop(rude);
            answer(next(&endpoint).await, accepted);
            let more = tokio::time::timeout(
                std::time::Duration::from_millis(100),
                w3bstream_endpoint::Endpoint::next(&*endpoint),
            );
            assert!(more.await.is_err(), "the polite device's will is not submitted");
            let mut wrong = hello.clone();
            wrong.will = Some(("some/where".into(), b"x".to_vec()));
            let mut client = Client::say(&endpoint, &wrong).await;
            assert_eq!(client.connack[1], if v5 { 0x90 } else { 5 });
            assert_eq!(client.read().await, None);
        }
    });
}
