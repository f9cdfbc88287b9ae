//! Devices that show their key once: opens sessions, and judges what a device signs to connect.
//!
//! An introduction counts once. Its nonce is remembered as long as it would be fresh, and only after its signature was
//! checked, so that nobody but registered devices fills the memory. A nonce of the node's own carries its end and a code
//! that only this run of the node can make, so that giving one away keeps nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use w3bstream_endpoint::{Challenge, OpenedSession, Sessions};
use w3bstream_types::{
    Did, Digest, Introduction, MAX_SESSION_SECONDS, ProjectId, ProjectName, Refusal, RefusalKind,
    SessionClaims, SessionToken, Timestamp,
};
use w3bstream_wallet::{ProjectView, Registry, Role, Signer, check_introduction, check_session, not_served};

use crate::Pipeline;

/// How far a device's clock may be from the node's, and how long a challenge lasts, in milliseconds.
const FRESH_MS: u64 = 60_000;
/// How long a nonce is remembered: an introduction of a minute ahead is fresh for two.
const REMEMBER_MS: u64 = 2 * FRESH_MS + 1000;
/// Introductions of one device that are remembered; beyond it that device waits, and no other.
const PER_DEVICE: u32 = 32;

/// Settings of sessions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// How long a session lasts, in seconds: 1 to [`MAX_SESSION_SECONDS`].
    pub life_seconds: u64,
    /// Nonces that are remembered at once; beyond it no session is opened until some are old.
    pub max_nonces: usize,
    /// Random, new with each run of the node, and a secret.
    pub secret: [u8; 32],
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions").field("life_seconds", &self.life_seconds).finish_non_exhaustive()
    }
}

impl SessionOptions {
    /// An hour, 65,536 nonces.
    #[must_use]
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { life_seconds: 3600, max_nonces: 65_536, secret }
    }
}

/// What the node remembers of sessions. No session is remembered: a JWT says itself what it is.
pub(crate) struct Desk {
    options: SessionOptions,
    /// Introductions from before are not known any more, so they are not taken.
    started: Timestamp,
    nonces: Mutex<Nonces>,
    made: AtomicU64,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

fn refuse(kind: RefusalKind, why: impl Into<String>) -> Refusal {
    Refusal::new(kind, why)
}

impl Desk {
    pub(crate) fn new(options: SessionOptions, started: Timestamp) -> Self {
        Self { options, started, nonces: Mutex::default(), made: AtomicU64::new(0) }
    }

    /// Sixteen bytes that this run of the node makes once.
    fn unique(&self) -> [u8; 16] {
        let count = self.made.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        half(&Digest::tagged("w3b/session-id/1", &[&self.options.secret, &count]))
    }

    fn code(&self, project: ProjectId, end: [u8; 8], unique: &[u8]) -> [u8; 16] {
        let parts = [&self.options.secret[..], project.0.as_bytes(), &end, unique];
        half(&Digest::tagged("w3b/challenge/1", &parts))
    }

    fn challenge(&self, project: ProjectId, now: Timestamp) -> (String, Timestamp) {
        let end = Timestamp(now.0.saturating_add(FRESH_MS));
        let (bytes, unique) = (end.0.to_be_bytes(), self.unique());
        let code = self.code(project, bytes, &unique);
        (hex::encode([&bytes[..], &unique, &code].concat()), end)
    }

    /// When a nonce ends that this run of the node has made for the project; `None` if it has not.
    fn end_of(&self, project: ProjectId, nonce: &str) -> Option<Timestamp> {
        let bytes: [u8; 40] = hex::decode(nonce).ok()?.try_into().ok()?;
        let (end, rest) = bytes.split_first_chunk::<8>()?;
        let (unique, code) = rest.split_at_checked(16)?;
        // Compared as digests, so that the time it takes tells nothing.
        let ours = Digest::of(&self.code(project, *end, unique));
        (ours == Digest::of(code)).then(|| Timestamp(u64::from_be_bytes(*end)))
    }

