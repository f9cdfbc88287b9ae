//! Limits hold, and whoever runs into one is told or cut, not served without end.

use std::time::{Duration, Instant};

use w3bstream_endpoint::{Publication, Publisher};
use w3bstream_endpoint_mqtt::MqttConfig;

use crate::support::{
    Client, Hello, TOPIC, accept_all, accepted, answer, bind, block_on, bodies, config, next, packet,
};

#[test]
pub(crate) fn a_packet_over_the_limit_is_refused_by_its_header() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_packet_bytes: 1024, ..config() }).await;
        for (v5, code) in [(true, Some(0x95)), (false, None)] {
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
            // Three megabytes are announced; none has to come.
            client.write(&[0x32, 0x80, 0x80, 0xc0, 0x01]).await;
            assert_eq!(client.goodbye().await, code);
        }
    });
}

#[test]
pub(crate) fn connections_over_the_cap_are_closed_and_others_served() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_connections: 5, ..config() }).await;
        let mut kept = Vec::new();
        for id in ["a", "b", "c", "d", "e"] {
            kept.push(Client::connect(&endpoint, &Hello::new(true, id)).await);
        }
        for _ in 0..50 {
            let mut client = Client::raw(&endpoint, true).await;
            client.try_write(&Hello::new(true, "x").bytes()).await;
            assert_eq!(client.read().await, None);
        }
        assert_eq!(endpoint.metrics().connections_over_cap, 50);
        assert_eq!(endpoint.metrics().connections_now, 5);
        kept[0].publish(TOPIC, 1, &bodies(1)[0]).await;
        answer(next(&endpoint).await, accepted);
        assert_eq!(kept[0].puback().await.id, 1);
        kept.pop();
        while endpoint.metrics().connections_now == 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Client::connect(&endpoint, &Hello::new(true, "x")).await;
    });
}

#[test]
fn connections_are_taken_at_a_pace_and_all_are_served() {
    block_on(async {
        // One at once, then one every 50 ms.
        let endpoint = bind(MqttConfig { max_connection_rate: 20, ..config() }).await;
        let mut early = Client::connect(&endpoint, &Hello::new(true, "early")).await;
        let began = Instant::now();
        let mut raw = Vec::new();
        for _ in 0..20 {
            raw.push(Client::raw(&endpoint, true).await);
        }
        assert!(began.elapsed() < Duration::from_millis(900), "the kernel takes them at once");
        // Who is connected does not wait behind those who come.
        early.write(&packet(0xc0, &[])).await;
        assert_eq!(early.read().await, Some((0xd0, vec![])));
        assert!(endpoint.metrics().connections_now < 20, "{:?}", endpoint.metrics());
        for (n, client) in raw.iter_mut().enumerate() {
            client.write(&Hello::new(true, format!("late-{n}").leak()).bytes()).await;
        }
        for client in &mut raw {
            let (first, body) = client.read().await.expect("a CONNACK, not the end");
            assert_eq!((first, body[1]), (0x20, 0));
        }
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        let metrics = endpoint.metrics();
        assert_eq!(
            (metrics.connections, metrics.connections_over_cap, metrics.handshakes_failed),
            (21, 0, 0)
        );
        assert!(metrics.accepts_paused > 0);
    });
}

#[test]
fn without_a_rate_connections_do_not_wait() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_connection_rate: 0, ..config() }).await;
        let mut all = Vec::new();
        for n in 0..50 {
            all.push(Client::connect(&endpoint, &Hello::new(true, n.to_string().leak())).await);
        }
        assert_eq!(endpoint.metrics().accepts_paused, 0);
    });
}

#[test]
pub(crate) fn who_does_not_connect_in_time_is_closed() {
    block_on(async {
        let endpoint = bind(MqttConfig { connect_timeout: Duration::from_millis(100), ..config() }).await;
        let mut silent = Client::raw(&endpoint, true).await;
        let mut slow = Client::raw(&endpoint, true).await;
        slow.write(&Hello::new(true, "x").bytes()[..9]).await;
        assert_eq!(silent.read().await, None);
        assert_eq!(slow.read().await, None);
        // Counted after the connection is closed, which the client may see first.
        let counted = async {
            while endpoint.metrics().handshakes_failed < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), counted).await.unwrap();
        assert_eq!(endpoint.metrics().handshakes_failed, 2);
    });
}

