//! `logs`: what the applets of a project log.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use w3bstream_types::{AppletName, ProjectName};

use super::{Where, print, print_value};

/// How often is asked for new lines.
const EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  w3bstream logs --project cold-chain --follow --level 3")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    at: Where,
    /// The project.
    #[arg(long)]
    project: ProjectName,
    /// Only of this applet.
    #[arg(long)]
    applet: Option<AppletName>,
    /// Only what is as important as this: 2 error, 3 warn, 4 info, 5 debug, 6 trace.
    #[arg(long, default_value_t = 6)]
    level: i64,
    /// How many of the last lines.
    #[arg(long, short = 'n', default_value_t = 100)]
    lines: usize,
    /// Go on with new lines until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

impl LogsArgs {
    fn wants(&self, line: &Value) -> bool {
        let applet = self.applet.as_ref().is_none_or(|name| line["applet"] == name.as_str());
        // What a guest gives that is no level counts as info.
        let level = line["level"].as_i64().filter(|l| (2..=6).contains(l)).unwrap_or(4);
        applet && level <= self.level
    }
}

pub(crate) async fn run(args: LogsArgs, json: bool) -> anyhow::Result<()> {
    let path = format!("/v1/projects/{}/logs", args.project);
    let mut seen = Seen::default();
    let admin = args.at.admin()?;
    let all = admin.get(&path).await?;
    let found: Vec<Value> = seen.new_of(&all).into_iter().filter(|l| args.wants(l)).cloned().collect();
    let last = &found[found.len().saturating_sub(args.lines)..];
    if json && !args.follow {
        print_value(&Value::from(last.to_vec()));
        return Ok(());
    }
    last.iter().for_each(|l| show(l, json));
    if !args.follow {
        if last.is_empty() {
            print("No lines. A node keeps those since its start.");
        }
        return Ok(());
    }
    loop {
        tokio::time::sleep(EVERY).await;
        let all = admin.get(&path).await?;
        if let Some(lost) = seen.lost(&all) {
            print(format!("… {lost} lines came too fast to be kept"));
        }
        seen.new_of(&all).into_iter().filter(|l| args.wants(l)).for_each(|l| show(l, json));
    }
}

/// How far was read.
#[derive(Debug, Default)]
pub(super) struct Seen(u64);

impl Seen {
    fn number(line: &Value) -> u64 {
        line["number"].as_u64().unwrap_or(0)
    }

    /// How many lines the node has dropped since.
    fn lost(&self, all: &Value) -> Option<u64> {
        let first = all.as_array()?.first().map(Self::number)?;
        first.checked_sub(self.0 + 1).filter(|lost| *lost > 0)
    }

    /// The lines that were not there before.
    pub(super) fn new_of<'a>(&mut self, all: &'a Value) -> Vec<&'a Value> {
        let lines = all.as_array().map(Vec::as_slice).unwrap_or_default();
        let last = lines.last().map_or(self.0, Self::number);
        // After a restart of the node, its lines count from 1 again.
        let before = if last < self.0 { 0 } else { self.0 };
        self.0 = last;
        lines.iter().filter(|l| Self::number(l) > before).collect()
    }
}

/// Prints a line; as JSON, one object a line.
pub(super) fn show(line: &Value, json: bool) {
    if json {
        print(line);
        return;
    }
    let (name, colour) = match line["level"].as_i64() {
        Some(2) => ("ERROR", "31"),
        Some(3) => ("WARN ", "33"),
        Some(5) => ("DEBUG", "2"),
        Some(6) => ("TRACE", "2"),
        _ => ("INFO ", "32"),
    };
    let name = match std::io::stdout().is_terminal() {
        true => format!("\u{1b}[{colour}m{name}\u{1b}[0m"),
        false => name.to_owned(),
    };
    // What a guest logs must not steer a terminal.
    let text: String = line["text"].as_str().unwrap_or("").chars().map(plain).collect();
    let id: String = line["message"].as_str().unwrap_or("").chars().take(8).collect();
    print(format!("{name} {}  {id}  {text}", line["applet"].as_str().unwrap_or("")));
}

fn plain(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_seen_once_also_after_a_restart() {
        let mut seen = Seen::default();
        let of =
            |range: std::ops::RangeInclusive<u64>| range.map(|n| json!({ "number": n })).collect::<Value>();
        assert_eq!(seen.new_of(&of(1..=3)).len(), 3);
        assert_eq!(seen.new_of(&of(1..=3)).len(), 0);
        assert_eq!((seen.lost(&of(3..=5)), seen.new_of(&of(3..=5)).len()), (None, 2));
        assert_eq!((seen.lost(&of(9..=10)), seen.new_of(&of(9..=10)).len()), (Some(3), 2));
        assert_eq!(seen.new_of(&of(1..=2)).len(), 2);
        assert_eq!(seen.new_of(&json!([])).len(), 0);
    }

    #[test]
    fn a_guest_cannot_steer_a_terminal() {
        assert_eq!("a\u{1b}[2Jb\r\u{9b}c".chars().map(plain).collect::<String>(), "a [2Jb  c");
    }
}
