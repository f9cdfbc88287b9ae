//! Publishers: who may send, each with a token.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::{Context, Login, body, created, empty, listed, number, ok};
use crate::endpoint::Shared;
use crate::error::{Answer, ApiError};
use crate::model::{Project, Sender};
use crate::store::Account;
use w3bstream_wire::legacy::publisher_of;

/// The key of the publisher that stands for everybody without a token.
pub(super) const ANONYMOUS: &str = "anonymous";

#[derive(Deserialize)]
pub(super) struct NewPublisher {
    #[serde(default)]
    name: String,
    #[serde(default)]
    key: String,
}

impl NewPublisher {
    fn checked(self) -> Result<(String, String), ApiError> {
        let key = if self.key.is_empty() { self.name.clone() } else { self.key };
        let name = if self.name.is_empty() { key.clone() } else { self.name };
        if key.is_empty() || key.len() > 256 || key.contains(['/', '+', '#', '\0']) {
            return Err(ApiError::bad(
                "key must have 1 to 256 bytes, none of them '/', '+' or '#': answers go to ack/<key>",
            ));
        }
        Ok((key, name))
    }
}

fn shown(shared: &Shared, project: &Project, sender: &Sender) -> Result<serde_json::Value, ApiError> {
    Ok(sender.json(project, &shared.token(project, sender)?))
}

async fn make(
    shared: &Shared,
    project: &Project,
    new: NewPublisher,
    upsert: bool,
) -> Result<Response, ApiError> {
    let (key, name) = new.checked()?;
    let (mut sender, made) = shared.publisher(project, (&key, &name)).await?;
    if !made && !upsert {
        let desc = format!("the project has a publisher {key:?}");
        return Err(ApiError::conflict("PublisherKeyConflict", desc));
    }
    if sender.name != name {
        (sender.name, sender.updated) = (name, shared.clock.now().millis());
        shared.store.put_sender(project.id, publisher_of(&key)?, sender.clone()).await?;
    }
    Ok(created(shown(shared, project, &sender)?))
}

/// Reads bodies that may be anything.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    let _ = body::<NewPublisher>(bytes).is_ok();
}

pub(super) async fn create(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
    bytes: Bytes,
) -> Answer {
    make(&shared, &*shared.own(&account, &project)?, body(&bytes)?, false).await
}

pub(super) async fn upsert(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
    bytes: Bytes,
) -> Answer {
    make(&shared, &*shared.own(&account, &project)?, body(&bytes)?, true).await
}

/// From now on whoever shows no token is this publisher.
pub(super) async fn anonymous(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
) -> Answer {
    let new = NewPublisher { name: ANONYMOUS.to_owned(), key: ANONYMOUS.to_owned() };
    make(&shared, &*shared.own(&account, &project)?, new, true).await
}

pub(super) async fn list(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
) -> Answer {
    let project = shared.own(&account, &project)?;
    let senders = shared.store.senders(project.id).await?;
    let rows: Result<Vec<_>, ApiError> = senders.iter().map(|s| shown(&shared, &project, s)).collect();
    Ok(listed(rows?))
}

/// A publisher of one of the account's projects.
async fn find(
    shared: &Shared,
    account: &Account,
    publisher: &str,
) -> Result<(std::sync::Arc<Project>, Sender), ApiError> {
    let missing = || ApiError::not_found("PublisherNotFound", format!("you have no publisher {publisher}"));
    let (project, sender) = shared.store.sender_by_id(number(publisher)?).await?.ok_or_else(missing)?;
    let (project, ()) = shared.find(account, |p| (p.id == project).then_some(())).ok_or_else(missing)?;
    Ok((project, sender))
}

pub(super) async fn show(
    State(shared): Context,
    Login(account): Login,
    Path(publisher): Path<String>,
) -> Answer {
    let (project, sender) = find(&shared, &account, &publisher).await?;
    Ok(ok(shown(&shared, &project, &sender)?))
}

/// Changes the name. The key stays: it is what the node knows the publisher by.
pub(super) async fn update(
    State(shared): Context,
    Login(account): Login,
    Path((_, publisher)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer {
    let (project, mut sender) = find(&shared, &account, &publisher).await?;
    let given: NewPublisher = body(&bytes)?;
    if !given.key.is_empty() && given.key != sender.key {
        return Err(ApiError::bad("a publisher's key cannot be changed; make another publisher"));
    }
    if !given.name.is_empty() {
        (sender.name, sender.updated) = (given.name, shared.clock.now().millis());
        shared.store.put_sender(project.id, publisher_of(&sender.key)?, sender).await?;
    }
    Ok(empty())
}

pub(super) async fn remove(
    State(shared): Context,
    Login(account): Login,
    Path(publisher): Path<String>,
) -> Answer {
    let (project, sender) = find(&shared, &account, &publisher).await?;
    shared.revoke(&project, &sender).await?;
    Ok(empty())
}

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default, rename = "publisherID")]
    publisher: String,
}

pub(super) async fn remove_of(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
    Query(query): Query<Which>,
) -> Answer {
    let project = shared.own(&account, &project)?;
    let (of, sender) = find(&shared, &account, &query.publisher).await?;
    if of.id != project.id {
        return Err(ApiError::not_found("PublisherNotFound", "it is of another project"));
    }
    shared.revoke(&project, &sender).await?;
    Ok(empty())
}
