//! The status page and the numbers behind it, on the HTTP endpoint.
//!
//! Everybody reads them who reaches that endpoint, so what is for operators only ([`StatusPage`]) is shown on loopback
//! alone unless the settings say otherwise. Neither page nor numbers ever hold a payload or a secret.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use w3bstream_endpoint::Query as _;
use w3bstream_pipeline::{Pipeline, ProjectStatus, ProofProgress, Settlement, SettlementState};
use w3bstream_types::Clock;

use crate::StatusPage;
use crate::builder::LateQuery;

const PAGE: &str = include_str!("web/status.html");
const STYLE: &str = include_str!("web/status.css");
const SCRIPT: &str = include_str!("web/status.js");
/// Blocks that the page shows of each project.
const BLOCKS: u64 = 10;
/// Settlements that the page shows of each project: so many under way, and so many that ended.
const SETTLEMENTS: usize = 10;
/// Those under way are chosen among so many: the ones that are furthest.
const CANDIDATES: usize = 64;
/// Messages and devices that the page shows of each project.
const MESSAGES: usize = 50;
const DEVICES: usize = 20;
/// The page loads nothing from elsewhere and runs only its own script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`, its script and style, and `GET /v1/status`.
pub(crate) fn router(query: Arc<LateQuery>, clock: Arc<dyn Clock>, look: StatusPage) -> Router {
    let started = Instant::now();
    let numbers = move |headers: HeaderMap| {
        let (query, clock) = (query.clone(), clock.clone());
        async move {
            let full = !query.is_brief() && (look == StatusPage::Full || asked_locally(&headers));
            let body = Json(status(&query, (&*clock, started), full).await);
            ([(header::CACHE_CONTROL, "no-store")], body).into_response()
        }
    };
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", PAGE) }))
        .route("/status.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/status.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/v1/status", get(numbers))
}

fn file(kind: &'static str, body: &'static str) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The next version of the node has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

/// Whether the request names this host by an address or as localhost. A page of somebody else, whose name was made to
/// lead here (DNS rebinding), is asked for by that name.
fn asked_locally(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("");
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

async fn status(query: &LateQuery, (clock, started): (&dyn Clock, Instant), full: bool) -> Value {
    let ready = query.ready();
    let mut projects = Vec::new();
    if let Some(pipeline) = query.pipeline() {
        for status in pipeline.projects() {
            let mut shown = project(pipeline, &status, full).await;
            if full {
                add_details(&mut shown, pipeline, &status).await;
            }
            projects.push(shown);
        }
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": clock.now(),
        "uptime_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready": ready.is_ok(),
        "reason": ready.err().unwrap_or_default(),
        "did": query.running().map(|r| r.node.clone()),
        "endpoints": query.running().map_or_else(Vec::new, |r| {
            std::iter::once(r.http.clone()).chain(r.mqtt.clone()).collect()
        }),
        "full": full,
        "projects": projects,
    })
}

async fn project(pipeline: &Pipeline, status: &ProjectStatus, full: bool) -> Value {
    let count = |name: &str| status.counters.get(name).copied().unwrap_or_default();
    let applets = pipeline.manifest(status.id).map_or_else(Vec::new, |m| {
        m.applets.iter().map(|a| json!({ "name": a.name, "program": a.program })).collect()
    });
    let quorum = w3bstream_types::quorum(status.members);
    json!({
        "name": status.name,
        "id": status.id,
        "state": status.state.to_lowercase(),
        "reason": status.reason,
        "ack": status.ack,
        "quorum": format!("{quorum} of {}", status.members),
        "counters": {
            "accepted": count("w3b_messages_accepted_total"),
            "duplicates": count("w3b_messages_duplicate_total"),
            "refused": status.refused.values().sum::<u64>(),
            "waiting": count("w3b_backlog_messages"),
            "executed": count("w3b_messages_executed_total"),
            "rejected": count("w3b_messages_rejected_total"),
            "failed": count("w3b_handler_failures_total"),
            "effects": count("w3b_outputs_performed_total"),
            "proofs": count("w3b_proofs_total"),
            "settled": count("w3b_settled_total"),
            "settling": count("w3b_settlements_open"),
            "settlement_gas": count("w3b_settlement_gas_total"),
        },
        "refused": status.refused,
        "settlements": settlements(pipeline, status, full).await,
        "height": status.height,
        "attested": status.attested,
        "devices": status.devices,
        "applets": applets,
        // Without its blocks the page still shows the rest.
        "last_blocks": pipeline.last_blocks(status.id, BLOCKS).await.unwrap_or_default(),
    })
}

