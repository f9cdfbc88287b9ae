//! Acknowledgements, and what the broker is asked for.

use w3bstream_endpoint::Endpoint as _;
use w3bstream_endpoint_brokers::{BrokerConfig, BrokersConfig, Credentials, Delivery, Tell};
use w3bstream_types::RefusalKind;

use crate::fake::{
    ALL, Conn, Fake, TOPIC, V4, V4_TWICE, V5, V5_TWICE, accept, block_on, bodies, metrics, next, open,
    packet, quick, refused, text, until,
};

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn level(fake: &Fake) -> u8 {
    if fake.speech.qos == Delivery::AtLeastOnce { 1 } else { 2 }
}

#[test]
fn the_broker_is_asked_for_a_session_that_is_kept() {
    block_on(async {
        for speech in ALL {
            let fake = Fake::new(speech).await;
            let credentials = Some(Credentials { user: "node".to_owned(), password: "secret".to_owned() });
            let share = Some("nodes".to_owned());
            let endpoint =
                open(quick(BrokerConfig { credentials, share, max_in_flight: 77, ..fake.broker() }));
            let conn = fake.accept().await;
            let version = if conn.v5 { 5 } else { 4 };
            // User, password; neither a clean session nor a will.
            assert_eq!(conn.connect[..10], [0, 4, b'M', b'Q', b'T', b'T', version, 0b1100_0000, 0, 30]);
            for part in ["node-1", "node", "secret"] {
                assert!(contains(&conn.connect, &text(part)), "{part}: {:?}", conn.connect);
            }
            let (week, window) = ((7 * 86_400_u32).to_be_bytes(), 77_u16.to_be_bytes());
            let expiry = [&[0x11][..], &week].concat();
            let receive_max = [&[0x21][..], &window].concat();
            assert_eq!(contains(&conn.connect, &expiry), conn.v5);
            assert_eq!(contains(&conn.connect, &receive_max), conn.v5);
            let filter = [text("$share/nodes/w3b/+/+"), vec![level(&fake)]].concat();
            let asked: Vec<u8> = conn.subscribe[conn.subscribe.len() - filter.len()..].to_vec();
            // The options of MQTT 5: retained messages with a new subscription only.
            let expected =
                if conn.v5 { [&filter[..filter.len() - 1], &[level(&fake) | 0x10]].concat() } else { filter };
            assert_eq!(asked, expected);
            until("the connection", || endpoint.status()[0].connected).await;
        }
    });
}

#[test]
fn a_transient_refusal_ends_the_connection_and_the_message_comes_again() {
    block_on(async {
        for speech in ALL {
            let fake = Fake::new(speech).await;
            let endpoint = fake.open();
            let mut conn = fake.accept().await;
            let body = &bodies(1)[0];
            conn.publish(level(&fake), 9, body).await;
            next(&endpoint).await.ack.answer(refused(RefusalKind::StorageFailing));
            conn.end().await;
            let mut conn = fake.accept_with(true, &[level(&fake)]).await;
            let mut again = conn.publish_bytes((TOPIC, level(&fake)), 9, body);
            again[0] |= 0b1000;
            conn.write(&again).await;
            accept(next(&endpoint).await);
            let ack = conn.acked().await;
            assert_eq!((ack.id, ack.code, ack.kind), (9, 0, level(&fake) + 3));
            let counted = metrics(&endpoint);
            assert_eq!((counted.ended_transient, counted.redelivered, counted.sessions_lost), (1, 1, 0));
            assert!(endpoint.status()[0].last_error.as_ref().unwrap().contains("storage-failing"));
        }
    });
}

#[test]
fn an_answer_is_not_sent_on_the_next_connection() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let endpoint = fake.open();
        let mut conn = fake.accept().await;
        let bodies = bodies(2);
        conn.publish(1, 9, &bodies[0]).await;
        let late = next(&endpoint).await;
        drop(conn);
        let mut conn = fake.accept_with(false, &[1]).await;
        // The broker has forgotten the session: id 9 is another message now.
        conn.publish(1, 9, &bodies[1]).await;
        let other = next(&endpoint).await;
        accept(late);
        assert!(conn.is_quiet().await, "the answer belongs to another message");
        accept(other);
        assert_eq!(conn.acked().await.id, 9);
        assert_eq!(metrics(&endpoint).sessions_lost, 1);
    });
}

#[test]
fn a_release_of_an_earlier_connection_is_completed() {
    block_on(async {
        for speech in [V5_TWICE, V4_TWICE] {
            let fake = Fake::new(speech).await;
            let _endpoint = fake.open();
            let mut conn = fake.accept_with(true, &[2]).await;
            conn.write(&packet(0x62, &[0, 42])).await;
            assert_eq!(conn.read().await, Some((0x70, vec![0, 42])));
        }
    });
}

#[test]
fn permanent_refusals_are_told_to_broker_and_device() {
    block_on(async {
        for speech in ALL {
            let fake = Fake::new(speech).await;
            let endpoint = fake.open();
            let mut conn = fake.accept().await;
            until("the connection", || endpoint.status()[0].connected).await;
            conn.publish(level(&fake), 3, &bodies(1)[0]).await;
            next(&endpoint).await.ack.answer(refused(RefusalKind::UnknownDevice));
            let ack = conn.acked().await;
            assert_eq!((ack.id, ack.code), (3, if conn.v5 { 0x87 } else { 0 }));
            assert_eq!(ack.reason.starts_with("unknown-device: "), conn.v5, "{}", ack.reason);
            let (topic, _, payload) = conn.message().await;
            assert!(topic.starts_with("w3b/kit/refused/did:key:"), "{topic}");
            assert!(contains(&payload, b"\"code\":\"unknown-device\""), "{payload:?}");
        }
    });
}

