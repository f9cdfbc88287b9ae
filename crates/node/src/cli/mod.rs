//! The command line.

mod applet;
mod bench;
mod dev;
mod device;
mod doctor;
mod keys;
mod kits;
mod logs;
mod message;
mod mqtt;
mod project;
mod receipt;
mod top;
mod transaction;
mod wasi;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use serde_json::Value;
use tracing_subscriber::EnvFilter;
use w3bstream_wallet_file::Passphrase;

pub(crate) use receipt::proofs;

use crate::{Admin, Config, NodeBuilder, Paths, Registry, demo, setup, workers};

/// Exit code of a command that did not do what it was asked for.
const FAILED: u8 = 1;

#[derive(Debug, Parser)]
#[command(
    name = "w3bstream",
    version,
    about = "Connects data from the physical world to blockchains.",
    after_help = "Example:\n  w3bstream demo                     the whole path on this machine, in under two minutes\n  \
                  w3bstream init --dir ./node        make a node\n  w3bstream run --dir ./node         run it"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON value at the end instead of text.
    #[arg(long, global = true)]
    json: bool,
}

/// The data folder and its secrets.
#[derive(Clone, Debug, Args)]
pub(crate) struct Where {
    /// The node's data folder.
    #[arg(long, default_value = "./w3bstream-data", env = "W3BSTREAM_DIR")]
    dir: PathBuf,
    /// A file (mode 0600) with the passphrase of the node's keys; else W3BSTREAM_PASSPHRASE, else the file
    /// `passphrase` in the data folder.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

impl Where {
    pub(crate) fn paths(&self) -> Paths {
        Paths::new(&self.dir)
    }

    pub(crate) fn passphrase(&self) -> anyhow::Result<Option<Passphrase>> {
        if let Some(file) = &self.passphrase_file {
            return Ok(Some(Passphrase::from_file(file)?));
        }
        Ok(variable("W3BSTREAM_PASSPHRASE").map(Passphrase::new))
    }

    pub(crate) fn admin(&self) -> anyhow::Result<Admin> {
        Admin::of_dir(&self.paths(), variable("W3BSTREAM_ADMIN_TOKEN"))
    }

    pub(crate) fn owner(&self) -> anyhow::Result<w3bstream_types::SecretKey> {
        let wallet = setup::open_wallet(&self.paths(), self.passphrase()?)?;
        Ok(wallet.secret(w3bstream_wallet::Role::Owner)?.clone())
    }
}

#[allow(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole path on one machine with nothing installed: devices, node, applet, blocks, receipt.
    Demo(DemoArgs),
    /// Make a node: keys, settings, admin token.
    Init(InitArgs),
    /// Run a node.
    Run(RunArgs),
    /// A dApp's project.
    #[command(subcommand)]
    Project(project::Command),
    /// Devices and publishers of a project.
    #[command(subcommand)]
    Device(device::Command),
    /// Sign a message as a device and send it.
    Send(message::SendArgs),
    /// Where a message is.
    Message(message::MessageArgs),
    /// What the applets of a project log.
    Logs(logs::LogsArgs),
    /// A live view of a node's projects.
    Top(top::TopArgs),
    /// Receipts.
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Transactions that guests asked for.
    #[command(subcommand)]
    Transaction(transaction::Command),
    /// The MQTT broker.
    #[command(subcommand)]
    Mqtt(mqtt::Command),
    /// A module alone.
    #[command(subcommand)]
    Applet(applet::Command),
    /// A WASI program alone, as any WASI runtime runs it.
    #[command(subcommand)]
    Wasi(wasi::Command),
    /// Private keys to and from other programs.
    #[command(subcommand)]
    Keys(keys::Command),
    /// The node's settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Looks for what is wrong with a node and says what to do.
    Doctor(Where),
    /// Measurements.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Runs the engine for a node that has started this process.
    #[command(hide = true)]
    EngineWorker(workers::Worker),
    /// Completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// A CSV file of your own instead of the shipped readings; needs --time and --value.
    #[arg(long, requires_all = ["time", "value"])]
    data: Option<PathBuf>,
    /// The column that holds the time (RFC 3339, `2010-01-31 13:00`, or Unix time).
    #[arg(long, requires = "data")]
    time: Option<String>,
    /// The column that holds the value, a decimal number.
    #[arg(long, requires = "data")]
    value: Option<String>,
    /// The column that names the device; without it the file is one device's.
    #[arg(long, requires = "data")]
    device: Option<String>,
    /// Where the demo's node keeps its data; a new folder below ./w3bstream-demo if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Stay up with the status page.
    #[arg(long)]
    keep: bool,
    /// Prove and settle every day, however long it takes.
    #[arg(long)]
    all: bool,
    /// Settle on the chain of this node instead of the embedded one, such as http://127.0.0.1:8545.
    #[arg(long)]
    rpc: Option<String>,
    /// A file with the private key (64 hex digits) that pays for the contracts; not needed on development chains.
    #[arg(long, requires = "rpc")]
    rpc_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct InitArgs {
    #[command(flatten)]
    at: Where,
    /// Settings for a node that devices reach from anywhere: HTTPS, MQTT over TLS and WebSocket, and gRPC on all
    /// addresses. Needs a certificate: give one, or names for which one is made.
    #[arg(long)]
    public: bool,
    /// A name or an address by which devices know the node; may stand several times. Makes a certificate that is its own
    /// authority.
    #[arg(long, requires = "public", conflicts_with = "certificate")]
    name: Vec<String>,
    /// The node's certificate, PEM, with those of the authorities in between.
    #[arg(long, requires_all = ["public", "key"])]
    certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    at: Where,
    /// Listen for HTTP on this address instead of http.listen.
    #[arg(long)]
    http: Option<std::net::SocketAddr>,
    /// Listen for MQTT on this address instead of mqtt.listen.
    #[arg(long)]
    mqtt: Option<std::net::SocketAddr>,
    /// Listen for the admin API on this address instead of admin.listen.
    #[arg(long)]
    admin: Option<std::net::SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the settings.
    Check(Where),
    /// Print the settings in force.
    Print(Where),
    /// Print the default settings: every key there is.
    Defaults,
    /// Print the JSON schema of node.toml.
    Schema,
}

/// Runs the program: parses the command line, does what it says, prints one line for an error.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage; `wasi run` passes on its program's.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    let cli = Cli::parse();
    if let Command::EngineWorker(worker) = &cli.command {
        // Before anything is opened or started that is not the worker's.
        return workers::work(&registry, worker);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&anyhow::anyhow!("cannot start: {e}"), cli.json),
    };
    if let Command::Wasi(command) = &cli.command {
        return wasi::run(command, runtime.handle()).unwrap_or_else(|e| failed(&e, cli.json));
    }
    match runtime.block_on(dispatch(registry, cli.command, cli.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e, cli.json),
    }
}

