//! A client that frames by hand, so that it can do wrong.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use w3bstream_tasks::Tasks;

use crate::harness::{Server, in_time};

pub const SUBMIT: &str = "/w3bstream.v1.Ingest/Submit";
pub const STREAM: &str = "/w3bstream.v1.Ingest/SubmitStream";

#[derive(Clone, Debug)]
struct Spawn(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        self.0.spawn("client", future);
    }
}

/// A body of whatever is sent; it ends when the sender is dropped.
pub struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b))))
    }
}

#[derive(Clone)]
pub struct Raw(SendRequest<Fed>);

impl Raw {
    pub async fn connect(server: &Server) -> Self {
        Self::with_window(server, 64 * 1024).await
    }

    /// A client that takes so many bytes of each answer until it reads.
    pub async fn with_window(server: &Server, window: u32) -> Self {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let (send, connection) = Builder::new(Spawn(server.tasks.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        server.tasks.spawn("driver", async move {
            let _ = connection.await;
        });
        Self(send)
    }

    /// Begins a call; the body is what is sent to the sender.
    pub async fn open(
        &self,
        path: &str,
    ) -> (mpsc::Sender<Bytes>, impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<>) {
        self.try_open(path).await.expect("a connection")
    }

    /// The same; `None` if the connection is gone.
    pub async fn try_open(
        &self,
        path: &str,
    ) -> Option<(mpsc::Sender<Bytes>, impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<>)>
    {
        let (feed, fed) = mpsc::channel(16);
        let request = Request::post(format!("http://t{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Fed(fed))
            .unwrap();
        let mut send = self.0.clone();
        in_time(send.ready()).await.ok()?;
        Some((feed, send.send_request(request)))
    }

    /// One call with this body: its HTTP status, gRPC status and stable code.
    pub async fn call(&self, path: &str, body: &[u8]) -> (u16, String, String) {
        let (feed, answer) = self.open(path).await;
        feed.send(Bytes::copy_from_slice(body)).await.unwrap();
        drop(feed);
        outcome(in_time(answer).await.unwrap()).await
    }

    pub async fn request(&self, request: Request<()>) -> Response<Incoming> {
        let (_, fed) = mpsc::channel(1);
        let mut send = self.0.clone();
        in_time(send.ready()).await.unwrap();
        in_time(send.send_request(request.map(|()| Fed(fed)))).await.unwrap()
    }
}

/// HTTP status, gRPC status and stable code of an answer.
pub async fn outcome(answer: Response<Incoming>) -> (u16, String, String) {
    let (head, body) = answer.into_parts();
    let trailers = in_time(body.collect()).await.unwrap().trailers().cloned().unwrap_or_default();
    let find = |name: &str| {
        let value = head.headers.get(name).or_else(|| trailers.get(name));
        value.map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    (head.status.as_u16(), find("grpc-status"), find("w3b-code"))
}

/// A message with its prefix.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
    out
}
