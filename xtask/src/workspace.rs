//! The workspace as Cargo sees it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// What `cargo metadata --no-deps` says.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_root: PathBuf,
    pub(crate) target_directory: PathBuf,
}

/// One package of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for packages of this workspace.
    pub(crate) path: Option<PathBuf>,
}

impl Package {
    /// The package's folder.
    pub(crate) fn dir(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// The packages of this workspace that it depends on, for `kind` (see [`Dependency::kind`]).
    pub(crate) fn edges(&self, kind: Option<&str>) -> impl Iterator<Item = &str> {
        let wanted = kind.map(str::to_owned);
        self.dependencies
            .iter()
            .filter(move |d| d.path.is_some() && d.kind == wanted)
            .map(|d| d.name.as_str())
    }
}

impl Workspace {
    /// The workspace of the folder that this program runs in. Not of the one that it was built in: clones
    /// that share a target folder share the program.
    pub(crate) fn here() -> anyhow::Result<Self> {
        let text = cargo(Path::new("."), &["metadata", "--offline", "--no-deps", "--format-version", "1"])?;
        serde_json::from_str(&text).context("reading what cargo metadata said")
    }

    /// A package by its name.
    pub(crate) fn package(&self, name: &str) -> anyhow::Result<&Package> {
        self.packages
            .iter()
            .find(|p| p.name == name)
            .with_context(|| format!("the workspace has no package {name}"))
    }

    /// A path as it is shown: relative to the root.
    pub(crate) fn show<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.workspace_root).unwrap_or(path).display()
    }

    /// Everything that ends up in a program which uses this package alone, with default features, on Linux:
    /// `name version`, without the package itself.
    pub(crate) fn closure(&self, package: &str) -> anyhow::Result<BTreeSet<String>> {
        let args = [
            "tree",
            "--offline",
            "--package",
            package,
            "--edges",
            "normal",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--prefix",
            "none",
            "--no-dedupe",
            "--format",
            "{p}",
        ];
        let text = cargo(&self.workspace_root, &args)?;
        let line = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let own = format!("{package} ");
        Ok(text.lines().map(line).filter(|l| !l.is_empty() && !l.starts_with(&own)).collect())
    }
}

/// The Cargo of the path, by name: rustup then gives its compiler to every package that it builds, also to those
/// that bring a `rust-toolchain` file of their own. A Cargo named by its place would let such a file decide.
pub(crate) const CARGO: &str = "cargo";

/// Runs Cargo and gives what it printed.
fn cargo(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(CARGO).current_dir(dir).args(args).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("cargo printed no utf-8")
}

/// All files under `dir`, sorted, without version control, build output and node data.
pub(crate) fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "w3bstream-data", "w3bstream-demo"];
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.iter().any(|s| entry.file_name() == *s) {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
