//! Over HTTP/1.1.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};

use super::figures::Run;
use super::load::{Device, Plan, Share, Start, TYPE};
use crate::client::Http;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One connection with a request for each message.
pub(super) async fn connection(
    plan: &Plan,
    url: &str,
    (device, start): (&Device, &Start),
) -> anyhow::Result<Run> {
    let http = Http::default();
    let url = match device.token {
        None => format!("{url}/v1/projects/{}/events", plan.project),
        Some(_) => format!("{url}/v1/projects/{}/events?type={TYPE}", plan.project),
    };
    singles(&http, &url, (device, &Share::warm_up(plan))).await?;
    let begun = start.wait().await;
    let share = Share::measured(plan, begun);
    let latencies = singles(&http, &url, (device, &share)).await?;
    Ok(Run { begun, ended: Instant::now(), sent: share.wanted(), latencies })
}

async fn singles(
    http: &Http,
    url: &str,
    (device, share): (&Device, &Share<'_>),
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(share.wanted());
    for (index, message) in device.messages.iter().skip(share.first).take(share.wanted()).enumerate() {
        let (at, last) = share.due(index).await;
        let headers = match &device.token {
            None => vec![(CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())],
            Some(token) => vec![
                (CONTENT_TYPE, "application/json".to_owned()),
                (AUTHORIZATION, format!("Bearer {token}")),
                (IDEMPOTENCY_KEY, device.event_id(share.first + index)),
            ],
        };
        let answer = http.send((Method::POST, url), &headers, message.clone()).await?.ok()?;
        if answer.status != StatusCode::CREATED {
            bail!("{} where a new message is 201", answer.status);
        }
        latencies.push(at.elapsed());
        if last {
            break;
        }
    }
    Ok(latencies)
}

/// One connection with as many messages in a request as are in flight. A message's time is that of its request.
pub(super) async fn batches(
    plan: &Plan,
    url: &str,
    (device, start): (&Device, &Start),
) -> anyhow::Result<Run> {
    let http = Http::default();
    let url = format!("{url}/v1/projects/{}/events:batch", plan.project);
    let bodies = |from: usize, count: usize| -> anyhow::Result<Vec<(String, usize)>> {
        let all: Vec<_> = device.messages.iter().enumerate().skip(from).take(count).collect();
        all.chunks(usize::from(plan.in_flight)).map(|chunk| Ok((body(device, chunk)?, chunk.len()))).collect()
    };
    let (warm_up, measured) = (bodies(0, plan.warm_up)?, bodies(plan.warm_up, plan.messages)?);
    for (body, count) in warm_up {
        batch(&http, &url, (device, body, count)).await?;
    }
    let begun = start.wait().await;
    let share = Share::measured(plan, begun);
    let mut latencies = Vec::with_capacity(plan.messages);
    for (body, count) in measured {
        // The batch is due with its first message, and the time is over for whole batches.
        let (at, _) = share.due(latencies.len()).await;
        let over = share.wanted() <= latencies.len() + 1;
        batch(&http, &url, (device, body, count)).await?;
        latencies.extend(std::iter::repeat_n(at.elapsed(), count));
        if over {
            break;
        }
    }
    Ok(Run { begun, ended: Instant::now(), sent: latencies.len(), latencies })
}

fn body(device: &Device, messages: &[(usize, &bytes::Bytes)]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for (index, message) in messages {
        match device.token {
            None => writeln!(lines, r#"{{"envelope":"{}"}}"#, B64.encode(message))?,
            Some(_) => {
                let (id, payload) = (device.event_id(*index), std::str::from_utf8(message)?);
                writeln!(lines, r#"{{"event_id":"{id}","type":"{TYPE}","payload":{payload}}}"#)?;
            }
        }
    }
    Ok(lines)
}

async fn batch(
    http: &Http,
    url: &str,
    (device, body, count): (&Device, String, usize),
) -> anyhow::Result<()> {
    let mut headers = vec![(CONTENT_TYPE, "application/x-ndjson".to_owned())];
    headers.extend(device.token.as_ref().map(|token| (AUTHORIZATION, format!("Bearer {token}"))));
    let answer = http.send((Method::POST, url), &headers, body).await?.ok()?;
    let text = std::str::from_utf8(&answer.body)?;
    let mut accepted = 0;
    for line in text.lines() {
        let result: serde_json::Value = serde_json::from_str(line).context("a result is no JSON")?;
        if result["status"] != 201 {
            bail!("refused: {line}");
        }
        accepted += 1;
    }
    if accepted != count {
        bail!("{accepted} results for {count} messages");
    }
    Ok(())
}
