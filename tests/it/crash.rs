//! Kills the node at every hand-over, under load, and reconciles every acknowledgement.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use w3bstream_node::{Admin, Http};
use w3bstream_pipeline::POINTS;
use w3bstream_types::{MessageId, ProjectId};

use crate::support::{Device, Home, Process, settled};

/// Acknowledgements that must be reconciled for each point.
fn wanted() -> usize {
    #[allow(clippy::disallowed_methods, reason = "the nightly campaign asks for more")]
    std::env::var("W3B_CRASH_ACKS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// One campaign: a node, two devices, and everything that they were told.
struct Campaign {
    home: Home,
    project: ProjectId,
    mqtt: Device,
    http: Device,
    client: Http,
}

impl Campaign {
    fn acked(&self) -> usize {
        self.mqtt.acked.len() + self.http.acked.len()
    }

    /// Sends windows over both protocols. Errors of the connection are what a crash looks like to a device.
    async fn round(&mut self, process: &Process) -> anyhow::Result<()> {
        let mqtt = process.running.mqtt.clone().context("no broker")?;
        let (a, b) = tokio::join!(
            self.mqtt.over_mqtt(&mqtt, self.project),
            self.http.over_http(&self.client, &process.running.http, self.project)
        );
        for result in [a, b] {
            if let Err(e) = result
                && e.to_string().contains("a good message was refused")
            {
                return Err(e);
            }
        }
        Ok(())
    }

    /// Runs the node until it has killed itself at `point`, then again until enough is acknowledged.
    async fn crash_at(&mut self, point: &str, after: u64) -> anyhow::Result<()> {
        let mark = self.home.dir.path().join(format!("mark-{point}"));
        let env = [
            (w3bstream_tests::POINT, point.to_owned()),
            (w3bstream_tests::AFTER, after.to_string()),
            (w3bstream_tests::MARK, mark.display().to_string()),
        ];
        let before = self.acked();
        let mut process = self.home.start(&env).await?;
        let until = Instant::now() + Duration::from_secs(60);
        while process.is_running() {
            if Instant::now() > until {
                bail!("{point} was not reached {after} times\n{}", self.home.log());
            }
            self.round(&process).await?;
        }
        let status = process.ended().await?;
        if status.signal() != Some(9) || !mark.exists() {
            bail!("the node did not end at {point} but with {status}\n{}", self.home.log());
        }
        let process = self.home.start(&[]).await?;
        let until = Instant::now() + Duration::from_secs(120);
        while self.acked() - before < wanted() {
            if Instant::now() > until {
                bail!("after {point} the node takes no messages\n{}", self.home.log());
            }
            self.round(&process).await?;
        }
        settled(&process.admin).await?;
        self.reconcile(&process.admin, point).await?;
        process.terminate().await?;
        Ok(())
    }

    /// Every acknowledged message is attested, and the applet has counted each message once.
    async fn reconcile(&self, admin: &Admin, point: &str) -> anyhow::Result<()> {
        for device in [&self.mqtt, &self.http] {
            let distinct: HashSet<&MessageId> = device.acked.iter().collect();
            assert_eq!(distinct.len(), device.acked.len(), "a message was acknowledged under two ids");
            for id in &device.acked {
                let life = admin.get(&format!("/v1/messages/{id}")).await;
                let life = life.with_context(|| format!("{point}: acknowledged and lost: {id}"))?;
                let states: Vec<&str> = states(&life);
                let expected = ["stored", "ordered", "executed", "attested"];
                assert_eq!(states, expected, "{point}: {id} of {}", device.name);
            }
            let counted = count(admin, device.name).await?;
            // Messages that were stored but whose acknowledgement the crash took are counted too; they are
            // among those that the device still holds.
            let (acked, most) = (device.acked.len() as u64, device.acked.len() as u64 + 16);
            assert!((acked..=most).contains(&counted), "{point}: {acked} acknowledged, {counted} counted");
        }
        Ok(())
    }
}

fn states(life: &serde_json::Value) -> Vec<&str> {
    life["states"].as_array().into_iter().flatten().filter_map(|s| s["state"].as_str()).collect()
}

/// How many readings of a device the applet has counted, over all days.
async fn count(admin: &Admin, device: &str) -> anyhow::Result<u64> {
    let mut total = 0;
    // 2010-01-01 and the days after it: a device sends one reading an hour.
    for day in 0..3650_i64 {
        let date = civil(day);
        let path = format!("/v1/projects/cold-chain/state/cold-chain/d%2F{device}%2F{date}");
        let Ok(bytes) = admin.get_bytes(&path).await else { break };
        let record: serde_json::Value = serde_json::from_slice(&bytes)?;
        total += record["n"].as_u64().with_context(|| format!("no count in {record}"))?;
    }
    Ok(total)
}

/// The date `days` after 2010-01-01 (Hinnant's days-from-civil, the other way round).
fn civil(days: i64) -> String {
    let z = days + 14_610 + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[test]
fn dates_follow_each_other() {
    assert_eq!(civil(0), "2010-01-01");
    assert_eq!(civil(58), "2010-02-28");
    assert_eq!(civil(59), "2010-03-01");
    assert_eq!(civil(365 * 2 + 59), "2012-02-29");
}

#[test]
fn no_acknowledged_message_is_lost_or_executed_twice_at_any_crash_point() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let fired = runtime.block_on(campaign()).unwrap();
    assert_eq!(fired, POINTS, "every point must have fired");
    assert!(fired.len() >= 13);
}

async fn campaign() -> anyhow::Result<Vec<&'static str>> {
    let home = Home::new()?;
    let process = home.start(&[]).await?;
    let project = home.deploy(&process.admin).await?;
    let (mqtt, http) = (Device::new("truck-mqtt")?, Device::new("truck-http")?);
    home.register(&process.admin, &mqtt.key).await?;
    home.register(&process.admin, &http.key).await?;
    process.terminate().await?;
    let mut campaign = Campaign { home, project, mqtt, http, client: Http::default() };
    let mut fired = Vec::new();
    for (i, point) in POINTS.into_iter().enumerate() {
        // Never the first pass, and not the same one everywhere.
        campaign.crash_at(point, 2 + i as u64 % 3).await.with_context(|| format!("at {point}"))?;
        fired.push(point);
    }
    Ok(fired)
}
