//! What the gate says is what a connection may do.

use std::sync::{Arc, Mutex};

use w3bstream_endpoint::{Access, Credentials, Gate, Principal, Vouched, async_trait};
use w3bstream_endpoint_mqtt::MqttEndpoint;
use w3bstream_types::{Refusal, RefusalKind, Submission, SystemClock, Timestamp};

use crate::support::{Client, Hello, TOPIC, block_on, bodies, config, next, packet, text};

/// Lets in `device` with the password `open`, and remembers what it was shown.
#[derive(Debug, Default)]
struct Door(Mutex<Vec<Credentials>>);

#[async_trait]
impl Gate for Door {
    async fn admit(&self, shown: Credentials) -> Result<Access, Refusal> {
        self.0.lock().unwrap().push(shown.clone());
        match (shown.username.as_deref(), shown.password.as_deref()) {
            (Some("late"), _) => Err(Refusal::new(RefusalKind::NotReady, "the list is being read")),
            (Some(name @ ("device" | "twin")), Some(b"open")) => Ok(Access {
                principal: Principal::User(name.into()),
                publish: vec!["w3b/kit/+".into(), "site/own/#".into()],
                subscribe: vec!["w3b/kit/cmd/device".into()],
                vouched: Some(Vouched::Token("secret".into())),
                until: (shown.client_id == "short").then(|| now() + 300),
                rests_on: vec![],
            }),
            _ => Err(Refusal::new(RefusalKind::BadToken, "user name or password is wrong")),
        }
    }
}

fn now() -> u64 {
    w3bstream_types::Clock::now(&SystemClock).millis()
}

async fn endpoint(door: &Arc<Door>) -> Arc<MqttEndpoint> {
    let config = w3bstream_endpoint_mqtt::MqttConfig { open_topics: vec!["site/#".into()], ..config() };
    let gate: Arc<dyn Gate> = Arc::<Door>::clone(door);
    MqttEndpoint::bind(config, Arc::new(SystemClock), gate).await.unwrap()
}

fn connect(v5: bool, id: &str, user: &str, password: &str, will: Option<&str>) -> Vec<u8> {
    let mut b = text("MQTT");
    b.extend_from_slice(&[if v5 { 5 } else { 4 }, 0b1100_0010 | u8::from(will.is_some()) << 2, 0, 60]);
    b.extend(v5.then_some(0));
    b.extend(text(id));
    if let Some(topic) = will {
        b.extend(v5.then_some(0));
        b.extend([text(topic), text("x")].concat());
    }
    b.extend([text(user), text(password)].concat());
    packet(0x10, &b)
}

async fn client(endpoint: &MqttEndpoint, v5: bool, connect: &[u8]) -> (Client, u8) {
    let mut client = Client::raw(endpoint, v5).await;
    client.write(connect).await;
    let (first, body) = client.read().await.expect("a CONNACK");
    assert_eq!(first, 0x20);
    client.connack.clone_from(&body);
    (client, body[1])
}

#[test]
fn who_is_not_admitted_is_told_and_let_go() {
    block_on(async {
        let door = Arc::new(Door::default());
        let endpoint = endpoint(&door).await;
        for (v5, user, code) in [(true, "x", 0x86), (false, "x", 4), (true, "late", 0x88), (false, "late", 3)]
        {
            let (mut c, told) = client(&endpoint, v5, &connect(v5, "id", user, "no", None)).await;
            assert_eq!((told, c.read().await), (code, None), "{v5} {user}");
        }
        let anonymous = Client::say(&endpoint, &Hello::new(true, "nobody")).await;
        assert_eq!(anonymous.connack[1], 0x86);
        let metrics = endpoint.metrics();
        assert_eq!(
            (metrics.connects_refused, metrics.sessions_now),
            (5, 0),
            "no session for who is not admitted"
        );
        let shown = &door.0.lock().unwrap()[0];
        assert_eq!((shown.client_id.as_str(), shown.from_loopback), ("id", true));
    });
}

#[test]
fn topics_are_those_that_the_gate_allows() {
    block_on(async {
        let endpoint = endpoint(&Arc::new(Door::default())).await;
        for (v5, no) in [(true, 0x87), (false, 0x80)] {
            let (mut c, told) = client(&endpoint, v5, &connect(v5, "id", "device", "open", None)).await;
            assert_eq!(told, 0);
            assert_eq!(c.subscribe("w3b/kit/cmd/device", 1).await, 1);
            for filter in
                ["w3b/kit/cmd/+", "w3b/kit/cmd/other", "#", "$SYS/#", "$share/g/w3b/#", "site/own/x"]
            {
                assert_eq!(c.subscribe(filter, 1).await, no, "{filter}");
            }
            assert_eq!(c.subscribe("$share/g/w3b/kit/cmd/device", 1).await, 1, "a part of what is allowed");
            for topic in ["site/x", "w3b/another/reading"] {
                c.publish(topic, 5, b"x").await;
                let ack = c.puback().await;
                assert_eq!(
                    (ack.code, ack.reason.contains("may not publish")),
                    (if v5 { 0x87 } else { 0 }, v5)
                );
            }
            c.publish("site/own/x", 6, b"x").await;
            assert_eq!(c.puback().await.code, if v5 { 0x10 } else { 0 });
        }
        assert_eq!(endpoint.metrics().not_allowed, 16);
        let refused = connect(true, "id", "device", "open", Some("site/x"));
        assert_eq!(client(&endpoint, true, &refused).await.1, 0x87, "nor its will");
    });
}

