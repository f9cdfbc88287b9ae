//! gRPC with hyper alone: one unary call, one watch.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, body::Incoming, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::net::BoxedIo;

const PATIENCE: Duration = Duration::from_secs(40);
/// `RESOURCE_EXHAUSTED` and `UNAVAILABLE`: send it again.
pub(crate) const AGAIN: [u16; 2] = [8, 14];

/// A connection.
#[derive(Clone)]
pub(crate) struct Client(SendRequest<Full<Bytes>>);

/// A field of a protobuf message whose value is bytes.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    out.extend(crate::mqtt::length(bytes.len()));
    out.extend(bytes);
    out
}

/// A message as gRPC sends it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(message);
    out
}

/// A `SubmitRequest` with an envelope.
pub(crate) fn submit(project: &str, envelope: &[u8]) -> Vec<u8> {
    [field(1, project.as_bytes()), field(2, envelope)].concat()
}

impl Client {
    /// Begins HTTP/2. The second part drives the connection for as long as it is polled.
    pub(crate) async fn new(io: BoxedIo) -> anyhow::Result<(Self, impl Future<Output = hyper::Result<()>>)> {
        let begun = handshake(TokioExecutor::new(), TokioIo::new(io));
        let (send, connection) = timeout(PATIENCE, begun).await.context("no HTTP/2")??;
        Ok((Self(send), connection))
    }

    pub(crate) async fn start(
        &mut self,
        method: &str,
        message: &[u8],
    ) -> anyhow::Result<hyper::Response<Incoming>> {
        let request = Request::post(format!("http://localhost/w3bstream.v1.{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(Bytes::from(framed(message))))?;
        self.0.ready().await?;
        Ok(self.0.send_request(request).await?)
    }

    /// One call; gives the status and the first message of the answer.
    pub(crate) async fn call(&mut self, method: &str, message: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        let exchange = async {
            let answer = self.start(method, message).await?;
            let status = |h: &hyper::HeaderMap| h.get("grpc-status")?.to_str().ok()?.parse::<u16>().ok();
            if let Some(status) = status(answer.headers()) {
                return Ok((status, Vec::new()));
            }
            if !answer.status().is_success() {
                bail!("HTTP {}", answer.status());
            }
            let all = answer.into_body().collect().await?;
            let status = all.trailers().and_then(status).context("no grpc-status")?;
            Ok((status, all.to_bytes().get(5..).unwrap_or_default().to_vec()))
        };
        timeout(PATIENCE, exchange).await.context("no answer")?
    }
}
