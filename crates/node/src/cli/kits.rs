//! What `project new` writes: a project in one of four languages that builds, has a test that passes, and needs no checkout of
//! this repository, since the guest kit of this version is put beside it. `project check` is here too.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde_json::json;
use w3bstream_types::{Algorithm, Did, ProjectName};
use w3bstream_wallet_file::DeviceKey;

use super::{print, print_value};
use crate::{EngineSettings, ManifestFile, Registry};

/// An applet's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust, with cargo and the target wasm32-unknown-unknown.
    Rust,
    /// AssemblyScript, with npm.
    Assemblyscript,
    /// C, with a clang that knows WebAssembly, such as the one of the PyPI package ziglang.
    C,
    /// Go from 1.24 on, or TinyGo.
    Go,
}

/// The text of a file of this repository, by its path from the folder `crates`.
macro_rules! kit {
    ($path:literal) => {
        include_str!(concat!("../../../", $path))
    };
}

/// Files of `crates/sdk/src`, by their path from there.
macro_rules! sdk {
    ($($path:literal),+ $(,)?) => { &[$((concat!("w3bstream-sdk/src/", $path), include_str!(concat!("../../../sdk/src/", $path)))),+] };
}

type Files = &'static [(&'static str, &'static str)];

/// The crate of the SDK's attribute, by its path from there.
const MACROS: Files = &[
    ("w3bstream-sdk-macros/Cargo.toml", include_str!("template/rust/macros.toml.txt")),
    ("w3bstream-sdk-macros/src/lib.rs", include_str!("../../../sdk-macros/src/lib.rs")),
    ("w3bstream-sdk-macros/src/signature.rs", include_str!("../../../sdk-macros/src/signature.rs")),
];

const SDK: Files = sdk![
    "api.rs",
    "bump.rs",
    "contract.rs",
    "env.rs",
    "error.rs",
    "event.rs",
    "events.rs",
    "json.rs",
    "json/reader.rs",
    "json/writer.rs",
    "kv.rs",
    "lib.rs",
    "log.rs",
    "macros.rs",
    "metrics.rs",
    "mock.rs",
    "mqtt.rs",
    "poseidon.rs",
    "poseidon/constants.rs",
    "poseidon/field.rs",
    "resource.rs",
    "settle.rs",
    "sql.rs",
    "wasm.rs",
];

