//! Runs the commands of the documentation: every block that opens with ```` ```sh ci ````, file by file, in one
//! shell per file that stops at the first failure. `$REPO` is this repository; the working folder is empty.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::workspace::{Workspace, files};

const FENCE: &str = "```sh ci";

/// Runs the named files, relative to the root, or every page that has such a block.
///
/// # Errors
/// If a command fails, or a named file has none.
#[allow(clippy::print_stdout, reason = "a command line reports to people")]
pub(crate) fn run(workspace: &Workspace, names: &[&str]) -> anyhow::Result<()> {
    let root = &workspace.workspace_root;
    let mut paths: Vec<_> = names.iter().map(|name| root.join(name)).collect();
    if names.is_empty() {
        paths = files(root)?;
        paths.retain(|p| p.extension().is_some_and(|e| e == "md"));
    }
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let script = script(&text);
        if script.is_empty() {
            if !names.is_empty() {
                bail!("{} has no block that opens with {FENCE}", workspace.show(&path));
            }
            continue;
        }
        println!("docs: {}", workspace.show(&path));
        run_script(workspace, &path, &script)?;
    }
    Ok(())
}

fn run_script(workspace: &Workspace, path: &Path, script: &str) -> anyhow::Result<()> {
    let name = path.file_stem().context("a file without a name")?;
    let folder = workspace.target_directory.join("docs").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(&folder);
    command.env("REPO", &workspace.workspace_root).env("CARGO_TARGET_DIR", &workspace.target_directory);
    if !command.status().context("starting bash")?.success() {
        bail!("a command of {} failed; it ran in {}", workspace.show(path), folder.display());
    }
    Ok(())
}

/// The marked blocks of a page, one after the other.
fn script(page: &str) -> String {
    let mut script = String::new();
    let mut open = false;
    for line in page.lines() {
        match (open, line.trim_end()) {
            (false, FENCE) => open = true,
            (true, "```") => open = false,
            (true, line) => {
                script.push_str(line);
                script.push('\n');
            }
            (false, _) => {}
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_blocks_are_run() {
        let page = "text\n```sh\nrm -r x\n```\n```sh ci\necho 1\n```\nmore\n```sh ci\necho 2\n```\n```text\nno\n```\n";
        assert_eq!(script(page), "echo 1\necho 2\n");
    }
}
