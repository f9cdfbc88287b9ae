//! The compiled contracts in `artefacts/contracts/`: committed, so that nobody needs a Solidity compiler, and checked
//! against the sources that they were compiled from.
//!
//! `SHA256SUMS` lists every artefact and every file that it was made of. Where npm is found, `--check` compiles again with
//! the pinned compiler and compares byte for byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::artefacts::differing;
use crate::workspace::{Workspace, files};

/// Where the artefacts are.
const FOLDER: &str = "artefacts/contracts";
/// What they are made of: sources, and what says how they are compiled. The list of contracts/build.mjs.
const SOURCES: [&str; 6] = [
    "contracts/build.mjs",
    "contracts/package-lock.json",
    "contracts/package.json",
    "contracts/settings.json",
    "contracts/src",
    "contracts/test",
];
/// Compiles them.
const SCRIPT: &str = "scripts/build-contracts";
/// The script's exit code if the compiler could not be had.
const NO_COMPILER: i32 = 3;

/// Compares the committed artefacts with their sources, and with a new compilation where npm is there.
///
/// # Errors
/// If a digest differs, or the compiler gives something else.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let differing = differences(&workspace.workspace_root)?;
    if !differing.is_empty() {
        bail!(
            "not what {FOLDER}/SHA256SUMS says: {}; run `{SCRIPT}` and commit {FOLDER}/",
            differing.join(", ")
        );
    }
    println!("artefacts: the compiled contracts and their sources are those of {FOLDER}/SHA256SUMS");
    if Command::new("npm").arg("--version").output().is_err() {
        println!("artefacts: no npm here, so the contracts were not compiled again");
        return Ok(());
    }
    let script = workspace.workspace_root.join(SCRIPT);
    let status =
        Command::new(&script).arg("--check").status().with_context(|| format!("starting {SCRIPT}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(NO_COMPILER) => {
            println!(
                "artefacts: the Solidity compiler cannot be had here, so the contracts were not compiled again"
            );
            Ok(())
        }
        _ => bail!("`{SCRIPT} --check` failed; run `{SCRIPT}` and see what changed"),
    }
}

/// The paths that are not what `SHA256SUMS` says.
fn differences(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join(FOLDER);
    let recorded = fs::read_to_string(folder.join("SHA256SUMS"))
        .with_context(|| format!("reading {FOLDER}/SHA256SUMS"))?;
    Ok(differing(&recorded, &sums(root)?))
}

/// The lines of `SHA256SUMS`: artefacts by their names, then sources relative to the folder.
fn sums(root: &Path) -> anyhow::Result<String> {
    let folder = root.join(FOLDER);
    let mut text = String::new();
    let mut add = |lines: BTreeMap<String, Vec<u8>>| {
        for (name, bytes) in lines {
            // Writing to a String never fails.
            let _ = writeln!(text, "{}  {name}", hex::encode(Sha256::digest(&bytes)));
        }
    };
    let built = files(&folder)?.into_iter().filter(|p| !p.ends_with("SHA256SUMS"));
    add(read(built, &folder, "")?);
    let mut sources = Vec::new();
    for source in SOURCES {
        let path = root.join(source);
        if path.is_dir() {
            sources.extend(files(&path)?);
        } else {
            sources.push(path);
        }
    }
    add(read(sources.into_iter(), root, "../../")?);
    Ok(text)
}

fn read(
    paths: impl Iterator<Item = std::path::PathBuf>,
    base: &Path,
    prefix: &str,
) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let one = |path: std::path::PathBuf| {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.strip_prefix(base).unwrap_or(&path).display();
        Ok((format!("{prefix}{name}"), bytes))
    };
    paths.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_artefacts_belong_to_the_sources() {
        let root = Workspace::here().unwrap().workspace_root;
        let differing = differences(&root).unwrap();
        assert!(differing.is_empty(), "run `{SCRIPT}`: {differing:?}");
        let recorded = fs::read_to_string(root.join(FOLDER).join("SHA256SUMS")).unwrap();
        for name in ["Executor.json", "test/Swallower.json", "../../contracts/src/IOutputReceiver.sol"] {
            assert!(recorded.contains(&format!("  {name}\n")), "{name} is not in {recorded}");
        }
    }

    #[test]
    fn every_artefact_names_the_compiler_that_is_recorded() {
        let folder = Workspace::here().unwrap().workspace_root.join(FOLDER);
        let compiler = fs::read_to_string(folder.join("BUILT-WITH")).unwrap();
        let version = compiler.trim().strip_prefix("solc ").unwrap();
        for path in files(&folder).unwrap().iter().filter(|p| p.extension().is_some_and(|e| e == "json")) {
            let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert_eq!(json["compiler"], version, "{}", path.display());
        }
    }
}
