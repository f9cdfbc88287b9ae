//! Projects and their settings.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use w3bstream_wire::legacy::fold_name;

use super::{Context, Login, body, created, empty, listed, ok};
use crate::error::{Answer, ApiError};
use crate::model::{Project, Rest};

/// What a column may be.
pub(crate) fn datatypes() -> Vec<&'static str> {
    crate::database::datatypes()
}

#[derive(Deserialize)]
pub(super) struct NewProject {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    envs: Option<Env>,
    #[serde(default)]
    database: Option<Value>,
}

#[derive(Deserialize)]
struct Env {
    #[serde(default)]
    env: Vec<(String, String)>,
    #[serde(flatten)]
    _rest: Rest,
}

impl Env {
    /// Names are unique: guests could read only one of two.
    fn checked(self) -> Result<Vec<(String, String)>, ApiError> {
        for (i, (name, _)) in self.env.iter().enumerate() {
            if name.is_empty() || self.env.iter().take(i).any(|(other, _)| other == name) {
                return Err(ApiError::bad(format!("env: the name {name:?} is empty or stands twice")));
            }
        }
        Ok(self.env)
    }
}

fn checked_database(value: Value) -> Result<Value, ApiError> {
    crate::database::read(&value)?;
    Ok(value)
}

pub(super) async fn create(State(shared): Context, Login(account): Login, bytes: Bytes) -> Answer {
    let given: NewProject = body(&bytes)?;
    let database = given.database.map(checked_database).transpose()?;
    if given.name.is_empty() || given.name.contains('/') {
        return Err(ApiError::bad("name must not be empty and have no '/'"));
    }
    let label = fold_name(&given.name).parse().map_err(ApiError::from)?;
    let env = given.envs.map_or_else(|| Ok(Vec::new()), Env::checked)?;
    let _one = shared.changes.lock().await;
    if shared.store.named(&label).is_some() {
        let desc = format!("this node has a project {label}; names count without case, and '_' as '-'");
        return Err(ApiError::conflict("ProjectNameConflict", desc));
    }
    let now = shared.clock.now().millis();
    let project = Project {
        id: shared.store.ids(1).await?.next(),
        account: account.id,
        name: given.name,
        label,
        version: given.version,
        description: given.description,
        created: now,
        updated: now,
        env,
        database,
        signed_keys: Vec::new(),
        crons: Vec::new(),
        applets: Vec::new(),
    };
    shared.backend.deploy(account.id, crate::Plan { new: true, ..project.plan()? }).await?;
    let project = shared.store.save(project).await?;
    let mut out = project.json();
    out["envs"] = project.env_json();
    Ok(created(out))
}

pub(super) async fn list(State(shared): Context, Login(account): Login) -> Answer {
    let mine = shared.store.projects().into_iter().filter(|p| p.account == account.id);
    Ok(listed(mine.map(|p| p.json()).collect()))
}

pub(super) async fn details(State(shared): Context, Login(account): Login) -> Answer {
    let mine = shared.store.projects().into_iter().filter(|p| p.account == account.id);
    Ok(listed(mine.map(|p| p.detail()).collect()))
}

pub(super) async fn show(State(shared): Context, Login(account): Login, Path(name): Path<String>) -> Answer {
    Ok(ok(shared.own(&account, &name)?.json()))
}

pub(super) async fn remove(
    State(shared): Context,
    Login(account): Login,
    Path(name): Path<String>,
) -> Answer {
    let project = shared.own(&account, &name)?;
    shared.delete(&project).await?;
    Ok(empty())
}

fn unknown(kind: &str) -> ApiError {
    let desc = format!(
        "{kind:?} is none of PROJECT_ENV, PROJECT_DATABASE, PROJECT_SIGNED_KEYS; PROJECT_FLOW is not supported"
    );
    ApiError::bad(desc)
}

pub(super) async fn config(
    State(shared): Context,
    Login(account): Login,
    Path((name, kind)): Path<(String, String)>,
) -> Answer {
    let project = shared.own(&account, &name)?;
    match kind.as_str() {
        "PROJECT_ENV" => Ok(ok(project.env_json())),
        "PROJECT_DATABASE" => {
            let none = || ApiError::not_found("ConfigNotFound", "the project has no PROJECT_DATABASE");
            Ok(ok(project.database.clone().ok_or_else(none)?))
        }
        "PROJECT_SIGNED_KEYS" => Ok(ok(json!({ "signedKeys": project.signed_keys }))),
        other => Err(unknown(other)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedKeys {
    signed_keys: Vec<String>,
}

/// Reads bodies that may be anything: what is kept of them has each name once.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    if let Ok(env) = body::<Env>(bytes).and_then(Env::checked) {
        let names: std::collections::BTreeSet<_> = env.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), env.len(), "a name stands twice");
    }
    if let Ok(Some(database)) = body::<Value>(bytes).map(|value| crate::database::read(&value).ok().flatten())
    {
        assert!(database.check().is_ok(), "a database is declared that cannot be");
    }
    let _ = (body::<SignedKeys>(bytes).is_ok(), body::<NewProject>(bytes).is_ok());
    if let Ok(project) = serde_json::from_slice::<Project>(bytes) {
        let _ = (project.plan(), project.json(), project.env_json());
    }
}

pub(super) async fn set_config(
    State(shared): Context,
    Login(account): Login,
    Path((name, kind)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer {
    let id = shared.own(&account, &name)?.id;
    match kind.as_str() {
        "PROJECT_ENV" => {
            let env = body::<Env>(&bytes)?.checked()?;
            let put = |p: &mut Project| {
                p.env = env;
                Ok(())
            };
            Ok(created(shared.change(id, put).await?.env_json()))
        }
        "PROJECT_DATABASE" => {
            let database = checked_database(body(&bytes)?)?;
            let shown = database.clone();
            let put = |p: &mut Project| {
                p.database = Some(database);
                Ok(())
            };
            shared.change(id, put).await?;
            Ok(created(shown))
        }
        "PROJECT_SIGNED_KEYS" => {
            let SignedKeys { signed_keys } = body(&bytes)?;
            let put = |p: &mut Project| {
                p.signed_keys = signed_keys;
                Ok(())
            };
            let project = shared.change(id, put).await?;
            Ok(created(json!({ "signedKeys": project.signed_keys })))
        }
        other => Err(unknown(other)),
    }
}
