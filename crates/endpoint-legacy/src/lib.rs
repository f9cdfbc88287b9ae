//! Clients of the original W3bstream (its first generation, and the messages of the second and third) on a node.
//!
//! **Takes** their requests; **gives** [`Arrival`](w3bstream_endpoint::Arrival)s with a publisher's token, and asks the
//! node through a [`Backend`] to deploy what their management routes describe.
//!
//! | Route | Does |
//! | --- | --- |
//! | `POST /srv-applet-mgr/v0/event/{channel}` | one event, or with `eventType=DA-TA_PU-SH` many: 201 with each handler's result |
//! | `/srv-applet-mgr/v0/{login, register, account_access_key}` | accounts, their sessions and keys |
//! | `/srv-applet-mgr/v0/{project, project_config, applet, deploy, publisher, strategy, cronjob}` | what a project is |
//! | `POST /message`, `GET /message/{id}` | the second generation's messages |
//! | `POST /v1/task`, `GET /v1/task/{id}` | the third generation's signed tasks |
//! | `GET /srv-applet-mgr/v0/openapi.json` | these routes as an OpenAPI document |
//! | `GET /liveness`, `/version` | the process runs; what it is |
//!
//! `docs/original-clients.md` is the same for their users, with what differs.
//!
//! # Invariants
//! - What arrives here carries a token: its trust is the weakest, and its receipt says so. A project that does not allow
//!   tokens refuses it.
//! - Nothing of a project is kept here that its manifest does not say, but names and numbers. A change is deployed first and
//!   kept then; one change at a time.
//! - No token is kept: each is derived from the node's secret.
//! - It has no listener: [`LegacyEndpoint::router`] is mounted on a server that bounds connections, heads and bodies.

mod auth;
mod backend;
mod config;
mod database;
mod endpoint;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod model;
mod openapi;
mod project;
mod routes;
mod secrets;
mod store;

pub use backend::{Backend, Fault, FaultKind, Plan};
pub use config::LegacyConfig;
pub use endpoint::LegacyEndpoint;
pub use model::CRON;
pub use w3bstream_endpoint::async_trait;
