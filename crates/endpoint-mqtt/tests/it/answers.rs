//! Acceptances and refusals, as devices see them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use w3bstream_endpoint::{Endpoint, Publication, Publisher};
use w3bstream_types::RefusalKind;

use crate::support::{
    Client, Hello, TOPIC, accepted, answer, bind, block_on, bodies, config, device, next, refused,
};

#[test]
fn a_hundred_messages_wait_together_and_are_acknowledged_in_order() {
    block_on(async {
        for v5 in [false, true] {
            let endpoint = bind(config()).await;
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "gateway")).await;
            let mut bytes = Vec::new();
            for (id, body) in (1..).zip(bodies(100)) {
                bytes.extend(client.publish_bytes(TOPIC, id, &body));
            }
            client.write(&bytes).await;
            // One commit for all: nothing is answered before all have arrived.
            let mut held = Vec::new();
            for _ in 0..100 {
                held.push(next(&endpoint).await);
            }
            assert!(client.is_quiet().await);
            while let Some(arrival) = held.pop() {
                answer(arrival, accepted);
            }
            for id in 1..=100 {
                let ack = client.puback().await;
                assert_eq!((ack.id, ack.code), (id, 0));
            }
            let metrics = endpoint.metrics();
            assert_eq!((metrics.publishes, metrics.accepted, metrics.pubacks), (100, 100, 100));
        }
    });
}

#[test]
fn poison_among_good_messages_blocks_nobody() {
    block_on(async {
        for v5 in [false, true] {
            let endpoint = bind(config()).await;
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "gateway")).await;
            let mut watcher = Client::connect(&endpoint, &Hello::new(v5, "watcher")).await;
            assert_eq!(watcher.subscribe("w3b/kit/refused/+", 0).await, 0);
            let good = bodies(3);
            client.publish(TOPIC, 1, &good[0]).await;
            client.publish(TOPIC, 2, b"no message at all").await;
            client.publish(TOPIC, 3, &good[1]).await;
            // Signed for another type than the topic's.
            client.publish("w3b/kit/alarm", 4, &good[2]).await;
            client.publish(TOPIC, 5, &good[2]).await;
            answer(next(&endpoint).await, accepted);
            answer(next(&endpoint).await, |_| refused(RefusalKind::BadSignature));
            answer(next(&endpoint).await, |_| refused(RefusalKind::TooOld));
            let acks = [
                (1, 0, ""),
                (2, 0x99, "malformed: "),
                (3, 0x87, "bad-signature: as the test wants"),
                (4, 0x99, "malformed: malformed event type: says reading, the topic says alarm"),
                (5, 0x83, "too-old: as the test wants"),
            ];
            for (id, code, reason) in acks {
                let ack = client.puback().await;
                assert_eq!(ack.id, id);
                if v5 {
                    assert_eq!(ack.code, code);
                    assert!(ack.reason.starts_with(reason), "{}", ack.reason);
                } else {
                    assert_eq!((ack.code, ack.reason.as_str()), (0, ""));
                }
            }
            let count =
                |kind| endpoint.metrics().refused.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n);
            assert_eq!((count(RefusalKind::Malformed), count(RefusalKind::BadSignature)), (2, 1));
            if v5 {
                assert!(watcher.is_quiet().await, "MQTT 5 has told the sender itself");
                continue;
            }
            // What the endpoint itself refuses may be told before what the node does.
            let mut told = [watcher.message().await, watcher.message().await, watcher.message().await];
            told.sort_by_key(|(topic, ..)| !topic.ends_with("gateway"));
            assert_eq!(told[1].0, "w3b/kit/refused/gateway", "bytes that name no device: the client id");
            let third = &told[2];
            assert_eq!(third.0, format!("w3b/kit/refused/{}", device()));
            let body: w3bstream_wire::RefusalBody = serde_json::from_slice(&third.3).unwrap();
            assert_eq!((body.code, body.permanent), (RefusalKind::BadSignature, true));
        }
    });
}

