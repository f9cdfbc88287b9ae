//! The node's settings: defaults < `node.toml` < environment < flags. Unknown keys are errors with the line
//! and the nearest known key.

use std::net::SocketAddr;
use std::path::Path;

use crate::endpoint_settings::{
    BrokerSettings, CoapSettings, GrpcSettings, HttpSettings, LegacySettings, MqttSettings, SessionSettings,
    TlsFiles,
};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use w3bstream_types::{GuestLimits, MAX_SESSION_SECONDS};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[derive(Default)]
pub struct Config {
    /// The HTTP endpoint for devices, and the status page.
    pub http: HttpSettings,
    /// The embedded MQTT broker.
    pub mqtt: MqttSettings,
    /// Sessions of devices that cannot sign each message.
    pub sessions: SessionSettings,
    /// The gRPC endpoint.
    pub grpc: GrpcSettings,
    /// The CoAP endpoint.
    pub coap: CoapSettings,
    /// Certificates.
    pub tls: TlsFiles,
    /// Brokers of others, through which devices send.
    pub brokers: Vec<BrokerSettings>,
    /// Clients of the original W3bstream.
    pub legacy: LegacySettings,
    /// The admin API.
    pub admin: AdminSettings,
    /// The long-term record of device data.
    pub storage: StorageSettings,
    /// What runs applets.
    pub engine: EngineSettings,
    /// Consensus.
    pub consensus: ConsensusSettings,
    /// Chains on which projects settle, and of which they are told.
    pub chains: Vec<ChainSettings>,
    /// Limits of the node.
    pub limits: LimitSettings,
    /// The operator's caps on guests: no manifest exceeds them.
    pub guests: GuestLimitsCaps,
    /// Logging.
    pub log: LogSettings,
}

/// The admin API. Loopback only: it has no TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminSettings {
    /// Address and port; must be a loopback address.
    pub listen: SocketAddr,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8888)) }
    }
}

/// Which storage backend keeps device data, and its own settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StorageSettings {
    /// The registered name of the backend.
    pub kind: String,
    /// The backend's own settings, checked by it.
    #[serde(flatten)]
    pub settings: toml::Table,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { kind: "sqlite".into(), settings: toml::Table::new() }
    }
}

/// Which engine runs applets, and its own settings. All engines give the same outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct EngineSettings {
    /// The registered name of the engine.
    pub kind: String,
    /// Whether it runs in processes of its own, so that a crash of compiled code does not take the node.
    pub process: bool,
    /// How many such processes there are at most, each with one call at a time; 0 for as many as there are cores.
    pub workers: usize,
    /// How long a call may take in one, in milliseconds, before the process is ended.
    pub worker_call_ms: u64,
    /// How long one may take to compile a program, in milliseconds.
    pub worker_load_ms: u64,
    /// The most memory of one, in MiB, without addresses that it only reserves; 0 for no limit.
    pub worker_memory_mib: u64,
    /// The program that is started, with its first arguments; this one if it is empty.
    pub worker_command: Vec<String>,
    /// How many threads may run the handlers of one block; as many as there are cores if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// The engine's own settings, checked by it.
    #[serde(flatten)]
    pub settings: toml::Table,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            kind: "wasmer".into(),
            process: false,
            workers: 0,
            worker_call_ms: 60_000,
            worker_load_ms: 120_000,
            worker_memory_mib: 4_096,
            worker_command: Vec::new(),
            threads: None,
            settings: toml::Table::new(),
        }
    }
}

/// Most threads that may run one block: each may be one that others want for what blocks.
const MAX_THREADS: usize = 128;

/// Consensus of new projects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConsensusSettings {
    /// The registered name of the backend that new projects get.
    pub kind: String,
}

impl Default for ConsensusSettings {
    fn default() -> Self {
        Self { kind: "solo".into() }
    }
}

/// A chain on which projects settle or of which they are told, and how transactions are sent to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainSettings {
    /// Its id (EIP-155).
    pub id: u64,
    /// The registered name of the backend.
    #[serde(default = "evm")]
    pub kind: String,
    /// How many blocks, its own included, make a transaction final.
    #[serde(default = "confirmations")]
    pub confirmations: u64,
    /// The most that one unit of gas may cost, in gwei.
    #[serde(default = "max_fee_gwei")]
    pub max_fee_gwei: u64,
    /// Transactions of a project that may be under way at once.
    #[serde(default = "max_in_flight")]
    pub max_in_flight: usize,
    /// Seconds after which a transaction that is next in line is replaced by one that pays more.
    #[serde(default = "bump_after_seconds")]
    pub bump_after_seconds: u64,
    /// The backend's own settings, checked by it; `rpc` for `evm`.
    #[serde(flatten)]
    pub settings: toml::Table,
}

fn evm() -> String {
    "evm".into()
}

const fn confirmations() -> u64 {
    6
}

const fn max_fee_gwei() -> u64 {
    500
}

