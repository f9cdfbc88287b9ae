//! `transaction list|show`.

use clap::Subcommand as ClapSubcommand;
use serde_json::Value;
use w3bstream_types::ProjectName;

use super::{Where, print, print_value};

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Transactions that are under way, or with --ended the ones that came to an end.
    List {
        #[command(flatten)]
        at: Where,
        /// The project.
        #[arg(long)]
        project: ProjectName,
        /// Those that came to an end.
        #[arg(long)]
        ended: bool,
    },
    /// What became of one, by the id that the guest got.
    Show {
        #[command(flatten)]
        at: Where,
        /// The project.
        #[arg(long)]
        project: ProjectName,
        /// The id: 64 hex digits, with or without 0x.
        id: String,
    },
}

pub(crate) async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List { at, project, ended } => {
            let path = format!("/v1/projects/{project}/transactions?ended={ended}");
            let found = at.admin()?.get(&path).await?;
            if json {
                print_value(&found);
                return Ok(());
            }
            let rows = found["transactions"].as_array().map(Vec::as_slice).unwrap_or_default();
            if rows.is_empty() {
                print(if ended { "None has come to an end." } else { "None is under way." });
            }
            rows.iter().for_each(|t| print(line(t)));
        }
        Command::Show { at, project, id } => {
            let found = at.admin()?.get(&format!("/v1/projects/{project}/transactions/{id}")).await?;
            if json { print_value(&found) } else { print(line(&found)) }
        }
    }
    Ok(())
}

fn line(t: &Value) -> String {
    let text = |name: &str| t[name].as_str().unwrap_or("").to_owned();
    let why = if text("error").is_empty() { text("reason") } else { text("error") };
    format!(
        "{}  {:9}  chain {}  {}  {}  {why}",
        text("id"),
        text("state"),
        t["chain"],
        text("to"),
        t["transaction"].as_str().unwrap_or("not sent yet")
    )
}
