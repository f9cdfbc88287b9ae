//! The rules of this repository that no compiler checks. Every finding says what to do.

mod budget;
mod edges;
mod manifests;
mod text;

pub(crate) use edges::ROOMS;

use anyhow::bail;

use crate::workspace::Workspace;

/// Checks everything and reports all findings at once.
///
/// # Errors
/// If there is a finding, or the workspace cannot be read.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let findings = findings(workspace)?;
    if findings.is_empty() {
        println!("tidy: {} packages, nothing found", workspace.packages.len());
        return Ok(());
    }
    bail!("tidy found {}:\n{}", findings.len(), findings.join("\n"))
}

fn findings(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut findings = edges::check(&workspace.packages);
    findings.extend(manifests::check(workspace)?);
    findings.extend(budget::check(workspace)?);
    findings.extend(text::check(workspace)?);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let findings = findings(&Workspace::here().unwrap()).unwrap();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
