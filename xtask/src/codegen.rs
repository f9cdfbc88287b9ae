//! Generates the committed Rust of `proto/`, without `protoc`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

const PROTOS: [&str; 1] = ["w3bstream/v1/envelope.proto"];
const TARGET: &str = "crates/wire/src/generated";

/// Writes the generated code; with `check`, only compares it with what is committed.
///
/// # Errors
/// If a `.proto` does not compile, a file cannot be written, or (with `check`) a file differs.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let root = Workspace::here()?.workspace_root;
    let protos = root.join("proto");
    let descriptors =
        protox::compile(PROTOS.map(|p| protos.join(p)), [&protos]).context("compiling proto/")?;
    let made = root.join("target").join("codegen");
    if made.exists() {
        fs::remove_dir_all(&made).with_context(|| format!("clearing {}", made.display()))?;
    }
    fs::create_dir_all(&made).with_context(|| format!("creating {}", made.display()))?;
    let mut config = prost_build::Config::new();
    config.out_dir(&made);
    config.compile_fds(descriptors).context("generating code from proto/")?;
    let target = root.join(TARGET);
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    for name in generated_names(&made)? {
        let text = fs::read_to_string(made.join(&name)).with_context(|| format!("reading {name}"))?;
        put(&target.join(&name), &text, check)?;
    }
    Ok(())
}

fn generated_names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn put(path: &Path, text: &str, check: bool) -> anyhow::Result<()> {
    let old = fs::read_to_string(path).unwrap_or_default();
    if old == text {
        return Ok(());
    }
    if check {
        bail!("{} is not what proto/ gives; run `cargo xtask codegen` and commit it", path.display());
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