/// How the kit is included in the examples in AssemblyScript.
const EXAMPLE_KIT: &str = "../../../sdk/assemblyscript/w3bstream";

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Assemblyscript => "assemblyscript",
            Self::C => "c",
            Self::Go => "go",
        }
    }

    /// The module, from the project's folder.
    pub(crate) fn module(self, name: &str) -> String {
        match self {
            Self::Rust => "target/wasm32-unknown-unknown/release/applet.wasm".into(),
            _ => format!("build/{name}.wasm"),
        }
    }

    fn build(self) -> &'static str {
        match self {
            Self::Rust => "cargo build --release --target wasm32-unknown-unknown",
            Self::Assemblyscript => "npm install && npm run build",
            Self::C | Self::Go => "make",
        }
    }

    fn test(self) -> &'static str {
        match self {
            Self::Rust => "cargo test",
            Self::Assemblyscript => "npm test",
            Self::C | Self::Go => "make test",
        }
    }

    /// What the README says of the compiler and the kit.
    fn about(self) -> &'static str {
        match self {
            Self::Rust => {
                "Once: `rustup target add wasm32-unknown-unknown`. `w3bstream-sdk/` is the guest SDK; `cargo doc --open` shows it."
            }
            Self::Assemblyscript => {
                "`assembly/w3bstream.ts` is the guest kit, `tests/host.mjs` a host in memory for tests."
            }
            Self::C => {
                "`w3bstream.h` is the guest kit, `w3bstream_mock.h` a host in memory for tests. The compiler: `pip install ziglang`, or \
                 clang and lld (see the Makefile)."
            }
            Self::Go => {
                "`w3bstream/` is the guest kit; it has a host in memory for tests. Go from 1.24 on; `make tiny` builds with TinyGo."
            }
        }
    }

    fn files(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Rust => {
                let mut files = vec![
                    ("Cargo.toml", include_str!("template/rust/Cargo.toml.txt")),
                    (".cargo/config.toml", include_str!("template/rust/config.toml.txt")),
                    ("w3bstream-sdk/Cargo.toml", include_str!("template/rust/sdk.toml.txt")),
                    ("src/lib.rs", kit!("../examples/applets/counter/rust/src/lib.rs")),
                ];
                files.extend(SDK);
                files.extend(MACROS);
                files
            }
            Self::Assemblyscript => vec![
                ("package.json", include_str!("template/assemblyscript/package.json.txt")),
                ("assembly/tsconfig.json", include_str!("template/assemblyscript/tsconfig.json.txt")),
                ("assembly/index.ts", kit!("../examples/applets/counter/applet.ts")),
                ("assembly/w3bstream.ts", kit!("../sdk/assemblyscript/w3bstream.ts")),
                ("tests/count.test.mjs", include_str!("template/assemblyscript/test.mjs.txt")),
                ("tests/host.mjs", kit!("../sdk/assemblyscript/host.mjs")),
            ],
            Self::C => vec![
                ("Makefile", include_str!("template/c/Makefile.txt")),
                ("src/applet.c", kit!("../examples/applets/counter/applet.c")),
                ("w3bstream.h", kit!("../sdk/c/w3bstream.h")),
                ("w3bstream_mock.h", kit!("../sdk/c/w3bstream_mock.h")),
                ("tests/test.c", include_str!("template/c/test.c.txt")),
            ],
            Self::Go => vec![
                ("Makefile", include_str!("template/go/Makefile.txt")),
                ("go.mod", include_str!("template/go/go.mod.txt")),
                ("main.go", include_str!("template/go/main.go.txt")),
                ("main_test.go", include_str!("template/go/main_test.go.txt")),
                ("w3bstream/w3bstream.go", kit!("../sdk/go/w3bstream.go")),
                ("w3bstream/host_wasm.go", kit!("../sdk/go/host_wasm.go")),
                ("w3bstream/host_native.go", kit!("../sdk/go/host_native.go")),
            ],
        }
    }

    /// All files of a project, with their texts.
    fn project(self, name: &ProjectName) -> Vec<(&'static str, String)> {
        let fill = |text: &str| {
            text.replace("{name}", name.as_str())
                .replace("{lang}", self.name())
                .replace("{module}", &self.module(name.as_str()))
                .replace("{build}", self.build())
                .replace("{test}", self.test())
                .replace("{kit}", self.about())
                .replace("{version}", env!("CARGO_PKG_VERSION"))
        };
        let mut files = vec![
            ("w3bstream.toml", fill(include_str!("template/w3bstream.toml.txt"))),
            ("README.md", fill(include_str!("template/README.md.txt"))),
            (".gitignore", "/build\n/target\nnode_modules\n".to_owned()),
        ];
        for (path, text) in self.files() {
            // Sources are code, in which braces mean what they mean there; templates have names to fill in.
            let template = ["Makefile", "package.json", "Cargo.toml"].iter().any(|end| path.ends_with(end))
                || path.ends_with(".test.mjs");
            files.push((path, if template { fill(text) } else { text.replace(EXAMPLE_KIT, "./w3bstream") }));
        }
        files
    }
}

/// Writes a project into a new folder of its name.
///
/// # Errors
/// If there is such a folder, or it cannot be written.
pub(crate) fn new(name: &ProjectName, language: Language, json: bool) -> anyhow::Result<()> {
    let dir = Path::new(name.as_str());
    if dir.exists() {
        bail!("{} exists already", dir.display());
    }
    let mut paths = Vec::new();
    for (path, text) in language.project(name) {
        let at = dir.join(path);
        if let Some(folder) = at.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(&at, text).with_context(|| format!("cannot write {}", at.display()))?;
        paths.push(path);
    }
    if json {
        print_value(&json!({
            "project": name, "language": language.name(), "files": paths, "build": language.build(), "test": language.test(),
        }));
        return Ok(());
    }
    print(format!("Made {name}/: an applet in {}, with its guest kit and a test. Next:", language.name()));
    print(format!("  cd {name}\n  {}\n  {}\n  w3bstream project dev", language.build(), language.test()));
    Ok(())
}