const fn max_in_flight() -> usize {
    16
}

const fn bump_after_seconds() -> u64 {
    60
}

impl ChainSettings {
    /// The settings of the submitter.
    #[must_use]
    pub fn submitter(&self) -> w3bstream_chain::submit::Settings {
        w3bstream_chain::submit::Settings {
            confirmations: self.confirmations.max(1),
            max_in_flight: self.max_in_flight.max(1),
            max_fee: u128::from(self.max_fee_gwei) * 1_000_000_000,
            bump_after: self.bump_after_seconds.saturating_mul(1000),
            ..w3bstream_chain::submit::Settings::default()
        }
    }
}

/// Limits of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitSettings {
    /// The largest payload, in bytes.
    pub max_payload_bytes: u64,
    /// Messages of a project that may be stored and not yet ordered.
    pub max_backlog: u64,
    /// How long the node takes to stop, in milliseconds, before it gives up on what is left.
    pub drain_ms: u64,
    /// How often settlements that are under way are looked at, in milliseconds.
    pub settle_every_ms: u64,
    /// How often triggers look at their chains and the time, in milliseconds.
    pub trigger_every_ms: u64,
    /// How many proofs are made at the same time, each on one thread. 0 for half as many as there are
    /// cores.
    pub prover_threads: usize,
    /// How many canaries run at the same time; 0 for none.
    pub canaries: usize,
    /// How many calls wait for one canary; those beyond are not compared.
    pub canary_queue_calls: usize,
    /// Bytes that wait for one canary, and bytes in which its state differs from the project's; beyond either it ends.
    pub canary_bytes: usize,
}

const CANARIES: w3bstream_pipeline::CanaryLimits = w3bstream_pipeline::CanaryLimits::DEFAULT;

/// How many threads this process may run side by side.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl LimitSettings {
    pub(crate) const fn canaries(&self) -> w3bstream_pipeline::CanaryLimits {
        let (most, queue_calls, bytes) = (self.canaries, self.canary_queue_calls, self.canary_bytes);
        w3bstream_pipeline::CanaryLimits { most, queue_calls, bytes, ..CANARIES }
    }

    /// How many proofs are made at the same time.
    pub(crate) fn provers(&self) -> usize {
        if self.prover_threads == 0 { cores().div_ceil(2) } else { self.prover_threads }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            max_payload_bytes: 1024 * 1024,
            max_backlog: 1_000_000,
            drain_ms: 10_000,
            settle_every_ms: 2_000,
            trigger_every_ms: 1_000,
            prover_threads: 0,
            canaries: CANARIES.most,
            canary_queue_calls: CANARIES.queue_calls,
            canary_bytes: CANARIES.bytes,
        }
    }
}

/// The operator's caps; see [`GuestLimits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestLimitsCaps(pub GuestLimits);

impl Default for GuestLimitsCaps {
    fn default() -> Self {
        Self(w3bstream_pipeline::Options::default().guest_caps)
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogSettings {
    /// A filter such as `info` or `info,w3bstream_endpoint_mqtt=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".into(), json: false }
    }
}

/// The prefix of environment variables: `W3BSTREAM_HTTP__LISTEN` is `http.listen`.
pub const ENV_PREFIX: &str = "W3BSTREAM_";
/// Variables with the prefix that are not settings of the node but of the command line.
const NOT_SETTINGS: [&str; 3] = ["W3BSTREAM_PASSPHRASE", "W3BSTREAM_ADMIN_TOKEN", "W3BSTREAM_DIR"];

impl Config {
    /// Reads `node.toml` and lays the environment over it.
    ///
    /// # Errors
    /// What is wrong, with file, line and the nearest known key.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}; make a node with: w3bstream init", path.display()))?;
        Self::parse(&text, &path.display().to_string(), env)
    }

    /// As [`Self::load`], from text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// What is wrong, with file, line and the nearest known key.
    pub fn parse(
        text: &str,
        name: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        // Parsed once as it is, so that errors carry the file's own lines.
        let from_file: Self = toml::from_str(text).map_err(|e| explain(&e, text, name))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|e| explain(&e, text, name))?;
        let mut changed = false;
        for (variable, value) in env {
            changed |= overlay(&mut table, &variable, &value)?;
        }
        let config = if changed {
            let text = toml::to_string(&table)?;
            toml::from_str(&text).map_err(|e| explain(&e, &text, "the environment"))?
        } else {
            from_file
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        if !self.admin.listen.ip().is_loopback() {
            bail!(
                "admin.listen is {}, but the admin API has no TLS and must stay on loopback; use 127.0.0.1:{}",
                self.admin.listen,
                self.admin.listen.port()
            );
        }
        let life = self.sessions.life_seconds;
        if !(1..=MAX_SESSION_SECONDS).contains(&life) {
            bail!("sessions.life-seconds is {life}, it must be 1 to {MAX_SESSION_SECONDS}, which is a day");
        }
        if let Some(threads) = self.engine.threads.filter(|threads| !(1..=MAX_THREADS).contains(threads)) {
            bail!("engine.threads is {threads}, it must be 1 to {MAX_THREADS}");
        }
        Ok(())
    }
}