#[test]
pub(crate) fn keep_alive_is_enforced_and_pings_keep_alive() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut hello = Hello::new(true, "dev");
        hello.keep_alive = 1;
        let mut client = Client::connect(&endpoint, &hello).await;
        let began = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            client.write(&packet(0xc0, &[])).await;
            assert_eq!(client.read().await, Some((0xd0, vec![])));
        }
        assert_eq!(client.goodbye().await, Some(0x8d));
        assert!(
            began.elapsed() >= Duration::from_millis(2100 + 1400),
            "one and a half times, after the last"
        );
    });
}

#[test]
pub(crate) fn a_packet_that_is_never_finished_ends_the_connection() {
    block_on(async {
        let endpoint = bind(MqttConfig { stall_timeout: Duration::from_millis(200), ..config() }).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        let began = Instant::now();
        let bytes = client.publish_bytes(TOPIC, 1, &bodies(1)[0]);
        for byte in bytes.iter().take(100) {
            client.try_write(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            if began.elapsed() > Duration::from_millis(400) {
                break;
            }
        }
        assert_eq!(client.goodbye().await, Some(0x80), "a trickle is no progress");
        assert_eq!(endpoint.metrics().ended_timeout, 1);
    });
}

#[test]
pub(crate) fn more_than_receive_maximum_is_a_protocol_error() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_in_flight_per_connection: 4, ..config() }).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        for (id, body) in (1..).zip(bodies(5)) {
            client.publish(TOPIC, id, &body).await;
        }
        assert_eq!(client.goodbye().await, Some(0x93));
    });
}

#[test]
pub(crate) fn the_budget_of_all_connections_is_shared() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_in_flight_total: 6, ..config() }).await;
        let mut clients = Vec::new();
        for id in ["a", "b", "c"] {
            let mut client = Client::connect(&endpoint, &Hello::new(false, id)).await;
            for (id, body) in (1..).zip(bodies(4)) {
                client.publish(TOPIC, id, &body).await;
            }
            clients.push(client);
        }
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(next(&endpoint).await);
        }
        let seventh = w3bstream_endpoint::Endpoint::next(&*endpoint);
        assert!(tokio::time::timeout(Duration::from_millis(150), seventh).await.is_err());
        for arrival in held {
            answer(arrival, accepted);
        }
        for _ in 0..6 {
            answer(next(&endpoint).await, accepted);
        }
        for client in &mut clients {
            for id in 1..=4 {
                assert_eq!(client.puback().await.id, id);
            }
        }
    });
}

#[test]
pub(crate) fn large_messages_are_bounded_by_their_bytes() {
    block_on(async {
        let config = MqttConfig { max_packet_bytes: 64 << 10, max_in_flight_bytes: 128 << 10, ..config() };
        let endpoint = bind(config).await;
        let mut client = Client::connect(&endpoint, &Hello::new(false, "a")).await;
        // Malformed, but as large as it may be: each takes half of the budget while it is looked at, and gives
        // it back at once.
        for id in 1..=20 {
            client.publish(TOPIC, id, &vec![b'x'; 60 << 10]).await;
        }
        for id in 1..=20 {
            assert_eq!(client.puback().await.id, id);
        }
    });
}

