//! `applet replay`: what a module would have done with messages that came.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use w3bstream_types::{AppletName, ProjectName};

use crate::cli::{Told, Where, print, print_value};

/// How often the node is asked how far it is.
const EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: Where,
    /// The project.
    #[arg(long)]
    project: ProjectName,
    /// The first height that is compared; 1 if not given. Blocks before it are run too.
    #[arg(long)]
    from: Option<u64>,
    /// The last height; the last applied one if not given.
    #[arg(long)]
    to: Option<u64>,
    /// The other module; without it, blocks are compared with what they gave.
    #[arg(long)]
    wasm: Option<PathBuf>,
    /// The applet that the module is for; needed if the project has several.
    #[arg(long, requires = "wasm")]
    applet: Option<AppletName>,
    /// Let gas differ: nearly every other module uses more or less.
    #[arg(long)]
    ignore_gas: bool,
}

pub(super) async fn run(args: Args, json: bool) -> anyhow::Result<()> {
    let admin = args.at.admin()?;
    let module = match &args.wasm {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => Vec::new(),
    };
    if args.wasm.is_some() && module.is_empty() {
        bail!("the module is empty");
    }
    let mut query = format!("ignore_gas={}", args.ignore_gas);
    for (name, value) in [("from", args.from), ("to", args.to)] {
        query.extend(value.map(|v| format!("&{name}={v}")));
    }
    query.extend(args.applet.map(|applet| format!("&applet={applet}")));
    let path = format!("/v1/projects/{}/replay", args.project);
    let mut status = admin.post(&format!("{path}?{query}"), module).await?;
    while status["state"] == "running" {
        progress(&status, false);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => drop(admin.post(&format!("{path}/stop"), Vec::new()).await?),
        }
        status = admin.get(&path).await?;
    }
    progress(&status, true);
    if json {
        print_value(&status);
    } else {
        show(&status);
    }
    let told = |why: String| Err(Told(why).into());
    match status["state"].as_str().unwrap_or("") {
        "same" => Ok(()),
        "different" if status["difference"]["field"] == "gas" => {
            told("the gas differs; --ignore-gas compares all but that".to_owned())
        }
        "different" => told("the module does not do the same".to_owned()),
        "not-deterministic" => told(format!(
            "a failure of determinism: block {} gives another result than when it was executed, with the same programs. \
             If [guests] of node.toml did not change since, report it, with this block",
            status["difference"]["height"]
        )),
        "stopped" => told(format!("stopped behind block {}", status["height"])),
        _ => told(status["error"].as_str().unwrap_or("the node gave no reason").to_owned()),
    }
}

/// Tells people at a terminal how far it is.
#[allow(clippy::print_stderr, reason = "progress goes to standard error")]
fn progress(status: &Value, end: bool) {
    if std::io::stderr().is_terminal() {
        let end = if end { "\n" } else { "" };
        eprint!("\rblock {} of {}{end}", status["height"], status["to"]);
    }
}

fn show(status: &Value) {
    let difference = &status["difference"];
    print(format!(
        "blocks  {} to {}\ncalls   {}\ngas     {} then, {} now",
        status["from"], status["height"], status["calls"], status["gas_old"], status["gas_new"]
    ));
    if difference.is_null() {
        if status["state"] == "same" {
            print("All gave the same.");
        }
        return;
    }
    print("The first difference:");
    difference_lines(difference).for_each(print);
}

/// A difference, a line for each thing that is known of it.
pub(super) fn difference_lines(difference: &Value) -> impl Iterator<Item = String> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let field = format!("{} {}", text(&difference["field"]), text(&difference["name"]));
    let known = ["height", "message", "applet", "handler"].into_iter();
    let mut lines: Vec<String> = Vec::new();
    let known = known.filter(|name| !difference[*name].is_null());
    lines.extend(known.map(|name| format!("  {name:8} {}", text(&difference[name]))));
    lines.push(format!("  {:8} {}", "field", field.trim_end()));
    lines.push(format!("  {:8} {}", "old", text(&difference["old"])));
    lines.push(format!("  {:8} {}", "new", text(&difference["new"])));
    lines.into_iter()
}
