//! The room's conformance kit, with a device that speaks HTTP/2: it sends without waiting for answers.

use std::future::Future;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use w3bstream_endpoint::async_trait;
use w3bstream_endpoint::conformance::{Device, Fixture, Limits, Running, Seen, Sight};
use w3bstream_endpoint_http::HttpLimits;
use w3bstream_tasks::Tasks;
use w3bstream_types::{Form, Received, Submission};

use crate::harness::{quick, start};

type Body = Full<hyper::body::Bytes>;

#[derive(Clone, Debug)]
struct Spawn(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        self.0.spawn("client", future);
    }
}

#[derive(Debug)]
struct Http2Device {
    connection: SendRequest<Body>,
    tasks: Tasks,
    sent: usize,
    open: usize,
    tell: mpsc::Sender<Seen>,
    told: mpsc::Receiver<Seen>,
}

fn request(message: &Received) -> Request<Body> {
    let Submission::Signed(record) = &message.submission else { panic!("the kit signs") };
    let Form::Jws(jws) = record.form() else { panic!("the kit sends JWS") };
    Request::post(format!("http://t/v1/projects/{}/events", message.project))
        .header("content-type", "application/jose")
        .body(Full::from(jws.compact().to_owned()))
        .unwrap()
}

fn sight(status: u16) -> Sight {
    match status {
        200 | 201 => Sight::Accepted,
        408 | 500.. => Sight::Transient,
        _ => Sight::Permanent,
    }
}

#[async_trait]
impl Device for Http2Device {
    async fn send(&mut self, messages: Vec<Received>) {
        for message in messages {
            let (index, tell) = (self.sent, self.tell.clone());
            let answer = self.connection.send_request(request(&message));
            self.sent += 1;
            self.open += 1;
            self.tasks.spawn("answer", async move {
                let sight = match answer.await {
                    Ok(answer) => {
                        let status = answer.status().as_u16();
                        answer.into_body().collect().await.map_or(Sight::Transient, |_| sight(status))
                    }
                    Err(_) => Sight::Transient,
                };
                let _ = tell.send(Seen { index, sight }).await;
            });
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

struct Http;

#[async_trait]
impl Fixture for Http {
    async fn open(&self, limits: Limits) -> Running {
        let server = start(HttpLimits {
            max_in_flight: limits.max_in_flight,
            // The kit holds messages for long and looks whether they wait; here waiting is bounded by time.
            overload_wait: Duration::from_secs(60),
            ack_timeout: Duration::from_secs(60),
            max_streams: 256,
            ..quick()
        });
        let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
        let executor = Spawn(server.tasks.clone());
        let (connection, driver) = hyper::client::conn::http2::Builder::new(executor)
            .timer(TokioTimer::new())
            .handshake::<_, Body>(TokioIo::new(stream))
            .await
            .unwrap();
        server.tasks.spawn("driver", async move {
            let _ = driver.await;
        });
        let (tell, told) = mpsc::channel(256);
        let device = Http2Device { connection, tasks: server.tasks, sent: 0, open: 0, tell, told };
        Running { endpoint: server.endpoint, device: Box::new(device) }
    }

    fn answers_in_order(&self) -> bool {
        false
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

w3bstream_endpoint::endpoint_conformance!(block_on, Http);
