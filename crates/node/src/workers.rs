//! The engine in processes of its own: what the node starts, and what is started.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use w3bstream_engine::{Error, ErrorKind};
use w3bstream_engine_worker::{WorkerConfig, WorkerEngine};

use crate::config::{EngineSettings, cores};
use crate::registry::Registry;

/// The command that is a worker.
const COMMAND: &str = "engine-worker";
/// This program. On Linux it is the one that runs, also after an update has put another in its place.
const THIS: &str = "/proc/self/exe";

/// What a worker is started with.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The registered name of the engine.
    #[arg(long)]
    engine: String,
    /// The engine's own settings, as TOML.
    #[arg(long, default_value = "")]
    settings: String,
}

/// Starts the first worker. It checks the engine's settings, so an error names what is wrong with them.
pub(crate) fn start(settings: &EngineSettings) -> anyhow::Result<Arc<WorkerEngine>> {
    let config = config(settings)?;
    Ok(Arc::new(WorkerEngine::start(config).context("[engine] of node.toml, process = true")?))
}

fn config(settings: &EngineSettings) -> anyhow::Result<WorkerConfig> {
    let EngineSettings { kind, workers, worker_command, settings: own, .. } = settings;
    let mut command: Vec<OsString> = worker_command.iter().map(Into::into).collect();
    if command.is_empty() {
        let known = std::path::Path::new(THIS).exists();
        let this = if known { THIS.into() } else { std::env::current_exe().context("this program")? };
        command = vec![this.into(), COMMAND.into()];
    }
    let default = WorkerConfig::default();
    let kept = own.get("cache-entries").and_then(toml::Value::as_integer);
    let kept = kept.and_then(|n| usize::try_from(n).ok()).unwrap_or(default.cache_entries);
    let mut own = own.clone();
    if crate::engines::stock().contains_key(kind) {
        // A worker has one call at a time, so its engine needs no room for more.
        own.entry("instances").or_insert(toml::Value::Integer(1));
    }
    let own = toml::to_string(&own).context("[engine] of node.toml")?;
    command.extend(["--engine", kind, "--settings", &own].map(Into::into));
    Ok(WorkerConfig {
        command,
        workers: if *workers == 0 { cores() } else { *workers },
        cache_entries: kept,
        call_time: Duration::from_millis(settings.worker_call_ms.max(1)),
        load_time: Duration::from_millis(settings.worker_load_ms.max(1)),
        memory_bytes: settings.worker_memory_mib.saturating_mul(1 << 20),
        ..default
    })
}

/// Is a worker, until the node that has started it goes.
pub(crate) fn work(registry: &Registry, worker: &Worker) -> ExitCode {
    w3bstream_engine_worker::run(|_| {
        let failed = |e: String| Error::new(ErrorKind::Host, e);
        let own = toml::from_str(&worker.settings).map_err(|e| failed(format!("--settings: {e}")))?;
        let settings =
            EngineSettings { kind: worker.engine.clone(), settings: own, ..EngineSettings::default() };
        registry.engine(&settings).map_err(|e| failed(format!("{e:#}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> WorkerConfig {
        config(&toml::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn settings_reach_the_worker() {
        let made = of(
            "process = true\nworkers = 3\nworker-call-ms = 5\nworker-load-ms = 6\nworker-memory-mib = 7\n\
                       cache-entries = 8\nworker-command = ['/bin/mine', 'work']",
        );
        let words: Vec<_> = made.command.iter().map(|w| w.to_str().unwrap()).collect();
        let [program, first, engine, kind, name, own] = words[..] else { panic!("{words:?}") };
        assert_eq!(
            [program, first, engine, kind, name],
            ["/bin/mine", "work", "--engine", "wasmer", "--settings"]
        );
        let own: toml::Table = own.parse().unwrap();
        assert_eq!((own["cache-entries"].as_integer(), own["instances"].as_integer()), (Some(8), Some(1)));
        assert_eq!(own.len(), 2, "{own}");
        assert_eq!((made.workers, made.cache_entries, made.memory_bytes), (3, 8, 7 << 20));
        assert_eq!((made.call_time.as_millis(), made.load_time.as_millis()), (5, 6));
    }

    #[test]
    fn defaults_are_this_program_and_all_cores() {
        let made = of("process = true\nkind = 'mine'\ninstances = 9");
        assert_eq!(made.command[1], COMMAND);
        assert_eq!(made.command.last().unwrap(), "instances = 9\n");
        assert_eq!(made.workers, cores());
    }
}