#[allow(clippy::print_stderr, reason = "errors of a command go to standard error")]
fn failed(error: &anyhow::Error, json: bool) -> ExitCode {
    if json && !error.is::<Told>() {
        print_value(&serde_json::json!({ "error": format!("{error:#}") }));
    }
    eprintln!("error: {error:#}");
    ExitCode::from(FAILED)
}

/// What failed, where the JSON value that a command prints has said so already.
#[derive(Debug)]
pub(crate) struct Told(pub(crate) String);

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

/// Prints a line of what was asked for. Ends the program if nobody reads any more, as `| head` does.
pub(crate) fn print(text: impl std::fmt::Display) {
    use std::io::Write as _;
    if let Err(e) = writeln!(std::io::stdout(), "{text}")
        && e.kind() == std::io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Prints a JSON value.
pub(crate) fn print_value(value: &Value) {
    print(serde_json::to_string_pretty(value).unwrap_or_default());
}

async fn dispatch(registry: Registry, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => run_demo(registry, args, json).await,
        Command::Init(args) => init(&args, json),
        Command::Run(args) => run(registry, args).await,
        Command::Project(command) => project::run(registry, command, json).await,
        Command::Device(command) => device::run(command, json).await,
        Command::Send(args) => message::send(args, json).await,
        Command::Message(args) => message::show(args, json).await,
        Command::Logs(args) => logs::run(args, json).await,
        Command::Top(args) => top::run(args, json).await,
        Command::Receipt(command) => receipt::run(command, json).await,
        Command::Transaction(command) => transaction::run(command, json).await,
        Command::Mqtt(command) => mqtt::run(command, json),
        Command::Applet(command) => applet::run(&registry, command, json).await,
        // Its program's exit code is this process's.
        Command::Wasi(_) | Command::EngineWorker(_) => Ok(()),
        Command::Keys(command) => keys::run(command, json).await,
        Command::Config(command) => config(&command),
        Command::Doctor(at) => doctor::run(&registry, &at, json).await,
        Command::Bench(command) => bench::run(command, json).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "w3bstream", &mut std::io::stdout());
            Ok(())
        }
    }
}

async fn run_demo(registry: Registry, args: DemoArgs, json: bool) -> anyhow::Result<()> {
    install_logging(&EnvFilter::new("warn").to_string(), false);
    let data = match (args.data, args.time, args.value) {
        (Some(file), Some(time), Some(value)) => Some((file, time, value, args.device)),
        _ => None,
    };
    let dir = args.dir.map_or_else(demo::fresh_dir, Ok)?;
    demo::run(
        registry,
        demo::Options {
            dir,
            keep: args.keep,
            json,
            data,
            all: args.all,
            rpc: args.rpc,
            rpc_key: args.rpc_key,
        },
    )
    .await
}