#[test]
fn acceptances_are_told_to_those_who_subscribe() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        assert_eq!(client.subscribe(&format!("w3b/kit/ack/{}", device()), 1).await, 1);
        client.publish(TOPIC, 1, &bodies(1)[0]).await;
        let arrival = next(&endpoint).await;
        let id = accepted(&arrival.received).unwrap().id;
        answer(arrival, accepted);
        assert_eq!(client.puback().await.code, 0);
        let (_, packet_id, _, payload) = client.message().await;
        assert_ne!(packet_id, 0, "at the QoS that was asked for");
        let body: w3bstream_wire::AckBody = serde_json::from_slice(&payload).unwrap();
        assert_eq!((body.id, body.duplicate), (id, false));
    });
}

#[test]
fn devices_publish_to_topics_of_projects_only() {
    block_on(async {
        let endpoint = bind(config()).await;
        for (v5, topic, code) in [
            (true, "w3b/kit/ack/did:key:z", 0x87),
            (true, "w3b/kit/cmd/did:key:z", 0x87),
            (true, "w3b/kit/refused/did:key:z", 0x87),
            (true, "some/where/else", 0x90),
            (false, "w3b/kit/cmd/did:key:z", 0),
            (false, "some/where/else", 0),
        ] {
            let mut watcher = Client::connect(&endpoint, &Hello::new(true, "w")).await;
            assert_eq!(watcher.subscribe("#", 1).await, 1);
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "c")).await;
            client.publish(topic, 7, b"x").await;
            assert_eq!((client.puback().await.code, topic), (code, topic));
            assert!(watcher.is_quiet().await, "it is not routed");
        }
        assert_eq!(endpoint.metrics().wrong_topics, 6);
    });
}

#[test]
fn a_transient_refusal_ends_the_connection_and_the_retry_succeeds() {
    block_on(async {
        for (kind, code) in [
            (RefusalKind::Overloaded, 0x97),
            (RefusalKind::StorageFailing, 0x89),
            (RefusalKind::NotReady, 0x89),
            (RefusalKind::ShuttingDown, 0x8b),
        ] {
            for v5 in [false, true] {
                let endpoint = bind(config()).await;
                let bodies = bodies(3);
                let mut client = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
                for (id, body) in (1..).zip(&bodies) {
                    client.publish(TOPIC, id, body).await;
                }
                let began = Instant::now();
                let held = [next(&endpoint).await, next(&endpoint).await, next(&endpoint).await];
                for (place, arrival) in held.into_iter().enumerate() {
                    answer(arrival, |received| if place == 1 { refused(kind) } else { accepted(received) });
                }
                // The others are acknowledged, as they need not be sent again.
                assert_eq!((client.puback().await.id, client.puback().await.id), (1, 3));
                assert_eq!(client.goodbye().await, v5.then_some(code), "{kind}");
                assert!(began.elapsed() >= Duration::from_millis(50), "withheld for a while");
                let mut client = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
                client.publish(TOPIC, 2, &bodies[1]).await;
                answer(next(&endpoint).await, accepted);
                assert_eq!(client.puback().await.id, 2);
                assert_eq!(endpoint.metrics().ended_transient, 1);
            }
        }
    });
}

#[test]
fn a_failing_disk_acknowledges_nothing() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        for (id, body) in (1..).zip(bodies(20)) {
            client.publish(TOPIC, id, &body).await;
        }
        // The first refusal ends the reading; whatever was read before is refused too.
        answer(next(&endpoint).await, |_| refused(RefusalKind::StorageFailing));
        let failing = async {
            while let Some(arrival) = endpoint.next().await {
                answer(arrival, |_| refused(RefusalKind::StorageFailing));
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(300), failing).await;
        assert_eq!(client.goodbye().await, Some(0x89));
        assert_eq!(endpoint.metrics().pubacks, 0);
    });
}

