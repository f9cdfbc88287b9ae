//! What users expect of a broker: open topics, retained messages, shared subscriptions, and the properties of MQTT 5.

use std::time::Duration;

use w3bstream_endpoint_mqtt::MqttConfig;

use crate::support::{Client, Hello, TOPIC, bind, block_on, config, packet, text};

fn open() -> MqttConfig {
    MqttConfig { open_topics: vec!["site/#".into()], ..config() }
}

/// A PUBLISH as its parts: first byte, topic, MQTT 5 properties, payload.
type Got = (u8, String, Vec<u8>, Vec<u8>);

async fn got(client: &mut Client) -> Got {
    let (first, body) = client.read().await.expect("a PUBLISH, not the end");
    assert_eq!(first >> 4, 3, "a PUBLISH, not {first:#x} {body:02x?}");
    let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..2 + len].to_vec()).unwrap();
    let mut rest = &body[2 + len..];
    if first & 0b0110 != 0 {
        let ack = if first & 0b0100 == 0 { 0x40 } else { 0x50 };
        client.write(&packet(ack, &rest[..2])).await;
        rest = &rest[2..];
    }
    let mut properties = Vec::new();
    if client.v5 {
        let len = usize::from(rest[0]);
        properties = rest[1..=len].to_vec();
        rest = &rest[1 + len..];
    }
    (first, topic, properties, rest.to_vec())
}

async fn publish(client: &mut Client, first: u8, topic: &str, properties: &[u8], payload: &[u8]) {
    let mut b = text(topic);
    if first & 0b0110 != 0 {
        b.extend_from_slice(&[0, 1]);
    }
    if client.v5 {
        b.push(u8::try_from(properties.len()).unwrap());
        b.extend_from_slice(properties);
    }
    b.extend_from_slice(payload);
    client.write(&packet(first, &b)).await;
}

/// Subscribes with MQTT 5 options and perhaps an identifier.
async fn subscribe(client: &mut Client, filter: &str, options: u8, id: Option<u8>) -> u8 {
    let properties = id.map_or(vec![0], |id| vec![2, 0x0b, id]);
    client.write(&packet(0x82, &[&[0, 9][..], &properties, &text(filter), &[options]].concat())).await;
    let (first, body) = client.read().await.expect("a SUBACK");
    assert_eq!((first, &body[..2]), (0x90, &[0, 9][..]));
    *body.last().unwrap()
}

#[test]
fn clients_reach_each_other_on_open_topics_only() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut a = Client::connect(&endpoint, &Hello::new(true, "a")).await;
        let mut b = Client::connect(&endpoint, &Hello::new(false, "b")).await;
        assert_eq!(b.subscribe("#", 2).await, 2);
        publish(&mut a, 0x32, "site/x", &[], b"1").await;
        assert_eq!(a.puback().await.code, 0);
        let (first, topic, _, payload) = got(&mut b).await;
        assert_eq!((first & 0b0111, topic.as_str(), payload.as_slice()), (0b0010, "site/x", &b"1"[..]));
        publish(&mut a, 0x32, "elsewhere/x", &[], b"2").await;
        assert_eq!(a.puback().await.code, 0x90, "no topic of this broker");
        publish(&mut a, 0x32, "w3b/kit/cmd/d", &[], b"3").await;
        assert_eq!(a.puback().await.code, 0x87, "only the node commands devices");
        assert!(b.is_quiet().await);
        let mut nobody = Client::connect(&endpoint, &Hello::new(true, "c")).await;
        drop(b);
        while endpoint.metrics().sessions_now > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publish(&mut nobody, 0x32, "site/x", &[], b"4").await;
        assert_eq!(nobody.puback().await.code, 0x10, "no matching subscribers");
    });
}

