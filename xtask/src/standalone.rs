//! Every room, and what an embedder takes alone, compiles alone: copied out of the workspace with what it
//! depends on, so that no feature or file of another crate can hold it up.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use toml::{Table, Value};

use crate::tidy::ROOMS;
use crate::workspace::{CARGO, Workspace, files};

/// What an embedder takes alone, beside the rooms.
const ALONE: [&str; 2] = ["w3bstream-types", "w3bstream-storage-sqlite"];

/// Files of the root that a build reads.
const SHARED: [&str; 4] = ["Cargo.lock", "rust-toolchain.toml", "clippy.toml", "rustfmt.toml"];

/// Checks the named packages, or all.
///
/// # Errors
/// If a package does not compile alone.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn run(workspace: &Workspace, names: &[&str]) -> anyhow::Result<()> {
    let all: Vec<&str> = ALONE.into_iter().chain(ROOMS).collect();
    for name in if names.is_empty() { &all } else { names } {
        let closure = closure(workspace, name)?;
        let copy = workspace.target_directory.join("standalone").join("src").join(name);
        copy_out(workspace, &closure, &copy)?;
        cargo_check(workspace, name, &copy, false)?;
        let room = ROOMS.contains(name);
        if room {
            cargo_check(workspace, name, &copy, true)?;
        }
        let with = closure.iter().filter(|c| c != name).cloned().collect::<Vec<_>>().join(", ");
        let kit = if room { ", its kit too" } else { "" };
        println!("standalone: {name} compiles with {}{kit}", if with.is_empty() { "nothing" } else { &with });
    }
    Ok(())
}

/// The package and all packages of the workspace that its normal and build dependencies reach.
fn closure(workspace: &Workspace, name: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![name.to_owned()];
    while let Some(name) = waiting.pop() {
        let package = workspace.package(&name)?;
        waiting.extend(package.edges(None).chain(package.edges(Some("build"))).map(str::to_owned));
        found.insert(name);
        waiting.retain(|n| !found.contains(n));
    }
    Ok(found)
}

fn copy_out(workspace: &Workspace, closure: &BTreeSet<String>, copy: &Path) -> anyhow::Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy).with_context(|| format!("clearing {}", copy.display()))?;
    }
    fs::create_dir_all(copy).with_context(|| format!("creating {}", copy.display()))?;
    for name in SHARED {
        fs::copy(workspace.workspace_root.join(name), copy.join(name))
            .with_context(|| format!("copying {name}"))?;
    }
    let mut members = Vec::new();
    for name in closure {
        let package = workspace.package(name)?;
        let folder = package
            .dir()
            .strip_prefix(&workspace.workspace_root)
            .context("a package outside the workspace")?;
        for file in files(package.dir())? {
            let to = copy.join(file.strip_prefix(&workspace.workspace_root).unwrap_or(&file));
            fs::create_dir_all(to.parent().unwrap_or(copy))?;
            fs::copy(&file, &to).with_context(|| format!("copying {}", file.display()))?;
        }
        let manifest = copy.join(folder).join("Cargo.toml");
        let mut table = read_table(&manifest)?;
        // Tests are not compiled here, and may use what is not copied.
        for part in ["dev-dependencies", "bench", "test", "example"] {
            table.remove(part);
        }
        fs::write(&manifest, table.to_string()).with_context(|| format!("writing {}", manifest.display()))?;
        members.push(Value::from(folder.to_string_lossy().into_owned()));
    }
    let root = root_manifest(read_table(&workspace.workspace_root.join("Cargo.toml"))?, members, closure);
    fs::write(copy.join("Cargo.toml"), root.to_string()).context("writing the root manifest")
}

fn read_table(path: &Path) -> anyhow::Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.parse().with_context(|| format!("reading {}", path.display()))
}

/// The workspace's root manifest, cut down to some members.
fn root_manifest(mut root: Table, members: Vec<Value>, closure: &BTreeSet<String>) -> Table {
    if let Some(workspace) = root.get_mut("workspace").and_then(Value::as_table_mut) {
        workspace.insert("members".into(), members.into());
        workspace.remove("default-members");
        workspace.remove("exclude");
        if let Some(dependencies) = workspace.get_mut("dependencies").and_then(Value::as_table_mut) {
            dependencies.retain(|name, value| value.get("path").is_none() || closure.contains(name));
        }
    }
    root
}

fn cargo_check(workspace: &Workspace, name: &str, copy: &Path, kit: bool) -> anyhow::Result<()> {
    let mut command = Command::new(CARGO);
    command.current_dir(copy).args(["check", "--quiet", "--offline", "--package", name, "--target-dir"]);
    command.arg(workspace.target_directory.join("standalone").join("target"));
    if kit {
        command.args(["--features", "conformance"]);
    }
    if !command.status().context("starting cargo")?.success() {
        bail!(
            "{name} does not compile alone{}; the copy is in {}",
            if kit { " with its kit" } else { "" },
            copy.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storage_needs_its_room_and_no_other() {
        let workspace = Workspace::here().unwrap();
        let closure = closure(&workspace, "w3bstream-storage-sqlite").unwrap();
        assert!(closure.contains("w3bstream-storage") && closure.contains("w3bstream-types"), "{closure:?}");
        assert!(!closure.contains("w3bstream-vfs") && !closure.contains("w3bstream-engine"), "{closure:?}");
    }

    #[test]
    fn the_root_names_only_what_was_copied() {
        let root: Table = "[workspace]\nmembers = [\"crates/*\"]\ndefault-members = [\"x\"]\n[workspace.dependencies]\na = { path = \"crates/a\" }\nb = { path = \"crates/b\" }\nserde = \"1\"\n".parse().unwrap();
        let root = root_manifest(root, vec!["crates/a".into()], &BTreeSet::from(["a".to_owned()]));
        let workspace = root["workspace"].as_table().unwrap();
        let names: Vec<_> = workspace["dependencies"].as_table().unwrap().keys().cloned().collect();
        assert_eq!(names, ["a", "serde"]);
        assert_eq!(workspace["members"], Value::from(vec!["crates/a"]));
        assert!(!workspace.contains_key("default-members"));
    }
}
