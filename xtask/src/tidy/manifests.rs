//! Manifests: one place for versions, one set of lints, names that can be guessed.

use std::fs;

use anyhow::Context as _;
use toml::{Table, Value};

use crate::workspace::{Package, Workspace};

/// Checks every package's manifest.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let path = &package.manifest_path;
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let manifest: Table = text.parse().with_context(|| format!("reading {}", path.display()))?;
        findings.extend(
            manifest_findings(&manifest).into_iter().map(|f| format!("{}: {f}", workspace.show(path))),
        );
        findings.extend(name_finding(package).map(|f| format!("{}: {f}", workspace.show(path))));
    }
    Ok(findings)
}

fn name_finding(package: &Package) -> Option<String> {
    let mut parts = package.dir().iter().rev().filter_map(|p| p.to_str());
    let (folder, parent) = (parts.next()?, parts.next()?);
    let wanted = if folder == "w3bstream" { folder.to_owned() } else { format!("w3bstream-{folder}") };
    let wrong = parent == "crates" && package.name != wanted;
    wrong.then(|| format!("crates/{folder} must be the package {wanted}, not {}", package.name))
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|v| v.get("workspace")).and_then(Value::as_bool) == Some(true)
}

fn manifest_findings(manifest: &Table) -> Vec<String> {
    let mut findings = Vec::new();
    if !inherits(manifest.get("lints")) {
        findings.push("add `[lints] workspace = true`".into());
    }
    let package = manifest.get("package");
    for field in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits(package.and_then(|p| p.get(field))) {
            findings.push(format!("{field} must be inherited: `{field}.workspace = true`"));
        }
    }
    if package.and_then(|p| p.get("description")).is_none() {
        findings.push("add a description of one sentence".into());
    }
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let table = manifest.get(kind).and_then(Value::as_table);
        for (name, value) in table.into_iter().flatten() {
            // A package that names itself in tests does so by path.
            if !inherits(Some(value)) && value.get("path").is_none() {
                findings.push(format!(
                    "{name} must be inherited: `{name}.workspace = true`, its version stands in the root"
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\ndescription = \"x\"\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n";

    #[test]
    fn each_rule_notices_its_breach() {
        let findings = |text: &str| manifest_findings(&text.parse().unwrap());
        assert_eq!(findings(GOOD), Vec::<String>::new());
        for (from, to) in [
            ("serde.workspace = true", "serde = \"1\""),
            ("[lints]\nworkspace = true", "[lints]\nworkspace = false"),
            ("version.workspace = true\nedition", "version = \"1.0.0\"\nedition"),
            ("description = \"x\"\n", ""),
        ] {
            assert_eq!(findings(&GOOD.replace(from, to)).len(), 1, "{to}");
        }
    }
}
