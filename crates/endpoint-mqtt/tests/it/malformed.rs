//! Bytes that broke other brokers, and bytes at random: the connection ends, the endpoint stays.

use proptest::prelude::*;
use w3bstream_endpoint_mqtt::{MqttConfig, MqttEndpoint};

use crate::support::{
    Client, Hello, TOPIC, accepted, answer, bind, block_on, bodies, config, next, packet, text,
};

/// The endpoint still serves.
async fn still_works(endpoint: &MqttEndpoint) {
    let mut client = Client::connect(endpoint, &Hello::new(true, "good")).await;
    client.publish(TOPIC, 1, &bodies(1)[0]).await;
    answer(next(endpoint).await, accepted);
    assert_eq!(client.puback().await.code, 0);
}

#[test]
fn a_first_packet_that_is_no_connect_is_closed_unread() {
    block_on(async {
        let endpoint = bind(config()).await;
        // CVE-2023-0809: memory was taken for a large first packet that is no CONNECT.
        let mut client = Client::raw(&endpoint, true).await;
        client.write(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await;
        assert_eq!(client.read().await, None);
        // A CONNECT that announces 256 MB.
        let mut client = Client::raw(&endpoint, true).await;
        client.write(&[0x10, 0xff, 0xff, 0xff, 0x7f]).await;
        assert_eq!(client.read().await, None);
        // HTTP, TLS, nothing at all.
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0], &[0x10, 0]] {
            let mut client = Client::raw(&endpoint, true).await;
            client.write(bytes).await;
            assert_eq!(client.read().await, None, "{bytes:02x?}");
        }
        assert_eq!(endpoint.metrics().handshakes_failed, 5);
        still_works(&endpoint).await;
    });
}

#[test]
fn wrong_connects_are_refused() {
    block_on(async {
        let endpoint = bind(config()).await;
        let connect = |level: u8, flags: u8, rest: &[u8]| {
            packet(0x10, &[&text("MQTT")[..], &[level, flags, 0, 60], rest].concat())
        };
        let id = text("id");
        let will = |topic: &str| [&id[..], &text(topic), &text("x")].concat();
        let with_zero = text("a\0b");
        let cases = vec![
            // CVE-2025-56352: the socket stayed open.
            ("empty id without clean session", connect(4, 0, &text("")), Some(vec![0, 2])),
            ("MQTT 6", connect(6, 2, &id), Some(vec![0, 1])),
            (
                "MQTT 3.1",
                packet(0x10, &[&text("MQIsdp")[..], &[3, 2, 0, 60], &id].concat()),
                Some(vec![0, 1]),
            ),
            ("reserved flag", connect(4, 3, &id), None),
            ("will QoS without a will", connect(4, 0b1010, &id), None),
            ("will QoS 3", connect(4, 0b1_1110, &will(TOPIC)), None),
            ("will topic with a wildcard", connect(4, 0b110, &will("w3b/+/x")), Some(vec![0, 5])),
            ("will at QoS 2 that is no message", connect(4, 0b1_0110, &will(TOPIC)), Some(vec![0, 5])),
            (
                "password without user name",
                connect(4, 0b0100_0010, &[&id[..], &id].concat()),
                // There is no code for a malformed packet in 3.1.1.
                None,
            ),
            ("U+0000 in the id", connect(4, 2, &with_zero), None),
            ("id longer than the packet", connect(4, 2, &[0, 9, b'x']), None),
            ("bytes behind the last field", connect(4, 2, &[&id[..], b"zz"].concat()), None),
            ("another protocol", packet(0x10, &[&text("HTTP")[..], &[4, 2, 0, 60], &id].concat()), None),
        ];
        for (what, bytes, connack) in cases {
            let mut client = Client::raw(&endpoint, false).await;
            client.write(&bytes).await;
            let read = client.read().await;
            assert_eq!(read.as_ref().map(|(_, body)| body), connack.as_ref(), "{what}");
            assert!(read.is_none() || client.read().await.is_none(), "{what}: closed");
        }
        let v5: Vec<(&str, Vec<u8>, u8)> = vec![
            ("properties beyond the packet", vec![0x7f], 0x81),
            ("bytes behind the last field", [&[0][..], &id, b"zz"].concat(), 0x81),
            ("Receive Maximum 0", [&[3, 0x21, 0, 0][..], &id].concat(), 0x81),
            ("Receive Maximum twice", [&[6, 0x21, 0, 1, 0x21, 0, 1][..], &id].concat(), 0x81),
            ("an unknown property", [&[2, 0x7e, 0][..], &id].concat(), 0x81),
            ("an authentication method", [&[5, 0x15, 0, 2, b'x', b'y'][..], &id].concat(), 0x8c),
        ];
        for (what, rest, code) in v5 {
            let mut client = Client::raw(&endpoint, true).await;
            client.write(&connect(5, 2, &rest)).await;
            let (_, connack) = client.read().await.expect(what);
            assert_eq!(connack[1], code, "{what}");
            assert_eq!(client.read().await, None, "{what}: closed");
        }
        still_works(&endpoint).await;
    });
}

