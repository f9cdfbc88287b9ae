//! Every limit is reached, and what comes then.

use std::sync::Arc;
use std::time::Duration;

use coap_lite::{MessageType, RequestType};
use proptest::prelude::*;
use w3bstream_endpoint::Endpoint as _;
use w3bstream_endpoint_coap::{CoapConfig, CoapEndpoint};
use w3bstream_types::{Refusal, RefusalKind, SystemClock};

use crate::support::{
    Client, FakeQuery, accepted, answer, bind, block_on, bytes, config, idle, message, next, post, request,
};

async fn send(client: &Client, ids: std::ops::Range<u16>) {
    for id in ids {
        client.send(&bytes(post(&message(id.into())), MessageType::Confirmable, id)).await;
    }
}

#[test]
fn what_is_too_much_waits_a_while_and_is_then_refused_for_now() {
    block_on(async {
        let endpoint = bind(CoapConfig {
            max_in_flight: 2,
            max_waiting: 2,
            overload_wait: Duration::from_millis(300),
            ..config()
        })
        .await;
        let client = Client::connect(endpoint.local_addr()).await;
        send(&client, 0..5).await;
        let at_once = client.read().await;
        assert_eq!((at_once.token(), at_once.code.as_str()), (4, "5.03"), "no place to wait");
        assert_eq!(at_once.json()["code"], "overloaded");
        let held = next(&endpoint).await;
        answer(next(&endpoint).await, accepted);
        assert_eq!(client.read().await.code, "2.04");
        let third = next(&endpoint).await;
        let late = client.read().await;
        assert_eq!((late.token(), late.code.as_str()), (3, "5.03"), "it has waited long enough");
        drop((held, third));
        assert_eq!([client.read().await.code, client.read().await.code], ["5.03", "5.03"]);
    });
}

#[test]
fn one_device_does_not_take_all_places() {
    block_on(async {
        let endpoint = bind(CoapConfig { max_open_per_source: 2, ..config() }).await;
        let client = Client::connect(endpoint.local_addr()).await;
        send(&client, 0..3).await;
        assert_eq!(client.read().await.code, "5.03");
        let other = Client::connect(endpoint.local_addr()).await;
        send(&other, 0..1).await;
        let held = [next(&endpoint).await, next(&endpoint).await, next(&endpoint).await];
        held.into_iter().for_each(|arrival| answer(arrival, accepted));
        assert_eq!(other.read().await.code, "2.04");
    });
}

#[test]
fn bytes_in_flight_are_bounded() {
    block_on(async {
        let endpoint = bind(CoapConfig {
            max_open_bytes: 1024,
            max_upload_bytes: 1024,
            max_message_bytes: 1024,
            ..config()
        })
        .await;
        let client = Client::connect(endpoint.local_addr()).await;
        let fit = u16::try_from(1024 / message(0).len()).unwrap();
        send(&client, 0..fit + 1).await;
        let reply = client.read().await;
        assert_eq!((reply.token(), reply.code.as_str()), (fit, "5.03"));
    });
}

#[test]
fn requests_are_forgotten_for_new_ones_and_arrive_anew() {
    block_on(async {
        let endpoint = bind(CoapConfig { max_exchanges_per_source: 2, ..config() }).await;
        let client = Client::connect(endpoint.local_addr()).await;
        for id in [0, 1, 2] {
            send(&client, id..id + 1).await;
            answer(next(&endpoint).await, accepted);
            assert_eq!(client.read().await.code, "2.04");
        }
        send(&client, 2..3).await;
        assert_eq!(client.read().await.token(), 2);
        assert!(idle(&endpoint).await, "this one is remembered");
        send(&client, 0..1).await;
        // The node knows it by its bytes: it says `duplicate`.
        answer(next(&endpoint).await, accepted);
        assert_eq!(client.read().await.token(), 0);
        assert!(endpoint.metrics().exchanges_now <= 2 && endpoint.metrics().forgotten >= 2);
    });
}

#[test]
fn a_short_question_gets_a_short_answer() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        for (id, path) in (0..).zip(["x", "w3b/p/t", ".well-known/core", "w3b/p/t/x"]) {
            for method in [RequestType::Get, RequestType::Post] {
                let sent = bytes(
                    request(method, path, b""),
                    MessageType::Confirmable,
                    id * 2 + u16::from(method == RequestType::Get),
                );
                client.send(&sent).await;
                let reply = client.read().await;
                assert!(reply.bytes <= 3 * sent.len(), "{path}: {} bytes for {}", reply.bytes, sent.len());
            }
        }
        assert!(endpoint.metrics().shortened > 0);
    });
}

#[test]
fn an_answer_is_not_repeated_beyond_what_was_asked_with() {
    block_on(async {
        let endpoint = bind(CoapConfig {
            ack_within: Duration::ZERO,
            ack_timeout: Duration::from_millis(5),
            max_retransmit: 10,
            ..config()
        })
        .await;
        let client = Client::connect(endpoint.local_addr()).await;
        let sent = bytes(post(&message(1)), MessageType::Confirmable, 1);
        client.send(&sent).await;
        let refusal = Refusal::new(RefusalKind::Revoked, "x".repeat(300));
        answer(next(&endpoint).await, |_| Err(refusal));
        let mut got = 0;
        // Never acknowledged: five, ten, … milliseconds apart.
        while got < 3 * sent.len() && endpoint.metrics().unacknowledged == 0 {
            let mut buffer = [0; 2000];
            if let Ok(read) =
                tokio::time::timeout(Duration::from_secs(1), client.socket.recv(&mut buffer)).await
            {
                got += read.unwrap();
            }
        }
        assert!(endpoint.metrics().retransmissions > 0 && endpoint.metrics().retransmissions < 10);
        assert!(got > sent.len() && got <= 3 * sent.len(), "{got} bytes for {}", sent.len());
    });
}

