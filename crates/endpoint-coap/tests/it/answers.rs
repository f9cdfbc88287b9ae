//! What requests are answered.

use std::sync::Arc;
use std::time::Duration;

use coap_lite::{MessageType, RequestType};
use w3bstream_endpoint::{Endpoint as _, ErrorKind, MessageLife};
use w3bstream_endpoint_coap::{CoapConfig, CoapEndpoint};
use w3bstream_types::{MessageState, RefusalKind, StateChange, SystemClock, Timestamp};

use crate::support::{
    Client, FakeQuery, accepted, answer, bind, block_on, bytes, config, idle, message, next, post, refused,
    request, with,
};

#[test]
fn an_accepted_message_is_answered_with_its_acknowledgement() {
    block_on(async {
        let endpoint = bind(config()).await;
        assert_eq!(endpoint.urls(), [format!("coap://{}", endpoint.local_addr())]);
        let client = Client::connect(endpoint.local_addr()).await;
        client.send(&bytes(post(&message(1)), MessageType::Confirmable, 7)).await;
        let arrival = next(&endpoint).await;
        assert!(client.hears_nothing().await, "nothing leaves before the node has accepted");
        answer(arrival, accepted);
        let reply = client.read().await;
        assert_eq!((reply.kind, reply.id, reply.token()), (MessageType::Acknowledgement, 7, 7));
        assert_eq!(reply.code, "2.04");
        let body = reply.json();
        assert_eq!((&body["duplicate"], &body["mode"]), (&false.into(), &"durable".into()));
        // The same bytes once more: the same answer, and no second arrival.
        client.send(&bytes(post(&message(1)), MessageType::Confirmable, 7)).await;
        assert_eq!(client.read().await, reply);
        assert!(idle(&endpoint).await);
        assert_eq!((endpoint.metrics().accepted, endpoint.metrics().repeats), (1, 1));
        // A device that was started anew may use the id again, for other bytes.
        client.send(&bytes(post(&message(2)), MessageType::Confirmable, 7)).await;
        answer(next(&endpoint).await, accepted);
        assert_ne!(client.read().await.json()["id"], body["id"]);
    });
}

#[test]
fn a_slow_answer_comes_in_a_message_of_its_own_until_it_is_acknowledged() {
    block_on(async {
        let endpoint = bind(CoapConfig { ack_within: Duration::from_millis(50), ..config() }).await;
        let client = Client::connect(endpoint.local_addr()).await;
        let sent = bytes(post(&message(1)), MessageType::Confirmable, 9);
        client.send(&sent).await;
        let arrival = next(&endpoint).await;
        let empty = client.read().await;
        assert_eq!((empty.kind, empty.id, empty.code.as_str()), (MessageType::Acknowledgement, 9, "0.00"));
        assert_eq!(empty.bytes, 4);
        client.send(&sent).await;
        assert_eq!(client.read().await, empty, "a repeat is told that the request is here");
        answer(arrival, accepted);
        let first = client.read_only().await;
        assert_eq!((first.kind, first.code.as_str(), first.token()), (MessageType::Confirmable, "2.04", 9));
        let again = client.read().await;
        assert_eq!(again, first, "nobody has acknowledged it");
        assert!(client.hears_nothing().await, "now somebody has");
        let metrics = endpoint.metrics();
        assert_eq!((metrics.empty_acks, metrics.separate, metrics.retransmissions), (1, 1, 1));
        endpoint.close().await.unwrap();
    });
}

#[test]
fn a_reset_ends_the_repeats_of_an_answer() {
    block_on(async {
        let endpoint = bind(CoapConfig { ack_within: Duration::ZERO, ..config() }).await;
        let client = Client::connect(endpoint.local_addr()).await;
        client.send(&bytes(post(&message(1)), MessageType::Confirmable, 9)).await;
        assert_eq!(client.read().await.code, "0.00");
        answer(next(&endpoint).await, accepted);
        let [high, low] = client.read_only().await.id.to_be_bytes();
        client.send(&[0x70, 0, high, low]).await;
        assert!(client.hears_nothing().await && client.hears_nothing().await && client.hears_nothing().await);
        assert_eq!(endpoint.metrics().unacknowledged, 1);
    });
}

#[test]
fn every_refusal_has_its_code() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        for (id, kind) in (0..).zip(RefusalKind::ALL) {
            for (kind_of, id) in [(MessageType::Confirmable, id), (MessageType::NonConfirmable, id + 100)] {
                client.send(&bytes(post(&message(1)), kind_of, id)).await;
                answer(next(&endpoint).await, |_| refused(kind));
                let reply = client.read().await;
                assert_eq!(reply.code == "5.03", !kind.is_permanent(), "{kind}: {}", reply.code);
                assert_eq!(reply.option(14).is_some(), !kind.is_permanent(), "{kind}: Max-Age");
                let body = reply.json();
                assert_eq!(
                    (&body["code"], &body["permanent"]),
                    (&kind.code().into(), &kind.is_permanent().into())
                );
                assert!(body["id"].is_string());
            }
        }
        let metrics = endpoint.metrics();
        assert!(
            metrics.refused.iter().all(|(_, n)| *n == 2) && metrics.refused.len() == RefusalKind::ALL.len()
        );
        assert_eq!(metrics.lost_non, 4);
    });
}

#[test]
fn an_answer_is_cbor_for_who_asks_for_it() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        client.send(&bytes(with(post(&message(1)), 17, &[60]), MessageType::Confirmable, 1)).await;
        answer(next(&endpoint).await, accepted);
        let reply = client.read().await;
        assert_eq!(reply.option(12), Some(vec![60]));
        let mut cbor = minicbor::Decoder::new(&reply.packet.payload);
        assert_eq!(cbor.map().unwrap(), Some(4));
        assert_eq!(cbor.str().unwrap(), "duplicate");
        assert!(!cbor.bool().unwrap());
    });
}

