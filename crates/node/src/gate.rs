//! Who may connect to the broker, and to which topics.
//!
//! One refusal stands for all that can be wrong with what a client shows, so that it learns nothing about which part
//! was; the reason is in the log, on level debug. What a client shows is judged or refused, never passed over: who gives
//! a wrong password is not let in as anybody.

mod throttle;
mod users;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use w3bstream_endpoint::{Access, Credentials, Gate, Principal, Vouched};
use w3bstream_types::{Clock, Did, ProjectName, Refusal, RefusalKind, SessionToken, token_hash};
use w3bstream_wallet::{DeviceStatus, ProjectView, Registry, TokenStatus};

#[cfg(feature = "fuzzing")]
pub(crate) use users::read_any_users;
pub use users::{MqttUser, MqttUsers};

use crate::builder::LateQuery;
use crate::{Anonymous, MqttSettings, UnknownCertificates};
use throttle::Throttle;
use users::{Users, is_level};

/// Passwords that are verified at once: each takes some ten milliseconds of a core and 19 MiB.
const VERIFYING: usize = 2;
/// How long a client waits until its password is verified.
const TURN: Duration = Duration::from_secs(5);
/// DIDs of one certificate that are looked at.
const MAX_CERTIFICATE_DIDS: usize = 8;

/// What the gate asks of the node. Answers from memory.
pub(crate) trait Judges: Send + Sync + fmt::Debug {
    /// Who may send; `None` as long as the node starts.
    fn registry(&self) -> Option<&dyn Registry>;

    /// What a device has signed to connect; see [`w3bstream_pipeline::Pipeline::check_connect`].
    fn connect(&self, text: &str, device: &Did, client: &str) -> Result<ProjectView, Refusal>;

    /// A session's JWT; see [`w3bstream_pipeline::Pipeline::check_session`].
    fn session(
        &self,
        token: &str,
        project: Option<&ProjectName>,
    ) -> Result<(ProjectView, SessionToken), Refusal>;
}

/// Whether every address that the broker listens on is a loopback address.
fn all_on_loopback(settings: &MqttSettings) -> bool {
    let more = [settings.tls_listen, settings.ws_listen, settings.wss_listen];
    std::iter::once(settings.listen).chain(more.into_iter().flatten()).all(|at| at.ip().is_loopback())
}

fn starting() -> Refusal {
    Refusal::new(RefusalKind::NotReady, "the node is starting")
}

impl Judges for LateQuery {
    fn registry(&self) -> Option<&dyn Registry> {
        self.pipeline().map(w3bstream_pipeline::Pipeline::registry)
    }

    fn connect(&self, text: &str, device: &Did, client: &str) -> Result<ProjectView, Refusal> {
        self.pipeline().ok_or_else(starting)?.check_connect(text, device, client)
    }

    fn session(
        &self,
        token: &str,
        project: Option<&ProjectName>,
    ) -> Result<(ProjectView, SessionToken), Refusal> {
        self.pipeline().ok_or_else(starting)?.check_session(token, project)
    }
}

/// The node's [`Gate`].
#[derive(Debug)]
pub(crate) struct NodeGate {
    judges: Arc<dyn Judges>,
    anonymous: Anonymous,
    unknown_certificates: UnknownCertificates,
    /// Every address that is listened on is a loopback address.
    local: bool,
    users: Arc<Users>,
    verifying: Arc<Semaphore>,
    /// How long a client waits for its turn.
    turn: Duration,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
}

/// Why a client is not let in.
enum Denied {
    /// Something that it shows is wrong; why, for the log.
    Wrong(String),
    /// The node cannot tell now.
    Later(Refusal),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        if refusal.kind.is_permanent() { Self::Wrong(refusal.to_string()) } else { Self::Later(refusal) }
    }
}

fn wrong(why: &str) -> Denied {
    Denied::Wrong(why.to_owned())
}

