//! A client that sends more than it may is read more slowly, and nothing is lost.

use std::time::{Duration, Instant};

use w3bstream_endpoint_mqtt::{MqttConfig, MqttEndpoint};

use crate::support::{
    Client, Hello, TOPIC, accept_all, bind, block_on, bodies, config, packet, parse_puback,
};

/// As often a measurement is taken that the machine may spoil.
const TRIES: u32 = 20;

/// Publishes `count` messages at once and waits for their PUBACKs.
async fn flood(client: &mut Client, first: u16, count: u16) -> Duration {
    let began = Instant::now();
    let mut bytes = Vec::new();
    for (id, body) in (first..).zip(bodies(count.into())) {
        bytes.extend(client.publish_bytes(TOPIC, id, &body));
    }
    bytes.extend(packet(0xc0, &[]));
    client.write(&bytes).await;
    // The answer to the ping may overtake those to the last messages, which the node still thinks about.
    let (mut acks, mut pong) = (Vec::new(), false);
    while acks.len() < usize::from(count) || !pong {
        match client.read().await.expect("a packet, not the end") {
            (0x40, body) => acks.push(parse_puback(&body).id),
            (0xd0, _) => pong = true,
            other => panic!("unexpected packet {other:?}"),
        }
    }
    assert_eq!(acks, (first..first + count).collect::<Vec<_>>(), "in order, and none is lost");
    began.elapsed()
}

async fn serve(config: MqttConfig) -> (std::sync::Arc<MqttEndpoint>, tokio::task::JoinSet<()>) {
    let endpoint = bind(config).await;
    let mut node = tokio::task::JoinSet::new();
    node.spawn(accept_all(endpoint.clone()));
    (endpoint, node)
}

#[test]
fn messages_over_the_rate_are_held_back() {
    block_on(async {
        let limits = MqttConfig { max_publish_rate: 50, publish_burst: 10, ..config() };
        let (endpoint, _node) = serve(limits).await;
        // Each over the burst is held back. But where this machine wakes the node late, those whose time has come meanwhile pass
        // at once, as they should: a client is tried until it met no pause.
        for n in 0..TRIES {
            let name = format!("fast-{n}").leak();
            let before = endpoint.metrics();
            let mut client = Client::connect(&endpoint, &Hello::new(false, name)).await;
            let took = flood(&mut client, 1, 40).await;
            assert!(took >= Duration::from_millis(590), "thirty at fifty a second: {took:?}");
            assert!(took < Duration::from_secs(8), "{took:?}");
            let metrics = endpoint.metrics();
            assert_eq!((metrics.accepted - before.accepted, metrics.ended_timeout), (40, 0));
            let delayed = metrics.publishes_delayed - before.publishes_delayed;
            assert!(delayed <= 30, "the burst passes at once: {metrics:?}");
            if delayed >= 25 {
                break;
            }
            assert!(n + 1 < TRIES, "{delayed} of thirty were held back, and no try did better");
        }
        let mut client = Client::connect(&endpoint, &Hello::new(false, "fast")).await;
        flood(&mut client, 1, 40).await;
        // Connecting again gives no fresh burst; another client has its own.
        drop(client);
        let mut back = Client::connect(&endpoint, &Hello::new(false, "fast")).await;
        assert!(flood(&mut back, 1, 10).await >= Duration::from_millis(100));
        let mut other = Client::connect(&endpoint, &Hello::new(false, "other")).await;
        let delayed = endpoint.metrics().publishes_delayed;
        flood(&mut other, 1, 10).await;
        assert_eq!(endpoint.metrics().publishes_delayed, delayed);
    });
}

#[test]
fn bytes_over_the_rate_are_held_back() {
    block_on(async {
        let body = bodies(1)[0].len() as u64;
        let (endpoint, _node) = serve(MqttConfig { max_publish_byte_rate: 20 * body, ..config() }).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "fast")).await;
        let took = flood(&mut client, 1, 35).await;
        assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(5), "{took:?}");
        assert!(endpoint.metrics().publishes_delayed > 0);
    });
}

#[test]
fn being_held_back_is_no_silence_and_no_stall() {
    block_on(async {
        let limits = MqttConfig {
            max_publish_rate: 2,
            publish_burst: 1,
            stall_timeout: Duration::from_millis(100),
            ..config()
        };
        let (endpoint, _node) = serve(limits).await;
        let mut hello = Hello::new(true, "slow");
        hello.keep_alive = 1;
        let mut client = Client::connect(&endpoint, &hello).await;
        assert!(flood(&mut client, 1, 5).await >= Duration::from_millis(1900));
        assert_eq!(endpoint.metrics().ended_timeout, 0);
    });
}
