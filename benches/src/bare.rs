//! The rivals of HTTP and gRPC ingest: axum and tonic alone.
//!
//! They read what a client sends to the end and answer as a node does, in the same form and about the same length. They
//! check nothing and keep nothing.

use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use futures_util::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming, async_trait};
use w3bstream_endpoint_grpc::proto;
use w3bstream_endpoint_grpc::proto::ingest_server::{Ingest, IngestServer};
use w3bstream_endpoint_grpc::proto::submit_stream_response::Answer;

/// Stands for a message's id.
const ID: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Serves both protocols on one address until the process ends, and tells `bound` where.
///
/// # Errors
/// If it cannot listen there.
pub async fn serve(listen: SocketAddr, bound: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    bound(listener.local_addr()?);
    // What a small answer waits for otherwise is Nagle's algorithm.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(axum::serve(listener, router()).await?)
}

fn router() -> Router {
    Router::new()
        .route("/v1/projects/{project}/events", post(event))
        .route("/v1/projects/{project}/events:batch", post(batch))
        .route_service("/w3bstream.v1.Ingest/{method}", IngestServer::new(Bare))
}

async fn event(_: Bytes) -> impl IntoResponse {
    let body = format!(r#"{{"id":"{ID}","duplicate":false,"mode":"durable","results":[]}}"#);
    (StatusCode::CREATED, [(CONTENT_TYPE, "application/json")], body)
}

async fn batch(body: Bytes) -> impl IntoResponse {
    let lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count();
    let result = |line| {
        format!(
            "{{\"line\":{line},\"status\":201,\"id\":\"{ID}\",\"duplicate\":false,\"mode\":\"durable\",\"results\":[]}}\n"
        )
    };
    ([(CONTENT_TYPE, "application/x-ndjson")], (1..=lines).map(result).collect::<String>())
}

/// tonic's side.
#[derive(Debug)]
struct Bare;

fn accepted() -> proto::Accepted {
    proto::Accepted {
        id: ID.to_owned(),
        duplicate: false,
        mode: proto::AckMode::Durable.into(),
        results: Vec::new(),
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<proto::SubmitStreamResponse, Status>> + Send>>;

#[async_trait]
impl Ingest for Bare {
    async fn submit(&self, _: Request<proto::SubmitRequest>) -> Result<Response<proto::Accepted>, Status> {
        Ok(Response::new(accepted()))
    }

    async fn submit_many(
        &self,
        request: Request<Streaming<proto::SubmitRequest>>,
    ) -> Result<Response<proto::SubmitManyResponse>, Status> {
        let mut messages = request.into_inner();
        let mut received = 0;
        while messages.message().await?.is_some() {
            received += 1;
        }
        let answer = proto::SubmitManyResponse { received, accepted: received, ..Default::default() };
        Ok(Response::new(answer))
    }

    type SubmitStreamStream = Answers;

    async fn submit_stream(
        &self,
        request: Request<Streaming<proto::SubmitStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let answers = request.into_inner().map(|message| {
            let answer = Some(Answer::Accepted(accepted()));
            message.map(|m| proto::SubmitStreamResponse { tag: m.tag, answer })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
