//! The WebAssembly modules in `artefacts/`: committed, so that nobody needs a second toolchain to run the
//! node's demonstration, and checked against the sources that they were built from.
//!
//! `SHA256SUMS` lists the module and every source file, so `sha256sum -c SHA256SUMS` in that folder checks it
//! too. `BUILT-WITH` names the compiler; where the same one is found, `--check` builds again and compares.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::workspace::{CARGO, Workspace, files};

const PACKAGE: &str = "w3bstream-example-cold-chain";
const MODULE: &str = "cold-chain.wasm";
const TARGET: &str = "wasm32-unknown-unknown";

/// What a module is built from. Tests and the host in memory are not in it.
const SOURCES: [&str; 7] = [
    ".cargo/config.toml",
    "crates/sdk-macros/Cargo.toml",
    "crates/sdk-macros/src",
    "crates/sdk/Cargo.toml",
    "crates/sdk/src",
    "examples/cold-chain/Cargo.toml",
    "examples/cold-chain/src",
];
const NOT_BUILT: [&str; 1] = ["crates/sdk/src/mock.rs"];

/// Debian's packages `rustc-web`, `cargo-web`, `rust-web-src` and `lld-19`, which need no other registry.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/core";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-19";

/// Compares the committed modules with their sources, and with a new build where the compiler is there.
///
/// # Errors
/// If a digest differs, or the same compiler gives another module.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let folder = workspace.workspace_root.join("artefacts");
    let read = |name: &str| fs::read(folder.join(name)).with_context(|| format!("reading artefacts/{name}"));
    let committed = read(MODULE)?;
    let recorded = String::from_utf8(read("SHA256SUMS")?).context("artefacts/SHA256SUMS is no text")?;
    let differing = differing(&recorded, &sums(workspace, &committed)?);
    if !differing.is_empty() {
        bail!(
            "not what artefacts/SHA256SUMS says: {}; run `cargo xtask artefacts --build` and commit artefacts/",
            differing.join(", ")
        );
    }
    println!("artefacts: {MODULE} and its sources are those of SHA256SUMS");
    let built_with = String::from_utf8(read("BUILT-WITH")?).context("artefacts/BUILT-WITH is no text")?;
    let Some(compiler) = Compiler::find()? else {
        println!("artefacts: no compiler for {TARGET} here, so it was not built again");
        return Ok(());
    };
    let built = compiler.build(workspace, PACKAGE)?;
    if compiler.version != built_with.trim() {
        let (new, old) = (built.len(), committed.len());
        println!(
            "artefacts: {} builds it with {new} bytes, {} built it with {old}",
            compiler.version,
            built_with.trim()
        );
        return Ok(());
    }
    if built != committed {
        bail!(
            "{} now gives another {MODULE} from the same sources; run `cargo xtask artefacts --build`, and see what changed in the profile `applet` or the dependencies",
            compiler.version
        );
    }
    println!("artefacts: {} gives the same {MODULE}, byte for byte", compiler.version);
    Ok(())
}

/// Builds the modules and records what they were built from.
///
/// # Errors
/// If there is no compiler for WebAssembly, or the build fails.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let compiler = Compiler::find()?.with_context(|| {
        format!("no compiler for {TARGET}: run `rustup target add {TARGET}`, or on Debian `apt-get install rustc-web cargo-web rust-web-src rust-web-llvm lld-19`")
    })?;
    let module = compiler.build(workspace, PACKAGE)?;
    let sums = sums(workspace, &module)?;
    let folder = workspace.workspace_root.join("artefacts");
    let version = format!("{}\n", compiler.version);
    for (name, bytes) in
        [(MODULE, &module[..]), ("SHA256SUMS", sums.as_bytes()), ("BUILT-WITH", version.as_bytes())]
    {
        fs::write(folder.join(name), bytes).with_context(|| format!("writing artefacts/{name}"))?;
    }
    println!("artefacts: {MODULE}, {} bytes, with {}", module.len(), compiler.version);
    Ok(())
}

