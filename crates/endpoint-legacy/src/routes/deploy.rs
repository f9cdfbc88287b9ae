//! Instances: applets that get events.

use axum::extract::{Path, State};

use super::{Context, Login, applet, created, empty, number, ok};
use crate::endpoint::Shared;
use crate::error::{Answer, ApiError};
use crate::model::{Instance, Module, Project, State as Run};
use crate::store::Account;

fn missing(what: &str) -> ApiError {
    ApiError::not_found("InstanceNotFound", format!("you have no instance {what}"))
}

/// The project and applet of an instance.
fn owner(shared: &Shared, account: &Account, instance: u64) -> Result<(u64, u64), ApiError> {
    let of = |p: &Project| {
        let mut all = p.applets.iter();
        all.find(|m| m.instance.as_ref().is_some_and(|i| i.id == instance)).map(|m| m.id)
    };
    let found = shared.find(account, of).ok_or_else(|| missing(&instance.to_string()))?;
    Ok((found.0.id, found.1))
}

/// Changes one applet and gives its instance as JSON.
async fn edit(
    shared: &Shared,
    (project, applet): (u64, u64),
    edit: impl FnOnce(&mut Module),
) -> Result<serde_json::Value, ApiError> {
    let put = |p: &mut Project| {
        let found = p.applets.iter_mut().find(|m| m.id == applet);
        edit(found.ok_or_else(|| missing("any more"))?);
        Ok(())
    };
    let project = shared.change(project, put).await?;
    let instance = project.applet(applet).and_then(|m| m.instance.as_ref());
    Ok(instance.map(|i| i.json(applet)).unwrap_or_default())
}

/// Deploys an applet: its instance gets events from now on.
pub(super) async fn create(
    State(shared): Context,
    Login(account): Login,
    Path(applet): Path<String>,
) -> Answer {
    let (project, id) = applet::find(&shared, &account, &applet, |_, m| m.id)?;
    let new = shared.store.ids(1).await?.next();
    let start = |m: &mut Module| {
        let id = m.instance.as_ref().map_or(new, |i| i.id);
        m.instance = Some(Instance { id, state: Run::Started });
    };
    Ok(created(edit(&shared, (project.id, id), start).await?))
}

pub(super) async fn of_applet(
    State(shared): Context,
    Login(account): Login,
    Path(applet): Path<String>,
) -> Answer {
    let id = number(&applet)?;
    let of = |p: &Project| p.applet(id).and_then(|m| m.instance.as_ref()).map(|i| i.json(id));
    Ok(ok(shared.find(&account, of).ok_or_else(|| missing(&format!("of applet {applet}")))?.1))
}

pub(super) async fn show(
    State(shared): Context,
    Login(account): Login,
    Path(instance): Path<String>,
) -> Answer {
    let id = number(&instance)?;
    let of = |p: &Project| {
        let with = |m: &Module| m.instance.as_ref().filter(|i| i.id == id).map(|i| i.json(m.id));
        p.applets.iter().find_map(with)
    };
    Ok(ok(shared.find(&account, of).ok_or_else(|| missing(&instance))?.1))
}

/// `START`, or `HUNGUP` (the original's word for stopping).
pub(super) async fn command(
    State(shared): Context,
    Login(account): Login,
    Path((instance, command)): Path<(String, String)>,
) -> Answer {
    let state = match command.as_str() {
        "START" => Run::Started,
        "HUNGUP" | "STOP" => Run::Stopped,
        other => return Err(ApiError::bad(format!("{other:?} is neither START nor HUNGUP"))),
    };
    let at = owner(&shared, &account, number(&instance)?)?;
    let set = |m: &mut Module| {
        if let Some(instance) = &mut m.instance {
            instance.state = state;
        }
    };
    edit(&shared, at, set).await?;
    Ok(empty())
}

pub(super) async fn remove(
    State(shared): Context,
    Login(account): Login,
    Path(instance): Path<String>,
) -> Answer {
    let at = owner(&shared, &account, number(&instance)?)?;
    edit(&shared, at, |m| m.instance = None).await?;
    Ok(empty())
}