#[test]
fn closing_refuses_what_is_open_and_then_nobody_listens() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        send(&client, 0..1).await;
        let held = next(&endpoint).await;
        endpoint.stop_intake().await;
        send(&client, 1..2).await;
        let refused = client.read().await;
        assert_eq!((refused.token(), refused.json()["code"].as_str()), (1, Some("shutting-down")));
        endpoint.close().await.unwrap();
        assert_eq!(client.read().await.code, "5.03");
        answer(held, accepted);
        assert!(endpoint.next().await.is_none());
        // The port is free.
        tokio::net::UdpSocket::bind(endpoint.local_addr()).await.unwrap();
    });
}

#[test]
fn answers_that_are_sent_again_are_bounded() {
    block_on(async {
        let endpoint = bind(CoapConfig { max_separate: 1, ack_within: Duration::ZERO, ..config() }).await;
        let client = Client::connect(endpoint.local_addr()).await;
        for (id, kind) in [(1, MessageType::Confirmable), (2, MessageType::NonConfirmable)] {
            send(&client, id..id + 1).await;
            assert_eq!(client.read_only().await.code, "0.00");
            answer(next(&endpoint).await, accepted);
            // The first is never acknowledged.
            let reply = client.read_only().await;
            assert_eq!((reply.token(), reply.kind), (id, kind));
        }
    });
}

#[test]
fn questions_are_bounded_in_number_and_time() {
    block_on(async {
        let query = Arc::new(FakeQuery::default());
        *query.hanging.lock().unwrap() = true;
        let limits = CoapConfig { max_queries: 1, query_timeout: Duration::from_millis(300), ..config() };
        let endpoint = CoapEndpoint::bind(limits, query, Arc::new(SystemClock)).await.unwrap();
        let client = Client::connect(endpoint.local_addr()).await;
        let ask = || request(RequestType::Get, &format!("w3b/message/{}", "0a".repeat(32)), b"");
        client.send(&bytes(ask(), MessageType::Confirmable, 1)).await;
        let second = client.ask(ask(), 2).await;
        assert_eq!((second.token(), second.json()["code"].as_str()), (2, Some("overloaded")));
        let first = client.read().await;
        assert_eq!((first.token(), first.json()["code"].as_str()), (1, Some("not-ready")));
        // One that hangs does not hold up the end.
        client.send(&bytes(ask(), MessageType::Confirmable, 3)).await;
        endpoint.close().await.unwrap();
    });
}

#[test]
fn what_comes_after_the_stop_is_not_taken() {
    block_on(async {
        // Often, as it is a race: the task hears of the stop and of the datagram at the same time.
        for id in 0..200 {
            let endpoint = bind(config()).await;
            let client = Client::connect(endpoint.local_addr()).await;
            let sent = bytes(post(&message(1)), MessageType::Confirmable, id);
            endpoint.stop_intake().await;
            client.send(&sent).await;
            assert_eq!(client.read().await.json()["code"], "shutting-down");
        }
    });
}

#[test]
fn a_group_that_somebody_has_joined_is_not_heard() {
    block_on(async {
        let endpoint = bind(CoapConfig { listen: "0.0.0.0:0".parse().unwrap(), ..config() }).await;
        let port = endpoint.local_addr().port();
        // All CoAP nodes (RFC 7252 §12.8), on loopback.
        let group = std::net::Ipv4Addr::new(224, 0, 1, 187);
        let loopback = std::net::Ipv4Addr::LOCALHOST;
        let member = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        member.join_multicast_v4(group, loopback).unwrap();
        let sender = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket2::SockRef::from(&sender).set_multicast_if_v4(&loopback).unwrap();
        let ask = bytes(request(RequestType::Get, ".well-known/core", b""), MessageType::NonConfirmable, 1);
        sender.send_to(&ask, (group, port)).await.unwrap();
        let client = Client::connect((loopback, port).into()).await;
        assert_eq!(client.ask(request(RequestType::Get, ".well-known/core", b""), 2).await.code, "2.05");
        assert_eq!(endpoint.metrics().datagrams, 1, "the group's is not among them");
    });
}

#[test]
fn an_address_that_is_taken_is_named() {
    block_on(async {
        let endpoint = bind(config()).await;
        let taken = CoapConfig { listen: endpoint.local_addr(), ..config() };
        let query = Arc::new(FakeQuery::default());
        let error = CoapEndpoint::bind(taken, query, Arc::new(SystemClock)).await.unwrap_err();
        assert_eq!(error.kind(), w3bstream_endpoint::ErrorKind::Bind);
        assert!(error.to_string().contains(&endpoint.local_addr().to_string()), "{error}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever came before, a good message is answered.
    #[test]
    fn noise_harms_nobody(noise in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..50)) {
        block_on(async {
            let endpoint = bind(config()).await;
            let noisy = Client::connect(endpoint.local_addr()).await;
            for bytes in &noise {
                noisy.send(bytes).await;
            }
            let client = Client::connect(endpoint.local_addr()).await;
            send(&client, 1..2).await;
            answer(next(&endpoint).await, accepted);
            assert_eq!(client.read().await.code, "2.04");
        });
    }
}
