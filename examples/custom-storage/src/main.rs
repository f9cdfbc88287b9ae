//! A node that has one backend more than the reference node: `[storage] kind = "file"`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use w3bstream::node::Registry;
use w3bstream_example_custom_storage::FileStorage;

/// `[storage]` of `node.toml`, without `kind`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Relative to the node's data folder.
    #[serde(default = "records_log")]
    file: PathBuf,
}

fn records_log() -> PathBuf {
    "records.log".into()
}

fn main() -> ExitCode {
    w3bstream::node::main(Registry::stock().with_storage("file", |context| {
        let settings: Settings = context.settings.clone().try_into().context("[storage] of node.toml")?;
        Ok(Arc::new(FileStorage::open(&context.dir.join(settings.file))?))
    }))
}
