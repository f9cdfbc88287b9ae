//! QoS 2 in both directions: PUBREC as late as PUBACK, and one effect of each message.

use w3bstream_endpoint::{Publication, Publisher};
use w3bstream_types::RefusalKind;

use crate::support::{
    Client, Hello, TOPIC, accepted, answer, bind, block_on, bodies, config, next, packet, refused, text,
};

fn publish2(v5: bool, id: u16, dup: bool, payload: &[u8]) -> Vec<u8> {
    let mut b = text(TOPIC);
    b.extend_from_slice(&id.to_be_bytes());
    b.extend(v5.then_some(0));
    b.extend_from_slice(payload);
    packet(if dup { 0x3c } else { 0x34 }, &b)
}

fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

async fn expect(client: &mut Client, first: u8, body: &[u8]) {
    assert_eq!(client.read().await, Some((first, body.to_vec())));
}

#[test]
fn a_pubrec_waits_for_the_node_and_a_repetition_is_not_handed_over_again() {
    block_on(async {
        for v5 in [false, true] {
            let endpoint = bind(config()).await;
            let hello = Hello::new(v5, "dev").resuming();
            let mut client = Client::connect(&endpoint, &hello).await;
            client.write(&publish2(v5, 7, false, &bodies(1)[0])).await;
            let arrival = next(&endpoint).await;
            assert!(client.is_quiet().await, "no PUBREC before the node's answer");
            answer(arrival, accepted);
            expect(&mut client, 0x50, &[0, 7]).await;
            // The PUBREC is lost: the device sends again, on another connection.
            let mut client = Client::connect(&endpoint, &hello).await;
            client.write(&publish2(v5, 7, true, &bodies(1)[0])).await;
            expect(&mut client, 0x50, &[0, 7]).await;
            client.write(&pubrel(7)).await;
            expect(&mut client, 0x70, &[0, 7]).await;
            // Released, the packet id is free for another message.
            client.write(&publish2(v5, 7, false, &bodies(2)[1])).await;
            answer(next(&endpoint).await, accepted);
            expect(&mut client, 0x50, &[0, 7]).await;
            assert_eq!(endpoint.metrics().accepted, 2);
        }
    });
}

#[test]
fn a_release_of_nothing_is_completed() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut v5 = Client::connect(&endpoint, &Hello::new(true, "a")).await;
        v5.write(&pubrel(3)).await;
        // Packet Identifier not found: no error while a session recovers.
        expect(&mut v5, 0x70, &[0, 3, 0x92]).await;
        let mut v4 = Client::connect(&endpoint, &Hello::new(false, "b")).await;
        v4.write(&pubrel(3)).await;
        expect(&mut v4, 0x70, &[0, 3]).await;
    });
}

#[test]
fn a_refusal_for_ever_comes_with_the_pubrec_and_one_for_now_has_none() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut v5 = Client::connect(&endpoint, &Hello::new(true, "a")).await;
        v5.write(&publish2(true, 1, false, &bodies(1)[0])).await;
        answer(next(&endpoint).await, |_| refused(RefusalKind::Revoked));
        let (first, body) = v5.read().await.unwrap();
        assert_eq!((first, &body[..3]), (0x50, &[0, 1, 0x87][..]));
        // Refused, the packet id is free: no PUBREL follows.
        v5.write(&publish2(true, 1, false, &bodies(2)[1])).await;
        answer(next(&endpoint).await, accepted);
        expect(&mut v5, 0x50, &[0, 1]).await;
        // A 3.1.1 device is not told, and goes on to PUBREL.
        let mut v4 = Client::connect(&endpoint, &Hello::new(false, "b")).await;
        v4.write(&publish2(false, 1, false, &bodies(1)[0])).await;
        answer(next(&endpoint).await, |_| refused(RefusalKind::Revoked));
        expect(&mut v4, 0x50, &[0, 1]).await;
        v4.write(&pubrel(1)).await;
        expect(&mut v4, 0x70, &[0, 1]).await;
        v5.write(&publish2(true, 2, false, &bodies(3)[2])).await;
        answer(next(&endpoint).await, |_| refused(RefusalKind::Overloaded));
        assert_eq!(v5.goodbye().await, Some(0x97), "no PUBREC");
    });
}

#[test]
fn messages_that_are_never_released_are_bounded() {
    block_on(async {
        let config = w3bstream_endpoint_mqtt::MqttConfig { max_in_flight_per_connection: 3, ..config() };
        let endpoint = bind(config).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "dev")).await;
        for id in 1..=3 {
            client.write(&publish2(true, id, false, &bodies(1)[0])).await;
            answer(next(&endpoint).await, accepted);
            expect(&mut client, 0x50, &id.to_be_bytes()).await;
        }
        client.write(&publish2(true, 4, false, &bodies(1)[0])).await;
        assert_eq!(client.goodbye().await, Some(0x93), "Receive Maximum exceeded");
    });
}

#[test]
fn a_subscriber_gets_a_message_once_across_connections() {
    block_on(async {
        for v5 in [false, true] {
            let endpoint = bind(config()).await;
            let hello = Hello::new(v5, "dev").resuming();
            let mut client = Client::connect(&endpoint, &hello).await;
            assert_eq!(client.subscribe("out/#", 2).await, 2);
            let publication =
                |n: &str| Publication { topic: "out/x".into(), payload: n.into(), idempotency_key: n.into() };
            endpoint.publish(publication("1")).await.unwrap();
            let (_, id, again, payload) = client.message().await;
            assert_eq!((again, payload.as_slice()), (false, &b"1"[..]));
            // Without a PUBREC it comes again, with its id.
            let mut client = Client::connect(&endpoint, &hello).await;
            let repeated = client.message().await;
            assert_eq!((repeated.1, repeated.2), (id, true));
            client.write(&packet(0x50, &id.to_be_bytes())).await;
            expect(&mut client, 0x62, &id.to_be_bytes()).await;
            // With it, only the PUBREL comes again.
            let mut client = Client::connect(&endpoint, &hello).await;
            expect(&mut client, 0x62, &id.to_be_bytes()).await;
            client.write(&packet(0x70, &id.to_be_bytes())).await;
            client.write(&packet(0xc0, &[])).await;
            expect(&mut client, 0xd0, &[]).await;
            let mut client = Client::connect(&endpoint, &hello).await;
            assert!(client.is_quiet().await, "it is done with");
            // A PUBREC for nothing.
            client.write(&packet(0x50, &[0, 99])).await;
            expect(&mut client, 0x62, if v5 { &[0, 99, 0x92] } else { &[0, 99] }).await;
        }
    });
}
