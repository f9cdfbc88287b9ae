//! Events: one or many, answered with what each handler said.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde_json::json;
use w3bstream_endpoint::Answer as Told;
use w3bstream_types::{HandlerResult, ProjectName, Timestamp};
use w3bstream_wire::legacy::{
    BatchAnswer, BatchItem, Channel, Event, EventAnswer, EventQuery, EventResult, read_batch,
};

use super::publisher::ANONYMOUS;
use super::{Context, created};
use crate::auth::token_of;
use crate::endpoint::Shared;
use crate::error::{Answer, ApiError};
use crate::model::Project;

/// Who sends an event, and its token.
#[derive(Debug)]
pub(super) struct Who {
    id: u64,
    key: String,
    pub(super) token: String,
}

pub(super) async fn post(
    State(shared): Context,
    Path(channel): Path<String>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let channel = Channel::parse(&channel)?;
    if shared.backend.project(&channel.project).is_none() {
        let desc = format!("this node serves no project {}", channel.project);
        return Err(ApiError::not_found("ProjectNotFound", desc));
    }
    let token = token_of(&headers, &query.authorization);
    if query.is_batch() {
        return batch(&shared, &channel, &token, &body).await;
    }
    let who = sender(&shared, &channel.project, token, &query.device_id).await?;
    let event = Event::from_query(&query, body.to_vec(), &shared.fill()?)?;
    let (id, time) = (event.event_id.clone(), event.time);
    let results = send(&shared, &channel.project, who.token.clone(), event).await?;
    Ok(created(json!(answer(&channel, who, (id, time), results))))
}

fn answer(
    channel: &Channel,
    who: Who,
    (event_id, time): (String, Timestamp),
    results: Vec<EventResult>,
) -> EventAnswer {
    EventAnswer {
        channel: channel.text.clone(),
        publisher_id: who.id.to_string(),
        publisher_key: who.key,
        event_id,
        timestamp: time.millis(),
        results,
        error: None,
    }
}

/// Whose token it is; without one the anonymous publisher, if the project has it; with an account's, the device that is
/// named beside it.
pub(super) async fn sender(
    shared: &Shared,
    project: &ProjectName,
    token: String,
    device: &str,
) -> Result<Who, ApiError> {
    let known = shared.store.named(project);
    if let Some(publisher) = shared.backend.publisher(project, &token) {
        let kept = match &known {
            Some(known) => shared.store.sender(known.id, &publisher).await?,
            None => None,
        };
        let (id, key) = kept.map_or_else(|| (0, publisher.to_string()), |s| (s.id, s.key));
        return Ok(Who { id, key, token });
    }
    let refused = || ApiError::unauthorized(format!("the token is of no publisher of {project}"));
    let known = known.ok_or_else(refused)?;
    if token.is_empty() {
        let kept = shared.store.sender(known.id, &ANONYMOUS.parse()?).await?;
        let kept = kept.ok_or_else(|| {
            ApiError::unauthorized("give a publisher's token: Authorization: Bearer …, or ?authorization=")
        })?;
        let token = shared.token(&known, &kept)?;
        return Ok(Who { id: kept.id, key: kept.key, token });
    }
    let account = shared.account_of(&token).await?.ok_or_else(refused)?;
    if account.id != known.account {
        return Err(refused());
    }
    if device.is_empty() {
        return Err(ApiError::bad(
            "an account's key needs ?device_id=, or eventType=DA-TA_PU-SH with a batch",
        ));
    }
    of_device(shared, &known, device).await
}

async fn of_device(shared: &Shared, project: &Project, device: &str) -> Result<Who, ApiError> {
    let (kept, _) = shared.publisher(project, (device, device)).await?;
    let token = shared.token(project, &kept)?;
    Ok(Who { id: kept.id, key: kept.key, token })
}

/// Hands an event over and waits for its handlers, for each as long as is set.
async fn send(
    shared: &Shared,
    project: &ProjectName,
    token: String,
    event: Event,
) -> Result<Vec<EventResult>, ApiError> {
    let known = shared.store.named(project);
    let handlers = known.as_ref().map_or(1, |p| p.handlers(event.event_type.as_str())).max(1);
    let patience = shared.config.handler_timeout * u32::try_from(handlers).unwrap_or(1);
    let longest = Duration::from_secs(50);
    let accepted = shared.submit(project.clone(), event.submission(token), patience.min(longest)).await?;
    Ok(results(known.as_ref(), &accepted.results))
}

/// The results of the event's own handlers. The original knew none of events that handlers send to each other.
fn results(project: Option<&Arc<Project>>, all: &[HandlerResult]) -> Vec<EventResult> {
    all.iter().filter(|r| r.event.is_none()).map(|r| result(project, r)).collect()
}

/// A handler's result with the original's names.
fn result(project: Option<&Arc<Project>>, r: &HandlerResult) -> EventResult {
    let module = project.and_then(|p| p.applets.iter().find(|m| m.label == r.applet));
    let instance = module.and_then(|m| m.instance.as_ref()).map_or(0, |i| i.id);
    EventResult {
        applet: module.map_or_else(|| r.applet.to_string(), |m| m.name.clone()),
        instance: instance.to_string(),
        handler: r.handler.clone(),
        return_value: None,
        code: r.code,
        error: r.error.clone(),
    }
}

async fn batch(shared: &Shared, channel: &Channel, token: &str, body: &[u8]) -> Answer {
    let refused = || {
        ApiError::unauthorized("a batch needs an account's key: POST /srv-applet-mgr/v0/account_access_key")
    };
    let account = shared.account_of(token).await?.ok_or_else(refused)?;
    let project = shared.store.named(&channel.project).filter(|p| p.account == account.id);
    let project = project.ok_or_else(refused)?;
    let items = read_batch(body, &shared.fill()?)?;
    // One after the other: new devices are registered, and one change is made at a time anyway.
    let mut senders = Vec::with_capacity(items.len());
    for item in &items {
        senders.push(of_device(shared, &project, &item.device).await);
    }
    let one = |(index, (item, who)): (usize, (BatchItem, Result<Who, ApiError>))| {
        let name = project.label.clone();
        async move {
            let sent = match who {
                Ok(who) => send(shared, &name, who.token, item.event).await,
                Err(e) => Err(e),
            };
            match sent {
                Ok(results) => BatchAnswer { index, results, error: None },
                Err(e) => BatchAnswer { index, results: Vec::new(), error: Some(e.desc().to_owned()) },
            }
        }
    };
    let all = join_all(items.into_iter().zip(senders).enumerate().map(one)).await;
    Ok(created(json!(all)))
}

/// See [`LegacyEndpoint::describe`](crate::LegacyEndpoint::describe).
pub(crate) async fn describe(
    shared: &Shared,
    (channel, token): (&Channel, &str),
    (event_id, time): (String, Timestamp),
    told: &Told,
) -> Option<EventAnswer> {
    let who = sender(shared, &channel.project, token.to_owned(), "").await.ok()?;
    let known = shared.store.named(&channel.project);
    let (results, error) = match told {
        Ok(accepted) => (results(known.as_ref(), &accepted.results), None),
        Err(refusal) => (Vec::new(), Some(refusal.to_string())),
    };
    Some(EventAnswer { error, ..answer(channel, who, (event_id, time), results) })
}