#[test]
fn what_is_no_message_never_reaches_the_node() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        let other = request(RequestType::Post, "w3b/kit/other-type", &message(1));
        let cases = [
            (post(b"{}"), "4.00"),
            (other, "4.00"),
            (with(post(b"x"), 12, &[50]), "4.15"),
            (with(post(&message(1)), 17, &[41]), "4.06"),
            (with(post(&message(1)), 9, b""), "4.02"),
            (with(post(&message(1)), 35, b"coap://elsewhere"), "5.05"),
            (request(RequestType::Post, "w3b/Kit/reading", &message(1)), "4.04"),
            (request(RequestType::Get, "w3b/kit/reading", b""), "4.05"),
            (request(RequestType::Delete, "w3b/kit/reading", b""), "4.05"),
            (request(RequestType::Get, "elsewhere", b""), "4.04"),
        ];
        for (id, (packet, code)) in (0..).zip(cases) {
            assert_eq!(client.ask(packet, id).await.code, code, "case {id}");
        }
        // Non-confirmable with an option that is not understood: silence.
        client.send(&bytes(with(post(&message(1)), 9, b""), MessageType::NonConfirmable, 99)).await;
        assert!(client.hears_nothing().await);
        assert!(idle(&endpoint).await);
        assert_eq!(endpoint.metrics().bad_options, 2);
    });
}

#[test]
fn malformed_messages_and_pings_are_reset_or_passed_over() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        for bad in [&[0x40, 0, 1, 2][..], &[0x40, 1, 1, 2, 0xff], &[0x49, 2, 1, 2], &[0x40, 0x45, 1, 2]] {
            client.send(bad).await;
            let reply = client.read().await;
            assert_eq!((reply.kind, reply.id, reply.bytes), (MessageType::Reset, 0x102, 4));
        }
        for silent in [&[0x50, 0, 1, 2][..], &[0x80, 1, 1, 2], &[0x60, 0, 1, 2], &[0x70, 0, 1, 2], &[1], &[]]
        {
            client.send(silent).await;
        }
        assert!(client.hears_nothing().await);
        assert_eq!(endpoint.metrics().resets, 4);
    });
}

#[test]
fn a_device_may_ask_for_less() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        // RFC 7967: no answers of class 2.
        for (id, kind) in [(1, MessageType::NonConfirmable), (2, MessageType::Confirmable)] {
            client.send(&bytes(with(post(&message(1)), 258, &[2]), kind, id)).await;
            answer(next(&endpoint).await, accepted);
        }
        let empty = client.read().await;
        assert_eq!((empty.id, empty.bytes), (2, 4), "a Confirmable one is acknowledged still");
        assert!(client.hears_nothing().await);
        client.send(&bytes(with(post(&message(1)), 258, &[2]), MessageType::NonConfirmable, 3)).await;
        answer(next(&endpoint).await, |_| refused(RefusalKind::Revoked));
        assert_eq!(client.read().await.code, "4.01", "what is not accepted is told");
    });
}

#[test]
fn the_life_of_a_message_can_be_asked_for() {
    block_on(async {
        let query = Arc::new(FakeQuery::default());
        let shared = Arc::<FakeQuery>::clone(&query);
        let endpoint = CoapEndpoint::bind(config(), shared, Arc::new(SystemClock)).await.unwrap();
        let client = Client::connect(endpoint.local_addr()).await;
        let id = "0a".repeat(32);
        let ask = || request(RequestType::Get, &format!("w3b/message/{id}"), b"");
        assert_eq!(client.ask(ask(), 1).await.code, "4.04");
        let change = |state| StateChange { state, time: Timestamp(1), reason: "r".repeat(40) };
        let life = MessageLife {
            project: "kit".parse().unwrap(),
            states: vec![change(MessageState::Stored), change(MessageState::Ordered)],
            settlements: Vec::new(),
            settlement_count: 0,
        };
        query.lives.lock().unwrap().insert(id.parse().unwrap(), life);
        // It comes in blocks, since a question may have come from elsewhere.
        let (mut body, mut number) = (Vec::new(), 0);
        loop {
            let size = 3;
            let block = [number << 4 | size];
            let packet = if number == 0 { ask() } else { with(ask(), 23, &block) };
            let sent = bytes(packet, MessageType::Confirmable, 100 + u16::from(number));
            client.send(&sent).await;
            let reply = client.read().await;
            assert_eq!(reply.code, "2.05");
            assert!(reply.bytes <= 3 * sent.len(), "{} bytes for {}", reply.bytes, sent.len());
            body.extend_from_slice(&reply.packet.payload);
            let block = reply.option(23).unwrap();
            assert_eq!(block[0] & 7, size, "the first answer says the size");
            number += 1;
            if block[0] & 8 == 0 {
                break;
            }
        }
        assert!(number > 1);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["id"], &body["states"][1]["state"]), (&id.as_str().into(), &"ordered".into()));
        *query.failing.lock().unwrap() = Some(ErrorKind::State);
        let failed = client.ask(ask(), 9).await;
        assert_eq!((failed.code.as_str(), failed.option(14)), ("5.03", Some(vec![5])));
        assert!(!failed.text().contains("secret"));
        let core = client.ask(request(RequestType::Get, ".well-known/core", b""), 10).await;
        assert!(core.text().starts_with("</w3b>;"), "{}", core.text());
        assert_eq!((core.code.as_str(), core.option(12)), ("2.05", Some(vec![40])));
    });
}