fn init(args: &InitArgs, json: bool) -> anyhow::Result<()> {
    let paths = args.at.paths();
    let mut config = Config::default();
    if args.public {
        let pair = args.certificate.clone().zip(args.key.clone());
        config = setup::public(&paths, (&args.name, pair))?;
    }
    let made = setup::init(&paths, &config, args.at.passphrase()?)?;
    let did = made.wallet.node_did()?;
    if json {
        print_value(&serde_json::json!({"dir": paths.dir(), "node": did, "admin_token": made.admin_token}));
        return Ok(());
    }
    let dir = paths.dir().display();
    print(format!("Made a node in {dir}.\n"));
    print(format!("  DID          {did}"));
    print(format!("  settings     {}", paths.config().display()));
    print(format!("  admin token  {}   (shown once)", made.admin_token));
    print(format!(
        "               also in {}; move it away if others use this account",
        paths.admin_token().display()
    ));
    if paths.passphrase().exists() {
        print(format!("  passphrase   {}; move it to a safe place", paths.passphrase().display()));
        print("               and give it with --passphrase-file");
    }
    if args.public && args.certificate.is_none() {
        let file = paths.dir().join(setup::CERTIFICATE);
        print(format!("  certificate  {}; devices must trust it: it is its own authority", file.display()));
        print("               and good for 398 days. One of a public authority may take its place.");
    }
    print(format!("\nRun it:  w3bstream run --dir {dir}"));
    Ok(())
}

fn load_config(at: &Where) -> anyhow::Result<Config> {
    Config::load(&at.paths().config(), std::env::vars())
}

async fn run(registry: Registry, args: RunArgs) -> anyhow::Result<()> {
    let mut config = load_config(&args.at)?;
    config.http.listen = args.http.unwrap_or(config.http.listen);
    config.mqtt.listen = args.mqtt.unwrap_or(config.mqtt.listen);
    config.admin.listen = args.admin.unwrap_or(config.admin.listen);
    install_logging(&config.log.filter, config.log.json);
    let paths = args.at.paths();
    let wallet = setup::open_wallet(&paths, args.at.passphrase()?)?;
    let node = NodeBuilder::new(registry, config, paths, wallet).build().await?;
    let running = node.running().clone();
    tracing::info!(
        http = running.http,
        mqtt = running.mqtt,
        legacy = running.legacy,
        admin = running.admin,
        "node {} runs",
        running.node
    );
    node.run(stop_signal()).await
}

/// Resolves at Ctrl-C or SIGTERM.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler for it, SIGTERM ends the process, as it always did.
        drop(tokio::signal::ctrl_c().await);
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(at) => {
            load_config(at)?;
            print(format!("{}: ok", at.paths().config().display()));
        }
        ConfigCommand::Print(at) => print(toml::to_string(&load_config(at)?)?),
        ConfigCommand::Defaults => print(toml::to_string(&Config::default())?),
        ConfigCommand::Schema => print(include_str!("../../../../schemas/node.schema.json")),
    }
    Ok(())
}

pub(crate) fn install_logging(filter: &str, json: bool) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (tests) keeps the first logger.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// Reads `@file`, `-` (standard input) or the text itself.
pub(crate) fn read_data(argument: &str) -> anyhow::Result<Vec<u8>> {
    if argument == "-" {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut all).context("standard input")?;
        return Ok(all);
    }
    match argument.strip_prefix('@') {
        Some(path) => std::fs::read(path).with_context(|| format!("cannot read {path}")),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_schema_names_every_setting() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../../schemas/node.schema.json")).unwrap();
        // What is left away by default is there too.
        let at = Some("127.0.0.1:1".parse().unwrap());
        let mut config = Config::default();
        config.http.tls_listen = at;
        (config.mqtt.tls_listen, config.mqtt.ws_listen, config.mqtt.wss_listen) = (at, at, at);
        config.engine.threads = Some(1);
        let file = || Some(PathBuf::from("file"));
        let tls = &mut config.tls;
        (tls.certificate, tls.key, tls.client_authorities, tls.client_crl) = (file(), file(), file(), file());
        let defaults: toml::Table = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        for (section, keys) in &defaults {
            if keys.is_array() {
                assert!(schema["properties"].get(section).is_some(), "{section} is not in the schema");
                continue;
            }
            let listed = &schema["properties"][section]["properties"];
            for key in keys.as_table().unwrap().keys() {
                assert!(listed.get(key).is_some(), "{section}.{key} is not in the schema");
            }
            // Backends have settings of their own.
            if schema["properties"][section]["additionalProperties"] == true {
                continue;
            }
            let extra = listed.as_object().unwrap().keys().filter(|k| keys.get(k.as_str()).is_none());
            assert_eq!(extra.count(), 0, "{section} has keys in the schema that are no settings");
        }
    }
}
