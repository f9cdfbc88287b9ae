//! `doctor`: what is wrong, and the line that fixes it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{Where, load_config, print, print_value};
use crate::{Registry, read_running, setup};

/// One finding.
struct Finding {
    what: &'static str,
    result: Result<String, String>,
}

pub(crate) async fn run(registry: &Registry, at: &Where, json: bool) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    let mut note = |what, result: Result<String, String>| findings.push(Finding { what, result });
    let config = load_config(at);
    note("settings", config.as_ref().map(|_| "node.toml is read".into()).map_err(|e| format!("{e:#}")));
    let wallet = at.passphrase().and_then(|p| setup::open_wallet(&at.paths(), p));
    note("keys", wallet.and_then(|w| Ok(w.node_did()?.to_string())).map_err(|e| format!("{e:#}")));
    note("permissions", permissions(at));
    if let Ok(config) = &config {
        let kind = &config.storage.kind;
        let known = registry.has_storage(kind);
        note(
            "storage",
            if known { Ok(kind.clone()) } else { Err(format!("{kind:?} is not a backend of this node")) },
        );
        let kind = &config.engine.kind;
        let workers = || crate::workers::start(&config.engine).map_err(|e| format!("{e:#}"));
        let engine = match registry.without_engine(kind) {
            Some(why) => Err(why),
            None if config.engine.process => workers().map(|_| format!("{kind}, in worker processes")),
            None => Ok(kind.clone()),
        };
        note("engine", engine);
    }
    match read_running(&at.paths()) {
        Err(_) => {
            note("node", Ok("not running".into()));
            if let Ok(config) = &config {
                for (name, listen) in [
                    ("http", config.http.listen),
                    ("mqtt", config.mqtt.listen),
                    ("admin", config.admin.listen),
                ] {
                    let free = std::net::TcpListener::bind(listen);
                    let why = |e| format!("{listen}: {e}; choose another with {name}.listen");
                    note("port", free.map(|_| format!("{name} {listen} is free")).map_err(why));
                }
            }
        }
        Ok(running) => {
            let answer = match at.admin() {
                Ok(admin) => admin.get("/v1/projects").await,
                Err(e) => Err(e),
            };
            match answer {
                Err(e) => note("node", Err(format!("process {} does not answer: {e:#}", running.pid))),
                Ok(projects) => {
                    note("node", Ok(format!("process {} answers at {}", running.pid, running.admin)));
                    for p in projects.as_array().into_iter().flatten() {
                        let text = format!("{} is {}: {}", p["name"], p["state"], p["reason"]);
                        note("project", if p["state"] == "Halted" { Err(text) } else { Ok(text) });
                    }
                }
            }
        }
    }
    report(&findings, json)
}

fn permissions(at: &Where) -> Result<String, String> {
    let paths = at.paths();
    for path in [paths.keys(), paths.passphrase(), paths.admin_token()] {
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(format!("others can read {0}; fix it: chmod 600 {0}", path.display()));
        }
    }
    Ok("secrets are for their owner only".into())
}

fn report(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    let wrong = findings.iter().filter(|f| f.result.is_err()).count();
    if json {
        let rows = findings.iter().map(|f| {
            let (ok, text) = (f.result.is_ok(), f.result.as_ref().map_or_else(Clone::clone, Clone::clone));
            json!({"what": f.what, "ok": ok, "text": text})
        });
        print_value(&json!(rows.collect::<Vec<_>>()));
    } else {
        for f in findings {
            match &f.result {
                Ok(text) => print(format!("ok     {:12} {text}", f.what)),
                Err(text) => print(format!("WRONG  {:12} {text}", f.what)),
            }
        }
    }
    if wrong > 0 {
        anyhow::bail!("{wrong} of {} checks found something wrong", findings.len());
    }
    Ok(())
}
