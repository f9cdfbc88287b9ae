//! The endpoint: what its routes share, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use w3bstream_endpoint::{Ack, Arrival, Endpoint, Error, ErrorKind, SharedQuery, async_trait};
use w3bstream_types::{Accepted, Clock, ProjectName, Received, Refusal, RefusalKind, Submission};
use w3bstream_wire::legacy::Fill;

use crate::error::ApiError;
use crate::secrets::{Secrets, hash_password};
use crate::store::{Account, Store};
use crate::{Backend, LegacyConfig, routes};

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: LegacyConfig,
    pub(crate) store: Store,
    pub(crate) secrets: Secrets,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) query: SharedQuery,
    pub(crate) clock: Arc<dyn Clock>,
    /// Held while a project or its publishers change: one change at a time.
    pub(crate) changes: Mutex<()>,
    /// Hashing a password takes memory and time.
    pub(crate) logins: Semaphore,
    in_flight: Arc<Semaphore>,
    arrivals: mpsc::Sender<Arrival>,
    intake: CancellationToken,
    closing: CancellationToken,
    expired: CancellationToken,
}

fn stopping() -> Refusal {
    Refusal::new(RefusalKind::ShuttingDown, "the node takes no more messages; send it again")
}

impl Shared {
    /// What is put in where a sender says nothing.
    pub(crate) fn fill(&self) -> Result<Fill, ApiError> {
        let random = self.backend.random()?;
        let mut unique = [0; 16];
        unique.iter_mut().zip(random).for_each(|(to, from)| *to = from);
        Ok(Fill { now: self.clock.now(), unique })
    }

    /// Hands a message to the node and waits for its answer, at most `patience`.
    pub(crate) async fn submit(
        &self,
        project: ProjectName,
        submission: Submission,
        patience: Duration,
    ) -> Result<Accepted, ApiError> {
        if self.intake.is_cancelled() {
            return Err(stopping().into());
        }
        let full = || Refusal::new(RefusalKind::Overloaded, "too many messages wait for their answer");
        let place = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| full())?;
        let (tell, told) = oneshot::channel();
        let ack = Ack::new(move |answer| {
            drop(place);
            let _ = tell.send(answer);
        });
        let received = Received { project, submission, received_at: self.clock.now() };
        // The queue has room for each permit; it can only be closed.
        self.arrivals.try_send(Arrival { received, ack }).map_err(|_| stopping())?;
        let answer = tokio::select! {
            biased;
            answer = timeout(patience, told) => answer,
            () = self.expired.cancelled() => return Err(stopping().into()),
        };
        match answer {
            Ok(Ok(Ok(accepted))) => Ok(accepted),
            Ok(Ok(Err(refusal))) => Err(refusal.into()),
            Ok(Err(_)) => Err(stopping().into()),
            Err(_) => Err(late(patience)),
        }
    }
}

fn late(patience: Duration) -> ApiError {
    let desc = format!(
        "no answer within {} ms; the event may still be taken: send it again with the same eventID, which is never stored twice",
        patience.as_millis()
    );
    ApiError::new(axum::http::StatusCode::GATEWAY_TIMEOUT, "EventTimeout", desc)
}

/// Clients of the original W3bstream. It has no listener: mount [`router`](Self::router).
#[derive(Debug)]
pub struct LegacyEndpoint {
    shared: Arc<Shared>,
    queue: Mutex<mpsc::Receiver<Arrival>>,
}

impl LegacyEndpoint {
    /// The number of the first account.
    pub const FIRST_ACCOUNT: u64 = 1;

