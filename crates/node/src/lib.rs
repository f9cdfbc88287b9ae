//! A W3bstream node: builder, registry of backends, settings, admin API, command line.
//!
//! **Takes** a [`Registry`] of backends; **gives** the `w3bstream` program. A third party's node is the same
//! ten lines as the reference binary, with a backend more:
//!
//! ```no_run
//! use w3bstream_node::Registry;
//!
//! fn main() -> std::process::ExitCode {
//!     w3bstream_node::main(Registry::stock())
//! }
//! ```
//!
//! # Invariants
//! - Only [`Registry::stock`] names implementations.
//! - Settings are read completely before anything is opened; sockets are bound before anything runs.
//! - Only this crate reads the environment and installs logging.

mod admin;
mod builder;
mod cli;
mod client;
mod config;
mod demo;
mod endpoint_settings;
mod engines;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod legacy;
mod listeners;
mod manifest_file;
mod paths;
mod readings;
mod registry;
mod rpc;
mod secure;
mod setup;
mod web;
mod workers;

pub use builder::{Node, NodeBuilder, Running};
pub use cli::main;
pub use client::{Admin, Answer, Http, read_running};
pub use config::{
    AdminSettings, ChainSettings, Config, ConsensusSettings, ENV_PREFIX, EngineSettings, GuestLimitsCaps,
    LimitSettings, LogSettings, StorageSettings,
};
pub use endpoint_settings::{
    Anonymous, BrokerSettings, BrokerTells, CoapSettings, GrpcSettings, HttpSettings, LegacySettings,
    MqttSettings, SessionSettings, StatusPage, TlsFiles, UnknownCertificates,
};
pub use gate::{MqttUser, MqttUsers};
pub use manifest_file::{AppletFile, Circuit, Loaded, ManifestFile, ProofFile, SettlementFile};
pub use paths::Paths;
pub use registry::{
    ChainContext, ChainFactory, EngineFactory, ProverFactory, Registry, StorageContext, StorageFactory,
};
pub use setup::{Made, init, open_wallet};
