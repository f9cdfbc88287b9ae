//! Phase 4: all devices come back at the same moment; and TLS handshakes as fast as they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::time::sleep;
use tokio_rustls::rustls::HandshakeKind;

use crate::site::Site;
use crate::{Found, Plan, idle, net};

/// All must be back by then.
const AIM: Duration = Duration::from_secs(20);
/// While the processor has more to do than it can, honest traffic may wait so long.
const NO_STALL: Duration = Duration::from_secs(1);
/// Clients that do handshakes.
const HANDSHAKERS: usize = 32;

pub(crate) async fn reconnects(site: &Arc<Site>, plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let held = idle::devices(site, plan.idle, 250).await?;
    sleep(Duration::from_secs(2)).await;
    let from = Instant::now();
    drop(held);
    // All at once: nobody waits for anybody.
    let back = idle::devices(site, plan.idle, plan.idle).await?;
    let took = from.elapsed();
    found.window = Some((from, Instant::now() + Duration::from_secs(1)));
    sleep(Duration::from_secs(1)).await;
    // Everything at once fills both cores for a moment, the generator's half included.
    found.aimed = Some(NO_STALL);
    found.aim(
        took <= AIM && back.len() == plan.idle,
        format!("{} devices dropped and came back in {:.1} s", back.len(), took.as_secs_f64()),
    );
    Ok(found)
}

/// Connects by TLS until the time is over, each time anew; gives how many times, and how often a session was resumed.
async fn count(site: &Site, resumes: bool, time: Duration) -> anyhow::Result<(f64, u64)> {
    let certificate = site.certificate();
    let begun = Instant::now();
    let (done, resumed) = (AtomicU64::new(0), AtomicU64::new(0));
    let one = async |n: usize| {
        let tls = net::tls(&certificate, resumes)?;
        while begun.elapsed() < time {
            let stream = net::dial(site.at("mqtts")?, net::source(n)).await?;
            let stream = net::secure(&tls, stream).await.context("no handshake")?;
            let was_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            let mut line = net::Line::open(Box::new(stream), false).await?;
            // A session's ticket comes behind the handshake, with the first bytes.
            line.send(&crate::mqtt::connect(5, &format!("tls-{n}"))).await?;
            line.read().await.context("no CONNACK")?;
            done.fetch_add(1, Ordering::Relaxed);
            resumed.fetch_add(u64::from(was_resumed), Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    futures_util::future::try_join_all((0..HANDSHAKERS).map(one)).await?;
    let rate = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    Ok((rate, resumed.load(Ordering::Relaxed)))
}

pub(crate) async fn handshakes(site: &Arc<Site>, plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found { aimed: Some(NO_STALL), ..Found::default() };
    for (name, resumes) in [("full", false), ("resumed", true)] {
        let (rate, resumed) = count(site, resumes, plan.handshakes).await?;
        let good = rate >= plan.least_handshakes && (resumed > 0) == resumes;
        found.aim(good, format!("{rate:.0} TLS connections with a granted CONNECT a second, {name} handshakes ({resumed} resumed)"));
    }
    Ok(found)
}