impl NodeGate {
    /// The gate of a broker with these settings, whose users are in the file at `users`.
    ///
    /// # Errors
    /// What is wrong in the file.
    pub(crate) fn open(
        settings: &MqttSettings,
        users: PathBuf,
        judges: Arc<dyn Judges>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            judges,
            anonymous: settings.anonymous,
            unknown_certificates: settings.unknown_certificates,
            local: all_on_loopback(settings),
            users: Arc::new(Users::open(users)?),
            verifying: Arc::new(Semaphore::new(VERIFYING)),
            turn: TURN,
            throttle: Throttle::new(settings.max_failures_per_minute),
            clock,
        })
    }

    async fn judge(&self, shown: &Credentials) -> Result<Access, Denied> {
        let name = shown.username.as_deref().filter(|n| !n.is_empty());
        let Some(password) = shown.password.as_deref().filter(|p| !p.is_empty()) else {
            return match name {
                Some(_) => Err(wrong("a user name without a password")),
                None if shown.certificate_dids.is_empty() => self.anybody(shown),
                None => self.certificate(shown),
            };
        };
        let text = std::str::from_utf8(password).ok();
        match (name, text) {
            (Some(name), text) if name.starts_with("did:") => {
                let device = name.parse().map_err(|_| wrong("the user name is no DID"))?;
                let text = text.ok_or_else(|| wrong("a statement is ASCII text"))?;
                let view = self.judges.connect(text, &device, &shown.client_id)?;
                Ok(device_access(device, &[view]))
            }
            (name, Some(text)) if name.is_none() || SessionToken::looks_like(text) => {
                self.session(name, text)
            }
            (Some(name), text) => {
                if let Some(access) =
                    text.map(|token| self.publisher(name, token, &shown.client_id)).transpose()?.flatten()
                {
                    return Ok(access);
                }
                self.user(name, password, &shown.client_id).await
            }
            (None, _) => Err(wrong("a password without a user name that is no JWT")),
        }
    }

    fn anybody(&self, shown: &Credentials) -> Result<Access, Denied> {
        let full = match self.anonymous {
            Anonymous::None => return Err(wrong("nobody is let in without credentials")),
            Anonymous::Full => true,
            Anonymous::Publish => false,
            Anonymous::Auto => self.local && shown.from_loopback,
        };
        if full {
            return Ok(Access::everything());
        }
        // What is published there carries its own signature, or is refused.
        let publish = vec!["w3b/+/+".to_owned()];
        Ok(Access {
            principal: Principal::Anyone,
            publish,
            subscribe: vec![],
            vouched: None,
            until: None,
            rests_on: vec![],
        })
    }

    fn registry(&self) -> Result<&dyn Registry, Denied> {
        self.judges.registry().ok_or_else(|| Denied::Later(starting()))
    }

    /// The devices that a verified certificate names have their rights in all projects that they are registered in.
    fn certificate(&self, shown: &Credentials) -> Result<Access, Denied> {
        let registry = self.registry()?;
        let projects = registry.projects();
        let mut all: Option<Access> = None;
        for did in shown.certificate_dids.iter().take(MAX_CERTIFICATE_DIDS) {
            let registered =
                |v: &&ProjectView| matches!(registry.device(v.id, did), DeviceStatus::Registered(_));
            let own: Vec<ProjectView> = projects.iter().filter(registered).cloned().collect();
            if own.is_empty() {
                continue;
            }
            let more = device_access(did.clone(), &own);
            match &mut all {
                None => all = Some(more),
                Some(all) => {
                    all.publish.extend(more.publish);
                    all.subscribe.extend(more.subscribe);
                    all.rests_on.extend(more.rests_on);
                }
            }
        }
        match (all, self.unknown_certificates) {
            (Some(access), _) => Ok(access),
            (None, UnknownCertificates::Anonymous) => self.anybody(shown),
            (None, UnknownCertificates::Refuse) => Err(wrong("no device of the certificate is registered")),
        }
    }

    fn session(&self, name: Option<&str>, token: &str) -> Result<Access, Denied> {
        let project =
            name.map(|n| n.parse().map_err(|_| wrong("the user name is no project"))).transpose()?;
        let (view, session) = self.judges.session(token, project.as_ref())?;
        let vouched = Some(Vouched::Session(session.compact().to_owned()));
        let until = Some(session.expires().0);
        Ok(Access { vouched, until, ..device_access(session.claims().device.clone(), &[view]) })
    }

    /// The publisher of the project `name` whose token this is; `None` if it is none.
    fn publisher(&self, name: &str, token: &str, client: &str) -> Result<Option<Access>, Denied> {
        let Ok(project) = name.parse::<ProjectName>() else { return Ok(None) };
        let registry = self.registry()?;
        let Some(view) = registry.project(&project) else { return Ok(None) };
        let TokenStatus::Registered(registered) = registry.token(view.id, &token_hash(token)) else {
            return Ok(None);
        };
        if !view.manifest.allow_tokens {
            return Err(wrong("the project takes no tokens"));
        }
        let publisher = registered.publisher.clone();
        let mut names = vec![publisher.as_str()];
        // The answers to bytes that name nobody go to the client id; a device's name is not this client's to take.
        if is_level(client) && !client.starts_with("did:") && client != publisher.as_str() {
            names.push(client);
        }
        let subscribe = names
            .iter()
            .flat_map(|n| ["ack", "refused"].map(|what| format!("w3b/{project}/{what}/{n}")))
            .collect();
        Ok(Some(Access {
            publish: vec![format!("w3b/{project}/+")],
            subscribe,
            vouched: Some(Vouched::Token(token.to_owned())),
            until: None,
            rests_on: vec![],
            principal: Principal::Publisher(project, publisher),
        }))
    }

    /// Whether what a connection rests on is still registered.
    fn is_registered(&self, registry: &dyn Registry, access: &Access) -> bool {
        let by_session = matches!(access.vouched, Some(Vouched::Session(_)));
        let device = |(project, did): &(ProjectName, Did)| {
            registry.project(project).is_some_and(|view| {
                (view.manifest.allow_sessions || !by_session)
                    && matches!(registry.device(view.id, did), DeviceStatus::Registered(_))
            })
        };
        match (&access.principal, &access.vouched) {
            (Principal::Publisher(project, name), Some(Vouched::Token(token))) => {
                registry.project(project).is_some_and(|view| {
                    view.manifest.allow_tokens
                        && matches!(registry.token(view.id, &token_hash(token)),
                            TokenStatus::Registered(known) if known.publisher == *name)
                })
            }
            (Principal::User(name), _) => self.users.has(name),
            _ => access.rests_on.iter().all(device),
        }
    }

    async fn user(&self, name: &str, password: &[u8], client: &str) -> Result<Access, Denied> {
        let busy = || {
            let why = "too many passwords are being verified; try again";
            Denied::Later(Refusal::new(RefusalKind::Overloaded, why))
        };
        let turn = timeout(self.turn, self.verifying.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(busy()) };
        let (users, name, password) = (self.users.clone(), name.to_owned(), password.to_vec());
        let verifying = tokio::task::spawn_blocking(move || {
            // The turn ends with the work, also if the client has gone.
            let _turn = turn;
            users.verified(&name, &password)
        });
        let found = verifying.await.map_err(|_| busy())?;
        let user = found.ok_or_else(|| wrong("no such user, token or password"))?;
        let (publish, subscribe) = user.filters(client);
        Ok(Access {
            principal: Principal::User(user.name),
            publish,
            subscribe,
            vouched: None,
            until: None,
            rests_on: vec![],
        })
    }
}

