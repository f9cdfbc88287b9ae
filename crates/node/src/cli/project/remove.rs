//! `project remove`.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use w3bstream_types::{Control, ProjectName};

use crate::Admin;
use crate::cli::{Where, print, print_value};

/// Between two looks at what is under way.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    at: Where,
    /// The project.
    name: ProjectName,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// How many seconds to wait for what is under way. What is not finished then is named, and goes on without this command.
    #[arg(long, default_value_t = 10)]
    wait: u64,
}

pub(crate) async fn run(args: &RemoveArgs, json: bool) -> anyhow::Result<()> {
    let (admin, name) = (args.at.admin()?, &args.name);
    // Told before anything is asked for.
    let project = admin.get(&format!("/v1/projects/{name}")).await?;
    let before = project["removed"].as_u64();
    let height = match before {
        Some(height) => height,
        None => {
            if !args.yes {
                confirm(name)?;
            }
            admin.change(name, Control::Remove, &args.at.owner()?).await?
        }
    };
    let left = finish(&admin, name, Duration::from_secs(args.wait)).await?;
    if json {
        print_value(
            &json!({ "project": name, "removed": height, "before": before.is_some(), "under_way": left }),
        );
        return Ok(());
    }
    let how = if before.is_some() { "was removed" } else { "is removed" };
    print(format!("{name} {how} since height {height}. Its messages, receipts and state stay to be read."));
    match words(&left) {
        None => print("Nothing is under way any more."),
        Some(left) => {
            print(format!(
                "Under way: {left}. The node goes on with it; look again: w3bstream project remove {name}"
            ));
        }
    }
    Ok(())
}

/// Lets the owner type the name.
fn confirm(name: &ProjectName) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("{name} would be removed for ever, and its name with it; if that is meant: --yes");
    }
    let mut out = std::io::stderr();
    write!(out, "{name} takes no messages any more after this, for ever. Type its name to remove it: ")?;
    out.flush()?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).context("no answer")?;
    if typed.trim() != name.as_str() {
        bail!("that is not {name}: nothing was removed");
    }
    Ok(())
}

/// What is under way, once nothing is or the time is over.
async fn finish(admin: &Admin, name: &ProjectName, patience: Duration) -> anyhow::Result<Value> {
    let until = Instant::now() + patience;
    loop {
        let left = admin.get(&format!("/v1/projects/{name}/under-way")).await?;
        if words(&left).is_none() || Instant::now() >= until {
            return Ok(left);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What is under way; `None` if nothing is.
fn words(left: &Value) -> Option<String> {
    let one = |(name, count): (&String, &Value)| {
        let count = count.as_u64().filter(|count| *count > 0)?;
        Some(format!("{count} {name}"))
    };
    let all: Vec<String> = left.as_object().into_iter().flatten().filter_map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_named_and_nothing_is_nothing() {
        assert_eq!(
            words(&json!({ "messages": 0, "settlements": 2, "blocks": 1 })).unwrap(),
            "1 blocks, 2 settlements"
        );
        assert_eq!(words(&json!({ "messages": 0 })), None);
    }
}
