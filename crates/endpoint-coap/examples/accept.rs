//! Listens for CoAP on a free port of this host, prints its URL, and accepts every message that is well-formed. It
//! checks no signature, so it is for trying clients only. `scripts/test-coap-client` talks to it.

#![allow(clippy::print_stdout, reason = "a program for people and scripts")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use w3bstream_endpoint::{Endpoint as _, Error, MessageLife, Query, async_trait};
use w3bstream_endpoint_coap::{CoapConfig, CoapEndpoint};
use w3bstream_types::{
    Accepted, AckMode, Clock as _, MessageId, MessageState, StateChange, Submission, SystemClock,
};

/// What was accepted since the start.
#[derive(Debug, Default)]
struct Accepting(Mutex<HashMap<MessageId, MessageLife>>);

#[async_trait]
impl Query for Accepting {
    async fn message(&self, id: MessageId) -> Result<Option<MessageLife>, Error> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

async fn serve() -> Result<(), Error> {
    let config = CoapConfig { listen: ([127, 0, 0, 1], 0).into(), ..CoapConfig::default() };
    let known = Arc::new(Accepting::default());
    let query = Arc::<Accepting>::clone(&known);
    let endpoint = CoapEndpoint::bind(config, query, Arc::new(SystemClock)).await?;
    println!("{}", endpoint.urls().join(" "));
    while let Some(arrival) = endpoint.next().await {
        let Submission::Signed(record) = &arrival.received.submission else { continue };
        let (id, time) = (record.id(), SystemClock.now());
        let stored =
            StateChange { state: MessageState::Stored, time, reason: "accepted by the example".into() };
        let project = arrival.received.project.clone();
        let life =
            MessageLife { project, states: vec![stored], settlements: Vec::new(), settlement_count: 0 };
        let before = known.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, life);
        let (duplicate, mode) = (before.is_some(), AckMode::Durable);
        arrival.ack.accept(Accepted { id, duplicate, mode, results: Vec::new() });
    }
    endpoint.close().await
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(serve())?)
}