/// The rights of a device in projects that it is registered in.
fn device_access(device: Did, projects: &[ProjectView]) -> Access {
    let names = || projects.iter().map(|view| &view.manifest.name);
    let publish = names().map(|project| format!("w3b/{project}/+")).collect();
    let own = |project| ["ack", "refused", "cmd"].map(|what| format!("w3b/{project}/{what}/{device}"));
    let subscribe = names().flat_map(own).collect();
    let rests_on = names().map(|project| (project.clone(), device.clone())).collect();
    Access { publish, subscribe, vouched: None, until: None, rests_on, principal: Principal::Device(device) }
}

#[async_trait]
impl Gate for NodeGate {
    async fn admit(&self, credentials: Credentials) -> Result<Access, Refusal> {
        let (address, name) = (credentials.address, credentials.username.as_deref());
        let shows = name.is_some() || credentials.password.is_some();
        if shows && let Some(seconds) = self.throttle.wait(address, name, self.clock.now()) {
            let why = format!("too many attempts have failed; try again in {seconds} s");
            return Err(Refusal::new(RefusalKind::Overloaded, why));
        }
        match self.judge(&credentials).await {
            Ok(access) => Ok(access),
            Err(Denied::Later(refusal)) => Err(refusal),
            Err(Denied::Wrong(why)) => {
                if shows {
                    self.throttle.failed(address, name, self.clock.now());
                }
                tracing::debug!(client = credentials.client_id, ?address, why, "a client is not let in");
                let detail = "you may not connect with these credentials; see docs/devices.md for who may";
                Err(Refusal::new(RefusalKind::BadToken, detail))
            }
        }
    }

    fn holds(&self, access: &Access) -> bool {
        self.judges.registry().is_none_or(|registry| self.is_registered(registry, access))
    }
}

#[cfg(test)]
mod tests;
