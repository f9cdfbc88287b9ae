//! Serves the endpoint with a node that accepts everything and keeps nothing: for those who try clients, and for the test
//! of the OpenAPI document. Prints its URL and serves until its standard input ends.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example; its output is the URL")]

use std::sync::Arc;

use w3bstream_endpoint::{Endpoint as _, Error, Feed, MessageLife, Query, async_trait};
use w3bstream_endpoint_http::{HttpConfig, HttpEndpoint};
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Accepted, AckMode, Digest, ManualClock, MessageId, MessageState, StateChange, Submission, Timestamp,
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

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Its streams end at once, for clients that wait for the end of each answer.
        let feed = Feed::default();
        feed.close();
        let config = HttpConfig { feed, ..HttpConfig::new("127.0.0.1:0".parse().unwrap()) };
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
