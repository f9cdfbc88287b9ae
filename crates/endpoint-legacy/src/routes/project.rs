//! Projects and their settings.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use w3bstream_wire::legacy::fold_name;

use super::{Context, Login, body, created, empty, listed, ok};
use crate::error::{Answer, ApiError};
use crate::model::{Project, Rest};

/// The column types of the original.
const TYPES: [&str; 15] = [
    "INT",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "FLOAT32",
    "FLOAT64",
    "TEXT",
    "BOOL",
    "TIMESTAMP",
];
const DECIMALS: [&str; 2] = ["DECIMAL", "NUMERIC"];

/// What a column may be.
pub(crate) fn datatypes() -> Vec<&'static str> {
    TYPES.into_iter().chain(DECIMALS).collect()
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
    database: Option<Database>,
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

#[derive(Deserialize)]
struct Database {
    schemas: Vec<Schema>,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    tables: Vec<Table>,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    cols: Vec<Column>,
    #[serde(default)]
    keys: Vec<Key>,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    constrains: Constraints,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
struct Constraints {
    datatype: String,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    name: String,
    column_names: Vec<String>,
    #[serde(flatten)]
    _rest: Rest,
}

impl Database {
    fn check(&self) -> Result<(), ApiError> {
        self.schemas.iter().flat_map(|s| &s.tables).try_for_each(Table::check)
    }
}

impl Table {
    fn check(&self) -> Result<(), ApiError> {
        let bad = |why: String| Err(ApiError::bad(format!("table {:?}: {why}", self.name)));
        if self.name.is_empty() || self.cols.is_empty() {
            return bad("needs a name and columns".into());
        }
        for column in &self.cols {
            let known = TYPES.iter().chain(&DECIMALS).any(|t| *t == column.constrains.datatype);
            if column.name.is_empty() || !known {
                return bad(format!(
                    "column {:?} has the datatype {:?}, which is none of {}",
                    column.name,
                    column.constrains.datatype,
                    datatypes().join(" ")
                ));
            }
        }
        for key in &self.keys {
            let unknown = key.column_names.iter().find(|c| self.cols.iter().all(|col| col.name != **c));
            if let Some(column) = unknown {
                return bad(format!(
                    "key {:?} names the column {column:?}, which it does not have",
                    key.name
                ));
            }
        }
        Ok(())
    }
}

fn checked_database(value: Value) -> Result<Value, ApiError> {
    let database: Database = serde_json::from_value(value.clone())
        .map_err(|e| ApiError::bad(format!("the body is no PROJECT_DATABASE: {e}")))?;
    database.check()?;
    Ok(value)
}

pub(super) async fn create(State(shared): Context, Login(account): Login, bytes: Bytes) -> Answer {
    let raw: Value = body(&bytes)?;
    let given: NewProject = body(&bytes)?;
    let database = given.database.map(|d| d.check().map(|()| raw["database"].clone())).transpose()?;
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
    if let Ok(database) = body::<Database>(bytes) {
        let _ = database.check();
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