#[test]
fn what_a_vouched_client_does_not_sign_goes_in_with_its_token() {
    block_on(async {
        let endpoint = endpoint(&Arc::new(Door::default())).await;
        let (mut c, _) = client(&endpoint, true, &connect(true, "id", "device", "open", None)).await;
        let properties = [
            &[0x26][..],
            &text("w3b-event-id"),
            &text("e-1"),
            &[0x26],
            &text("w3b-time"),
            &text("1700000000000"),
        ]
        .concat();
        let len = u8::try_from(properties.len()).unwrap();
        c.write(&packet(0x32, &[&text(TOPIC)[..], &[0, 1, len], &properties, b"raw"].concat())).await;
        let arrival = next(&endpoint).await;
        let Submission::Token { token, event_id, event_type, time, payload } = &arrival.received.submission
        else {
            panic!("{:?}", arrival.received)
        };
        assert_eq!((token.as_str(), event_id.as_str()), ("secret", "e-1"));
        assert_eq!((event_type.as_str(), *time), ("reading", Timestamp(1_700_000_000_000)));
        assert_eq!(payload, b"raw");
        drop(arrival);
        // Without an id each gets one; what is signed stays signed.
        let (mut c, _) = client(&endpoint, false, &connect(false, "id2", "device", "open", None)).await;
        let (mut ids, mut open) = (Vec::new(), Vec::new());
        for id in 1..=2 {
            c.publish(TOPIC, id, b"raw").await;
            let arrival = next(&endpoint).await;
            let Submission::Token { event_id, .. } = &arrival.received.submission else { panic!("a token") };
            ids.push(event_id.clone());
            open.push(arrival);
        }
        assert_ne!(ids[0], ids[1]);
        let (mut c, _) = client(&endpoint, true, &connect(true, "id3", "device", "open", None)).await;
        c.publish(TOPIC, 3, &bodies(1)[0]).await;
        assert!(matches!(next(&endpoint).await.received.submission, Submission::Signed(_)));
    });
}

#[test]
fn nobody_has_anothers_session_by_giving_its_client_id() {
    block_on(async {
        let endpoint = endpoint(&Arc::new(Door::default())).await;
        let keeping = |user: &str| {
            let mut b = text("MQTT");
            b.extend_from_slice(&[5, 0b1100_0000, 0, 60, 5, 0x11, 0, 0, 0, 60]);
            b.extend([text("same"), text(user), text("open")].concat());
            packet(0x10, &b)
        };
        let (mut first, told) = client(&endpoint, true, &keeping("device")).await;
        assert_eq!(told, 0);
        assert_eq!(first.subscribe("w3b/kit/cmd/device", 1).await, 1);
        let (second, told) = client(&endpoint, true, &keeping("twin")).await;
        assert_eq!((told, second.connack[0]), (0, 0), "a session of its own");
        assert!(first.is_quiet().await, "the first is not cut off");
        assert_eq!((endpoint.metrics().sessions_now, endpoint.metrics().takeovers), (2, 0));
    });
}

#[test]
fn a_connection_ends_with_what_it_was_granted_for() {
    block_on(async {
        let endpoint = endpoint(&Arc::new(Door::default())).await;
        let (mut c, _) = client(&endpoint, true, &connect(true, "short", "device", "open", None)).await;
        assert_eq!(c.goodbye().await, Some(0x87));
    });
}

#[test]
fn the_gate_sees_who_a_certificate_is_of() {
    block_on(async {
        let door = Arc::new(Door::default());
        let listen = w3bstream_endpoint_mqtt::Listener {
            address: "127.0.0.1:0".parse().unwrap(),
            transport: w3bstream_endpoint_mqtt::Transport::Tls,
        };
        let config = w3bstream_endpoint_mqtt::MqttConfig { more: vec![listen], ..config() };
        let gate: Arc<dyn Gate> = Arc::<Door>::clone(&door);
        let secure = Some(crate::transports::secure());
        let endpoint = MqttEndpoint::bind_with(config, Arc::new(SystemClock), gate, secure).await.unwrap();
        let _plain = Client::say(&endpoint, &Hello::new(true, "plain")).await;
        let tls = w3bstream_endpoint_mqtt::Transport::Tls;
        let _secured = crate::transports::said(&endpoint, tls, &Hello::new(true, "secured")).await;
        let seen = door.0.lock().unwrap();
        let dids: Vec<_> = seen.iter().map(|c| (c.client_id.as_str(), c.certificate_dids.clone())).collect();
        assert_eq!(dids, [("plain", vec![]), ("secured", vec![crate::transports::certificate_did()])]);
    });
}
