//! Brokers that are away, slow, silent, or say nonsense.

use std::time::{Duration, Instant};

use w3bstream_endpoint::Endpoint as _;
use w3bstream_endpoint_brokers::{BrokerConfig, BrokersConfig};

use crate::fake::{Fake, V4, V5, accept, block_on, bodies, metrics, next, open, packet, quick, until};

/// Opens the endpoint, lets `fake` do `what`, and gives the error that is shown then.
async fn shown(endpoint: &w3bstream_endpoint_brokers::BrokersEndpoint, wanted: &str) {
    let shown = || endpoint.status()[0].last_error.clone().unwrap_or_default();
    for _ in 0..300 {
        if shown().contains(wanted) {
            assert!(!endpoint.status()[0].connected);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{wanted:?} is not in {:?}", shown());
}

#[test]
fn a_broker_that_is_away_is_tried_again_and_seen() {
    block_on(async {
        let away = BrokerConfig::new("away", "mqtt://127.0.0.1:1", "node-1");
        let endpoint = open(quick(away));
        shown(&endpoint, "cannot connect to mqtt://127.0.0.1:1").await;
        until("another attempt", || metrics(&endpoint).connects_failed > 2).await;
        assert_eq!(endpoint.urls(), ["mqtt://127.0.0.1:1"]);
        let began = Instant::now();
        endpoint.close().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    });
}

#[test]
fn refused_connections_and_subscriptions_are_seen_with_their_reason() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let endpoint = fake.open();
        let mut conn = fake.knock().await;
        conn.write(&packet(0x20, &[0, 0x87, 0])).await;
        shown(&endpoint, "refuses the connection: NotAuthorized").await;
        fake.accept_with(false, &[0x87]).await.end().await;
        shown(&endpoint, "subscription to w3b/+/+: the broker refuses it (NotAuthorized)").await;
        fake.accept_with(false, &[0]).await.end().await;
        shown(&endpoint, "grants QoS 0 only").await;
        let mut conn = fake.accept_with(true, &[1]).await;
        until("the connection", || endpoint.status()[0].connected).await;
        conn.write(&packet(0xe0, &[0x8e])).await;
        shown(&endpoint, "each node needs its own").await;
        let fake = Fake::new(V4).await;
        let endpoint = fake.open();
        let mut conn = fake.knock().await;
        conn.write(&packet(0x20, &[0, 4])).await;
        shown(&endpoint, "BadUserNamePassword").await;
        fake.accept_with(false, &[0x80]).await.end().await;
        shown(&endpoint, "refuses it (Failure)").await;
    });
}

#[test]
fn half_an_answer_ends_in_time() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let config = BrokersConfig {
            connect_timeout: Duration::from_millis(200),
            stall_timeout: Duration::from_millis(200),
            ..quick(fake.broker())
        };
        let endpoint = open(config);
        let mut conn = fake.knock().await;
        conn.write(&[0x20, 3, 0]).await;
        shown(&endpoint, "connect_timeout").await;
        let mut conn = fake.accept().await;
        conn.write(&[0x32, 100, 0, 5]).await;
        shown(&endpoint, "stall_timeout").await;
    });
}

#[test]
fn nonsense_ends_the_connection_and_not_the_endpoint() {
    block_on(async {
        for speech in [V4, V5] {
            let fake = Fake::new(speech).await;
            let endpoint = fake.open();
            fake.knock().await.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let nonsense: [&[u8]; 7] = [
                &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
                &[0x36, 5, 0, 1, b'a', 0, 1],
                &[0x32, 5, 0, 1, b'a', 0, 0],
                &[0x32, 3, 0, 9, b'a'],
                &[0x20, 2, 0, 0],
                &[0x82, 2, 0, 1],
                &[0x00, 0],
            ];
            for bytes in nonsense {
                let mut conn = fake.accept_with(true, &[1]).await;
                conn.write(bytes).await;
                conn.end().await;
            }
            let mut conn = fake.accept_with(true, &[1]).await;
            conn.publish(1, 1, &bodies(1)[0]).await;
            accept(next(&endpoint).await);
            assert_eq!(conn.acked().await.id, 1);
            endpoint.close().await.unwrap();
        }
    });
}

#[test]
fn a_silent_broker_is_pinged_and_then_left() {
    block_on(async {
        let fake = Fake::new(V4).await;
        let endpoint = open(quick(BrokerConfig { keep_alive: Duration::from_secs(1), ..fake.broker() }));
        let mut conn = fake.accept().await;
        assert_eq!(conn.read().await, Some((0xc0, Vec::new())), "PINGREQ");
        conn.write(&[0xd0, 0]).await;
        assert_eq!(conn.read().await, Some((0xc0, Vec::new())));
        // This one is not answered.
        shown(&endpoint, "silent for longer than the keep alive").await;
        fake.accept_with(true, &[1]).await;
    });
}

#[test]
fn a_node_that_answers_slowly_takes_no_more_than_its_limit_and_keeps_the_connection() {
    block_on(async {
        let fake = Fake::new(V4).await;
        let broker = BrokerConfig { keep_alive: Duration::from_secs(1), max_in_flight: 2, ..fake.broker() };
        let endpoint = open(quick(broker));
        let mut conn = fake.accept().await;
        for (id, body) in (1..).zip(bodies(4)) {
            conn.publish(1, id, &body).await;
        }
        let held = [next(&endpoint).await, next(&endpoint).await];
        // Longer than the keep alive allows for silence: nothing is read, so nothing is missed.
        let more = tokio::time::timeout(Duration::from_millis(2200), endpoint.next()).await;
        assert!(more.is_err(), "two are in flight");
        held.into_iter().for_each(accept);
        for _ in 0..2 {
            accept(next(&endpoint).await);
        }
        let mut acked = Vec::new();
        while acked.len() < 4 {
            match conn.read().await.expect("the connection lives") {
                (0xc0, _) => conn.write(&[0xd0, 0]).await,
                (_, body) => acked.push(body[1]),
            }
        }
        assert_eq!(acked, [1, 2, 3, 4]);
        assert_eq!((metrics(&endpoint).connects, endpoint.status()[0].in_flight), (1, 0));
    });
}
