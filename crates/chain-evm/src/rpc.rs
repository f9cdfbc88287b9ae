//! JSON-RPC 2.0: one call, one answer.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use w3bstream_chain::{Error, ErrorKind};

use crate::errors::{Context, Remote, classify};
use crate::http::Http;
use crate::settings::EvmSettings;

/// A client.
#[derive(Debug)]
pub(crate) struct Rpc {
    http: Http,
    next_id: AtomicU64,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call did not come back.
    Lost(Error),
    /// The node refused it.
    Refused(Remote),
}

#[derive(Deserialize)]
struct Answer {
    id: Value,
    #[serde(default)]
    error: Option<Remote>,
    // An absent result and `null` are the same here.
    #[serde(default)]
    result: Value,
}

/// Reads the body of an answer that may be anything.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(body: &[u8]) -> Option<Result<Value, Remote>> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let _ = answer.id;
    Some(answer.error.map_or(Ok(answer.result), Err))
}

impl Rpc {
    pub(crate) fn new(settings: EvmSettings) -> Result<Self, Error> {
        Ok(Self { http: Http::new(settings)?, next_id: AtomicU64::new(1) })
    }

    pub(crate) const fn settings(&self) -> &EvmSettings {
        self.http.settings()
    }

    pub(crate) fn shown(&self) -> &str {
        self.http.shown()
    }

    /// An answer that makes no sense.
    pub(crate) fn bad_answer(&self, method: &str, why: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::BadAnswer,
            format!("{} answers {method} with something else: {why}", self.shown()),
        )
    }

    /// Reads something; may be repeated.
    pub(crate) async fn read<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, Error> {
        self.read_as(method, params, Context::Read).await
    }

    /// Reads something whose refusals mean something of their own.
    pub(crate) async fn read_as<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
        context: Context,
    ) -> Result<T, Error> {
        let value =
            self.value(method, params).await.map_err(|failure| self.error(failure, method, context))?;
        serde_json::from_value(value).map_err(|e| self.bad_answer(method, e))
    }

    pub(crate) fn error(&self, failure: Failure, method: &str, context: Context) -> Error {
        match failure {
            Failure::Lost(e) => e,
            Failure::Refused(remote) => {
                classify(&remote, context, &format!("{} refuses {method}", self.shown()))
            }
        }
    }

    /// Reads something, and repeats it while the node is not available.
    pub(crate) async fn value(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let mut wait = self.settings().backoff;
        for _ in 0..self.settings().retries {
            match self.once(method, &params).await {
                Err(Failure::Lost(e)) if e.kind() == ErrorKind::Unavailable => {}
                Err(Failure::Refused(remote)) if remote.is_overload() => {}
                done => return done,
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2);
        }
        self.once(method, &params).await
    }

    /// One exchange, without repetition.
    pub(crate) async fn once(&self, method: &str, params: &Value) -> Result<Value, Failure> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let answer = self.http.post(body.into_bytes()).await.map_err(Failure::Lost)?;
        let bad = |why: &dyn std::fmt::Display| Failure::Lost(self.bad_answer(method, why));
        let answer: Answer = serde_json::from_slice(&answer).map_err(|e| bad(&e))?;
        if let Some(remote) = answer.error {
            return Err(Failure::Refused(remote));
        }
        if answer.id != id {
            return Err(bad(&"it answers another request"));
        }
        Ok(answer.result)
    }
}
