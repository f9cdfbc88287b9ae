//! Accounts, sessions and keys.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use w3bstream_types::Timestamp;

use super::{Context, Login, body, created, empty, listed, ok};
use crate::error::{Answer, ApiError};
use crate::model::rfc3339;
use crate::secrets::{check_password, hash_password};
use crate::store::{AccessKey, Account};

/// The longest password and name.
const MAX_TEXT: usize = 256;
/// Keys of one account.
const MAX_KEYS: usize = 100;

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

/// Work that would hold up other requests of its thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "the node failed");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// Reads bodies that may be anything.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    let _ = (body::<Credentials>(bytes).is_ok(), body::<NewKey>(bytes).is_ok());
}

pub(super) async fn login(State(shared): Context, bytes: Bytes) -> Answer {
    let given: Credentials = body(&bytes)?;
    let busy = |_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", "the node is stopping");
    let _place = shared.logins.acquire().await.map_err(busy)?;
    let account = shared.store.account(&given.username).await?;
    // As long for a name that nobody has.
    let kept = account.as_ref().map_or_else(String::new, |a| a.hash.clone());
    let short = given.password.len() <= MAX_TEXT;
    let right = blocking(move || short && check_password(&given.password, &kept)).await?;
    let Some(account) = account.filter(|_| right) else {
        let desc = "no account has this name and password";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "InvalidPassword", desc));
    };
    let until = shared.clock.now().millis().saturating_add(millis(shared.config.session));
    let token = shared.secrets.session(account.id, Timestamp(until));
    Ok(ok(json!({
        "accountID": account.id.to_string(), "accountRole": account.role, "token": token,
        "expireAt": rfc3339(until), "issuer": "w3bstream",
    })))
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn register(State(shared): Context, Login(admin): Login, bytes: Bytes) -> Answer {
    if admin.role != "ADMIN" {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "NoAdminPermission",
            "only an administrator makes accounts",
        ));
    }
    let given: Credentials = body(&bytes)?;
    let fits = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT;
    if !fits(&given.username) || !fits(&given.password) {
        return Err(ApiError::bad(format!("username and password must have 1 to {MAX_TEXT} bytes")));
    }
    let _one = shared.changes.lock().await;
    if shared.store.account(&given.username).await?.is_some() {
        return Err(ApiError::conflict(
            "AccountConflict",
            format!("there is an account {:?}", given.username),
        ));
    }
    let random = shared.backend.random()?;
    let hash = blocking(move || hash_password(&given.password, &random)).await?;
    let hash = hash.ok_or_else(|| ApiError::bad("the password cannot be hashed"))?;
    let id = shared.store.ids(1).await?.next();
    let account = Account { id, name: given.username, hash, role: "ADMIN".to_owned() };
    shared.store.put_account(account.clone()).await?;
    Ok(created(json!({ "accountID": id.to_string(), "username": account.name, "accountRole": account.role })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewKey {
    name: String,
    #[serde(default)]
    expiration_days: u64,
}

fn key_json(key: &AccessKey) -> Value {
    let expires = if key.expires == 0 { Value::Null } else { rfc3339(key.expires).into() };
    json!({ "name": key.name, "createdAt": rfc3339(key.created), "expiredAt": expires })
}

pub(super) async fn create_key(State(shared): Context, Login(account): Login, bytes: Bytes) -> Answer {
    let given: NewKey = body(&bytes)?;
    if given.name.is_empty() || given.name.len() > MAX_TEXT {
        return Err(ApiError::bad(format!("name must have 1 to {MAX_TEXT} bytes")));
    }
    let _one = shared.changes.lock().await;
    let keys = shared.store.keys(account.id).await?;
    if keys.iter().any(|k| k.name == given.name) {
        return Err(ApiError::conflict("AccountKeyNameConflict", format!("you have a key {:?}", given.name)));
    }
    if keys.len() >= MAX_KEYS {
        return Err(ApiError::bad(format!("an account has at most {MAX_KEYS} keys; delete one")));
    }
    let (now, days) = (shared.clock.now().millis(), given.expiration_days);
    let expires =
        if days == 0 { 0 } else { now.saturating_add(days.saturating_mul(86_400_000)).min(1 << 52) };
    let id = shared.store.ids(1).await?.next();
    let key = AccessKey { id, account: account.id, name: given.name, created: now, expires };
    shared.store.put_key(key.clone()).await?;
    let mut out = key_json(&key);
    out["accessKey"] = shared.secrets.key(id).into();
    Ok(created(out))
}

pub(super) async fn keys(State(shared): Context, Login(account): Login) -> Answer {
    Ok(listed(shared.store.keys(account.id).await?.iter().map(key_json).collect()))
}

pub(super) async fn delete_key(
    State(shared): Context,
    Login(account): Login,
    Path(name): Path<String>,
) -> Answer {
    match shared.store.remove_key(account.id, name.clone()).await? {
        true => Ok(empty()),
        false => Err(ApiError::not_found("AccountKeyNotFound", format!("you have no key {name:?}"))),
    }
}
