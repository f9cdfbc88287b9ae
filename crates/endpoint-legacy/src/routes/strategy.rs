//! Strategies: which event type reaches which function.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::{Context, Login, body, created, empty, listed, number, ok};
use crate::endpoint::Shared;
use crate::error::{Answer, ApiError};
use crate::model::{Module, Project, Strategy, StrategyInfo};
use crate::store::Account;

#[derive(Deserialize)]
pub(super) struct NewStrategy {
    #[serde(rename = "appletID")]
    applet: Number,
    #[serde(flatten)]
    info: StrategyInfo,
}

/// Numbers are texts; some clients wrote them as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Number(u64),
}

fn missing(strategy: &str) -> ApiError {
    ApiError::not_found("StrategyNotFound", format!("you have no strategy {strategy}"))
}

/// Reads bodies that may be anything.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    let _ = body::<NewStrategy>(bytes).is_ok();
}

pub(super) async fn create(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
    bytes: Bytes,
) -> Answer {
    let project = shared.own(&account, &project)?;
    let given: NewStrategy = body(&bytes)?;
    let applet = match given.applet {
        Number::Text(text) => number(&text)?,
        Number::Number(number) => number,
    };
    let made = Strategy::new(given.info, &mut shared.store.ids(1).await?);
    let (id, unknown) =
        (made.id, || ApiError::not_found("AppletNotFound", format!("the project has no applet {applet}")));
    let put = |p: &mut Project| {
        let module = p.applets.iter_mut().find(|m| m.id == applet).ok_or_else(unknown)?;
        let same = |s: &Strategy| s.event_type == made.event_type && s.handler == made.handler;
        if module.strategies.iter().any(same) {
            return Err(ApiError::conflict("StrategyConflict", "the applet has this strategy already"));
        }
        module.strategies.push(made);
        Ok(())
    };
    let project = shared.change(project.id, put).await?;
    let module = project.applet(applet).ok_or_else(unknown)?;
    let found = module.strategies.iter().find(|s| s.id == id);
    Ok(created(found.map(|s| s.json(&project, module)).unwrap_or_default()))
}

pub(super) async fn list(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
) -> Answer {
    let project = shared.own(&account, &project)?;
    let of = |m: &Module| m.strategies.iter().map(|s| s.json(&project, m)).collect::<Vec<_>>();
    Ok(listed(project.applets.iter().flat_map(of).collect()))
}

/// The project of a strategy, and the strategy as JSON.
fn find(
    shared: &Shared,
    account: &Account,
    strategy: &str,
) -> Result<(u64, u64, serde_json::Value), ApiError> {
    let id = number(strategy)?;
    let of = |p: &Project| {
        let with = |m: &Module| m.strategies.iter().find(|s| s.id == id).map(|s| s.json(p, m));
        p.applets.iter().find_map(with)
    };
    let (project, shown) = shared.find(account, of).ok_or_else(|| missing(strategy))?;
    Ok((project.id, id, shown))
}

pub(super) async fn show(
    State(shared): Context,
    Login(account): Login,
    Path(strategy): Path<String>,
) -> Answer {
    Ok(ok(find(&shared, &account, &strategy)?.2))
}

pub(super) async fn update(
    State(shared): Context,
    Login(account): Login,
    Path(strategy): Path<String>,
    bytes: Bytes,
) -> Answer {
    let (project, id, _) = find(&shared, &account, &strategy)?;
    let info: StrategyInfo = body(&bytes)?;
    let put = |p: &mut Project| {
        let mut all = p.applets.iter_mut().flat_map(|m| &mut m.strategies);
        let found = all.find(|s| s.id == id).ok_or_else(|| missing(&strategy))?;
        if !info.event_type.is_empty() {
            found.event_type = info.event_type;
        }
        found.handler = info.handler;
        Ok(())
    };
    shared.change(project, put).await?;
    Ok(empty())
}

pub(super) async fn remove(
    State(shared): Context,
    Login(account): Login,
    Path(strategy): Path<String>,
) -> Answer {
    let (project, id, _) = find(&shared, &account, &strategy)?;
    let put = |p: &mut Project| {
        p.applets.iter_mut().for_each(|m| m.strategies.retain(|s| s.id != id));
        Ok(())
    };
    shared.change(project, put).await?;
    Ok(empty())
}
