//! What an embedder takes on with a crate: how many packages, and which never.

use std::collections::BTreeSet;

use super::edges::ROOMS;
use crate::workspace::Workspace;

/// The most packages that a crate may bring with it: what was measured, and a little slack. Raising a number
/// is a decision that an embedder pays for; say in the commit what it buys.
const BUDGETS: [(&str, usize); 15] = [
    // A module is code that every event loads. Its own attribute brings nothing and is in no module.
    ("w3bstream-sdk", 1),
    ("w3bstream-sdk-macros", 0),
    ("w3bstream-types", 58),
    ("w3bstream-journal", 60),
    ("w3bstream-endpoint", 60),
    ("w3bstream-wallet", 60),
    ("w3bstream-storage", 60),
    ("w3bstream-vfs", 86),
    ("w3bstream-engine", 64),
    ("w3bstream-engine-wasmtime", 120),
    ("w3bstream-engine-worker", 72),
    ("w3bstream-consensus", 65),
    ("w3bstream-chain", 62),
    ("w3bstream-prover", 62),
    ("w3bstream-storage-sqlite", 78),
];

const WASM: [&str; 5] = ["wasmer", "wasmer-compiler", "wasmtime", "wasmi", "cranelift-codegen"];
const ASYNC: [&str; 2] = ["tokio", "async-std"];
const NETWORK: [&str; 7] = ["hyper", "axum", "tonic", "rumqttc", "reqwest", "rustls", "libp2p"];
const DATABASE: [&str; 4] = ["rusqlite", "libsqlite3-sys", "sqlx", "tokio-postgres"];
const COMMAND_LINE: [&str; 2] = ["clap", "indicatif"];
/// In no crate at all: TLS that needs a system library, and a second asynchronous runtime.
const NOWHERE: [&str; 4] = ["openssl-sys", "native-tls", "async-std", "sqlx"];

/// The groups that a crate must never bring with it.
fn forbidden(package: &str) -> Vec<&'static str> {
    let groups: &[&[&'static str]] = match package {
        "w3bstream-types"
        | "w3bstream-wire"
        | "w3bstream-sdk"
        | "w3bstream-sdk-macros"
        | "w3bstream-wallet-file" => &[&WASM, &ASYNC, &NETWORK, &DATABASE, &COMMAND_LINE],
        room if ROOMS.contains(&room) => &[&WASM, &ASYNC, &NETWORK, &DATABASE, &COMMAND_LINE],
        "w3bstream-sqlite"
        | "w3bstream-storage-sqlite"
        | "w3bstream-journal-sqlite"
        | "w3bstream-vfs-local" => &[&WASM, &ASYNC, &NETWORK, &COMMAND_LINE],
        "w3bstream-engine-wasmer" | "w3bstream-prover-groth16" => {
            &[&["wasmtime", "wasmi"], &NETWORK, &DATABASE, &COMMAND_LINE]
        }
        "w3bstream-engine-wasmtime" => &[&["wasmer", "wasmi"], &ASYNC, &NETWORK, &DATABASE, &COMMAND_LINE],
        // An engine of the node's choice is in its child, not in it.
        "w3bstream-engine-worker" => &[&WASM, &ASYNC, &NETWORK, &DATABASE, &COMMAND_LINE],
        // A second router would come in unseen: tonic brings axum with its default features.
        "w3bstream-endpoint-grpc" => &[&WASM, &DATABASE, &COMMAND_LINE, &["axum"]],
        // Its sessions survive a restart in a database of their own.
        "w3bstream-endpoint-mqtt" => &[&WASM, &COMMAND_LINE],
        "w3bstream-endpoint-http"
        | "w3bstream-endpoint-brokers"
        | "w3bstream-endpoint-coap"
        | "w3bstream-tls" => &[&WASM, &DATABASE, &COMMAND_LINE],
        "w3bstream-tasks" | "w3bstream-limits" | "w3bstream-pipeline" => {
            &[&WASM, &NETWORK, &DATABASE, &COMMAND_LINE]
        }
        _ => &[],
    };
    groups.iter().flat_map(|g| g.iter().copied()).chain(NOWHERE).collect()
}

/// Checks budgets and forbidden lists of all packages.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        // Tests, benches and this program are taken by nobody.
        if !package.dir().starts_with(workspace.workspace_root.join("crates")) {
            continue;
        }
        let closure = workspace.closure(&package.name)?;
        findings.extend(findings_of(&package.name, &closure));
    }
    Ok(findings)
}

fn findings_of(package: &str, closure: &BTreeSet<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let budget = BUDGETS.iter().find(|(name, _)| *name == package).map(|(_, most)| *most);
    if let Some(most) = budget.filter(|most| closure.len() > *most) {
        let count = closure.len();
        findings.push(format!("{package}: brings {count} packages, more than {most}; `cargo tree -p {package} -e normal` shows them"));
    }
    let forbidden = forbidden(package);
    for found in closure.iter().filter(|c| forbidden.contains(&c.split(' ').next().unwrap_or_default())) {
        findings.push(format!("{package}: must never bring {found}; `cargo tree -p {package} -e normal -i {}` shows why it does", found.replace(' ', "@").replace("@v", "@")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closure(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| format!("{n} v1.0.0")).collect()
    }

    #[test]
    fn an_engine_in_the_storage_is_found() {
        let findings = findings_of("w3bstream-storage-sqlite", &closure(&["rusqlite", "wasmer", "tokio"]));
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[1].contains("must never bring wasmer v1.0.0"), "{findings:?}");
        assert_eq!(findings_of("w3bstream-storage", &closure(&["rusqlite"])).len(), 1);
        assert_eq!(
            findings_of("w3bstream-node", &closure(&["rusqlite", "wasmer", "tokio"])),
            Vec::<String>::new()
        );
        assert_eq!(findings_of("w3bstream-node", &closure(&["openssl-sys"])).len(), 1);
    }

    #[test]
    fn one_package_too_many_is_found() {
        for (package, most) in BUDGETS {
            let names: Vec<_> = (0..=most).map(|i| format!("p{i} v1.0.0")).collect();
            assert_eq!(findings_of(package, &names[1..].iter().cloned().collect()).len(), 0);
            assert_eq!(findings_of(package, &names.iter().cloned().collect()).len(), 1);
        }
    }
}
