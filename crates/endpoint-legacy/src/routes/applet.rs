//! Applets: modules with names and strategies.

use std::sync::Arc;

use axum::extract::{Multipart, Path, State};
use md5::{Digest as _, Md5};
use serde::Deserialize;
use w3bstream_types::{AppletName, Digest};
use w3bstream_wire::legacy::fold_name;

use super::{Context, Login, body, created, empty, listed, number, ok};
use crate::endpoint::Shared;
use crate::error::{Answer, ApiError};
use crate::model::{Instance, Module, Project, State as Run, Strategy, StrategyInfo};
use crate::store::Account;

/// What a client says of a module.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    applet_name: String,
    /// The original read `start` when an applet is made and `deploy` when it is changed.
    #[serde(alias = "deploy", deserialize_with = "flag")]
    start: bool,
    wasm_name: String,
    wasm_md5: String,
    strategies: Vec<StrategyInfo>,
}

/// `true`, `"true"`, 1: clients wrote each of them.
fn flag<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(match serde_json::Value::deserialize(d)? {
        serde_json::Value::Bool(flag) => flag,
        serde_json::Value::String(text) => text.eq_ignore_ascii_case("true"),
        serde_json::Value::Number(n) => n.as_u64() == Some(1),
        _ => false,
    })
}

/// An upload: `file` and `info`, in any order.
struct Upload {
    info: Info,
    module: Option<Vec<u8>>,
    file_name: String,
}

async fn read(mut form: Multipart) -> Result<Upload, ApiError> {
    let bad = |e: axum::extract::multipart::MultipartError| {
        ApiError::new(e.status(), "BadRequest", format!("multipart/form-data: {}", e.body_text()))
    };
    let mut upload = Upload { info: Info::default(), module: None, file_name: String::new() };
    while let Some(field) = form.next_field().await.map_err(bad)? {
        match field.name().unwrap_or_default() {
            "file" => {
                upload.file_name = field.file_name().unwrap_or_default().to_owned();
                upload.module = Some(field.bytes().await.map_err(bad)?.to_vec());
            }
            "info" => upload.info = body(&field.bytes().await.map_err(bad)?)?,
            _ => {}
        }
    }
    Ok(upload)
}

/// Reads a form that may be anything: no more comes out than went in.
#[cfg(feature = "fuzzing")]
pub(crate) async fn read_any(form: Multipart, came: usize) {
    if let Ok(upload) = read(form).await {
        assert!(upload.module.as_ref().map_or(0, Vec::len) + upload.info.applet_name.len() <= came);
        assert!(upload.file_name.len() <= 3 * came);
    }
}

/// A module that the node keeps now.
struct Kept {
    program: Digest,
    md5: String,
}