/// What is for operators only.
async fn add_details(shown: &mut Value, pipeline: &Pipeline, status: &ProjectStatus) {
    let id = status.id;
    let settles =
        pipeline.manifest(id).is_some_and(|m| !m.settlements.is_empty() || m.chains.iter().any(|c| c.send));
    let payer = pipeline.fee_account(id).ok().filter(|_| settles);
    let details = [
        // What cannot be read is left away; the page shows the rest.
        ("recent_messages", json!(pipeline.recent_messages(id, MESSAGES).await.unwrap_or_default())),
        ("recent_refusals", json!(pipeline.recent_refusals(id))),
        ("recent_devices", json!(pipeline.recent_devices(id, DEVICES))),
        ("triggers", json!(status.triggers)),
        ("payer", json!(payer)),
        ("accounts", json!(pipeline.fee_accounts(id))),
    ];
    if let Some(shown) = shown.as_object_mut() {
        shown.extend(details.map(|(name, value)| (name.to_owned(), value)));
    }
}

/// The settlements that are furthest under way, and the last that ended, newest first: without proofs and rules, which
/// are long. What cannot be read is left away; the page shows the rest.
async fn settlements(pipeline: &Pipeline, status: &ProjectStatus, full: bool) -> Vec<Value> {
    let mut open = Vec::new();
    for s in pipeline.settlements(status.id, (false, None), CANDIDATES).await.unwrap_or_default() {
        let proof = pipeline.proof_progress(status.id, &s).await.unwrap_or_default();
        open.push((s, proof));
    }
    // Stable, so those of one rank stay in the order of their heights.
    open.sort_by_key(|(s, proof)| match (&s.state, proof) {
        (SettlementState::Proven { .. }, _) | (_, None) => 0,
        (_, Some(ProofProgress::Running { .. })) => 1,
        (_, Some(ProofProgress::Queued { .. })) => 2,
        _ => 3,
    });
    open.truncate(SETTLEMENTS);
    let ended = pipeline.recent_settlements(status.id, SETTLEMENTS).await.unwrap_or_default();
    for s in ended {
        let proof = pipeline.proof_progress(status.id, &s).await.unwrap_or_default();
        open.push((s, proof));
    }
    open.iter().map(|(s, proof)| settlement(s, proof.as_ref(), full)).collect()
}

fn settlement(s: &Settlement, proof: Option<&ProofProgress>, full: bool) -> Value {
    let (state, landed) = match &s.state {
        SettlementState::Waiting if s.rule.as_ref().is_some_and(|r| r.proof.is_some()) => ("proving", None),
        SettlementState::Waiting | SettlementState::Proven { .. } => ("sending", None),
        SettlementState::Settled(landed) => ("settled", Some(landed)),
        SettlementState::Elsewhere => ("settled elsewhere", None),
    };
    let mut row = json!({
        "height": s.height,
        "index": s.index,
        "name": s.name,
        "state": state,
        "proof": proof,
        "chain": s.rule.as_ref().map(|r| r.chain_id),
        "transaction": landed.map(|l| &l.transaction),
        "block": landed.map(|l| l.block),
        "gas": landed.map(|l| l.gas_used),
        "attempts": s.attempts,
    });
    if let Some(row) = row.as_object_mut().filter(|_| full) {
        row.insert("reason".into(), json!(s.reason));
        row.insert("message".into(), json!(s.message));
        row.insert("not_before".into(), json!(s.not_before));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_by_address_or_as_localhost_is_local() {
        let asked =
            |host: &str| asked_locally(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for local in ["localhost", "LOCALHOST:8889", "127.0.0.1:8889", "[::1]:8889", "10.0.0.7"] {
            assert!(asked(local), "{local}");
        }
        for other in
            ["", "evil.example", "evil.example:8889", "localhost.evil.example", "127.0.0.1.evil.example"]
        {
            assert!(!asked(other), "{other}");
        }
        assert!(!asked_locally(&HeaderMap::new()));
    }

    #[test]
    fn the_page_names_nothing_elsewhere_and_makes_no_markup_from_text() {
        for text in [PAGE, STYLE, SCRIPT] {
            let addresses =
                text.split("http").filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
            // The icon's namespace, and examples in the script's description of its input.
            for address in addresses {
                let named =
                    address.starts_with("://www.w3.org/2000/svg") || address.starts_with("://127.0.0.1");
                assert!(named, "{}", address.get(..60).unwrap_or(address));
            }
        }
        for banned in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
        {
            assert!(!SCRIPT.contains(banned), "{banned}");
        }
        assert!(!PAGE.contains("style=\"") && !PAGE.contains("<script>") && !PAGE.contains("onclick"));
    }
}
