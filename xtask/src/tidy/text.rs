//! What can be seen in the text of the files.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::edges::ROOMS;
use crate::workspace::{Package, Workspace, files};

/// Longer files are rarely one thing.
const MOST_LINES: usize = 700;

/// A file may be longer if one of its first ten lines has this, followed by the reason.
const LONG_FILE: &str = "tidy: long because ";

/// Queues without a bound, by the names that the usual crates give them. Split, so that this file has none.
const ENDLESS: [&str; 4] = [
    concat!("unbounded", "_channel"),
    concat!("unbounded", "("),
    concat!("Unbounded", "Sender"),
    concat!("Unbounded", "Receiver"),
];

/// A line that may name something without bounds has this, followed by the reason.
const NO_BOUND: &str = "tidy: unbounded because ";

/// Words that speak of unfinished work or of one machine. Split, so that this file has none of them.
const BANNED: [(&str, &str); 5] = [
    (concat!("TO", "DO"), "finish it, or write down what is missing in the documentation"),
    (concat!("FIX", "ME"), "repair it, or write down what is wrong in the documentation"),
    (concat!("/wo", "rk/"), "name the path relative to the repository"),
    (concat!("/ro", "ot/"), "name the path relative to the repository"),
    (
        concat!("env!(\"CARGO_MANIFEST", "_DIR\")"),
        "use a path relative to the package: clones that share a target folder share what was compiled in",
    ),
];

/// What makes a test in a source file.
const TEST_MARKS: [&str; 4] = ["#[test]", "#[tokio::test", "proptest!", "conformance_tests!"];

/// Checks all files.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in files(&workspace.workspace_root)? {
        if path.extension().is_some_and(|e| e == "lock") {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        let rust = path.extension().is_some_and(|e| e == "rs");
        let shown = workspace.show(&path).to_string();
        findings.extend(banned(text).into_iter().map(|f| format!("{shown}:{f}")));
        if rust {
            findings.extend(too_long(text).map(|f| format!("{shown}: {f}")));
            findings.extend(endless(text).into_iter().map(|f| format!("{shown}:{f}")));
        }
    }
    for package in &workspace.packages {
        let shown = workspace.show(package.dir()).to_string();
        findings.extend(of_package(package)?.into_iter().map(|f| format!("{shown}: {f}")));
    }
    Ok(findings)
}

fn banned(text: &str) -> Vec<String> {
    let lines = (1..).zip(text.lines());
    let hit = |(number, line): (usize, &str)| {
        let (word, advice) = BANNED.iter().find(|(word, _)| line.contains(word))?;
        Some(format!("{number}: has {word}; {advice}"))
    };
    lines.filter_map(hit).collect()
}

fn too_long(text: &str) -> Option<String> {
    let count = text.lines().count();
    let excused = text.lines().take(10).any(|l| l.contains(LONG_FILE) || l.contains("@generated"));
    (count > MOST_LINES && !excused).then(|| {
        format!("{count} lines, more than {MOST_LINES}; split it, or say `// {LONG_FILE}…` at its top")
    })
}

fn endless(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        if ENDLESS.iter().any(|mark| code.contains(mark)) && !line.contains(NO_BOUND) {
            findings.push(format!(
                "{number}: a queue without a bound grows until the node dies; give it a bound"
            ));
        }
    }
    findings
}

fn of_package(package: &Package) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut tested = false;
    let mut roots = 0;
    for path in files(package.dir())? {
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        tested |= has_test(&text);
        if is_root(package, &path) {
            roots += 1;
            if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!(") {
                let root = path.strip_prefix(package.dir()).unwrap_or(&path).display();
                findings.push(format!("{root} must open with `//!` and what the crate is for"));
            }
            if ROOMS.contains(&package.name.as_str()) && !text.contains("pub mod conformance;") {
                findings.push("a room has `pub mod conformance;`, the kit for its implementations".into());
            }
        }
    }
    if roots == 0 {
        findings.push("has no src/lib.rs and no src/main.rs".into());
    }
    if !tested {
        findings.push("has no test; add one that can fail".into());
    }
    Ok(findings)
}

fn is_root(package: &Package, path: &Path) -> bool {
    ["src/lib.rs", "src/main.rs"].iter().any(|root| package.dir().join(root) == path)
}

fn has_test(text: &str) -> bool {
    let mut open = false;
    for line in text.lines() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        match doc.map(str::trim) {
            // A fence without a language, or with Rust's flags, is run as a test.
            Some(fence) if fence.starts_with("```") && !open => {
                open = true;
                if ["```", "```rust", "```should_panic", "```compile_fail"].contains(&fence) {
                    return true;
                }
            }
            Some("```") => open = false,
            Some(_) => {}
            None if TEST_MARKS
                .iter()
                .any(|mark| line.starts_with(mark) || line.contains(&format!("::{mark}"))) =>
            {
                return true;
            }
            None => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_unfinished_work_are_found_with_their_line() {
        let findings = banned(concat!("fine\n// TO", "DO: later\nalso fine\nsee /wo", "rk/x\n"));
        assert_eq!(findings.len(), 2);
        assert!(findings[0].starts_with("2: has TO"), "{findings:?}");
        assert!(findings[1].starts_with("4: has /wo"), "{findings:?}");
        assert!(banned("todo list, network/works").is_empty());
    }

    #[test]
    fn long_files_need_a_reason() {
        let long = "x\n".repeat(MOST_LINES + 1);
        assert!(too_long(&long).is_some());
        assert!(too_long(&long[2..]).is_none());
        assert!(too_long(&format!("// {LONG_FILE}it is a table\n{long}")).is_none());
    }

    #[test]
    fn queues_without_a_bound_are_found() {
        for name in ENDLESS {
            assert_eq!(endless(&format!("let (a, b) = mpsc::{name});")).len(), 1, "{name}");
            assert!(endless(&format!("// no {name} here")).is_empty());
            assert!(endless(&format!("mpsc::{name}); // {NO_BOUND}it holds one item per topic")).is_empty());
        }
        assert!(endless("let (a, b) = mpsc::channel(8);").is_empty());
    }

    #[test]
    fn tests_and_examples_are_told_from_other_text() {
        assert!(has_test("mod tests {\n    #[test]\n    fn a() {}\n}"));
        assert!(has_test("    #[tokio::test(flavor = \"current_thread\")]"));
        assert!(has_test("//! ```\n//! assert!(true);\n//! ```"));
        assert!(has_test("w3bstream_storage::conformance_tests!(x);"));
        assert!(!has_test("//! ```text\n//! a picture\n//! ```\n//! and prose\nfn f() {}"));
        assert!(!has_test("//! ```ignore\n//! x\n//! ```"));
        assert!(!has_test("// #[test] was here"));
    }
}