    /// Takes an introduction whose signature was checked, if it is fresh and new.
    fn accept(&self, introduction: &Introduction, now: Timestamp) -> Result<(), Refusal> {
        let claims = introduction.claims();
        let old = |why: String| refuse(RefusalKind::BadSignature, why);
        if let Some(end) = self.end_of(claims.audience, &claims.nonce) {
            if now > end {
                return Err(old("the node's nonce has ended; ask for another one".into()));
            }
        } else {
            let signed = claims.issued.saturating_mul(1000);
            if signed.abs_diff(now.0) > FRESH_MS {
                return Err(old(format!(
                    "iat is {} s, the node's clock says {} s; sign it with the time, or ask for a nonce first: GET \
                     /v1/projects/{{project}}/sessions/challenge",
                    claims.issued,
                    now.0 / 1000
                )));
            }
            if signed.saturating_add(1000) <= self.started.0 {
                return Err(old("it was signed before the node started; sign it anew".into()));
            }
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.take((&claims.device, &claims.nonce), now, self.options.max_nonces)
    }
}

fn half(digest: &Digest) -> [u8; 16] {
    let [bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *digest.as_bytes();
    bytes
}

/// The nonces of the last two minutes, in the order in which they came.
#[derive(Default)]
struct Nonces {
    queue: VecDeque<(Timestamp, Did, Digest)>,
    used: HashSet<Digest>,
    of_device: HashMap<Did, u32>,
}

impl Nonces {
    fn take(&mut self, (device, nonce): (&Did, &str), now: Timestamp, most: usize) -> Result<(), Refusal> {
        self.forget(now);
        let name = Digest::tagged("w3b/nonce/1", &[device.as_str().as_bytes(), nonce.as_bytes()]);
        if self.used.contains(&name) {
            return Err(refuse(RefusalKind::Conflict, "the nonce was used before; sign a new introduction"));
        }
        let busy = |why: &str| refuse(RefusalKind::Overloaded, why.to_owned());
        if self.of_device.get(device).is_some_and(|count| *count >= PER_DEVICE) {
            return Err(busy("the device has introduced itself too often; use the session that it has"));
        }
        if self.queue.len() >= most {
            return Err(busy("too many devices introduce themselves at once"));
        }
        self.used.insert(name);
        *self.of_device.entry(device.clone()).or_default() += 1;
        self.queue.push_back((Timestamp(now.0.saturating_add(REMEMBER_MS)), device.clone(), name));
        Ok(())
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((until, device, name)) = self.queue.pop_front() {
            if until > now {
                self.queue.push_front((until, device, name));
                return;
            }
            self.used.remove(&name);
            if let Some(count) = self.of_device.get_mut(&device) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_device.remove(&device);
                }
            }
        }
    }
}

impl Pipeline {
    /// What is replicated of the projects: who may send.
    #[must_use]
    pub fn registry(&self) -> &dyn Registry {
        &self.0.registries
    }

    fn introduced(
        &self,
        text: Result<Introduction, w3bstream_types::Malformed>,
    ) -> Result<Introduction, Refusal> {
        text.map_err(|e| {
            refuse(RefusalKind::Malformed, format!("{e}; see docs/devices.md for what is signed"))
        })
    }

    /// Judges what a device has signed to connect as `client`, and takes its nonce.
    ///
    /// # Errors
    /// A [`Refusal`] as for a message of that device; and if the statement is of another client, old, or was used.
    pub fn check_connect(&self, text: &str, device: &Did, client: &str) -> Result<ProjectView, Refusal> {
        let introduction = self.introduced(Introduction::connect(text))?;
        let claims = introduction.claims();
        if claims.device != *device || claims.client.as_deref() != Some(client) {
            let why = "sub must be the user name, and client the client id";
            return Err(refuse(RefusalKind::NotAllowed, why));
        }
        let view = self.registry().projects().into_iter().find(|view| view.id == claims.audience);
        let view = view.ok_or_else(|| {
            let why = format!("this node serves no project {}", claims.audience);
            refuse(RefusalKind::UnknownProject, why)
        })?;
        check_introduction(&introduction, &view, &self.0.parts.node, self.registry())?;
        self.0.desk.accept(&introduction, self.0.parts.clock.now())?;
        Ok(view)
    }

