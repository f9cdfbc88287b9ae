//! Which package may depend on which: the order of the house.
//!
//! ```text
//! types ◀── wire, tasks, limits, tls, sqlite
//!   ▲  ▲________________________________
//!   │                                   │
//! rooms ◀── implementations ◀── node ◀── w3bstream ◀── bins
//!   ▲                             │
//!   └──────── pipeline ◀──────────┘
//! ```

use crate::workspace::Package;

/// The rooms. Each depends on the vocabulary alone, and never on another.
pub(crate) const ROOMS: [&str; 9] = [
    "w3bstream-journal",
    "w3bstream-endpoint",
    "w3bstream-wallet",
    "w3bstream-storage",
    "w3bstream-vfs",
    "w3bstream-engine",
    "w3bstream-consensus",
    "w3bstream-chain",
    "w3bstream-prover",
];

const TYPES: &str = "w3bstream-types";

/// What an implementation may use beside its room.
const TOOLS: [&str; 6] =
    [TYPES, "w3bstream-wire", "w3bstream-tasks", "w3bstream-limits", "w3bstream-tls", "w3bstream-sqlite"];

/// The implementations, with their room.
const IMPLEMENTATIONS: [(&str, &str); 17] = [
    ("w3bstream-journal-sqlite", "w3bstream-journal"),
    ("w3bstream-endpoint-brokers", "w3bstream-endpoint"),
    ("w3bstream-endpoint-http", "w3bstream-endpoint"),
    ("w3bstream-endpoint-mqtt", "w3bstream-endpoint"),
    ("w3bstream-endpoint-grpc", "w3bstream-endpoint"),
    ("w3bstream-endpoint-coap", "w3bstream-endpoint"),
    ("w3bstream-endpoint-legacy", "w3bstream-endpoint"),
    ("w3bstream-wallet-file", "w3bstream-wallet"),
    ("w3bstream-storage-sqlite", "w3bstream-storage"),
    ("w3bstream-vfs-local", "w3bstream-vfs"),
    ("w3bstream-engine-wasmer", "w3bstream-engine"),
    ("w3bstream-engine-wasix", "w3bstream-engine"),
    ("w3bstream-engine-wasmtime", "w3bstream-engine"),
    ("w3bstream-engine-worker", "w3bstream-engine"),
    ("w3bstream-chain-evm", "w3bstream-chain"),
    ("w3bstream-chain-dev", "w3bstream-chain"),
    ("w3bstream-prover-groth16", "w3bstream-prover"),
];

/// Edges of test code beyond those of the package itself.
const FOR_TESTS: [(&str, &str); 9] = [
    // It runs WASI programs beside applets, so it is tested around an engine for those.
    ("w3bstream-engine-wasix", "w3bstream-engine-wasmer"),
    // Engines must agree with each other.
    ("w3bstream-engine-wasmtime", "w3bstream-engine-wasmer"),
    // Its workers run an engine, and WASI programs beside it, as a node's do.
    ("w3bstream-engine-worker", "w3bstream-engine-wasmer"),
    ("w3bstream-engine-worker", "w3bstream-engine-wasix"),
    // Settlements need a chain that executes contracts.
    ("w3bstream-pipeline", "w3bstream-chain-dev"),
    // What was settled is verified as a reader would.
    ("w3bstream-pipeline", "w3bstream-verify"),
    // The campaign on a real node settles outputs through the Executor.
    ("w3bstream-chain-evm", "w3bstream-contracts"),
    // The contracts run on a chain, and encoding them knows none.
    ("w3bstream-contracts", "w3bstream-chain"),
    ("w3bstream-contracts", "w3bstream-chain-dev"),
];

