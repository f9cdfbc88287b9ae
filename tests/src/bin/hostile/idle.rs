//! Phase 3: connections that are held and say nothing, twice: what they cost, and that it is given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::mqtt::connect;
use crate::net::{dial, source};
use crate::site::Site;
use crate::{Found, Plan, mib};

/// Connections that are being opened at once.
const AT_ONCE: usize = 250;
/// How much more memory the second round may leave behind, in KiB: what the honest client's messages keep is in it too.
const SLACK_KIB: u64 = 24 << 10;

/// One device that connects and then only is there. Keep alive is ten minutes.
pub(crate) async fn device(site: &Site, n: usize) -> anyhow::Result<TcpStream> {
    let mut stream = dial(site.at("mqtt")?, source(n / 250)).await?;
    stream.write_all(&connect(5, &format!("idle-{n}"))).await?;
    let granted = async {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await?;
        let mut rest = vec![0; usize::from(head[1])];
        stream.read_exact(&mut rest).await?;
        ensure!(head[0] == 0x20 && rest.get(1) == Some(&0), "not granted: {rest:?}");
        Ok(())
    };
    timeout(Duration::from_secs(30), granted).await??;
    Ok(stream)
}

/// As many as that.
pub(crate) async fn devices(site: &Site, count: usize, at_once: usize) -> anyhow::Result<Vec<TcpStream>> {
    let all = (0..count).map(|n| device(site, n));
    let all: Vec<anyhow::Result<TcpStream>> = stream::iter(all).buffer_unordered(at_once).collect().await;
    all.into_iter().collect()
}

/// Memory when it has settled.
async fn settled(site: &Site, plan: &Plan) -> anyhow::Result<u64> {
    sleep(plan.settle).await;
    site.memory()
}

pub(crate) async fn run(site: &Arc<Site>, plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let before = settled(site, plan).await?;
    let mut left = Vec::new();
    for round in 1..=2 {
        let begun = Instant::now();
        let held = devices(site, plan.idle, AT_ONCE).await?;
        let took = begun.elapsed();
        let with = settled(site, plan).await?;
        let from = Instant::now();
        sleep(plan.hold).await;
        found.window = found.window.or(Some((from, Instant::now())));
        let still = held.iter().filter(|s| s.try_read(&mut [0]).is_err()).count();
        let grown = with.saturating_sub(before);
        let each = grown as f64 / held.len() as f64;
        found.aim(
            still == plan.idle && with <= before + plan.idle_kib,
            format!(
                "round {round}: {still} connections in {:.1} s, memory {} → {}, {each:.1} KiB for each",
                took.as_secs_f64(),
                mib(before),
                mib(with)
            ),
        );
        if plan.full {
            found.aim(with <= 200 << 10, format!("the whole node with them: {}", mib(with)));
        }
        drop(held);
        left.push(settled(site, plan).await?);
    }
    if let [first, second] = left.as_slice() {
        let flat = *second <= first + SLACK_KIB;
        found.aim(
            flat,
            format!("memory when they had left: {}, after the second round {}", mib(*first), mib(*second)),
        );
    }
    Ok(found)
}
