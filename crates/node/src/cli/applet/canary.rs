//! `applet canary`: a module beside an applet's own.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::Value;
use w3bstream_types::{AppletName, ProjectName};

use super::replay::difference_lines;
use crate::cli::{Where, print, print_value};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start one, from the next block on. It runs until it is stopped, or the node ends.
    Start {
        #[command(flatten)]
        of: Of,
        /// The module.
        #[arg(long)]
        wasm: PathBuf,
    },
    /// How the project's canaries stand: what differs, and what was dropped.
    Status {
        #[command(flatten)]
        of: Of,
    },
    /// End one, and show how it stood.
    Stop {
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Of {
    #[command(flatten)]
    at: Where,
    /// The project.
    #[arg(long)]
    project: ProjectName,
    /// The applet; needed if the project has several.
    #[arg(long)]
    applet: Option<AppletName>,
}

pub(super) async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    let (Command::Start { of, .. } | Command::Status { of } | Command::Stop { of }) = &command;
    let (admin, path) = (of.at.admin()?, format!("/v1/projects/{}/canaries", of.project));
    let shown = match &command {
        Command::Start { wasm, .. } => {
            let module = std::fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
            let query = of.applet.as_ref().map(|a| format!("?applet={a}")).unwrap_or_default();
            admin.post(&format!("{path}{query}"), module).await?
        }
        Command::Stop { .. } => {
            let applet = which(&admin.get(&path).await?["canaries"], of.applet.as_ref())?;
            admin.post(&format!("{path}/{applet}/stop"), Vec::new()).await?
        }
        Command::Status { .. } => {
            let mut all = admin.get(&path).await?["canaries"].clone();
            if let (Some(all), Some(applet)) = (all.as_array_mut(), &of.applet) {
                all.retain(|c| c["applet"] == applet.as_str());
            }
            all
        }
    };
    if json {
        print_value(&shown);
        return Ok(());
    }
    match shown.as_array() {
        Some(all) if all.is_empty() => print("No canary since the node started."),
        Some(all) => all.iter().for_each(show),
        None => show(&shown),
    }
    Ok(())
}

/// The applet whose canary is meant.
fn which(all: &Value, named: Option<&AppletName>) -> anyhow::Result<String> {
    if let Some(name) = named {
        return Ok(name.to_string());
    }
    let running = all.as_array().into_iter().flatten().filter(|c| c["ended"].is_null());
    let names: Vec<&str> = running.filter_map(|c| c["applet"].as_str()).collect();
    match names[..] {
        [] => bail!("no canary runs"),
        [only] => Ok(only.to_owned()),
        _ => bail!("name the applet whose canary is to end: {}", names.join(", ")),
    }
}

fn show(canary: &Value) {
    let text = |name: &str| canary[name].as_str().unwrap_or("-").to_owned();
    print(format!("{}.{}  {}", text("project"), text("applet"), text("program")));
    match canary["ended"].as_str() {
        Some(why) => print(format!("  ended     {why}")),
        None => print("  runs"),
    }
    print(format!("  blocks    above {}, last {}", canary["since"], canary["height"]));
    print(format!(
        "  calls     {} compared, {} dropped, {} wait",
        canary["calls"], canary["dropped"], canary["waiting"]
    ));
    print(format!("  gas       {} in the applet, {} in the canary", canary["gas_old"], canary["gas_new"]));
    let differences = canary["differences"].as_object().into_iter().flatten();
    let differences: Vec<String> = differences.map(|(field, n)| format!("{n} in {field}")).collect();
    let none = differences.is_empty();
    print(format!("  differ    {}", if none { "none".to_owned() } else { differences.join(", ") }));
    for difference in canary["first"].as_array().into_iter().flatten() {
        print("  a difference");
        difference_lines(difference).for_each(|line| print(format!("  {line}")));
    }
}