/// Whether `from` may depend on `to`; `None` if `from` stands in no row.
fn allowed(from: &str, to: &str) -> Option<bool> {
    if ROOMS.contains(&from) {
        return Some(to == TYPES);
    }
    if let Some((_, room)) = IMPLEMENTATIONS.iter().find(|(name, _)| *name == from) {
        return Some(to == *room || TOOLS.contains(&to));
    }
    let implementation = IMPLEMENTATIONS.iter().any(|(name, _)| *name == to);
    match from {
        // The vocabulary and the guest's side know nobody.
        TYPES | "w3bstream-sdk-macros" | "xtask" => Some(false),
        // The attribute that it re-exports.
        "w3bstream-sdk" => Some(to == "w3bstream-sdk-macros"),
        "w3bstream-wire"
        | "w3bstream-tasks"
        | "w3bstream-limits"
        | "w3bstream-tls"
        | "w3bstream-sqlite"
        | "w3bstream-contracts" => Some(to == TYPES),
        "w3bstream-verify" => {
            Some([TYPES, "w3bstream-chain", "w3bstream-contracts", "w3bstream-prover"].contains(&to))
        }
        "w3bstream-pipeline" => {
            Some([TYPES, "w3bstream-tasks", "w3bstream-contracts"].contains(&to) || ROOMS.contains(&to))
        }
        "w3bstream-node" => Some(
            TOOLS.contains(&to)
                || ROOMS.contains(&to)
                || implementation
                || ["w3bstream-pipeline", "w3bstream-contracts", "w3bstream-verify"].contains(&to),
        ),
        "w3bstream" => Some(to == "w3bstream-node" || allowed("w3bstream-node", to) == Some(true)),
        "w3bstream-bin" => Some(to == "w3bstream-node"),
        "w3bstream-example-cold-chain"
        | "w3bstream-example-log"
        | "w3bstream-example-counter"
        | "w3bstream-example-sql"
        | "w3bstream-example-word-count"
        | "w3bstream-example-geofence"
        | "w3bstream-example-anomaly" => Some(to == "w3bstream-sdk"),
        // A backend of one's own needs its room alone; its `main` needs the facade.
        "w3bstream-example-custom-storage" => Some([TYPES, "w3bstream-storage", "w3bstream"].contains(&to)),
        // Its functions reach into every parser; nothing depends on it.
        "w3bstream-tests" | "w3bstream-benches" | "w3bstream-fuzzing" => Some(to != "xtask"),
        _ => None,
    }
}

/// Compares all edges between packages of the workspace with the table.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let from = package.name.as_str();
        if allowed(from, TYPES).is_none() {
            findings.push(format!(
                "{from}: stands in no row of xtask/src/tidy/edges.rs; add it with the edges it may have"
            ));
            continue;
        }
        for kind in [None, Some("build"), Some("dev")] {
            let wrong = package.edges(kind).filter(|to| {
                let for_tests = kind == Some("dev") && FOR_TESTS.contains(&(from, *to));
                // A package may name itself, to switch on its own features in tests.
                allowed(from, to) != Some(true) && !for_tests && *to != from
            });
            findings.extend(wrong.map(|to| {
                let kind = kind.unwrap_or("normal");
                format!("{from} → {to} ({kind}): not an edge of this house; invert it with a trait, or decide it in docs/adr/ and xtask/src/tidy/edges.rs")
            }));
        }
    }
    let gone =
        IMPLEMENTATIONS.iter().map(|i| i.0).chain(ROOMS).filter(|n| packages.iter().all(|p| p.name != *n));
    findings.extend(
        gone.map(|name| format!("{name}: stands in xtask/src/tidy/edges.rs but not in the workspace")),
    );
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, edges: &[(&str, Option<&str>)]) -> Package {
        let dependencies: Vec<_> = edges
            .iter()
            .map(|(name, kind)| serde_json::json!({"name": name, "kind": kind, "path": "/somewhere"}))
            .collect();
        serde_json::from_value(
            serde_json::json!({"name": name, "manifest_path": "/m/Cargo.toml", "dependencies": dependencies}),
        )
        .unwrap()
    }

    fn edge(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        let all = check(&[package(from, &[(to, kind)])]);
        all.into_iter().filter(|f| !f.contains("not in the workspace")).collect()
    }

    #[test]
    fn walls_stand() {
        for (from, to) in [
            ("w3bstream-storage", "w3bstream-vfs"),
            ("w3bstream-storage", "w3bstream-tasks"),
            ("w3bstream-pipeline", "w3bstream-storage-sqlite"),
            ("w3bstream-storage-sqlite", "w3bstream-vfs"),
            ("w3bstream-storage-sqlite", "w3bstream-journal-sqlite"),
            ("w3bstream-types", "w3bstream-tasks"),
            ("w3bstream-sdk", "w3bstream-types"),
            ("w3bstream-node", "w3bstream"),
            ("w3bstream-bin", "w3bstream-storage"),
        ] {
            for kind in [None, Some("build"), Some("dev")] {
                assert_eq!(edge(from, to, kind).len(), 1, "{from} to {to} as {kind:?}");
            }
        }
    }

    #[test]
    fn doors_are_open() {
        for (from, to) in [
            ("w3bstream-storage", "w3bstream-types"),
            ("w3bstream-storage-sqlite", "w3bstream-sqlite"),
            ("w3bstream-pipeline", "w3bstream-engine"),
            ("w3bstream-node", "w3bstream-engine-wasmer"),
            ("w3bstream", "w3bstream-node"),
        ] {
            assert_eq!(edge(from, to, None), Vec::<String>::new(), "{from} to {to}");
        }
    }

    #[test]
    fn an_unknown_package_and_a_lost_one_are_found() {
        assert!(
            check(&[package("w3bstream-kitchen", &[])])[0].contains("w3bstream-kitchen: stands in no row")
        );
        assert_eq!(check(&[]).len(), ROOMS.len() + IMPLEMENTATIONS.len());
    }
}
