//! Serves the endpoint with a node that accepts everything and keeps nothing: for those who try clients, and for the test
//! of the OpenAPI document. Prints its URL and serves until its standard input ends.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example; its output is the URL")]

use std::sync::Arc;

use w3bstream_endpoint::{
    Challenge, Endpoint as _, Error, Feed, MessageLife, OpenedSession, Query, Sessions, async_trait,
};
use w3bstream_endpoint_http::{HttpConfig, HttpEndpoint};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Accepted, AckMode, Algorithm, Did, Digest, ManualClock, MessageId, MessageState, ProjectName, Refusal,
    RefusalKind, SecretKey, StateChange, Submission, Timestamp,
};

/// A node that knows every message.
#[derive(Debug)]
struct Everything;

#[async_trait]
impl Query for Everything {
    async fn message(&self, _: MessageId) -> Result<Option<MessageLife>, Error> {
        let state = |state| StateChange { state, time: Timestamp(1), reason: String::new() };
        Ok(Some(MessageLife {
            project: "example".parse().unwrap(),
            states: vec![state(MessageState::Stored), state(MessageState::Ordered)],
            settlements: Vec::new(),
            settlement_count: 0,
        }))
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

fn anybody() -> Did {
    Did::key(&SecretKey::from_bytes(Algorithm::EdDSA, &[7; 32]).unwrap().public())
}

#[async_trait]
impl Sessions for Everything {
    async fn open(&self, _: &ProjectName, introduction: &str) -> Result<OpenedSession, Refusal> {
        let part =
            |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if introduction.split('.').count() != 3 || !introduction.split('.').all(part) {
            return Err(Refusal::new(RefusalKind::Malformed, "an introduction is a compact JWS"));
        }
        let (token, expires) = ("token".to_owned(), Timestamp(7));
        Ok(OpenedSession { token, device: anybody(), node: anybody(), expires })
    }

    fn challenge(&self, _: &ProjectName) -> Result<Challenge, Refusal> {
        Ok(Challenge { nonce: "nonce".to_owned(), node: anybody(), expires: Timestamp(7) })
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Its streams end at once, for clients that wait for the end of each answer.
        let feed = Feed::default();
        feed.close();
        let config = HttpConfig {
            feed,
            sessions: Arc::new(Everything),
            ..HttpConfig::new("127.0.0.1:0".parse().unwrap())
        };
        let clock = Arc::new(ManualClock::new(Timestamp(1)));
        let endpoint = HttpEndpoint::bind(config, Arc::new(Everything), clock).unwrap();
        let tasks = Tasks::new("serve");
        endpoint.start(&tasks);
        let node = Arc::clone(&endpoint);
        tasks.spawn("node", async move {
            while let Some(arrival) = node.next().await {
                let id = match &arrival.received.submission {
                    Submission::Signed(record) => record.id(),
                    Submission::Token { event_id, .. } | Submission::Session { event_id, .. } => {
                        MessageId(Digest::of(event_id.as_bytes()))
                    }
                };
                let (mode, results) = (AckMode::Durable, Vec::new());
                arrival.ack.accept(Accepted { id, duplicate: false, mode, results });
            }
        });
        println!("{}", endpoint.urls().concat());
        tasks.spawn_blocking("input", {
            let tasks = tasks.clone();
            move || {
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                tasks.stop();
            }
        });
        tasks.shutdown().requested().await;
        endpoint.close().await.unwrap();
    });
}