async fn keep(shared: &Shared, module: Vec<u8>, wanted: &str) -> Result<Kept, ApiError> {
    if module.len() > shared.config.max_upload_bytes {
        let most = shared.config.max_upload_bytes;
        let desc = format!("the module has {} bytes, the most is {most}", module.len());
        return Err(ApiError::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", desc));
    }
    let md5 = hex::encode(Md5::digest(&module));
    if !wanted.is_empty() && !md5.eq_ignore_ascii_case(wanted) {
        return Err(ApiError::bad(format!("wasmMd5 is {wanted}, the file's is {md5}")));
    }
    let program = shared.backend.put_program(module).await?;
    Ok(Kept { program, md5 })
}

pub(super) async fn create(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
    form: Multipart,
) -> Answer {
    let project = shared.own(&account, &project)?;
    let Upload { info, module, file_name } = read(form).await?;
    let module = module.ok_or_else(|| ApiError::bad("the form has no part \"file\" with the module"))?;
    let kept = keep(&shared, module, &info.wasm_md5).await?;
    let first = |texts: [&str; 3]| texts.into_iter().find(|t| !t.is_empty()).unwrap_or_default().to_owned();
    let wasm_name = first([&info.wasm_name, &file_name, "applet.wasm"]);
    let name = first([&info.applet_name, wasm_name.trim_end_matches(".wasm"), "applet"]);
    let label: AppletName = fold_name(&name).parse()?;
    let mut ids = shared.store.ids(4 + info.strategies.len() as u64).await?;
    let now = shared.clock.now().millis();
    let state = if info.start { Run::Started } else { Run::Created };
    let applet = Module {
        id: ids.next(),
        name,
        label,
        wasm_name,
        md5: kept.md5,
        program: kept.program,
        resource: ids.next(),
        created: now,
        updated: now,
        instance: Some(Instance { id: ids.next(), state }),
        strategies: Strategy::all(info.strategies, &mut ids),
    };
    let id = applet.id;
    let put = |p: &mut Project| {
        if p.applets.iter().any(|m| m.label == applet.label) {
            let desc = format!("the project has an applet {}", applet.label);
            return Err(ApiError::conflict("AppletNameConflict", desc));
        }
        p.applets.push(applet);
        Ok(())
    };
    let project = shared.change(project.id, put).await?;
    let applet = project.applet(id).ok_or_else(|| missing(&id.to_string()))?;
    Ok(created(applet.detail(&project)))
}

fn missing(applet: &str) -> ApiError {
    ApiError::not_found("AppletNotFound", format!("you have no applet {applet}"))
}

/// The project of one of the account's applets, and what `of` makes of the two.
pub(super) fn find<T>(
    shared: &Shared,
    account: &Account,
    applet: &str,
    of: impl Fn(&Project, &Module) -> T,
) -> Result<(Arc<Project>, T), ApiError> {
    let id = number(applet)?;
    shared.find(account, |p| p.applet(id).map(|m| of(p, m))).ok_or_else(|| missing(applet))
}

/// Replaces a module, a name or strategies.
pub(super) async fn update(
    State(shared): Context,
    Login(account): Login,
    Path(applet): Path<String>,
    form: Multipart,
) -> Answer {
    let (project, id) = find(&shared, &account, &applet, |_, m| m.id)?;
    let Upload { info, module, .. } = read(form).await?;
    let kept = match module {
        Some(module) => Some(keep(&shared, module, &info.wasm_md5).await?),
        None => None,
    };
    let mut ids = shared.store.ids(2 + info.strategies.len() as u64).await?;
    let resource = ids.next();
    let now = shared.clock.now().millis();
    let put = |p: &mut Project| {
        let m = p.applets.iter_mut().find(|m| m.id == id).ok_or_else(|| missing(&applet))?;
        m.updated = now;
        if !info.applet_name.is_empty() {
            // The node keeps an applet's state by its first name.
            m.name = info.applet_name;
        }
        if !info.wasm_name.is_empty() {
            m.wasm_name = info.wasm_name;
        }
        if let Some(kept) = kept {
            (m.program, m.md5, m.resource) = (kept.program, kept.md5, resource);
        }
        if !info.strategies.is_empty() {
            m.strategies = Strategy::all(info.strategies, &mut ids);
        }
        if info.start
            && let Some(instance) = &mut m.instance
        {
            instance.state = Run::Started;
        }
        Ok(())
    };
    let project = shared.change(project.id, put).await?;
    Ok(ok(project.applet(id).ok_or_else(|| missing(&applet))?.detail(&project)))
}

pub(super) async fn list(
    State(shared): Context,
    Login(account): Login,
    Path(project): Path<String>,
) -> Answer {
    let project = shared.own(&account, &project)?;
    Ok(listed(project.applets.iter().map(|m| m.detail(&project)).collect()))
}

pub(super) async fn show(
    State(shared): Context,
    Login(account): Login,
    Path(applet): Path<String>,
) -> Answer {
    Ok(ok(find(&shared, &account, &applet, |p, m| m.detail(p))?.1))
}

pub(super) async fn remove(
    State(shared): Context,
    Login(account): Login,
    Path(applet): Path<String>,
) -> Answer {
    let (project, id) = find(&shared, &account, &applet, |_, m| m.id)?;
    let put = |p: &mut Project| {
        p.applets.retain(|m| m.id != id);
        Ok(())
    };
    shared.change(project.id, put).await?;
    Ok(empty())
}
