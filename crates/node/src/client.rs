//! A client of the admin API and of the HTTP endpoint, for the command line.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use w3bstream_types::{Canonical as _, Control, ControlTx, Digest, ProjectName, SecretKey};

use crate::{Paths, Running};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A plain HTTP client with a pool of connections.
#[derive(Clone, Debug)]
pub struct Http(Pool<HttpConnector, Full<Bytes>>);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).context("the answer is no JSON")
    }

    /// The body if the status says success, else what the problem says.
    ///
    /// # Errors
    /// The problem's code and detail.
    pub fn ok(self) -> anyhow::Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem = self.json().unwrap_or_default();
        let text = |name| problem[name].as_str().unwrap_or("").to_owned();
        bail!("{} {}: {}", self.status.as_u16(), text("code"), text("detail"))
    }
}

impl Default for Http {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Pool::builder(TokioExecutor::new()).build(connector))
    }
}

impl Http {
    /// Sends one request.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn send(
        &self,
        (method, url): (Method, &str),
        headers: &[(header::HeaderName, String)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Answer> {
        let body = Full::new(body.into());
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let exchange = async {
            let answer = self.0.request(request.body(body)?).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes();
            anyhow::Ok(Answer { status, body })
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        answer
            .with_context(|| format!("{url} gave no answer within a minute"))?
            .with_context(|| format!("no answer from {url}"))
    }
}

/// A client of a node's admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    http: Http,
    url: String,
    token: String,
}

impl Admin {
    /// A client for a URL and a token.
    #[must_use]
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self { http: Http::default(), url: url.into(), token: token.into() }
    }

    /// A client for the node that runs on a data folder of this machine.
    ///
    /// # Errors
    /// If no node runs there or its token is not to be read.
    pub fn of_dir(paths: &Paths, token: Option<String>) -> anyhow::Result<Self> {
        let running = read_running(paths)?;
        let token = match token {
            Some(token) => token,
            None => read_token(&paths.admin_token())?,
        };
        Ok(Self::new(running.admin, token))
    }

    async fn request(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url);
        let headers = [(header::AUTHORIZATION, format!("Bearer {}", self.token))];
        self.http.send((method, &url), &headers, body).await?.ok()
    }

    /// Gets a path as JSON.
    ///
    /// # Errors
    /// The problem that the node reports.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, Vec::new()).await?.json()
    }

    /// Gets a path as bytes.
    ///
    /// # Errors
    /// The problem that the node reports.
    pub async fn get_bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.request(Method::GET, path, Vec::new()).await?.body.to_vec())
    }

    /// Posts bytes to a path and gives the answer's JSON.
    ///
    /// # Errors
    /// The problem that the node reports.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        self.request(Method::POST, path, body).await?.json()
    }

    /// Uploads a program.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn put_program(&self, bytes: Vec<u8>) -> anyhow::Result<Digest> {
        let answer = self.request(Method::POST, "/v1/programs", bytes).await?.json()?;
        Ok(answer["program"].as_str().unwrap_or("").parse()?)
    }

    /// Uploads a file of a circuit.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn put_circuit(&self, bytes: Vec<u8>) -> anyhow::Result<Digest> {
        let answer = self.request(Method::POST, "/v1/circuits", bytes).await?.json()?;
        Ok(answer["circuit"].as_str().unwrap_or("").parse()?)
    }

    /// Signs a change as the owner and waits until it is applied. Gives its height.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn change(
        &self,
        name: &ProjectName,
        change: Control,
        owner: &SecretKey,
    ) -> anyhow::Result<u64> {
        let answer = self.get(&format!("/v1/projects/{name}/nonce")).await?;
        let nonce = answer["nonce"].as_u64().context("the node gave no nonce")?;
        let project = w3bstream_types::ProjectId::new(&w3bstream_types::Did::key(&owner.public()), name);
        let tx = ControlTx::sign(project, nonce, change, owner);
        let answer = self.request(Method::POST, "/v1/control", tx.to_canonical()).await?.json()?;
        answer["height"].as_u64().context("the node gave no height")
    }
}

/// Where the node of a data folder listens.
///
/// # Errors
/// If no node runs there.
pub fn read_running(paths: &Paths) -> anyhow::Result<Running> {
    let path = paths.running();
    let text = std::fs::read_to_string(&path).with_context(|| {
        let dir = paths.dir().display();
        format!("no node runs on {dir}; start it with: w3bstream run --dir {dir}")
    })?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged; start the node again", path.display()))
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read the admin token {}; give it in W3BSTREAM_ADMIN_TOKEN", path.display())
    })?;
    Ok(text.trim().to_owned())
}