/// The lines of `SHA256SUMS`, in the form of `sha256sum`, with paths relative to `artefacts/`.
fn sums(workspace: &Workspace, module: &[u8]) -> anyhow::Result<String> {
    let mut text = format!("{}  {MODULE}\n", hex::encode(Sha256::digest(module)));
    for path in sources(&workspace.workspace_root)? {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        // Writing to a String never fails.
        let _ = writeln!(text, "{}  ../{}", hex::encode(Sha256::digest(&bytes)), workspace.show(&path));
    }
    Ok(text)
}

fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    files_of(root, &SOURCES)
}

/// The files that a list of files and folders names, without those that no module is built from.
pub(crate) fn files_of(root: &Path, sources: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for source in sources {
        let path = root.join(source);
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.retain(|path| NOT_BUILT.iter().all(|n| *path != root.join(n)));
    Ok(found)
}

/// The paths whose lines differ, are missing, or are there too much.
pub(crate) fn differing(recorded: &str, now: &str) -> Vec<String> {
    let path = |line: &str| line.split("  ").nth(1).unwrap_or(line).to_owned();
    let missing =
        |a: &str, b: &str| a.lines().filter(|l| b.lines().all(|m| m != *l)).map(path).collect::<Vec<_>>();
    let mut paths = missing(recorded, now);
    paths.extend(missing(now, recorded));
    paths.sort();
    paths.dedup();
    paths
}

/// A Rust compiler that can make WebAssembly.
pub(crate) struct Compiler {
    cargo: PathBuf,
    /// Whether it is Debian's, which brings the standard library as source.
    debian: bool,
    pub(crate) version: String,
}

impl Compiler {
    /// Debian's, if it is there, since its version is the same on every machine of a release; else the one in
    /// the path, if it has the target.
    pub(crate) fn find() -> anyhow::Result<Option<Self>> {
        if [DEBIAN_CARGO, DEBIAN_SOURCE, DEBIAN_LINKER].iter().all(|p| Path::new(p).exists()) {
            let version = printed(Command::new("/usr/bin/rustc").arg("--version"))?;
            return Ok(Some(Self {
                cargo: DEBIAN_CARGO.into(),
                debian: true,
                version: format!("{version} (Debian)"),
            }));
        }
        let libraries =
            printed(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
        if !Path::new(&libraries).exists() {
            return Ok(None);
        }
        let version = printed(Command::new("rustc").arg("--version"))?;
        Ok(Some(Self { cargo: CARGO.into(), debian: false, version }))
    }

    /// The module that a package of the workspace is.
    pub(crate) fn build(&self, workspace: &Workspace, package: &str) -> anyhow::Result<Vec<u8>> {
        let target = workspace.target_directory.join("artefacts");
        let mut command = Command::new(&self.cargo);
        command.current_dir(&workspace.workspace_root);
        command.args(["build", "--quiet", "--locked", "--profile", "applet", "--package", package, "--lib"]);
        command.args(["--target", TARGET, "--target-dir"]).arg(&target);
        // Flags of the caller would change the module.
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
        ] {
            command.env_remove(name);
        }
        if self.debian {
            command.args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=optimize_for_size"]);
            command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
        }
        let status = command.status().with_context(|| format!("starting {}", self.cargo.display()))?;
        if !status.success() {
            bail!("{} could not build {package}", self.cargo.display());
        }
        let module = target.join(TARGET).join("applet").join(format!("{}.wasm", package.replace('-', "_")));
        fs::read(&module).with_context(|| format!("reading {}", module.display()))
    }
}

fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("starting {}", command.get_program().display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_modules_belong_to_the_sources() {
        let workspace = Workspace::here().unwrap();
        let folder = workspace.workspace_root.join("artefacts");
        let recorded = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let now = sums(&workspace, &fs::read(folder.join(MODULE)).unwrap()).unwrap();
        let differing = differing(&recorded, &now);
        assert!(differing.is_empty(), "run `cargo xtask artefacts --build`: {differing:?}");
        assert!(recorded.lines().count() > 15 && !recorded.contains("mock.rs"), "{recorded}");
    }

    #[test]
    fn changed_new_and_lost_files_differ() {
        let recorded = "aa  a\nbb  b\ncc  c\n";
        assert_eq!(differing(recorded, recorded), Vec::<String>::new());
        assert_eq!(differing(recorded, "aa  a\nb2  b\ndd  d\n"), ["b", "c", "d"]);
    }
}
