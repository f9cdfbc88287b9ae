//! `grpc.health.v1.Health`: what `Query::ready` says.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::time::sleep;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use w3bstream_endpoint::async_trait;

use crate::server::Shared;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Health(pub(crate) Arc<Shared>);

type Changes = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

/// The server as a whole and its services.
const KNOWN: [&str; 3] = ["", "w3bstream.v1.Ingest", "w3bstream.v1.Messages"];

impl Health {
    fn of(&self, service: &str) -> ServingStatus {
        if !KNOWN.contains(&service) {
            return ServingStatus::ServiceUnknown;
        }
        let ready = !self.0.intake.is_cancelled() && self.0.query.ready().is_ok();
        if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.of(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("this endpoint has no such service")),
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = Changes;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Changes>, Status> {
        let place = self.0.watch().map_err(|problem| self.0.counted(problem))?;
        let (health, service) = (self.clone(), request.into_inner().service);
        let changes = stream::unfold(None, move |told| {
            // The stream holds the place.
            let _ = &place;
            let (health, service) = (health.clone(), service.clone());
            async move {
                loop {
                    let now = health.of(&service);
                    if told != Some(now) {
                        return Some((Ok(response(now)), Some(now)));
                    }
                    tokio::select! {
                        // Told that it serves no more, the watcher is let go.
                        () = health.0.closing.cancelled() => return None,
                        () = sleep(health.0.limits.health_interval) => {}
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
