//! The example applets in `artefacts/applets/`: each of `examples/applets` in Rust, C and AssemblyScript, committed, so that
//! tests need no compilers, and checked against their sources.
//!
//! `SHA256SUMS` lists every module and every file that they are built from. Where a compiler is found, `--check` builds
//! again; the modules in Rust must come out the same if the compiler is that of `BUILT-WITH`, those in C and AssemblyScript
//! always, since their compilers are pinned.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::artefacts::{Compiler, differing, files_of};
use crate::workspace::{Workspace, files};

/// Where the modules are.
const FOLDER: &str = "artefacts/applets";
/// What they are built from, beside their own files.
const SOURCES: [&str; 10] = [
    ".cargo/config.toml",
    "crates/sdk-macros/Cargo.toml",
    "crates/sdk-macros/src",
    "crates/sdk/Cargo.toml",
    "crates/sdk/src",
    "examples/applets",
    "scripts/build-applets",
    "sdk/assemblyscript/package-lock.json",
    "sdk/assemblyscript/w3bstream.ts",
    "sdk/c/w3bstream.h",
];
/// What lies beside sources.
const NOT_BUILT: [&str; 2] = ["README.md", "w3bstream.toml"];
/// Builds those in C and AssemblyScript.
const SCRIPT: &str = "scripts/build-applets";
/// The script's exit code if a compiler is missing.
const NO_COMPILER: i32 = 3;

/// The examples, by the names of their folders.
fn names(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("examples/applets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The lines of `SHA256SUMS`: modules by their names, then sources relative to the folder.
fn sums(workspace: &Workspace) -> anyhow::Result<String> {
    let root = &workspace.workspace_root;
    let mut modules: Vec<PathBuf> = files(&root.join(FOLDER))?;
    modules.retain(|path| path.extension().is_some_and(|e| e == "wasm"));
    let mut sources = files_of(root, &SOURCES)?;
    sources.retain(|path| NOT_BUILT.iter().all(|name| !path.ends_with(name)));
    let mut text = String::new();
    for (path, prefix) in
        modules.into_iter().map(|path| (path, "")).chain(sources.into_iter().map(|path| (path, "../../")))
    {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let shown = workspace.show(&path).to_string();
        let name = if prefix.is_empty() { shown.rsplit('/').next().unwrap_or(&shown) } else { &shown };
        // Writing to a String never fails.
        let _ = writeln!(text, "{}  {prefix}{name}", hex::encode(Sha256::digest(&bytes)));
    }
    Ok(text)
}

/// Compares the committed modules with their sources, and with new builds where compilers are there.
///
/// # Errors
/// If a digest differs, a module is missing, or a pinned compiler gives another module.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let root = &workspace.workspace_root;
    let read = |name: &str| {
        fs::read_to_string(root.join(FOLDER).join(name)).with_context(|| format!("reading {FOLDER}/{name}"))
    };
    let differing = differing(&read("SHA256SUMS")?, &sums(workspace)?);
    if !differing.is_empty() {
        bail!(
            "not what {FOLDER}/SHA256SUMS says: {}; run `{SCRIPT} --install` and `cargo xtask artefacts --build`, and commit {FOLDER}/",
            differing.join(", ")
        );
    }
    println!("artefacts: the example applets and their sources are those of {FOLDER}/SHA256SUMS");
    match Compiler::find()? {
        Some(compiler) if compiler.version == read("BUILT-WITH")?.trim() => {
            for name in names(root)? {
                let module = format!("{name}.rust.wasm");
                if compiler.build(workspace, &format!("w3bstream-example-{name}"))?
                    != fs::read(root.join(FOLDER).join(&module))?
                {
                    bail!("{} now gives another {module} from the same sources", compiler.version);
                }
            }
            println!("artefacts: {} gives the same example applets, byte for byte", compiler.version);
        }
        _ => println!(
            "artefacts: not the compiler of {FOLDER}/BUILT-WITH here, so those in Rust were not built again"
        ),
    }
    let status = Command::new(root.join(SCRIPT)).arg("--check").status();
    match status.with_context(|| format!("starting {SCRIPT}"))?.code() {
        Some(0 | NO_COMPILER) => Ok(()),
        _ => bail!("`{SCRIPT} --check` failed; run `{SCRIPT}` and see what changed"),
    }
}

/// Builds the modules in Rust and records what all were built from.
///
/// # Errors
/// If there is no compiler for WebAssembly, or a build fails.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let compiler = Compiler::find()?.context("no compiler for wasm32-unknown-unknown")?;
    let folder = workspace.workspace_root.join(FOLDER);
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).with_context(|| format!("writing {FOLDER}/{name}"))
    };
    for name in names(&workspace.workspace_root)? {
        let module = compiler.build(workspace, &format!("w3bstream-example-{name}"))?;
        write(&format!("{name}.rust.wasm"), &module)?;
        println!("artefacts: {name}.rust.wasm, {} bytes, with {}", module.len(), compiler.version);
    }
    write("BUILT-WITH", format!("{}\n", compiler.version).as_bytes())?;
    write("SHA256SUMS", sums(workspace)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_there_in_every_language_and_belongs_to_its_sources() {
        let workspace = Workspace::here().unwrap();
        let folder = workspace.workspace_root.join(FOLDER);
        let recorded = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let differing = differing(&recorded, &sums(&workspace).unwrap());
        assert!(differing.is_empty(), "run `{SCRIPT}` and `cargo xtask artefacts --build`: {differing:?}");
        let names = names(&workspace.workspace_root).unwrap();
        assert!(names.len() >= 6, "{names:?}");
        for name in names {
            for language in ["rust", "c", "assemblyscript"] {
                assert!(recorded.contains(&format!("  {name}.{language}.wasm\n")), "{name} in {language}");
            }
        }
    }
}