    /// Judges the JWT of a session: by the project of this name, or by the one that it names.
    ///
    /// # Errors
    /// A [`Refusal`] as for a message that comes with it.
    pub fn check_session(
        &self,
        token: &str,
        project: Option<&ProjectName>,
    ) -> Result<(ProjectView, SessionToken), Refusal> {
        let unknown = || refuse(RefusalKind::UnknownProject, "this node serves no such project");
        let view = match project {
            Some(name) => self.registry().project(name).ok_or_else(|| not_served(name, self.registry()))?,
            None => {
                let read = SessionToken::parse(token)
                    .map_err(|e| refuse(RefusalKind::BadToken, format!("{e}; open a session to get one")))?;
                let named = read.claims().audience;
                self.registry().projects().into_iter().find(|v| v.id == named).ok_or_else(unknown)?
            }
        };
        let session = check_session(token, &view, self.registry(), self.0.parts.clock.now())?;
        Ok((view, session))
    }

    fn served(&self, project: &ProjectName) -> Result<ProjectView, Refusal> {
        let view = self.registry().project(project);
        let view = view.ok_or_else(|| not_served(project, self.registry()))?;
        if !view.members.contains(&self.0.parts.node) {
            let why = "this node is no member of the project's subnet; ask one that is";
            return Err(refuse(RefusalKind::NotReady, why));
        }
        Ok(view)
    }
}

/// Signs on a thread that may block, as a signer may.
async fn sign(signer: Arc<dyn Signer>, claims: SessionClaims) -> Result<SessionToken, Refusal> {
    let failed = |why: &dyn fmt::Display| {
        tracing::error!("cannot sign a session: {why}");
        refuse(RefusalKind::NotReady, "the node cannot sign now; its operator knows why")
    };
    let input = claims.signing_input().map_err(|e| failed(&e))?;
    let bytes = input.clone().into_bytes();
    let signing = tokio::task::spawn_blocking(move || signer.sign(Role::Node, &bytes));
    let signature = signing.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
    let token = SessionToken::assemble(&input, &signature).map_err(|e| failed(&e))?;
    // A wallet whose key is not the DID's would give sessions that nobody takes.
    token.verify(std::slice::from_ref(&claims.node)).map_err(|e| failed(&e))?;
    Ok(token)
}

#[async_trait]
impl Sessions for Pipeline {
    async fn open(&self, project: &ProjectName, introduction: &str) -> Result<OpenedSession, Refusal> {
        let view = self.served(project)?;
        let introduction = self.introduced(Introduction::session(introduction))?;
        let (parts, desk) = (&self.0.parts, &self.0.desk);
        check_introduction(&introduction, &view, &parts.node, self.registry())?;
        let now = parts.clock.now();
        desk.accept(&introduction, now)?;
        let (device, node) = (introduction.claims().device.clone(), parts.node.clone());
        let issued = now.0 / 1000;
        let life = desk.options.life_seconds.clamp(1, MAX_SESSION_SECONDS);
        let claims = SessionClaims {
            audience: view.id,
            device: device.clone(),
            node: node.clone(),
            issued,
            expires: issued.saturating_add(life),
            id: hex::encode(desk.unique()),
        };
        let token = sign(parts.signer.clone(), claims).await?;
        Ok(OpenedSession { token: token.compact().to_owned(), device, node, expires: token.expires() })
    }

    fn challenge(&self, project: &ProjectName) -> Result<Challenge, Refusal> {
        // For a connection too, so a project that takes no sessions gives nonces as well.
        let view = self.served(project)?;
        let (nonce, expires) = self.0.desk.challenge(view.id, self.0.parts.clock.now());
        Ok(Challenge { nonce, node: self.0.parts.node.clone(), expires })
    }
}

#[cfg(test)]
mod tests;
