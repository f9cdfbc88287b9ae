//! The room's conformance kit, twice: a device with one stream, and one with a call for each message.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use w3bstream_endpoint::async_trait;
use w3bstream_endpoint::conformance::{Device, Fixture, Limits, Running, Seen, Sight};
use w3bstream_endpoint_grpc::GrpcLimits;
use w3bstream_endpoint_grpc::proto::ingest_client::IngestClient;
use w3bstream_endpoint_grpc::proto::submit_request::Message;
use w3bstream_endpoint_grpc::proto::submit_stream_response::Answer;
use w3bstream_endpoint_grpc::proto::{SubmitRequest, SubmitStreamRequest, SubmitStreamResponse};
use w3bstream_tasks::Tasks;
use w3bstream_types::{Form, Received, Submission};

use crate::harness::{Server, quick, requests, start};

fn request(message: &Received) -> SubmitRequest {
    let Submission::Signed(record) = &message.submission else { panic!("the kit signs") };
    let Form::Jws(jws) = record.form() else { panic!("the kit sends JWS") };
    let message_ = Message::Jws(jws.compact().to_owned());
    SubmitRequest { project: message.project.to_string(), message: Some(message_) }
}

fn limits(limits: Limits) -> GrpcLimits {
    GrpcLimits {
        max_in_flight: limits.max_in_flight,
        // The kit holds messages for long and looks whether they wait; here waiting is bounded by time.
        overload_wait: Duration::from_secs(60),
        ack_timeout: Duration::from_secs(60),
        max_streams: 256,
        ..quick()
    }
}

#[derive(Debug)]
struct StreamDevice {
    // Both live as long as the device.
    _server: Tasks,
    send: mpsc::Sender<SubmitStreamRequest>,
    answers: Streaming<SubmitStreamResponse>,
    ended: bool,
    sent: u64,
    open: Vec<u64>,
}

#[async_trait]
impl Device for StreamDevice {
    async fn send(&mut self, messages: Vec<Received>) {
        for message in messages {
            // Other tags than places, so that the two cannot be mixed up.
            let tag = 1000 + self.sent;
            self.open.push(tag);
            self.sent += 1;
            self.send.send(SubmitStreamRequest { tag, message: Some(request(&message)) }).await.unwrap();
        }
    }

    async fn seen(&mut self) -> Option<Seen> {
        if !self.ended {
            if let Ok(Some(answer)) = self.answers.message().await {
                let place = self.open.iter().position(|t| *t == answer.tag).expect("an open message");
                self.open.remove(place);
                let sight = match answer.answer.expect("an answer") {
                    Answer::Accepted(_) => Sight::Accepted,
                    Answer::Refused(refused) if refused.permanent => Sight::Permanent,
                    Answer::Refused(_) => Sight::Transient,
                };
                return Some(Seen { index: usize::try_from(answer.tag - 1000).unwrap(), sight });
            }
            self.ended = true;
        }
        let tag = (!self.open.is_empty()).then(|| self.open.remove(0))?;
        Some(Seen { index: usize::try_from(tag - 1000).unwrap(), sight: Sight::Transient })
    }
}

struct OneStream;

#[async_trait]
impl Fixture for OneStream {
    async fn open(&self, asked: Limits) -> Running {
        let Server { endpoint, tasks, addr, .. } = start(limits(asked));
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
        let mut client = IngestClient::new(channel.connect().await.unwrap());
        let (send, stream) = requests();
        let answers = client.submit_stream(stream).await.unwrap().into_inner();
        let device = StreamDevice { _server: tasks, send, answers, ended: false, sent: 0, open: Vec::new() };
        Running { endpoint, device: Box::new(device) }
    }

    fn answers_in_order(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct CallDevice {
    client: IngestClient<Channel>,
    tasks: Tasks,
    sent: usize,
    open: usize,
    tell: mpsc::Sender<Seen>,
    told: mpsc::Receiver<Seen>,
}

pub fn sight(status: &Status) -> Sight {
    match status.code() {
        Code::InvalidArgument
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => Sight::Permanent,
        _ => Sight::Transient,
    }
}

#[async_trait]
impl Device for CallDevice {
    async fn send(&mut self, messages: Vec<Received>) {
        for message in messages {
            let (index, tell, mut client) = (self.sent, self.tell.clone(), self.client.clone());
            self.sent += 1;
            self.open += 1;
            self.tasks.spawn("call", async move {
                let sight = match client.submit(request(&message)).await {
                    Ok(_) => Sight::Accepted,
                    Err(status) => sight(&status),
                };
                let _ = tell.send(Seen { index, sight }).await;
            });
            // Calls of one connection have no order among them. A device that wants one leaves a little time.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn seen(&mut self) -> Option<Seen> {
        if self.open == 0 {
            return None;
        }
        let seen = self.told.recv().await;
        self.open -= 1;
        seen
    }
}

struct Calls;

#[async_trait]
impl Fixture for Calls {
    async fn open(&self, asked: Limits) -> Running {
        let server = start(limits(asked));
        let client = server.ingest().await;
        let (tell, told) = mpsc::channel(256);
        let device = CallDevice { client, tasks: server.tasks, sent: 0, open: 0, tell, told };
        Running { endpoint: server.endpoint, device: Box::new(device) }
    }

    fn answers_in_order(&self) -> bool {
        false
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

mod one_stream {
    use super::{OneStream, block_on};
    w3bstream_endpoint::endpoint_conformance!(block_on, OneStream);
}

mod calls {
    use super::{Calls, block_on};
    w3bstream_endpoint::endpoint_conformance!(block_on, Calls);
}
