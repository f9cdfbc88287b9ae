//! A node that is played, and a client.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use w3bstream_endpoint::{Error, MessageLife, Query, async_trait};
use w3bstream_endpoint_legacy::{Backend, Fault, FaultKind, LegacyConfig, LegacyEndpoint, Plan};
use w3bstream_types::{
    Control, Did, Digest, ManualClock, MessageId, ProjectId, ProjectName, PublisherName, Timestamp,
    token_hash,
};

/// A node that does what it is told and notes it.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) plans: Mutex<Vec<(u64, Plan)>>,
    pub(crate) tokens: Mutex<HashMap<(ProjectName, Digest), PublisherName>>,
    /// Refuses the next deployment.
    pub(crate) refuse: Mutex<Option<FaultKind>>,
    random: Mutex<u8>,
}

#[async_trait]
impl Backend for Played {
    fn secret(&self) -> [u8; 32] {
        [1; 32]
    }

    fn random(&self) -> Result<[u8; 32], Fault> {
        let mut last = self.random.lock().unwrap();
        *last += 1;
        Ok([*last; 32])
    }

    fn version(&self) -> String {
        "played".into()
    }

    async fn put_program(&self, module: Vec<u8>) -> Result<Digest, Fault> {
        if module.starts_with(b"\0asm") {
            return Ok(Digest::of(&module));
        }
        Err(Fault { kind: FaultKind::Refused, why: "is no module".into() })
    }

    async fn deploy(&self, account: u64, plan: Plan) -> Result<(), Fault> {
        if let Some(kind) = self.refuse.lock().unwrap().take() {
            return Err(Fault { kind, why: "as the test wants it".into() });
        }
        self.plans.lock().unwrap().push((account, plan));
        Ok(())
    }

    async fn change(&self, _: u64, project: &ProjectName, change: Control) -> Result<(), Fault> {
        let mut tokens = self.tokens.lock().unwrap();
        match change {
            Control::RegisterToken(t) => drop(tokens.insert((project.clone(), t.token_hash), t.publisher)),
            Control::RevokeToken(p) => tokens.retain(|(of, _), held| of != project || *held != p),
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn project(&self, name: &ProjectName) -> Option<ProjectId> {
        let served = self.plans.lock().unwrap().iter().any(|(_, p)| p.project == *name);
        served.then(|| ProjectId::new(&"did:example:owner".parse::<Did>().unwrap(), name))
    }

    fn publisher(&self, project: &ProjectName, token: &str) -> Option<PublisherName> {
        self.tokens.lock().unwrap().get(&(project.clone(), token_hash(token))).cloned()
    }
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Query for Nothing {
    async fn message(&self, _: MessageId) -> Result<Option<MessageLife>, Error> {
        Ok(None)
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// An endpoint on a played node, and who is logged in.
pub(crate) struct Stage {
    _dir: tempfile::TempDir,
    pub(crate) node: Arc<Played>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) endpoint: Arc<LegacyEndpoint>,
    pub(crate) router: Router,
    pub(crate) session: String,
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.unwrap() })
}

impl Stage {
    pub(crate) async fn with(change: impl FnOnce(&mut LegacyConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = LegacyConfig::new(dir.path().join("legacy.sqlite"));
        change(&mut config);
        let (node, clock) = (Arc::new(Played::default()), Arc::new(ManualClock::new(NOW)));
        let endpoint =
            LegacyEndpoint::open(config, node.clone(), (Arc::new(Nothing), clock.clone())).await.unwrap();
        endpoint.set_admin("admin", "secret").await.unwrap();
        let router = endpoint.router();
        let mut stage = Self { _dir: dir, node, clock, endpoint, router, session: String::new() };
        stage.session = stage.login("admin", "secret").await.1["token"].as_str().unwrap().to_owned();
        stage
    }

    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> (u16, Value) {
        self.raw(
            "PUT",
            "/srv-applet-mgr/v0/login",
            "",
            json!({ "username": username, "password": password }).to_string(),
        )
        .await
    }

    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: impl Into<Body>,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, token);
        }
        if path.contains("/applet/") && method != "GET" && method != "DELETE" {
            request = request.header(header::CONTENT_TYPE, "multipart/form-data; boundary=B");
        }
        let answer = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A management request of who is logged in, whose status must be `status`.
    pub(crate) async fn v0(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let got = self.raw(method, &format!("/srv-applet-mgr/v0/{path}"), &self.session, body).await;
        assert_eq!(got.0, status, "{method} {path}: {}", got.1);
        got.1
    }

    pub(crate) async fn upload(&self, project: &str, info: Value, status: u16) -> Value {
        let path = format!("/srv-applet-mgr/v0/applet/x/{project}");
        let got = self.raw("POST", &path, &self.session, form(&info, MODULE)).await;
        assert_eq!(got.0, status, "{}", got.1);
        got.1
    }

    pub(crate) fn last_plan(&self) -> Plan {
        self.node.plans.lock().unwrap().last().unwrap().1.clone()
    }

    /// A project with a publisher. Gives its token.
    pub(crate) async fn project(&self) -> String {
        self.v0("POST", "project", json!({ "name": "p" }), 201).await;
        let made = self.v0("POST", "publisher/x/p", json!({ "name": "d", "key": "D_1" }), 201).await;
        made["token"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn form(info: &Value, module: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--B\r\nContent-Disposition: form-data; name=\"info\"\r\n\r\n{info}\r\n--B\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"log.wasm\"\r\n\r\n"
    )
    .into_bytes();
    body.extend(module);
    body.extend(b"\r\n--B--\r\n");
    body
}
