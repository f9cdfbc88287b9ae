//! The engines of the reference node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use w3bstream_engine::Engine;
use w3bstream_engine_wasix::{WasixConfig, WasixEngine};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};

use crate::registry::EngineFactory;

/// The settings of wasmer.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Wasmer {
    cache_entries: usize,
    instances: usize,
    wasi_call_ms: u64,
}

impl Default for Wasmer {
    fn default() -> Self {
        let WasmerConfig { cache_entries, instances } = WasmerConfig::default();
        let wasi_call_ms = u64::try_from(WasixConfig::default().guard.as_millis()).unwrap_or(u64::MAX);
        Self { cache_entries, instances, wasi_call_ms }
    }
}

fn read<T: DeserializeOwned>(settings: &toml::Table) -> anyhow::Result<T> {
    settings.clone().try_into().map_err(|e| anyhow!("[engine] of node.toml: {e}"))
}

/// Applets on wasmer, and WASI programs beside them.
fn wasmer(settings: &toml::Table) -> anyhow::Result<Arc<dyn Engine>> {
    let Wasmer { cache_entries, instances, wasi_call_ms } = read(settings)?;
    let applets = WasmerEngine::new(&WasmerConfig { cache_entries, instances });
    let shared = applets.shared();
    let guard = Duration::from_millis(wasi_call_ms);
    let config = WasixConfig { cache_entries, instances, guard, ..WasixConfig::default() };
    Ok(Arc::new(WasixEngine::new(Arc::new(applets), shared, config)?))
}

#[cfg(feature = "wasmtime")]
mod with_wasmtime {
    use std::sync::Arc;
    use std::time::Duration;

    use serde::Deserialize;
    use w3bstream_engine::Engine;
    use w3bstream_engine_wasmtime::{WasmtimeConfig, WasmtimeEngine};

    /// The settings of wasmtime.
    #[derive(Debug, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    struct Wasmtime {
        cache_entries: usize,
        instances: u32,
        call_ms: u64,
    }

    impl Default for Wasmtime {
        fn default() -> Self {
            let WasmtimeConfig { cache_entries, instances, call_time } = WasmtimeConfig::default();
            let call_ms = u64::try_from(call_time.as_millis()).unwrap_or(u64::MAX);
            Self { cache_entries, instances, call_ms }
        }
    }

    pub(super) fn make(settings: &toml::Table) -> anyhow::Result<Arc<dyn Engine>> {
        let Wasmtime { cache_entries, instances, call_ms } = super::read(settings)?;
        let call_time = Duration::from_millis(call_ms);
        Ok(Arc::new(WasmtimeEngine::new(&WasmtimeConfig { cache_entries, instances, call_time })?))
    }
}

/// What this program was built with.
pub(crate) fn stock() -> BTreeMap<String, EngineFactory> {
    let engines: [(&str, EngineFactory); _] = [
        ("wasmer", Arc::new(wasmer)),
        #[cfg(feature = "wasmtime")]
        ("wasmtime", Arc::new(with_wasmtime::make)),
    ];
    engines.into_iter().map(|(name, make)| (name.to_owned(), make)).collect()
}

/// What to do about an engine that is not there.
pub(crate) fn hint(kind: &str) -> &'static str {
    if kind == "wasmtime" { "; build it with `--features wasmtime` for that one" } else { "" }
}

#[cfg(test)]
mod tests {
    use crate::Registry;
    use crate::config::EngineSettings;

    fn made(text: &str) -> Result<String, String> {
        let settings: EngineSettings = toml::from_str(text).map_err(|e| e.to_string())?;
        let engine = Registry::stock().engine(&settings).map_err(|e| format!("{e:#}"))?;
        Ok(engine.name().to_owned())
    }

    #[test]
    fn settings_choose_the_engine_and_are_checked_by_it() {
        assert_eq!(made("").unwrap(), "wasmer");
        assert_eq!(
            made("kind = 'wasmer'\ninstances = 2\ncache-entries = 3\nwasi-call-ms = 1000").unwrap(),
            "wasmer"
        );
        let why = made("instances = 2\ncall-millis = 3").unwrap_err();
        assert!(why.contains("[engine] of node.toml") && why.contains("call-millis"), "{why}");
        let why = made("kind = 'wasmtim'").unwrap_err();
        assert!(why.contains("has only: wasmer") && !why.contains("--features"), "{why}");
    }

    #[test]
    #[cfg(not(feature = "wasmtime"))]
    fn an_engine_that_was_not_built_in_is_named_with_what_to_do() {
        let why = made("kind = 'wasmtime'").unwrap_err();
        assert!(why.contains("has only: wasmer") && why.contains("--features wasmtime"), "{why}");
    }

    #[test]
    #[cfg(feature = "wasmtime")]
    fn wasmtime_is_there_if_it_was_built_in() {
        assert_eq!(made("kind = 'wasmtime'\ninstances = 2\ncall-ms = 1000").unwrap(), "wasmtime");
        assert!(made("kind = 'wasmtime'\ncall = 1").unwrap_err().contains("[engine] of node.toml"));
    }
}