#[test]
fn wrong_packets_end_the_connection_with_a_code() {
    block_on(async {
        let endpoint = bind(config()).await;
        let publish = |first: u8, topic: &[u8], rest: &[u8]| packet(first, &[topic, rest].concat());
        let surrogate = [0, 3, 0xed, 0xa0, 0x80];
        let cases: Vec<(&str, Vec<u8>, u8)> = vec![
            // CVE-2021-34432.
            ("topic of no length", publish(0x30, &text(""), &[0, b'x']), 0x90),
            // CVE-2021-28166.
            ("CONNACK to the broker", packet(0x20, &[0, 0, 0]), 0x82),
            ("SUBACK to the broker", packet(0x90, &[0, 1, 0, 0]), 0x82),
            ("PINGRESP to the broker", packet(0xd0, &[]), 0x82),
            ("a second CONNECT", Hello::new(true, "dev").bytes(), 0x82),
            ("AUTH out of nowhere", packet(0xf0, &[0x18, 0]), 0x82),
            ("QoS 3", publish(0x36, &text(TOPIC), &[0, 1, 0]), 0x81),
            ("PUBREL with wrong flags", packet(0x60, &[0, 1]), 0x81),
            ("PUBREC with flags", packet(0x52, &[0, 1]), 0x81),
            ("PUBCOMP with the id 0", packet(0x70, &[0, 0]), 0x81),
            ("packet id 0", publish(0x32, &text(TOPIC), &[0, 0, 0]), 0x81),
            ("DUP at QoS 0", publish(0x38, &text(TOPIC), &[0]), 0x81),
            ("a wildcard in the response topic", publish(0x30, &text(TOPIC), &[4, 8, 0, 1, b'#']), 0x82),
            ("five length bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01], 0x81),
            ("a length that is not the shortest", vec![0xc0, 0x80, 0x00], 0x81),
            ("U+0000 in the topic", publish(0x30, &text("a\0b"), &[0]), 0x81),
            ("a surrogate in the topic", publish(0x30, &surrogate, &[0]), 0x81),
            ("a wildcard in the topic", publish(0x30, &text("w3b/kit/#"), &[0]), 0x90),
            ("a topic beyond the packet", packet(0x30, &[0, 200, b'a']), 0x81),
            ("properties beyond the packet", publish(0x30, &text(TOPIC), &[0x7f]), 0x81),
            ("topic alias twice", publish(0x30, &text(TOPIC), &[6, 0x23, 0, 1, 0x23, 0, 1]), 0x81),
            ("topic alias 0", publish(0x30, &text(TOPIC), &[3, 0x23, 0, 0]), 0x81),
            ("a subscription identifier from a client", publish(0x30, &text(TOPIC), &[2, 0x0b, 1]), 0x82),
            ("SUBSCRIBE with wrong flags", packet(0x80, &[0, 1, 0, 0, 1, b'a', 0]), 0x81),
            ("SUBSCRIBE to nothing", packet(0x82, &[0, 1, 0]), 0x81),
            ("SUBSCRIBE with reserved options", packet(0x82, &[0, 1, 0, 0, 1, b'a', 0xc0]), 0x81),
            ("SUBSCRIBE with the identifier 0", packet(0x82, &[0, 1, 2, 0x0b, 0, 0, 1, b'a', 0]), 0x81),
            (
                "a shared subscription without local messages",
                packet(0x82, &[&[0, 1, 0][..], &text("$share/g/a"), &[4]].concat()),
                0x82,
            ),
            ("UNSUBSCRIBE from nothing", packet(0xa2, &[0, 1, 0]), 0x81),
            ("PINGREQ with a body", packet(0xc0, &[0]), 0x81),
            ("packet type 0", packet(0x00, &[]), 0x81),
        ];
        for (what, bytes, code) in cases {
            let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
            client.write(&bytes).await;
            assert_eq!(client.goodbye().await, Some(code), "{what}");
        }
        still_works(&endpoint).await;
    });
}

#[test]
fn in_3_1_1_wrong_packets_just_end_the_connection() {
    block_on(async {
        let endpoint = bind(config()).await;
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("topic of no length", packet(0x30, &[0, 0, b'x'])),
            ("CONNACK to the broker", packet(0x20, &[0, 0])),
            ("QoS 3", packet(0x36, &[&text(TOPIC)[..], &[0, 1]].concat())),
            ("PUBREL with wrong flags", packet(0x60, &[0, 1])),
            ("AUTH", packet(0xf0, &[])),
            ("DISCONNECT with flags", vec![0xe1, 0]),
            ("SUBSCRIBE to nothing", packet(0x82, &[0, 1])),
        ];
        for (what, bytes) in cases {
            let mut client = Client::connect(&endpoint, &Hello::new(false, "dev")).await;
            client.write(&bytes).await;
            assert_eq!(client.read().await, None, "{what}");
        }
        still_works(&endpoint).await;
    });
}

