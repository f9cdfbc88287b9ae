//! Cron jobs: moments that become events.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{Context, Login, body, created, empty, listed, number};
use crate::error::{Answer, ApiError};
use crate::model::{CronJob, Project, Rest};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewCronJob {
    cron_expressions: String,
    #[serde(default)]
    event_type: String,
    #[serde(flatten)]
    _rest: Rest,
}

/// Reads bodies that may be anything.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    let _ = body::<NewCronJob>(bytes).is_ok();
}

pub(super) async fn create(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
    bytes: Bytes,
) -> Answer {
    let project = shared.own(&account, &project)?;
    let NewCronJob { cron_expressions: schedule, event_type, .. } = body(&bytes)?;
    let event_type = if event_type.is_empty() { "DEFAULT".to_owned() } else { event_type };
    let now = shared.clock.now().millis();
    let made = CronJob { id: shared.store.ids(1).await?.next(), event_type, schedule, created: now };
    let kept = made.clone();
    let put = |p: &mut Project| {
        if p.crons.iter().any(|c| c.event_type == kept.event_type && c.schedule == kept.schedule) {
            return Err(ApiError::conflict("CronJobConflict", "the project has this cron job already"));
        }
        p.crons.push(kept);
        Ok(())
    };
    let project = shared.change(project.id, put).await?;
    Ok(created(made.json(&project)))
}

pub(super) async fn list(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
) -> Answer {
    let project = shared.own(&account, &project)?;
    Ok(listed(project.crons.iter().map(|c| c.json(&project)).collect()))
}

pub(super) async fn remove(
    State(shared): Context,
    Login(account): Login,
    Path(cron): Path<String>,
) -> Answer {
    let id = number(&cron)?;
    let found = shared.find(&account, |p| p.crons.iter().any(|c| c.id == id).then_some(()));
    let missing = || ApiError::not_found("CronJobNotFound", format!("you have no cron job {cron}"));
    let (project, ()) = found.ok_or_else(missing)?;
    let put = |p: &mut Project| {
        p.crons.retain(|c| c.id != id);
        Ok(())
    };
    shared.change(project.id, put).await?;
    Ok(empty())
}