#[test]
fn the_last_message_of_a_topic_is_kept_if_its_sender_wants() {
    block_on(async {
        let endpoint = bind(MqttConfig { max_retained_messages: 2, ..open() }).await;
        let mut a = Client::connect(&endpoint, &Hello::new(true, "a")).await;
        for (topic, payload) in [("site/x", "old"), ("site/x", "new"), ("site/y", "other")] {
            publish(&mut a, 0x33, topic, &[], payload.as_bytes()).await;
            assert_eq!(a.puback().await.code, 0x10);
        }
        publish(&mut a, 0x33, "site/z", &[], b"too many").await;
        assert_eq!(a.puback().await.code, 0x97);
        let mut late = Client::connect(&endpoint, &Hello::new(true, "late")).await;
        assert_eq!(subscribe(&mut late, "site/+", 1, None).await, 1);
        for (topic, payload) in [("site/x", "new"), ("site/y", "other")] {
            let it = got(&mut late).await;
            assert_eq!((it.0 & 1, it.1.as_str(), it.3.as_slice()), (1, topic, payload.as_bytes()));
        }
        // A live message has no flag, unless the subscription wants it as it was published.
        publish(&mut a, 0x33, "site/x", &[], b"live").await;
        assert_eq!((a.puback().await.code, got(&mut late).await.0 & 1), (0, 0));
        assert_eq!(subscribe(&mut late, "site/+", 0b0001_1001, None).await, 1);
        assert!(late.is_quiet().await, "retain handling 1: the subscription was there");
        publish(&mut a, 0x33, "site/x", &[], b"flagged").await;
        assert_eq!((a.puback().await.code, got(&mut late).await.0 & 1), (0, 1));
        assert_eq!(subscribe(&mut late, "site/+/#", 0b0010_0001, None).await, 1);
        assert!(late.is_quiet().await, "retain handling 2: never");
        // An empty message forgets.
        publish(&mut a, 0x33, "site/x", &[], b"").await;
        a.puback().await;
        let mut later = Client::connect(&endpoint, &Hello::new(false, "later")).await;
        assert_eq!(later.subscribe("site/x", 0).await, 0);
        assert!(later.is_quiet().await);
        assert_eq!(endpoint.metrics().retained_now, 1);
    });
}

#[test]
fn one_of_those_who_share_a_subscription_gets_each_message() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut members = Vec::new();
        for id in ["m0", "m1", "m2"] {
            let mut member = Client::connect(&endpoint, &Hello::new(true, id)).await;
            assert_eq!(member.subscribe("$share/group/site/#", 1).await, 1);
            members.push(member);
        }
        let mut alone = Client::connect(&endpoint, &Hello::new(true, "alone")).await;
        assert_eq!(alone.subscribe("$share/another/site/#", 0).await, 0);
        let mut sender = Client::connect(&endpoint, &Hello::new(true, "s")).await;
        for n in 0..30_u8 {
            publish(&mut sender, 0x32, "site/x", &[], &[n]).await;
            assert_eq!(sender.puback().await.code, 0);
        }
        let mut all = Vec::new();
        for member in &mut members {
            for _ in 0..10 {
                all.push(got(member).await.3[0]);
            }
            assert!(member.is_quiet().await, "ten each");
        }
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
        for n in 0..30_u8 {
            assert_eq!(got(&mut alone).await.3, [n], "the other group gets all, in order");
        }
        // Those who stay get what was another's part.
        drop(members.remove(0));
        while endpoint.metrics().sessions_now > 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for n in 0..4_u8 {
            publish(&mut sender, 0x32, "site/x", &[], &[n]).await;
            sender.puback().await;
        }
        for member in &mut members {
            got(member).await;
            got(member).await;
            assert!(member.is_quiet().await);
        }
    });
}

#[test]
fn overlapping_subscriptions_give_one_message_with_all_identifiers() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "c")).await;
        assert_eq!(subscribe(&mut client, "site/#", 0, Some(5)).await, 0);
        assert_eq!(subscribe(&mut client, "site/x", 2, Some(6)).await, 2);
        let mut sender = Client::connect(&endpoint, &Hello::new(true, "s")).await;
        publish(&mut sender, 0x32, "site/x", &[], b"1").await;
        sender.puback().await;
        let (first, _, properties, _) = got(&mut client).await;
        assert_eq!(first & 0b0110, 0b0010, "the best QoS, but no more than was published");
        let mut ids: Vec<u8> = properties.chunks(2).map(|p| p[1]).collect();
        ids.sort_unstable();
        assert_eq!((ids, properties[0]), (vec![5, 6], 0x0b));
        assert!(client.is_quiet().await);
    });
}

#[test]
fn a_client_that_wants_no_local_messages_does_not_hear_itself() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "c")).await;
        assert_eq!(subscribe(&mut client, "site/#", 0b0101, None).await, 1);
        publish(&mut client, 0x30, "site/x", &[], b"own").await;
        assert!(client.is_quiet().await);
        assert_eq!(subscribe(&mut client, "site/#", 0b0001, None).await, 1);
        publish(&mut client, 0x30, "site/x", &[], b"own").await;
        assert_eq!(got(&mut client).await.3, b"own");
    });
}