/// Lays one variable over the table. Says whether it was a setting.
fn overlay(table: &mut toml::Table, variable: &str, value: &str) -> anyhow::Result<bool> {
    let Some(rest) = variable.strip_prefix(ENV_PREFIX) else { return Ok(false) };
    if NOT_SETTINGS.contains(&variable) {
        return Ok(false);
    }
    let path: Vec<String> = rest.split("__").map(|p| p.to_lowercase().replace('_', "-")).collect();
    let [section, key] = path.as_slice() else {
        bail!(
            "{variable} is no setting: it must be {ENV_PREFIX}SECTION__KEY, such as W3BSTREAM_HTTP__LISTEN"
        );
    };
    let section = table.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let Some(section) = section.as_table_mut() else { bail!("{variable}: {} is no section", path[0]) };
    // A value that reads as a TOML number or truth value is one; everything else is text.
    let parsed = value.parse::<toml::Value>().ok().filter(|v| v.is_integer() || v.is_bool());
    section.insert(key.clone(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Ok(true)
}

/// A TOML error with its line, and for an unknown key the nearest known one.
pub(crate) fn explain(error: &toml::de::Error, text: &str, name: &str) -> anyhow::Error {
    let line = error.span().map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
    let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or("").trim();
    let mut message = format!("{name}, line {line}: {}\n    {shown}", error.message());
    if let Some(nearest) = nearest_key(error.message()) {
        message.push_str(&format!("\n    did you mean {nearest:?}?"));
    }
    anyhow::anyhow!(message)
}

/// From serde's "unknown field `x`, expected one of `a`, `b`" to the nearest of them.
fn nearest_key(message: &str) -> Option<String> {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().filter(|_| message.starts_with("unknown "))?;
    let distance = |name: &&str| strsim::damerau_levenshtein(unknown, name);
    names.min_by_key(distance).filter(|n| distance(n) <= n.len().max(3) / 2 + 1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Config> {
        Config::parse(text, "node.toml", std::iter::empty())
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(parse(&text).unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
        let error = parse("[http]\n\nlistn = \"127.0.0.1:1\"\n").unwrap_err().to_string();
        assert!(error.contains("node.toml, line 3"), "{error}");
        assert!(error.contains("did you mean \"listen\"?"), "{error}");
    }

    #[test]
    fn an_unknown_section_is_refused() {
        let error = parse("[htpp]\nlisten = \"127.0.0.1:1\"\n").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("\"http\""), "{error}");
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let env = [
            ("W3BSTREAM_HTTP__LISTEN".to_owned(), "127.0.0.1:7".to_owned()),
            ("W3BSTREAM_LIMITS__MAX_BACKLOG".to_owned(), "5".to_owned()),
            ("W3BSTREAM_PASSPHRASE".to_owned(), "secret".to_owned()),
            ("HOME".to_owned(), "/".to_owned()),
        ];
        let config = Config::parse("[http]\nlisten = \"127.0.0.1:6\"\n", "f", env.into_iter()).unwrap();
        assert_eq!(config.http.listen.port(), 7);
        assert_eq!(config.limits.max_backlog, 5);
    }

    #[test]
    fn an_unknown_variable_is_refused() {
        let env = [("W3BSTREAM_HTTP__LISTN".to_owned(), "127.0.0.1:7".to_owned())];
        let error = Config::parse("", "f", env.into_iter()).unwrap_err().to_string();
        assert!(error.contains("environment") && error.contains("\"listen\""), "{error}");
    }

    #[test]
    fn a_session_lasts_a_day_at_most() {
        assert_eq!(parse("[sessions]\nlife-seconds = 86400\n").unwrap().sessions.life_seconds, 86_400);
        for life in [0, 86_401] {
            let error = parse(&format!("[sessions]\nlife-seconds = {life}\n")).unwrap_err().to_string();
            assert!(error.contains("1 to 86400"), "{error}");
        }
    }

    #[test]
    fn a_block_has_a_thread_and_not_too_many() {
        assert_eq!(parse("").unwrap().engine.threads, None, "as many as there are cores");
        let engine = parse("[engine]\nthreads = 2\ninstances = 5\n").unwrap().engine;
        assert_eq!((engine.threads, engine.settings.len()), (Some(2), 1), "it is none of the engine's own");
        for threads in [0, 129] {
            let error = parse(&format!("[engine]\nthreads = {threads}\n")).unwrap_err().to_string();
            assert!(error.contains("1 to 128"), "{error}");
        }
    }

    #[test]
    fn the_admin_api_stays_on_loopback() {
        let error = parse("[admin]\nlisten = \"0.0.0.0:8888\"\n").unwrap_err().to_string();
        assert!(error.contains("use 127.0.0.1:8888"), "{error}");
    }
}
