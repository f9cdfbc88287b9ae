//! The status page and the numbers behind it, on the HTTP endpoint.

use std::sync::Arc;
use std::time::Instant;

use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use w3bstream_endpoint::Query as _;
use w3bstream_pipeline::{Pipeline, ProjectStatus, Settlement, SettlementState};
use w3bstream_types::Clock;

use crate::builder::LateQuery;

const PAGE: &str = include_str!("web/status.html");
/// Blocks that the page shows of each project.
const BLOCKS: u64 = 10;
/// Settlements that the page shows of each project: so many under way, and so many that ended.
const SETTLEMENTS: usize = 10;
/// The ended ones are looked for in the last blocks, and among so many records.
const SETTLED_BLOCKS: u64 = 20;
const SETTLED_PAGE: usize = 2_000;
/// The page loads nothing from elsewhere and runs only its own script.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; frame-ancestors 'none'";

/// `GET /` and `GET /v1/status`. Shows counts, blocks and names of projects, never a payload or a secret.
pub(crate) fn router(query: Arc<LateQuery>, clock: Arc<dyn Clock>) -> Router {
    let page = || async {
        let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8");
        ([kind, (header::CONTENT_SECURITY_POLICY, POLICY)], PAGE).into_response()
    };
    let started = Instant::now();
    let numbers = move || {
        let (query, clock) = (query.clone(), clock.clone());
        async move { Json(status(&query, &*clock, started).await) }
    };
    Router::new().route("/", get(page)).route("/v1/status", get(numbers))
}

async fn status(query: &LateQuery, clock: &dyn Clock, started: Instant) -> Value {
    let ready = query.ready();
    let mut projects = Vec::new();
    if let Some(pipeline) = query.pipeline() {
        for status in pipeline.projects() {
            projects.push(project(pipeline, &status).await);
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
        "projects": projects,
    })
}

/// The last settlements that ended, newest first, and the first that are under way: without proofs and rules, which are
/// long. What cannot be read is left away; the page shows the rest.
async fn settlements(pipeline: &Pipeline, status: &ProjectStatus) -> Vec<Value> {
    // Those of the last blocks: the journal lists them by height.
    let recent = status.attested.saturating_sub(SETTLED_BLOCKS);
    let ended = pipeline.settlements(status.id, (true, Some((recent, 0))), SETTLED_PAGE).await;
    let waiting = pipeline.settlements(status.id, (false, None), SETTLEMENTS).await;
    let row = |s: &Settlement| {
        let (state, transaction) = match &s.state {
            SettlementState::Waiting if s.rule.as_ref().is_some_and(|r| r.proof.is_some()) => {
                ("proving", None)
            }
            SettlementState::Waiting | SettlementState::Proven { .. } => ("sending", None),
            SettlementState::Settled(landed) => ("settled", Some(landed.transaction.clone())),
            SettlementState::Elsewhere => ("settled elsewhere", None),
        };
        json!({
            "height": s.height, "index": s.index, "name": s.name, "state": state, "reason": s.reason,
            "transaction": transaction,
        })
    };
    let ended = ended.unwrap_or_default();
    let newest = ended.iter().rev().take(SETTLEMENTS);
    waiting.unwrap_or_default().iter().chain(newest).map(row).collect()
}

async fn project(pipeline: &Pipeline, status: &ProjectStatus) -> Value {
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
            "executed": count("w3b_messages_executed_total"),
            "failed": count("w3b_handler_failures_total"),
            "proofs": count("w3b_proofs_total"),
            "settled": count("w3b_settled_total"),
            "settlement_gas": count("w3b_settlement_gas_total"),
        },
        "settlements": settlements(pipeline, status).await,
        "height": status.height,
        "attested": status.attested,
        "devices": status.devices,
        "applets": applets,
        // Without its blocks the page still shows the rest.
        "last_blocks": pipeline.last_blocks(status.id, BLOCKS).await.unwrap_or_default(),
    })
}
