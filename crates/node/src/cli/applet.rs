//! `applet run`: a module alone, without a node. `applet replay`: a module on what a project's messages
//! were. `applet canary`: a module on what they are.

mod canary;
mod replay;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand as ClapSubcommand;
use serde_json::json;
use w3bstream_engine::{Call, HostState, Outcome};
use w3bstream_types::{EventType, GuestLimits};

use super::{print, print_value, read_data};
use crate::{EngineSettings, Registry};

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Run one handler of a module on one input; print code, gas, time, outputs and logs.
    Run {
        /// The WebAssembly module.
        file: PathBuf,
        /// The exported handler.
        #[arg(long)]
        handler: String,
        /// The event's payload: text, @file, or - for standard input.
        #[arg(long)]
        input: String,
        /// The event type.
        #[arg(long = "type", default_value = "default")]
        event_type: EventType,
        /// A setting of the guest, NAME=VALUE; may be given several times.
        #[arg(long = "env", value_parser = pair)]
        env: Vec<(String, String)>,
        /// A key of the guest that is set before, NAME=VALUE; may be given several times.
        #[arg(long = "kv", value_parser = pair)]
        kv: Vec<(String, String)>,
        /// Gas for the call.
        #[arg(long)]
        gas: Option<u64>,
    },
    /// Run blocks of a project again on its node, with another module or as they were, and print the first difference.
    Replay(replay::Args),
    /// Run a module beside an applet's own on the messages that come, apply nothing of it, and count what differs.
    #[command(subcommand)]
    Canary(canary::Command),
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Keys and values in memory.
struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

impl HostState for Memory {
    fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, w3bstream_engine::Error> {
        Ok(self.0.get(key).cloned())
    }
}

pub(crate) async fn run(registry: &Registry, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Run { .. } => alone(registry, &command, json),
        Command::Replay(args) => replay::run(args, json).await,
        Command::Canary(command) => canary::run(command, json).await,
    }
}

fn alone(registry: &Registry, command: &Command, json: bool) -> anyhow::Result<()> {
    let Command::Run { file, handler, input, event_type, env, kv, gas } = command else { return Ok(()) };
    let program = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let engine = registry.engine(&EngineSettings::default())?;
    let module = engine.load(&program).with_context(|| file.display().to_string())?;
    let mut limits = GuestLimits::default();
    limits.gas = gas.unwrap_or(limits.gas);
    let mut env = env.clone();
    env.sort();
    let payload = read_data(input)?;
    let call = Call { env: &env, ..Call::of(handler, event_type, &payload, &limits) };
    let keys = kv.iter().map(|(k, v)| (k.clone().into_bytes(), v.clone().into_bytes()));
    let started = std::time::Instant::now();
    let outcome = module.call(call, &mut Memory(keys.collect()))?;
    let micros = started.elapsed().as_micros();
    show(&outcome, micros, json);
    match outcome.result {
        Ok(_) => Ok(()),
        Err(w3bstream_engine::GuestError::NoHandler) => {
            bail!("there is no handler {handler:?}; the module exports: {}", module.handlers().join(", "))
        }
        Err(why) => bail!("the handler did not return: {why}"),
    }
}

fn show(outcome: &Outcome, micros: u128, json: bool) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if json {
        let outputs = outcome.outputs.iter().map(
            |o| json!({"kind": format!("{:?}", o.kind), "target": text(&o.target), "data": text(&o.data)}),
        );
        print_value(&json!({
            "code": outcome.result.ok(), "error": outcome.result.err().map(|e| e.code()),
            "gas": outcome.gas, "microseconds": u64::try_from(micros).unwrap_or(u64::MAX),
            "outputs": outputs.collect::<Vec<_>>(),
            "removed": outcome.removed.iter().map(|k| text(k)).collect::<Vec<_>>(),
            "writes": outcome.writes.iter().map(|(k, v)| (text(k), text(v))).collect::<BTreeMap<_, _>>(),
            "logs": outcome.logs.iter().map(|l| l.text.clone()).collect::<Vec<_>>(),
        }));
        return;
    }
    match outcome.result {
        Ok(code) => print(format!("code    {code}")),
        Err(why) => print(format!("failed  {why}")),
    }
    print(format!("gas     {}\ntime    {micros} µs", outcome.gas));
    for line in &outcome.logs {
        print(format!("log     {}", line.text));
    }
    for (key, value) in &outcome.writes {
        print(format!("write   {} = {}", text(key), text(value)));
    }
    for key in &outcome.removed {
        print(format!("remove  {}", text(key)));
    }
    for o in &outcome.outputs {
        print(format!("output  {:?} {} {}", o.kind, text(&o.target), text(&o.data)));
    }
}