#[test]
fn devices_are_told_as_much_as_was_set() {
    block_on(async {
        for (tell, topics) in [(Tell::Nothing, vec![]), (Tell::All, vec!["w3b/kit/ack/", "w3b/kit/refused/"])]
        {
            let fake = Fake::new(V4).await;
            let endpoint = open(quick(BrokerConfig { tell, ..fake.broker() }));
            let mut conn = fake.accept().await;
            until("the connection", || endpoint.status()[0].connected).await;
            for (id, body) in (1..).zip(bodies(2)) {
                conn.publish(1, id, &body).await;
            }
            accept(next(&endpoint).await);
            assert_eq!(conn.acked().await.id, 1);
            if let Some(topic) = topics.first() {
                let told = conn.message().await.0;
                assert!(told.starts_with(topic), "{told}");
            }
            next(&endpoint).await.ack.answer(refused(RefusalKind::Conflict));
            assert_eq!(conn.acked().await.id, 2);
            if let Some(topic) = topics.last() {
                let told = conn.message().await.0;
                assert!(told.starts_with(topic), "{told}");
            }
            assert!(conn.is_quiet().await);
        }
    });
}

async fn refused_with(conn: &mut Conn, topic: &str, payload: &[u8]) -> (u8, String) {
    let bytes = conn.publish_bytes((topic, 1), 5, payload);
    conn.write(&bytes).await;
    let ack = conn.acked().await;
    (ack.code, ack.reason)
}

#[test]
fn what_is_no_message_is_refused_for_ever_and_blocks_nobody() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let endpoint = fake.open();
        let mut conn = fake.accept().await;
        let body = &bodies(1)[0];
        assert_eq!(refused_with(&mut conn, "sensors/temperature", body).await.0, 0x90);
        assert_eq!(refused_with(&mut conn, "w3b/kit/ack/did:key:z6", body).await.0, 0x90);
        let (code, reason) = refused_with(&mut conn, TOPIC, b"21.5").await;
        assert!(code == 0x99 && reason.starts_with("malformed"), "{code:#x} {reason}");
        let (code, reason) = refused_with(&mut conn, "w3b/kit/another", body).await;
        assert!(code == 0x99 && reason.contains("the topic says another"), "{code:#x} {reason}");
        conn.publish(1, 6, body).await;
        accept(next(&endpoint).await);
        assert_eq!(conn.acked().await.code, 0);
        let counted = metrics(&endpoint);
        assert_eq!((counted.wrong_topics, counted.refused), (2, vec![(RefusalKind::Malformed, 2)]));
    });
}

#[test]
fn a_message_that_is_too_large_is_refused_unread() {
    block_on(async {
        for speech in ALL {
            let fake = Fake::new(speech).await;
            let endpoint = open(BrokersConfig { max_packet_bytes: 2048, ..quick(fake.broker()) });
            let mut conn = fake.accept().await;
            let body = &bodies(1)[0];
            let large = conn.publish_bytes((TOPIC, level(&fake)), 7, &vec![b'x'; 1 << 20]);
            conn.write(&large).await;
            conn.publish(level(&fake), 8, body).await;
            let ack = conn.acked().await;
            assert_eq!((ack.id, ack.code), (7, if conn.v5 { 0x83 } else { 0 }));
            assert_eq!(ack.reason.starts_with("too-large: "), conn.v5);
            accept(next(&endpoint).await);
            assert_eq!(conn.acked().await.id, 8);
            assert_eq!(metrics(&endpoint).refused, [(RefusalKind::TooLarge, 1)]);
        }
    });
}

#[test]
fn a_qos_0_message_is_taken_and_its_loss_counted() {
    block_on(async {
        let fake = Fake::new(V4).await;
        let endpoint = fake.open();
        let mut conn = fake.accept().await;
        for body in bodies(2) {
            conn.publish(0, 0, &body).await;
        }
        accept(next(&endpoint).await);
        next(&endpoint).await.ack.answer(refused(RefusalKind::Overloaded));
        until("the count", || metrics(&endpoint).lost_at_qos_0 == 1).await;
        assert!(conn.is_quiet().await, "the connection goes on");
        assert_eq!(metrics(&endpoint).accepted, 1);
    });
}

#[test]
fn what_was_answered_is_acknowledged_before_the_endpoint_closes() {
    block_on(async {
        let fake = Fake::new(V5).await;
        let endpoint = fake.open();
        let mut conn = fake.accept().await;
        for (id, body) in (1..).zip(bodies(3)) {
            conn.publish(1, id, &body).await;
        }
        let (_first, second, third) = (next(&endpoint).await, next(&endpoint).await, next(&endpoint).await);
        accept(second);
        accept(third);
        endpoint.close().await.unwrap();
        assert_eq!((conn.acked().await.id, conn.acked().await.id), (2, 3), "the first has no answer");
        conn.end().await;
        assert!(endpoint.next().await.is_none());
    });
}
