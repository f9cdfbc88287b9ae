//! The third generation's tasks, which their devices sign in a form of their own. The node checks that signature itself; the
//! record has the token that it made for the device, so its trust is a token's.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use w3bstream_endpoint::MessageLife;
use w3bstream_types::{MessageId, MessageState, SettlementStep};
use w3bstream_wire::legacy::{Event, Signer, Task, TaskAnswer, TaskState, TaskStates, publisher_of};

use super::sprout::{error, failed};
use super::{Context, ok};
use crate::endpoint::Shared;
use crate::error::ApiError;
use crate::model::{Project, Sender, rfc3339};

pub(super) async fn post(State(shared): Context, body: Bytes) -> Response {
    take(&shared, &body).await.unwrap_or_else(|e| failed(&e))
}

async fn take(shared: &Shared, body: &[u8]) -> Result<Response, ApiError> {
    let task = Task::parse(body)?;
    let unknown = || ApiError::bad(format!("failed to get project {}", task.project_id));
    let by_name = || task.project_id.parse().ok().and_then(|name| shared.store.named(&name));
    let by_number = task.project_id.parse().ok().and_then(|id| shared.store.project(id));
    let project = by_number.or_else(by_name).ok_or_else(unknown)?;
    let hash = task.hash(&project.signed_keys)?;
    let (signer, device) = registered(shared, &project, task.signers(&hash)).await?;
    let token = shared.token(&project, &device)?;
    let task_id = signer.task_id_text();
    let served = shared.backend.project(&project.label).ok_or_else(unknown)?;
    let message = MessageId::of_token_event(&served, &publisher_of(&device.key)?, &task_id);
    // Noted first: whoever has the answer can ask for it.
    shared.store.put_task(task_id.clone(), project.id, message).await?;
    let event = Event::new(("", &task_id, None), task.payload, (&shared.fill()?, 0))?;
    shared.submit(project.label.clone(), event.submission(token), shared.config.handler_timeout).await?;
    Ok(ok(json!(TaskAnswer { task_id })))
}

/// Which of the keys that fit the signature is a device of the project.
async fn registered(
    shared: &Shared,
    project: &Project,
    signers: Vec<Signer>,
) -> Result<(Signer, Sender), ApiError> {
    for signer in signers {
        if let Some(device) = shared.store.sender(project.id, &publisher_of(&signer.did())?).await? {
            return Ok((signer, device));
        }
    }
    let desc = "device does not have permission: no publisher of the project has the key did:io:<address> of a key that fits the signature";
    Err(ApiError::new(StatusCode::FORBIDDEN, "NoPermission", desc))
}

pub(super) async fn show(State(shared): Context, Path(id): Path<String>) -> Response {
    let mut out = TaskStates { task_id: id.clone(), ..TaskStates::default() };
    let digits = id.to_ascii_lowercase();
    let known = shared.store.task(format!("0x{}", digits.strip_prefix("0x").unwrap_or(&digits))).await;
    let (project, message) = match known {
        Ok(Some(found)) => found,
        Ok(None) => return ok(json!(out)),
        Err(e) => return failed(&e.into()),
    };
    out.project_id = project.to_string();
    match shared.query.message(message).await {
        Ok(life) => out.states = life.map(|l| states(&l)).unwrap_or_default(),
        Err(e) => return error(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
    }
    ok(json!(out))
}

fn states(life: &MessageLife) -> Vec<TaskState> {
    let state = |name: &str, time: u64| TaskState {
        state: name.to_owned(),
        time: rfc3339(time),
        ..TaskState::default()
    };
    let mut out = Vec::new();
    for change in &life.states {
        let (time, why) = (change.time.millis(), change.reason.clone());
        match change.state {
            MessageState::Stored => out.push(state("packed", time)),
            MessageState::Ordered => out.push(TaskState { comment: why, ..state("assigned", time) }),
            MessageState::Executed => {}
            MessageState::Attested if life.settlements.is_empty() => {
                let comment = "attested; the project settles nothing on a chain".to_owned();
                out.push(TaskState { comment, ..state("settled", time) });
            }
            MessageState::Attested => {}
            _ => out.push(TaskState { error: why, ..state("failed", time) }),
        }
    }
    let last = life.states.last().map_or(0, |c| c.time.millis());
    if let Some(s) = life.settlements.iter().find(|s| s.state >= SettlementStep::Settled) {
        let transaction_hash = s.transaction.as_ref().map(|t| t.hash.to_string()).unwrap_or_default();
        out.push(TaskState { transaction_hash, ..state("settled", last) });
    }
    out
}
