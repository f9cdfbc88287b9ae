//! `w3bstream.toml`: a project's manifest as people write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use w3bstream_types::{
    AckMode, Applet, AppletName, BlockRules, Did, Digest, GuestLimits, Manifest, ProjectName, Route,
    Settlement,
};

use crate::config::explain;

/// The file's name in a project's folder.
pub(crate) const FILE: &str = "w3bstream.toml";

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestFile {
    /// The project's name: `[a-z0-9-]{1,63}`.
    pub name: ProjectName,
    /// What an acknowledgement promises.
    #[serde(default = "durable")]
    pub ack: AckMode,
    /// The largest payload, in bytes.
    #[serde(default = "max_payload")]
    pub max_payload_bytes: u64,
    /// Whether publishers with a token may send.
    #[serde(default)]
    pub allow_tokens: bool,
    /// When a block is closed.
    #[serde(default)]
    pub blocks: BlockRules,
    /// Settings for the guests.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The applets, in the order in which they run.
    #[serde(default)]
    pub applets: Vec<AppletFile>,
    /// What guests may settle on a chain.
    #[serde(default)]
    pub settlements: Vec<Settlement>,
}

/// One applet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AppletFile {
    /// Its name.
    pub name: AppletName,
    /// Its WebAssembly module, as a path from this file.
    pub module: PathBuf,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Limits of each call.
    #[serde(default)]
    pub limits: GuestLimits,
}

const fn durable() -> AckMode {
    AckMode::Durable
}

const fn max_payload() -> u64 {
    64 * 1024
}

/// A manifest with the modules that it names.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The manifest; its version is set by the caller.
    pub manifest: Manifest,
    /// The modules, by digest.
    pub modules: BTreeMap<Digest, Vec<u8>>,
}

impl ManifestFile {
    /// Reads text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// What is wrong, with the line and the nearest known key.
    pub fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|e| explain(&e, text, name))
    }

    /// Reads a project's folder or its file, and the modules.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn load(path: &Path, owner: &Did) -> anyhow::Result<Loaded> {
        let path = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}; make a project with: w3bstream project new NAME", path.display())
        })?;
        let file = Self::parse(&text, &path.display().to_string())?;
        let base = path.parent().unwrap_or(Path::new("."));
        let read = |applet: &AppletFile| {
            let at = base.join(&applet.module);
            let bytes = std::fs::read(&at);
            bytes.with_context(|| format!("applet {}: cannot read its module {}", applet.name, at.display()))
        };
        let modules = file.applets.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        file.with_modules(owner, modules)
    }

    /// The manifest, with these modules for its applets, in order.
    ///
    /// # Errors
    /// What the manifest's rules do not allow.
    pub fn with_modules(self, owner: &Did, modules: Vec<Vec<u8>>) -> anyhow::Result<Loaded> {
        if modules.len() != self.applets.len() {
            bail!("{} applets, but {} modules", self.applets.len(), modules.len());
        }
        let digests: Vec<Digest> = modules.iter().map(|m| Digest::of(m)).collect();
        let applet = |(a, program): (AppletFile, &Digest)| Applet {
            name: a.name,
            program: *program,
            routes: a.routes,
            limits: a.limits,
        };
        let manifest = Manifest {
            name: self.name,
            owner: owner.clone(),
            version: 1,
            ack: self.ack,
            max_payload_bytes: self.max_payload_bytes,
            allow_tokens: self.allow_tokens,
            blocks: self.blocks,
            env: self.env.into_iter().collect(),
            applets: self.applets.into_iter().zip(&digests).map(applet).collect(),
            settlements: self.settlements,
        };
        manifest.check()?;
        Ok(Loaded { manifest, modules: digests.into_iter().zip(modules).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
        let error = ManifestFile::parse("name = \"p\"\nallow-token = true\n", "w3bstream.toml").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("line 2") && error.contains("did you mean \"allow-tokens\"?"), "{error}");
    }

    #[test]
    fn a_bad_name_is_refused_with_what_it_may_be() {
        let error = ManifestFile::parse("name = \"My Project\"\n", "w3bstream.toml").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("a-z"), "{error}");
    }

    #[test]
    fn the_example_of_the_repository_is_read() {
        let path = Path::new("../../examples/cold-chain");
        let owner: Did = "did:web:example.org".parse().unwrap();
        let loaded = ManifestFile::load(path, &owner).unwrap();
        assert_eq!(loaded.manifest.name.as_str(), "cold-chain");
        assert_eq!(loaded.modules.len(), 1);
    }
}
