//! Over gRPC: HTTP/2 in clear text.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{Semaphore, mpsc};
use w3bstream_endpoint_grpc::proto;
use w3bstream_endpoint_grpc::proto::ingest_client::IngestClient;
use w3bstream_endpoint_grpc::proto::submit_request::Message;
use w3bstream_endpoint_grpc::proto::submit_stream_response::Answer;

use super::figures::Run;
use super::load::{Device, Plan, Share, Start, TYPE};

type Client = IngestClient<Pool<HttpConnector, tonic::body::Body>>;

/// A client with a connection of its own.
fn client(url: &str) -> anyhow::Result<Client> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool = Pool::builder(TokioExecutor::new()).http2_only(true).build(connector);
    Ok(IngestClient::with_origin(pool, url.parse().with_context(|| format!("{url:?} is no URL"))?))
}

fn request(plan: &Plan, device: &Device, index: usize) -> proto::SubmitRequest {
    let bytes = device.messages.get(index).map(|m| m.to_vec()).unwrap_or_default();
    let message = match &device.token {
        None => Message::Envelope(bytes),
        Some(token) => Message::Token(proto::TokenMessage {
            token: token.clone(),
            event_id: device.event_id(index),
            r#type: TYPE.to_owned(),
            time: 0,
            payload: bytes,
        }),
    };
    proto::SubmitRequest { project: plan.project.to_string(), message: Some(message) }
}

/// One connection with a call for each message.
pub(super) async fn calls(plan: &Plan, url: &str, (device, start): (&Device, &Start)) -> anyhow::Result<Run> {
    let client = client(url)?;
    submit(&client, (plan, device), &Share::warm_up(plan)).await?;
    let begun = start.wait().await;
    let share = Share::measured(plan, begun);
    let latencies = submit(&client, (plan, device), &share).await?;
    Ok(Run { begun, ended: Instant::now(), sent: latencies.len(), latencies })
}

async fn submit(
    client: &Client,
    (plan, device): (&Plan, &Device),
    share: &Share<'_>,
) -> anyhow::Result<Vec<Duration>> {
    let messages = stream::unfold((0, share.wanted() == 0), |(index, over)| async move {
        if over {
            return None;
        }
        let (at, last) = share.due(index).await;
        Some(((index, at), (index + 1, last)))
    });
    let call = |(index, at): (usize, Instant)| {
        let (mut client, request) = (client.clone(), request(plan, device, share.first + index));
        async move {
            client.submit(request).await?;
            anyhow::Ok(at.elapsed())
        }
    };
    messages.map(call).buffer_unordered(usize::from(plan.in_flight)).try_collect().await
}

/// One connection with one stream.
pub(super) async fn stream(
    plan: &Plan,
    url: &str,
    (device, start): (&Device, &Start),
) -> anyhow::Result<Run> {
    let (requests, sent) = mpsc::channel(usize::from(plan.in_flight));
    let sent = stream::unfold(sent, |mut sent| async { Some((sent.recv().await?, sent)) });
    let mut answers = client(url)?.submit_stream(sent).await?.into_inner();
    let with = (plan, device);
    exchange(with, (&requests, &mut answers), &Share::warm_up(plan)).await?;
    let begun = start.wait().await;
    let share = Share::measured(plan, begun);
    let latencies = exchange(with, (&requests, &mut answers), &share).await?;
    let ended = Instant::now();
    drop(requests);
    Ok(Run { begun, ended, sent: share.wanted(), latencies })
}

type Stream<'a> =
    (&'a mpsc::Sender<proto::SubmitStreamRequest>, &'a mut tonic::Streaming<proto::SubmitStreamResponse>);

async fn exchange(
    (plan, device): (&Plan, &Device),
    (requests, answers): Stream<'_>,
    share: &Share<'_>,
) -> anyhow::Result<Vec<Duration>> {
    let places = Semaphore::new(usize::from(plan.in_flight));
    let sent = Mutex::new(Vec::with_capacity(share.wanted()));
    let send = async {
        for index in 0..share.wanted() {
            places.acquire().await?.forget();
            let (at, last) = share.due(index).await;
            sent.lock().unwrap_or_else(PoisonError::into_inner).push(at);
            let message = Some(request(plan, device, share.first + index));
            let request = proto::SubmitStreamRequest { tag: index as u64, message };
            requests.send(request).await.ok().context("the stream has ended")?;
            if last {
                break;
            }
        }
        anyhow::Ok(())
    };
    let read = async {
        let mut latencies = Vec::with_capacity(share.wanted());
        while latencies.len() < share.wanted() {
            let response = answers.message().await?.context("the stream has ended")?;
            if !matches!(response.answer, Some(Answer::Accepted(_))) {
                bail!("refused: {:?}", response.answer);
            }
            let index = usize::try_from(response.tag)?;
            let at = sent.lock().unwrap_or_else(PoisonError::into_inner).get(index).copied();
            latencies.push(at.context("an answer to nothing")?.elapsed());
            places.add_permits(1);
        }
        Ok(latencies)
    };
    let ((), latencies) = tokio::try_join!(send, read)?;
    Ok(latencies)
}