#[test]
fn a_process_that_ends_between_receiving_and_answering_acknowledges_nothing() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        for (id, body) in (1..).zip(bodies(10)) {
            client.publish(TOPIC, id, &body).await;
        }
        let held = [next(&endpoint).await, next(&endpoint).await];
        assert_eq!(Arc::strong_count(&endpoint), 1);
        drop(endpoint);
        assert_eq!(client.read().await, None, "the connection ends without a PUBACK");
        for arrival in held {
            answer(arrival, accepted);
        }
    });
}

#[test]
fn a_node_that_never_answers_is_not_read_further_and_can_be_closed() {
    block_on(async {
        let endpoint =
            bind(w3bstream_endpoint_mqtt::MqttConfig { max_in_flight_per_connection: 10, ..config() }).await;
        let mut client = Client::connect(&endpoint, &Hello::new(false, "dev")).await;
        for (id, body) in (1..).zip(bodies(30)) {
            client.publish(TOPIC, id, &body).await;
        }
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(next(&endpoint).await);
        }
        assert!(client.is_quiet().await);
        assert_eq!(endpoint.metrics().publishes, 10, "the rest stays in the socket");
        endpoint.close().await.unwrap();
        assert_eq!(client.read().await, None);
        assert!(endpoint.next().await.is_none());
        drop(held);
    });
}

#[test]
fn while_stopping_new_devices_are_told_so_and_old_ones_are_answered() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        let bodies = bodies(2);
        client.publish(TOPIC, 1, &bodies[0]).await;
        let arrival = next(&endpoint).await;
        endpoint.stop_intake().await;
        client.publish(TOPIC, 2, &bodies[1]).await;
        let mut late = Client::say(&endpoint, &Hello::new(true, "late")).await;
        assert_eq!(late.connack[1], 0x88);
        assert_eq!(late.read().await, None);
        let late = Client::say(&endpoint, &Hello::new(false, "late")).await;
        assert_eq!(late.connack, [0, 3]);
        answer(arrival, accepted);
        assert_eq!(client.puback().await.id, 1);
        let publication =
            || Publication { topic: "w3b/kit/cmd/d".into(), payload: vec![1], idempotency_key: "k".into() };
        endpoint.publish(publication()).await.unwrap();
        endpoint.close().await.unwrap();
        assert_eq!(client.goodbye().await, Some(0x8b));
        assert!(endpoint.publish(publication()).await.is_err());
    });
}

#[test]
fn qos_0_is_taken_without_an_acknowledgement() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        for body in bodies(3) {
            client.publish(TOPIC, 0, &body).await;
        }
        answer(next(&endpoint).await, accepted);
        answer(next(&endpoint).await, |_| refused(RefusalKind::Revoked));
        answer(next(&endpoint).await, |_| refused(RefusalKind::Overloaded));
        assert!(client.is_quiet().await);
        let metrics = endpoint.metrics();
        assert_eq!((metrics.accepted, metrics.lost_at_qos_0, metrics.pubacks), (1, 1, 0));
    });
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        let publish = |topic: &str, id: u16, alias: u8, payload: &[u8]| {
            let mut b = crate::support::text(topic);
            b.extend_from_slice(&id.to_be_bytes());
            b.extend_from_slice(&[3, 0x23, 0, alias]);
            b.extend_from_slice(payload);
            crate::support::packet(0x32, &b)
        };
        let bodies = bodies(2);
        client.write(&publish(TOPIC, 1, 3, &bodies[0])).await;
        client.write(&publish("", 2, 3, &bodies[1])).await;
        for _ in 0..2 {
            let arrival = next(&endpoint).await;
            assert_eq!(arrival.received.project.as_str(), "kit");
            answer(arrival, accepted);
        }
        assert_eq!((client.puback().await.id, client.puback().await.id), (1, 2));
        client.write(&publish("", 3, 4, &bodies[1])).await;
        assert_eq!(client.goodbye().await, Some(0x82), "an alias that stands for nothing");
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        client.write(&publish(TOPIC, 1, 17, &bodies[0])).await;
        assert_eq!(client.goodbye().await, Some(0x94), "an alias over the maximum");
    });
}