/// Checks a manifest and its modules without a node.
///
/// # Errors
/// Everything that is wrong with the modules, or the first thing that is wrong with the manifest.
pub(crate) fn check(registry: &Registry, path: &Path, json: bool) -> anyhow::Result<()> {
    // Whose project it will be does not matter for what is checked.
    let owner: Did = DeviceKey::generate(Algorithm::EdDSA)?.did();
    let loaded = ManifestFile::load(path, &owner)?;
    let engine = registry.engine(&EngineSettings::default())?;
    let (mut wrong, mut applets) = (Vec::new(), Vec::new());
    for applet in &loaded.manifest.applets {
        let bytes = loaded.modules.get(&applet.program).map(Vec::as_slice).unwrap_or_default();
        let module = match engine.load(bytes) {
            Ok(module) => module,
            Err(e) => {
                wrong.push(format!("applet {}: {e}", applet.name));
                continue;
            }
        };
        let mut handlers = module.handlers();
        // What gives memory to the host has the form of a handler.
        handlers.retain(|name| name != "alloc" && name != "malloc");
        for route in applet.routes.iter().filter(|r| !handlers.contains(&r.handler)) {
            let known = handlers.join(", ");
            wrong.push(format!(
                "applet {}: its module has no handler {:?} for events of type {}; it exports: {known}",
                applet.name, route.handler, route.event_type
            ));
        }
        applets.push(json!({
            "applet": applet.name, "program": applet.program, "bytes": bytes.len(), "handlers": handlers,
        }));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    if json {
        print_value(&json!({ "project": loaded.manifest.name, "applets": applets }));
        return Ok(());
    }
    for applet in &applets {
        let handlers: Vec<&str> =
            applet["handlers"].as_array().into_iter().flatten().filter_map(|h| h.as_str()).collect();
        let name = applet["applet"].as_str().unwrap_or("");
        print(format!("applet {name}: {} bytes, handlers {}", applet["bytes"], handlers.join(", ")));
    }
    print(format!("{}: good to deploy", loaded.manifest.name));
    Ok(())
}

/// How a project's folder is built, by what is in it.
pub(crate) fn builder(dir: &Path) -> Option<&'static str> {
    let has = |file: &str| dir.join(file).is_file();
    if has("Makefile") {
        return Some("make");
    }
    if has("package.json") {
        return Some(match dir.join("node_modules").is_dir() {
            true => "npm run --silent build",
            false => "npm install --no-audit --no-fund && npm run --silent build",
        });
    }
    has("Cargo.toml").then_some("cargo build --release --target wasm32-unknown-unknown")
}

/// The folder of a project, given itself or its manifest.
pub(crate) fn folder(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Language; 4] = [Language::Rust, Language::Assemblyscript, Language::C, Language::Go];

    /// All files below a folder, relative to it.
    fn below(dir: &Path, from: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(below(&path, from));
            } else {
                found.push(path.strip_prefix(from).unwrap().to_str().unwrap().to_owned());
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_whole_sdk_is_put_into_a_project() {
        let src = Path::new("../sdk/src");
        let mut wanted = below(src, src);
        wanted.retain(|path| !path.ends_with("tests.rs"));
        let written: Vec<_> =
            SDK.iter().map(|(path, _)| path.strip_prefix("w3bstream-sdk/src/").unwrap()).collect();
        assert_eq!(written, wanted);
    }

    #[test]
    fn manifests_of_new_projects_name_what_is_built_and_nothing_is_left_to_fill_in() {
        let name: ProjectName = "my-doors".parse().unwrap();
        for language in ALL {
            let files = language.project(&name);
            let manifest =
                files.iter().find(|(path, _)| *path == "w3bstream.toml").map(|(_, text)| text).unwrap();
            let read = ManifestFile::parse(manifest, "w3bstream.toml").unwrap();
            assert_eq!(read.applets[0].module, Path::new(&language.module("my-doors")));
            // The SDK and its attribute have braces of their own.
            let ours = |path: &str| path.starts_with("w3bstream-sdk") && path.ends_with(".rs");
            for (path, text) in files.iter().filter(|(path, _)| !ours(path)) {
                for left in
                    ["{name}", "{lang}", "{module}", "{build}", "{test}", "{kit}", "{version}", EXAMPLE_KIT]
                {
                    assert!(!text.contains(left), "{path} of {language:?} has {left}");
                }
            }
            assert!(files.len() > 6, "{language:?}");
        }
    }

    #[test]
    fn the_pinned_compiler_of_assemblyscript_is_that_of_the_examples() {
        let pinned: serde_json::Value =
            serde_json::from_str(kit!("../sdk/assemblyscript/package.json")).unwrap();
        let template = include_str!("template/assemblyscript/package.json.txt");
        let written: serde_json::Value = serde_json::from_str(&template.replace("{name}", "x")).unwrap();
        assert_eq!(written["devDependencies"], pinned["devDependencies"]);
    }

    #[test]
    fn a_folder_is_built_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(builder(dir.path()), None);
        for (file, command) in
            [("Cargo.toml", "cargo build"), ("package.json", "npm install"), ("Makefile", "make")]
        {
            std::fs::write(dir.path().join(file), "").unwrap();
            assert!(builder(dir.path()).unwrap().starts_with(command), "{file}");
        }
        assert_eq!(folder(Path::new("w3bstream.toml")), Path::new("."));
        assert_eq!(folder(&dir.path().join("w3bstream.toml")), dir.path());
    }
}
