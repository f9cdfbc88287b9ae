//! `top`: a live view of a node's projects.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::{Where, print, print_value};

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    at: Where,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    every: f64,
    /// Look twice, print once and end.
    #[arg(long)]
    once: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be seconds, such as 0.5")?;
    if (0.1..=3_600.0).contains(&value) { Ok(value) } else { Err("must be 0.1 to 3600 seconds".into()) }
}

/// Rates between two looks: the column and the counter behind it.
const RATES: [(&str, &str); 4] = [
    ("in/s", "w3b_messages_accepted_total"),
    ("run/s", "w3b_messages_executed_total"),
    ("fail/s", "w3b_handler_failures_total"),
    ("out/s", "w3b_outputs_performed_total"),
];

/// One look at a node.
struct Look {
    at: Instant,
    projects: Vec<Value>,
}

impl Look {
    async fn take(admin: &crate::Admin) -> anyhow::Result<Self> {
        let status = admin.get("/v1/status").await?;
        let projects = status["projects"].as_array().cloned().unwrap_or_default();
        Ok(Self { at: Instant::now(), projects })
    }

    /// What happened since the look before, a line for each project.
    fn since(&self, before: &Self) -> Vec<Value> {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        let old: BTreeMap<&str, &Value> =
            before.projects.iter().filter_map(|p| Some((p["name"].as_str()?, p))).collect();
        let row = |p: &Value| {
            let old = p["name"].as_str().and_then(|name| old.get(name));
            let mut row = json!({
                "project": p["name"], "state": p["state"], "reason": p["reason"], "version": p["version"],
                "height": p["height"], "attested": p["attested"], "devices": p["devices"],
                "waiting": p["counters"]["w3b_backlog_messages"],
            });
            for (column, counter) in RATES {
                let count = |p: &Value| p["counters"][counter].as_u64().unwrap_or(0);
                // A node that was started again counts from 0.
                let more = count(p).saturating_sub(old.map_or(0, |old| count(old)));
                row[column] = json!((more as f64 / seconds * 10.0).round() / 10.0);
            }
            row
        };
        self.projects.iter().map(row).collect()
    }
}

fn table(rows: &[Value]) -> String {
    let mut text = format!(
        "{:20} {:7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}  REASON\n",
        "PROJECT", "STATE", "IN/S", "RUN/S", "FAIL/S", "OUT/S", "WAITING", "HEIGHT", "ATTESTED", "DEVICES"
    );
    for row in rows {
        let word = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        text.push_str(&format!("{:20} {:7}", word("project"), word("state")));
        for (column, _) in RATES {
            text.push_str(&format!(" {:>8}", row[column].to_string()));
        }
        for name in ["waiting", "height", "attested", "devices"] {
            text.push_str(&format!(" {:>8}", row[name].to_string()));
        }
        text.push_str(&format!("  {}\n", word("reason")));
    }
    text
}

pub(crate) async fn run(args: TopArgs, json: bool) -> anyhow::Result<()> {
    let admin = args.at.admin()?;
    let mut before = Look::take(&admin).await?;
    loop {
        tokio::time::sleep(Duration::from_secs_f64(args.every)).await;
        let now = Look::take(&admin).await?;
        let rows = now.since(&before);
        before = now;
        if json {
            print_value(&json!(rows));
        } else {
            // Home, and clear from there: a screen that does not flicker.
            let clear = if std::io::stdout().is_terminal() && !args.once { "\u{1b}[H\u{1b}[J" } else { "" };
            print(format!("{clear}{}", table(&rows)));
        }
        if args.once {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, accepted: u64) -> Look {
        let project = json!({
            "name": "p", "state": "Ready", "reason": "1 of 1 members ready", "height": 7, "attested": 7, "devices": 2,
            "counters": { "w3b_messages_accepted_total": accepted, "w3b_backlog_messages": 3 },
        });
        Look { at, projects: vec![project] }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let start = Instant::now();
        let rows = look(start + Duration::from_secs(2), 130).since(&look(start, 100));
        assert_eq!(
            (&rows[0]["in/s"], &rows[0]["run/s"], &rows[0]["waiting"]),
            (&json!(15.0), &json!(0.0), &json!(3))
        );
        let restarted = look(start + Duration::from_secs(2), 5).since(&look(start, 100));
        assert_eq!(restarted[0]["in/s"], json!(0.0));
        let shown = table(&rows);
        assert!(shown.contains("PROJECT") && shown.contains("15.0") && shown.contains("1 of 1"), "{shown}");
    }

    #[test]
    fn the_pace_has_ends() {
        assert!(
            seconds("0.5").is_ok()
                && seconds("0").is_err()
                && seconds("nan").is_err()
                && seconds("x").is_err()
        );
    }
}
