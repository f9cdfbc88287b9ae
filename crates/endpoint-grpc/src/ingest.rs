//! `w3bstream.v1.Ingest`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};
use w3bstream_endpoint::async_trait;
use w3bstream_types::RefusalKind;

use crate::flow::{End, Flow, Outcome};
use crate::problem::Problem;
use crate::proto;
use crate::proto::submit_stream_response::Answer;
use crate::server::{Shared, stopping};
use crate::take::{hand_over, judge};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Ingest(pub(crate) Arc<Shared>);

/// The answers of a stream.
pub(crate) type Answers =
    Pin<Box<dyn Stream<Item = Result<proto::SubmitStreamResponse, Status>> + Send + 'static>>;

impl Ingest {
    async fn one(&self, request: proto::SubmitRequest) -> Outcome {
        let shared = &self.0;
        let ready = judge(shared, request)?;
        let place = place(shared).await?;
        hand_over(shared, ready, place)?.await
    }

    fn status(&self, problem: Problem) -> Status {
        self.0.counted(problem).into()
    }

    fn taking(&self) -> Result<(), Status> {
        if self.0.intake.is_cancelled() { Err(self.status(stopping())) } else { Ok(()) }
    }
}

/// A place among the messages in flight, waited for as long as is allowed, first come first served.
async fn place(shared: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    let places = Arc::clone(&shared.in_flight);
    let place = tokio::select! {
        biased;
        () = shared.intake.cancelled() => return Err(stopping()),
        place = timeout(shared.limits.overload_wait, places.acquire_owned()) => place,
    };
    let Ok(Ok(place)) = place else {
        let detail = "as many messages as the node allows wait for their acknowledgement";
        return Err(Problem::refusal(RefusalKind::Overloaded, detail));
    };
    Ok(place)
}

#[async_trait]
impl proto::ingest_server::Ingest for Ingest {
    async fn submit(
        &self,
        request: Request<proto::SubmitRequest>,
    ) -> Result<Response<proto::Accepted>, Status> {
        self.taking()?;
        self.one(request.into_inner()).await.map(Response::new).map_err(|problem| self.status(problem))
    }

    async fn submit_many(
        &self,
        request: Request<Streaming<proto::SubmitRequest>>,
    ) -> Result<Response<proto::SubmitManyResponse>, Status> {
        self.taking()?;
        let mut flow = Flow::new(&self.0, request.into_inner());
        let mut out = proto::SubmitManyResponse::default();
        let most = self.0.limits.max_listed_refusals;
        while let Some((index, outcome)) = flow.next().await {
            match outcome {
                Ok(accepted) => {
                    out.accepted += 1;
                    out.duplicates += u64::from(accepted.duplicate);
                }
                Err(problem) => {
                    out.refused += 1;
                    let refused = proto::RefusedItem { index, refused: Some(problem.into()) };
                    let at = out.refusals.partition_point(|r| r.index < index);
                    out.refusals.insert(at, refused);
                    out.refusals.truncate(most);
                }
            }
        }
        out.received = flow.read();
        match flow.end.take() {
            Some(End::Broken(status)) => return Err(status),
            Some(End::Stopped) => out.stopped = Some(stopping().into()),
            Some(End::Client) | None => {}
        }
        Ok(Response::new(out))
    }

    type SubmitStreamStream = Answers;

    async fn submit_stream(
        &self,
        request: Request<Streaming<proto::SubmitStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        self.taking()?;
        let flow = Flow::new(&self.0, request.into_inner());
        // Polled by HTTP/2 as far as the client reads: one that sends and does not read holds up itself.
        let answers = stream::unfold(Some(flow), |flow| async move {
            let mut flow = flow?;
            let Some((tag, outcome)) = flow.next().await else {
                let status = match flow.end.take() {
                    Some(End::Broken(status)) => status,
                    Some(End::Stopped) => stopping().into(),
                    Some(End::Client) | None => return None,
                };
                return Some((Err(status), None));
            };
            let answer = match outcome {
                Ok(accepted) => Answer::Accepted(accepted),
                Err(problem) => Answer::Refused(problem.into()),
            };
            Some((Ok(proto::SubmitStreamResponse { tag, answer: Some(answer) }), Some(flow)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
