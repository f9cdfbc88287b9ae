//! Clients of the original W3bstream.

use std::sync::Arc;

use w3bstream_endpoint::{Answer, async_trait};
use w3bstream_endpoint_mqtt::{OriginalEvent, Originals};
use w3bstream_types::{Accepted, AckMode, Digest, MessageId, Submission};
use w3bstream_wire::legacy::encode_event;

use crate::support::{Client, Hello, bind, block_on, config, next};

#[derive(Debug)]
struct Words;

#[async_trait]
impl Originals for Words {
    async fn word(&self, event: OriginalEvent, answer: Answer) -> Option<(String, Vec<u8>)> {
        let said = format!("{} {} {}", event.channel.text, event.event_id, answer.is_ok());
        (event.token == "tok").then(|| ("ack/key".to_owned(), said.into_bytes()))
    }
}

fn yes() -> Answer {
    let (mode, results) = (AckMode::Executed, Vec::new());
    Ok(Accepted { id: MessageId(Digest::of(b"x")), duplicate: false, mode, results })
}

#[test]
fn both_forms_come_in_with_their_token_and_are_answered_in_the_originals_words() {
    block_on(async {
        let endpoint = bind(config()).await;
        endpoint.serve_originals(Arc::new(Words));
        let mut client = Client::connect(&endpoint, &Hello::new(false, "old")).await;
        assert_eq!(client.subscribe("ack/key", 1).await, 1);
        let event = encode_event(("DEFAULT", "key", "tok"), (1_700_000_000, "ID-1"), b"one");
        for (id, topic, payload, event_id) in [
            (1, "aid_7_demo", event.as_slice(), "id-1"),
            (2, "demo/push/tok/DEFAULT/ts=1700000000&id=ID-2", b"two", "id-2"),
        ] {
            client.publish(topic, id, payload).await;
            let arrival = next(&endpoint).await;
            assert_eq!(arrival.received.project.as_str(), "demo");
            let Submission::Token { token, event_id: said, payload, .. } = &arrival.received.submission
            else {
                panic!("a token")
            };
            assert_eq!((token.as_str(), said.as_str()), ("tok", event_id));
            assert_eq!(payload, if id == 1 { &b"one"[..] } else { b"two" });
            assert!(client.is_quiet().await, "no answer before the node's");
            arrival.ack.answer(yes());
            assert_eq!(client.puback().await.id, id);
            let (topic, packet_id, _, said) = client.message().await;
            assert_eq!(topic, "ack/key");
            assert!(String::from_utf8(said).unwrap().ends_with(&format!(" {event_id} true")));
            client.write(&crate::support::packet(0x40, &packet_id.to_be_bytes())).await;
        }
        // Three levels are no form of the original's.
        client.publish("demo/push/tok", 3, b"x").await;
        assert_eq!(client.puback().await.id, 3);
        assert_eq!(endpoint.metrics().publishes, 3);
    });
}

#[test]
fn without_the_switch_there_are_no_such_topics() {
    block_on(async {
        let endpoint = bind(config()).await;
        let mut client = Client::connect(&endpoint, &Hello::new(true, "old")).await;
        client.publish("demo/push/tok/DEFAULT", 1, b"x").await;
        assert_eq!(client.puback().await.code, 0x90);
    });
}