#[test]
fn properties_are_forwarded_and_old_messages_are_not() {
    block_on(async {
        let endpoint = bind(open()).await;
        let hello = Hello::new(true, "c").resuming();
        let mut client = Client::connect(&endpoint, &hello).await;
        assert_eq!(client.subscribe("site/#", 1).await, 1);
        let mut sender = Client::connect(&endpoint, &Hello::new(true, "s")).await;
        let request = [
            &[1, 1, 3][..],
            &text("text/plain"),
            &[8],
            &text("site/answer"),
            &[9],
            &text("corr"),
            &[0x26],
            &text("k"),
            &text("v"),
            &[0x26],
            &text("k"),
            &text("w"),
        ]
        .concat();
        publish(&mut sender, 0x32, "site/x", &request, b"hello").await;
        sender.puback().await;
        let properties = got(&mut client).await.2;
        for part in [
            &[1, 1][..],
            &[&[3][..], &text("text/plain")].concat(),
            &[&[8][..], &text("site/answer")].concat(),
            &[&[9][..], &text("corr")].concat(),
            &[&[0x26][..], &text("k"), &text("v"), &[0x26], &text("k"), &text("w")].concat(),
        ] {
            assert!(properties.windows(part.len()).any(|w| w == part), "{part:02x?} in {properties:02x?}");
        }
        drop(client);
        while endpoint.metrics().connections_now > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publish(&mut sender, 0x32, "site/x", &[2, 0, 0, 0, 1], b"stale").await;
        sender.puback().await;
        publish(&mut sender, 0x32, "site/x", &[2, 0, 0, 0, 100], b"fresh").await;
        sender.puback().await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let mut client = Client::connect(&endpoint, &hello).await;
        let (_, _, properties, payload) = got(&mut client).await;
        assert_eq!(payload, b"fresh");
        let left = u32::from_be_bytes(properties[1..5].try_into().unwrap());
        assert!(properties[0] == 2 && (90..=99).contains(&left), "what is left of its time: {left}");
    });
}

#[test]
fn reasons_are_left_out_for_who_does_not_want_them() {
    block_on(async {
        let endpoint = bind(open()).await;
        for (wants, reason) in [(1, true), (0, false)] {
            let mut hello = Hello::new(true, "c");
            hello.properties = vec![0x17, wants];
            let mut client = Client::connect(&endpoint, &hello).await;
            publish(&mut client, 0x32, "elsewhere", &[], b"1").await;
            let ack = client.puback().await;
            assert_eq!((ack.code, !ack.reason.is_empty()), (0x90, reason));
        }
    });
}

#[test]
fn topics_to_a_client_are_shortened_to_aliases() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut hello = Hello::new(true, "c");
        hello.properties = vec![0x22, 0, 1];
        let mut client = Client::connect(&endpoint, &hello).await;
        assert_eq!(client.subscribe("site/#", 0).await, 0);
        let mut sender = Client::connect(&endpoint, &Hello::new(true, "s")).await;
        for topic in ["site/x", "site/x", "site/y"] {
            publish(&mut sender, 0x30, topic, &[], b"1").await;
        }
        let alias = vec![0x23, 0, 1];
        for (topic, properties) in [("site/x", alias.clone()), ("", alias), ("site/y", vec![])] {
            let it = got(&mut client).await;
            assert_eq!((it.1.as_str(), it.2), (topic, properties));
        }
    });
}

#[test]
fn a_will_on_an_open_topic_reaches_clients_after_its_delay() {
    block_on(async {
        let endpoint = bind(open()).await;
        let mut watcher = Client::connect(&endpoint, &Hello::new(true, "w")).await;
        assert_eq!(watcher.subscribe("site/gone", 0).await, 0);
        for v5 in [false, true] {
            let mut hello = Hello::new(v5, "dev");
            hello.will = Some(("site/gone".into(), b"bye".to_vec()));
            drop(Client::connect(&endpoint, &hello).await);
            assert_eq!(got(&mut watcher).await.3, b"bye");
        }
    });
}

#[test]
fn the_broker_tells_how_it_stands() {
    block_on(async {
        let endpoint = bind(MqttConfig { sys_every: Duration::from_millis(20), ..config() }).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "c")).await;
        assert_eq!(client.subscribe("#", 0).await, 0);
        assert!(client.is_quiet().await, "a wildcard does not reach $SYS");
        assert_eq!(client.subscribe("$SYS/broker/clients/connected", 0).await, 0);
        let (_, topic, _, payload) = got(&mut client).await;
        assert_eq!((topic.as_str(), payload.as_slice()), ("$SYS/broker/clients/connected", &b"1"[..]));
        publish(&mut client, 0x30, "$SYS/broker/clients/connected", &[], b"9").await;
        assert_eq!(got(&mut client).await.3, b"1", "nobody else writes there");
    });
}

#[test]
fn a_message_of_a_device_may_have_the_retain_flag() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "c")).await;
        publish(&mut client, 0x33, TOPIC, &[], &crate::support::bodies(1)[0]).await;
        crate::support::answer(crate::support::next(&endpoint).await, crate::support::accepted);
        assert_eq!(client.puback().await.code, 0);
        assert_eq!(endpoint.metrics().retained_now, 0, "it goes to the node, not to subscribers");
    });
}