#[test]
fn filters_that_do_not_exist_are_not_granted() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_packet_bytes: 256 << 10, ..config() }).await;
        let deep: &'static str = Box::leak("a/".repeat(32_000).into_boxed_str());
        for (v5, filter, code) in [
            (true, "a/#/b", 0x8f),
            (true, "a#", 0x8f),
            (true, "+a", 0x8f),
            (true, deep, 0x8f),
            (true, "$share/g/", 0x8f),
            (true, "$share/g+/a", 0x8f),
            (true, "$share/g/a#", 0x8f),
            (false, "a/#/b", 0x80),
            (false, deep, 0x80),
            (false, "$share//a", 0x80),
        ] {
            let mut client = Client::connect(&endpoint, &Hello::new(v5, "dev")).await;
            assert_eq!(client.subscribe(filter, 1).await, code, "{}", &filter[..filter.len().min(20)]);
        }
        // A bomb: thousands of filters in one packet.
        let mut client = Client::connect(&endpoint, &Hello::new(false, "bomb")).await;
        let filters: Vec<u8> =
            (0..20_000).flat_map(|n| [text(&format!("b/{n}")), vec![0]].concat()).collect();
        client.write(&packet(0x82, &[&[0, 1][..], &filters].concat())).await;
        let (_, suback) = client.read().await.unwrap();
        assert_eq!(suback.iter().skip(2).filter(|c| **c == 0).count(), 32, "as many as are allowed");
        assert_eq!(endpoint.metrics().subscriptions_now, 32);
        still_works(&endpoint).await;
    });
}

/// Packets, whole, cut, changed and made up.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        Just(packet(0xc0, &[])),
        Just(packet(0x82, &[0, 1, 0, 0, 1, b'a', 1])),
        Just(packet(0x32, &[&text(TOPIC)[..], &[0, 7, 0], &bodies(1)[0]].concat())),
        Just(packet(0x32, &[&text(TOPIC)[..], &[0, 7, 3, 0x23, 0, 1, b'x']].concat())),
        Just(packet(0x40, &[0, 1])),
        Just(packet(0x34, &[&text(TOPIC)[..], &[0, 7, 0], &bodies(1)[0]].concat())),
        Just(packet(0x50, &[0, 1])),
        Just(packet(0x62, &[0, 7])),
        Just(packet(0x70, &[0, 1])),
        Just(packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 9])),
    ];
    let changed = (whole.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut p, at, byte)| {
        let place = at.index(p.len());
        p[place] = byte;
        p
    });
    let cut = (whole.clone(), any::<prop::sample::Index>()).prop_map(|(mut p, at)| {
        p.truncate(at.index(p.len()));
        p
    });
    let made_up =
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(f, b)| packet(f, &b));
    let random = proptest::collection::vec(any::<u8>(), 0..40);
    proptest::collection::vec(prop_oneof![whole, changed, cut, made_up, random], 1..6)
        .prop_map(|p| p.concat())
}

#[test]
fn noise_breaks_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let endpoint = runtime.block_on(bind(config()));
    let drain = std::sync::Arc::clone(&endpoint);
    let mut consumer = tokio::task::JoinSet::new();
    consumer.spawn_on(crate::support::accept_all(drain), runtime.handle());
    let mut config = ProptestConfig::with_cases(400);
    config.failure_persistence = None;
    proptest!(config, |(noise in noise(), v5 in any::<bool>(), connected in any::<bool>())| {
        runtime.block_on(async {
            let mut client = if connected {
                Client::connect(&endpoint, &Hello::new(v5, "noisy")).await
            } else {
                Client::raw(&endpoint, v5).await
            };
            client.try_write(&noise).await;
        });
    });
    drop(consumer);
    runtime.block_on(async {
        still_works(&endpoint).await;
        // Had a task panicked, closing would say so.
        w3bstream_endpoint::Endpoint::close(&*endpoint).await.unwrap();
        assert_eq!(endpoint.metrics().connections_now, 0);
    });
}