#[test]
pub(crate) fn a_slow_subscriber_loses_qos_0_and_is_disconnected_at_qos_1() {
    block_on(async {
        let endpoint =
            bind(MqttConfig { max_queued_messages: 16, max_outgoing_in_flight: 4, ..config() }).await;
        let mut slow = Client::connect(&endpoint, &Hello::new(true, "slow").resuming()).await;
        assert_eq!(slow.subscribe("out/#", 1).await, 1);
        let publish = |n: u32| Publication {
            topic: "out/x".into(),
            payload: n.to_be_bytes().to_vec(),
            idempotency_key: String::new(),
        };
        // Four may be on their way without an acknowledgement, sixteen wait, and one is too many.
        for n in 0..30 {
            endpoint.publish(publish(n)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for n in 0..4_u32 {
            assert_eq!(slow.message().await.3, n.to_be_bytes());
        }
        assert_eq!(slow.goodbye().await, Some(0x97));
        assert_eq!(endpoint.metrics().ended_overflow, 1);
        // Nothing is lost of what was queued before, in order.
        let mut back = Client::connect(&endpoint, &Hello::new(true, "slow").resuming()).await;
        for n in 0..20_u32 {
            let (_, id, again, payload) = back.message().await;
            assert_eq!((payload, again), (n.to_be_bytes().to_vec(), n < 4));
            back.write(&packet(0x40, &id.to_be_bytes())).await;
        }
        assert!(back.is_quiet().await);
        assert_eq!(endpoint.metrics().dropped, 10);
    });
}

#[test]
pub(crate) fn a_subscriber_that_reads_nothing_costs_a_bounded_queue() {
    block_on(async {
        let config =
            MqttConfig { max_queued_messages: 64, stall_timeout: Duration::from_millis(300), ..config() };
        let endpoint = bind(config).await;
        let mut deaf = Client::connect(&endpoint, &Hello::new(true, "deaf")).await;
        assert_eq!(deaf.subscribe("out/#", 0).await, 0);
        // More than all socket buffers hold.
        for _ in 0..600 {
            let publication = Publication {
                topic: "out/x".into(),
                payload: vec![0; 32 << 10],
                idempotency_key: String::new(),
            };
            endpoint.publish(publication).await.unwrap();
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        while endpoint.metrics().connections_now > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let metrics = endpoint.metrics();
        assert!(metrics.dropped > 0 && metrics.ended_timeout == 1, "{metrics:?}");
    });
}

#[test]
pub(crate) fn subscriptions_are_bounded() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_subscriptions: 3, ..config() }).await;
        for (v5, code) in [(true, 0x97), (false, 0x80)] {
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
            for filter in ["a", "b", "c"] {
                assert_eq!(client.subscribe(filter, 0).await, 0);
            }
            assert_eq!(client.subscribe("d", 0).await, code);
            assert_eq!(client.subscribe("a", 1).await, 1, "one that is there may change");
            assert_eq!(endpoint.metrics().subscriptions_now, 3);
        }
    });
}

#[test]
pub(crate) fn sessions_are_bounded() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_sessions: 2, ..config() }).await;
        let _a = Client::connect(&endpoint, &Hello::new(true, "a")).await;
        let _b = Client::connect(&endpoint, &Hello::new(true, "b")).await;
        assert_eq!(Client::say(&endpoint, &Hello::new(true, "c")).await.connack[1], 0x97);
        assert_eq!(Client::say(&endpoint, &Hello::new(false, "c")).await.connack, [0, 3]);
        Client::connect(&endpoint, &Hello::new(true, "a")).await;
    });
}

#[test]
fn a_port_that_is_taken_is_named() {
    block_on(async {
        let endpoint = bind(config()).await;
        let taken = MqttConfig { listen: endpoint.local_addr(), ..config() };
        let clock = std::sync::Arc::new(w3bstream_types::SystemClock);
        let error = w3bstream_endpoint_mqtt::MqttEndpoint::bind(
            taken,
            clock,
            std::sync::Arc::new(w3bstream_endpoint::OpenGate),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), w3bstream_endpoint::ErrorKind::Bind);
        assert!(error.to_string().contains(&endpoint.local_addr().to_string()), "{error}");
    });
}

/// Not a benchmark: a debug build on a busy machine must still be far from one message at a time.
#[test]
pub(crate) fn a_hundred_connections_are_served_together() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut consumer = tokio::task::JoinSet::new();
        consumer.spawn(accept_all(endpoint.clone()));
        let bodies = bodies(100);
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(Client::connect(&endpoint, &Hello::new(false, "")).await);
        }
        for client in &mut clients {
            let bytes: Vec<u8> =
                (1..).zip(&bodies).flat_map(|(id, body)| client.publish_bytes(TOPIC, id, body)).collect();
            client.write(&bytes).await;
        }
        for client in &mut clients {
            for id in 1..=100 {
                assert_eq!(client.puback().await.id, id);
            }
        }
        drop(consumer);
        assert_eq!(endpoint.metrics().accepted, 10_000);
    });
}
