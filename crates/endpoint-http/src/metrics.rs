//! The endpoint's own counters, in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::conn::Cut;
use crate::problem::ProblemKind;
use crate::routes::ROUTES;

/// Upper bounds of the buckets, in milliseconds.
const BUCKETS_MS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
/// Statuses that are counted one by one; others fall under `other`.
const STATUSES: [u16; 19] =
    [200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504];

/// Values that belong to somebody else and are read when metrics are asked for.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) buffered_bytes: usize,
    pub(crate) batches: usize,
    pub(crate) event_streams: usize,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    // One row per route, the last for what is mounted beside them; in each one counter per status, the last
    // for all others.
    requests: Vec<[AtomicU64; STATUSES.len() + 1]>,
    problems: Vec<(ProblemKind, AtomicU64)>,
    accepted: [AtomicU64; 2],
    event_buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    event_micros: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) full_total: AtomicU64,
    pub(crate) full_address: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) changes_missed: AtomicU64,
    cut: [AtomicU64; Cut::ALL.len()],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: (0..=ROUTES.len()).map(|_| Default::default()).collect(),
            problems: ProblemKind::all().map(|kind| (kind, AtomicU64::new(0))).collect(),
            accepted: Default::default(),
            event_buckets: Default::default(),
            event_micros: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            full_total: AtomicU64::new(0),
            full_address: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            changes_missed: AtomicU64::new(0),
            cut: Default::default(),
        }
    }

    /// Counts an answer of route `route` (an index of [`ROUTES`]; beyond it: mounted beside).
    pub(crate) fn answered(&self, route: usize, status: u16) {
        let status = STATUSES.iter().position(|s| *s == status).unwrap_or(STATUSES.len());
        self.requests[route.min(ROUTES.len())][status].fetch_add(1, Relaxed);
    }

    pub(crate) fn problem(&self, kind: ProblemKind) {
        if let Some((_, count)) = self.problems.iter().find(|(k, _)| *k == kind) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn accepted(&self, duplicate: bool) {
        self.accepted[usize::from(duplicate)].fetch_add(1, Relaxed);
    }

    pub(crate) fn event_took(&self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MS.iter().position(|b| millis < *b).unwrap_or(BUCKETS_MS.len());
        self.event_buckets[bucket].fetch_add(1, Relaxed);
        self.event_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn cut(&self, why: Cut) {
        self.cut[why as usize].fetch_add(1, Relaxed);
    }

    /// Appends all values in the text format to `out`.
    pub(crate) fn write(&self, gauges: &Gauges, out: &mut String) {
        // Writing to a String does not fail.
        let _ = self.write_requests(out);
        let _ = self.write_events(out);
        let _ = self.write_connections(gauges, out);
    }

    fn write_requests(&self, out: &mut String) -> std::fmt::Result {
        head(out, "w3bstream_http_requests_total", "counter", "Requests answered, by route and status.")?;
        let names = ROUTES.iter().map(|r| r.path).chain(["other"]);
        for (name, row) in names.zip(&self.requests) {
            let statuses = STATUSES.iter().map(ToString::to_string).chain(["other".to_owned()]);
            for (status, count) in statuses.zip(row) {
                let count = count.load(Relaxed);
                if count > 0 {
                    writeln!(
                        out,
                        "w3bstream_http_requests_total{{route=\"{name}\",status=\"{status}\"}} {count}"
                    )?;
                }
            }
        }
        head(out, "w3bstream_http_problems_total", "counter", "Refusals and other problems, by code.")?;
        for (kind, count) in &self.problems {
            let (code, count) = (kind.code(), count.load(Relaxed));
            writeln!(out, "w3bstream_http_problems_total{{code=\"{code}\"}} {count}")?;
        }
        Ok(())
    }

    fn write_events(&self, out: &mut String) -> std::fmt::Result {
        head(out, "w3bstream_http_accepted_total", "counter", "Messages acknowledged.")?;
        for (duplicate, count) in ["false", "true"].iter().zip(&self.accepted) {
            let count = count.load(Relaxed);
            writeln!(out, "w3bstream_http_accepted_total{{duplicate=\"{duplicate}\"}} {count}")?;
        }
        let name = "w3bstream_http_event_seconds";
        head(out, name, "histogram", "From a message's head to its answer.")?;
        let mut below = 0;
        for (bound, count) in BUCKETS_MS.iter().zip(&self.event_buckets) {
            below += count.load(Relaxed);
            writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", seconds(*bound * 1000))?;
        }
        below += self.event_buckets[BUCKETS_MS.len()].load(Relaxed);
        writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {below}")?;
        writeln!(out, "{name}_sum {}\n{name}_count {below}", seconds(self.event_micros.load(Relaxed)))
    }

    fn write_connections(&self, gauges: &Gauges, out: &mut String) -> std::fmt::Result {
        let now = [
            ("w3bstream_http_connections", "Connections now.", gauges.connections),
            ("w3bstream_http_in_flight", "Messages that wait for their acknowledgement.", gauges.in_flight),
            ("w3bstream_http_buffered_bytes", "Bytes of bodies in memory.", gauges.buffered_bytes),
            ("w3bstream_http_batches", "Batches that are read now.", gauges.batches),
            ("w3bstream_http_event_streams", "Streams of live changes.", gauges.event_streams),
        ];
        for (name, help, value) in now {
            head(out, name, "gauge", help)?;
            writeln!(out, "{name} {value}")?;
        }
        let totals = [
            ("w3bstream_http_connections_total", "Connections taken.", &self.connections),
            ("w3bstream_http_accept_errors_total", "Failures to take a connection.", &self.accept_errors),
            ("w3bstream_http_handshakes_failed_total", "Handshakes that failed.", &self.handshakes_failed),
            (
                "w3bstream_http_changes_missed_total",
                "Changes not told to slow streams.",
                &self.changes_missed,
            ),
        ];
        for (name, help, count) in totals {
            head(out, name, "counter", help)?;
            writeln!(out, "{name} {}", count.load(Relaxed))?;
        }
        let name = "w3bstream_http_connections_refused_total";
        head(out, name, "counter", "Connections beyond a cap, by cap.")?;
        for (cap, count) in [("total", &self.full_total), ("address", &self.full_address)] {
            writeln!(out, "{name}{{cap=\"{cap}\"}} {}", count.load(Relaxed))?;
        }
        let name = "w3bstream_http_connections_cut_total";
        head(out, name, "counter", "Connections closed by a deadline, by which.")?;
        for why in Cut::ALL {
            writeln!(out, "{name}{{deadline=\"{}\"}} {}", why.name(), self.cut[why as usize].load(Relaxed))?;
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Microseconds as seconds in shortest decimal form.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_seconds_are_exact() {
        let metrics = Metrics::new();
        for millis in [0, 1, 3, 70_000] {
            metrics.event_took(Duration::from_millis(millis));
        }
        let mut out = String::new();
        let gauges = Gauges { connections: 1, in_flight: 2, buffered_bytes: 3, batches: 4, event_streams: 5 };
        metrics.write(&gauges, &mut out);
        for line in [
            "w3bstream_http_event_seconds_bucket{le=\"0.001\"} 1",
            "w3bstream_http_event_seconds_bucket{le=\"0.002\"} 2",
            "w3bstream_http_event_seconds_bucket{le=\"0.005\"} 3",
            "w3bstream_http_event_seconds_bucket{le=\"10\"} 3",
            "w3bstream_http_event_seconds_bucket{le=\"+Inf\"} 4",
            "w3bstream_http_event_seconds_sum 70.004",
            "w3bstream_http_event_seconds_count 4",
            "w3bstream_http_buffered_bytes 3",
            "w3bstream_http_event_streams 5",
        ] {
            assert!(out.lines().any(|l| l == line), "{line} is missing in\n{out}");
        }
    }
}