    /// Opens the state.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an impossible limit, [`ErrorKind::State`] if the file cannot be opened.
    pub async fn open(
        config: LegacyConfig,
        backend: Arc<dyn Backend>,
        (query, clock): (SharedQuery, Arc<dyn Clock>),
    ) -> Result<Arc<Self>, Error> {
        if config.max_in_flight == 0 || config.max_in_flight > u32::MAX as usize / 2 {
            return Err(Error::new(ErrorKind::Config, "legacy: max_in_flight must be 1 to 2147483647"));
        }
        let state = |e: w3bstream_sqlite::Error| {
            let what = format!("cannot open {}", config.file.display());
            Error::new(ErrorKind::State, what).with_source(e)
        };
        let store = Store::open(&config.file).await.map_err(state)?;
        let (arrivals, queue) = mpsc::channel(config.max_in_flight);
        let shared = Shared {
            store,
            secrets: Secrets::new(backend.secret()),
            backend,
            query,
            clock,
            changes: Mutex::new(()),
            logins: Semaphore::new(2),
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            arrivals,
            intake: CancellationToken::new(),
            closing: CancellationToken::new(),
            expired: CancellationToken::new(),
            config,
        };
        Ok(Arc::new(Self { shared: Arc::new(shared), queue: Mutex::new(queue) }))
    }

    /// Whether there is an account of this name.
    ///
    /// # Errors
    /// [`ErrorKind::State`] if the file cannot be read.
    pub async fn has_account(&self, name: &str) -> Result<bool, Error> {
        let found = self.shared.store.account(name).await;
        found.map(|a| a.is_some()).map_err(|e| Error::new(ErrorKind::State, "accounts").with_source(e))
    }

    /// Makes an administrator's account, or gives it another password.
    ///
    /// # Errors
    /// [`ErrorKind::State`] if the file cannot be written.
    pub async fn set_admin(&self, name: &str, password: &str) -> Result<(), Error> {
        let state = |e| Error::new(ErrorKind::State, "accounts").with_source(e);
        let store = &self.shared.store;
        let id = match store.account(name).await.map_err(state)? {
            Some(account) => account.id,
            None if store.account_by_id(Self::FIRST_ACCOUNT).await.map_err(state)?.is_none() => {
                Self::FIRST_ACCOUNT
            }
            None => store.ids(1).await.map_err(state)?.next(),
        };
        let random = self.shared.backend.random();
        let random = random.map_err(|e| Error::new(ErrorKind::State, e.why))?;
        let hash = hash_password(password, &random)
            .ok_or_else(|| Error::new(ErrorKind::State, "the password cannot be hashed"))?;
        let account = Account { id, name: name.to_owned(), hash, role: "ADMIN".to_owned() };
        store.put_account(account).await.map_err(state)
    }

    /// Every route, to be mounted on a server that bounds connections and heads.
    pub fn router(&self) -> Router {
        routes::router(&self.shared)
    }

    /// The answer in the original's words to an event that came another way, such as over MQTT: with the publisher that
    /// `token` is of. `None` if it is nobody's.
    pub async fn describe(
        &self,
        (channel, token): (&w3bstream_wire::legacy::Channel, &str),
        (event_id, time): (String, w3bstream_types::Timestamp),
        answer: &w3bstream_endpoint::Answer,
    ) -> Option<w3bstream_wire::legacy::EventAnswer> {
        routes::describe(&self.shared, (channel, token), (event_id, time), answer).await
    }
}

#[async_trait]
impl Endpoint for LegacyEndpoint {
    fn name(&self) -> &str {
        "legacy"
    }

    fn urls(&self) -> Vec<String> {
        // Those of the server on which the router is mounted.
        Vec::new()
    }

    async fn next(&self) -> Option<Arrival> {
        w3bstream_limits::next(&self.queue, &self.shared.closing).await
    }

    async fn stop_intake(&self) {
        self.shared.intake.cancel();
    }

    async fn close(&self) -> Result<(), Error> {
        self.shared.intake.cancel();
        self.shared.closing.cancel();
        let all = u32::try_from(self.shared.config.max_in_flight).unwrap_or(u32::MAX);
        // Whoever still waits then is told to send again.
        let _ = timeout(self.shared.config.close_timeout, self.shared.in_flight.acquire_many(all)).await;
        self.shared.expired.cancel();
        self.shared.store.close().await;
        Ok(())
    }
}
