//! What tests of endpoints play beside the kit: a node that can be asked, its answers, and a device's messages.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use w3bstream_types::{
    Accepted, AckMode, Algorithm, Did, Digest, Draft, Form, MessageId, ProjectId, ProjectName, Received,
    Refusal, RefusalKind, SecretKey, Sequence, Submission, Timestamp,
};

use crate::{Answer, Error, ErrorKind, MessageLife, Query};

/// A node that knows what a test tells it.
#[derive(Default)]
pub struct PlayedQuery {
    /// What it knows of messages.
    pub lives: Mutex<HashMap<MessageId, MessageLife>>,
    /// Why it is not ready; `None` if it is.
    pub unready: Mutex<Option<String>>,
    /// It answers no question about a message, but with an error of this kind.
    pub failing: Mutex<Option<ErrorKind>>,
    /// It never answers one.
    pub hanging: Mutex<bool>,
    /// Runs once, while such a question is being answered.
    pub meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for PlayedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlayedQuery").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Query for PlayedQuery {
    async fn message(&self, id: MessageId) -> Result<Option<MessageLife>, Error> {
        let run = lock(&self.meanwhile).take();
        if let Some(run) = run {
            run();
        }
        let hangs = *lock(&self.hanging);
        if hangs {
            std::future::pending::<()>().await;
        }
        match *lock(&self.failing) {
            Some(kind) => Err(Error::new(kind, "the disk said something secret")),
            None => Ok(lock(&self.lives).get(&id).cloned()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        lock(&self.unready).clone().map_or(Ok(()), Err)
    }

    fn metrics(&self) -> String {
        "w3bstream_test 1\n".into()
    }
}

/// A message's id; for one by token a digest of its event id, which will do for a test.
#[must_use]
pub fn id_of(received: &Received) -> MessageId {
    match &received.submission {
        Submission::Signed(record) => record.id(),
        Submission::Token { event_id, .. } | Submission::Session { event_id, .. } => {
            MessageId(Digest::of(event_id.as_bytes()))
        }
    }
}

/// The answer of a node that takes everything, and says that it is durable.
///
/// # Errors
/// Never.
pub fn accepted(received: &Received) -> Answer {
    Ok(Accepted { id: id_of(received), duplicate: false, mode: AckMode::Durable, results: Vec::new() })
}

/// The answer of a node that refuses.
///
/// # Errors
/// Always: it is the refusal.
pub fn refused(kind: RefusalKind) -> Answer {
    Err(Refusal::new(kind, "as the test wants"))
}

/// One of the kit's [`messages`](super::messages) as bytes: its compact JWS.
///
/// # Panics
/// If it is no JWS.
#[must_use]
#[allow(clippy::panic, reason = "a test's mistake")]
pub fn compact(received: &Received) -> Vec<u8> {
    match &received.submission {
        Submission::Signed(record) => match record.form() {
            Form::Jws(jws) => jws.compact().as_bytes().to_vec(),
            _ => panic!("not a JWS"),
        },
        _ => panic!("not signed"),
    }
}

/// The key of a device that signs [`draft`]s.
///
/// # Panics
/// Never: its bytes are constants.
#[must_use]
#[allow(clippy::expect_used, reason = "constants of a test kit")]
pub fn device_key() -> SecretKey {
    SecretKey::from_bytes(Algorithm::EdDSA, &[9; 32]).expect("a valid key")
}

/// A message of that device to the project `kit`, not signed yet.
///
/// # Panics
/// Never: the names in it are constants.
#[must_use]
#[allow(clippy::expect_used, reason = "constants of a test kit")]
pub fn draft(payload: &[u8]) -> Draft {
    let did = Did::key(&device_key().public());
    let project: ProjectName = "kit".parse().expect("a valid name");
    Draft {
        audience: ProjectId::new(&did, &project),
        key: did.default_key_id(),
        event_type: "reading".parse().expect("a valid type"),
        sequence: Sequence::new(0, 1),
        time: Timestamp(1_700_000_000_000),
        payload: payload.to_vec(),
    }
}
