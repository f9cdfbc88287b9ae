//! The endpoint's own counters, in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::conn::Cut;
use crate::problem::ProblemKind;

/// Every method, by its path; the last place counts all others.
pub(crate) const METHODS: [&str; 9] = [
    "/w3bstream.v1.Ingest/Submit",
    "/w3bstream.v1.Ingest/SubmitMany",
    "/w3bstream.v1.Ingest/SubmitStream",
    "/w3bstream.v1.Messages/Get",
    "/w3bstream.v1.Messages/Watch",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Values that belong to somebody else and are read when metrics are asked for.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) buffered_bytes: usize,
    pub(crate) watchers: usize,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    calls: [AtomicU64; METHODS.len() + 1],
    problems: Vec<(ProblemKind, AtomicU64)>,
    accepted: [AtomicU64; 2],
    pub(crate) connections: AtomicU64,
    pub(crate) full_total: AtomicU64,
    pub(crate) full_address: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    cut: [AtomicU64; Cut::ALL.len()],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            calls: Default::default(),
            problems: ProblemKind::all().map(|kind| (kind, AtomicU64::new(0))).collect(),
            accepted: Default::default(),
            connections: AtomicU64::new(0),
            full_total: AtomicU64::new(0),
            full_address: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            cut: Default::default(),
        }
    }

    /// Counts a call of the method at `path`.
    pub(crate) fn called(&self, path: &str) {
        let place = METHODS.iter().position(|m| *m == path).unwrap_or(METHODS.len());
        if let Some(count) = self.calls.get(place) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn problem(&self, kind: ProblemKind) {
        if let Some((_, count)) = self.problems.iter().find(|(k, _)| *k == kind) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn accepted(&self, duplicate: bool) {
        let [new, again] = &self.accepted;
        if duplicate { again } else { new }.fetch_add(1, Relaxed);
    }

    pub(crate) fn cut(&self, why: Cut) {
        if let Some(count) = self.cut.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// All values in the text format.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = self.write_calls(&mut out);
        let _ = self.write_connections(gauges, &mut out);
        out
    }

    fn write_calls(&self, out: &mut String) -> std::fmt::Result {
        let name = "w3bstream_grpc_calls_total";
        head(out, name, "counter", "Calls, by method.")?;
        for (method, count) in METHODS.into_iter().chain(["other"]).zip(&self.calls) {
            writeln!(out, "{name}{{method=\"{}\"}} {}", method.trim_start_matches('/'), count.load(Relaxed))?;
        }
        let name = "w3bstream_grpc_problems_total";
        head(out, name, "counter", "Refusals and other problems, by code.")?;
        for (kind, count) in &self.problems {
            writeln!(out, "{name}{{code=\"{}\"}} {}", kind.code(), count.load(Relaxed))?;
        }
        let name = "w3bstream_grpc_accepted_total";
        head(out, name, "counter", "Messages acknowledged.")?;
        for (duplicate, count) in ["false", "true"].iter().zip(&self.accepted) {
            writeln!(out, "{name}{{duplicate=\"{duplicate}\"}} {}", count.load(Relaxed))?;
        }
        Ok(())
    }

    fn write_connections(&self, gauges: &Gauges, out: &mut String) -> std::fmt::Result {
        let now = [
            ("w3bstream_grpc_connections", "Connections now.", gauges.connections),
            ("w3bstream_grpc_in_flight", "Messages that wait for their acknowledgement.", gauges.in_flight),
            ("w3bstream_grpc_buffered_bytes", "Bytes of messages in memory.", gauges.buffered_bytes),
            ("w3bstream_grpc_watchers", "Watchers of messages and of health.", gauges.watchers),
        ];
        for (name, help, value) in now {
            head(out, name, "gauge", help)?;
            writeln!(out, "{name} {value}")?;
        }
        let totals = [
            ("w3bstream_grpc_connections_total", "Connections taken.", &self.connections),
            ("w3bstream_grpc_accept_errors_total", "Failures to take a connection.", &self.accept_errors),
        ];
        for (name, help, count) in totals {
            head(out, name, "counter", help)?;
            writeln!(out, "{name} {}", count.load(Relaxed))?;
        }
        let name = "w3bstream_grpc_connections_refused_total";
        head(out, name, "counter", "Connections beyond a cap, by cap.")?;
        for (cap, count) in [("total", &self.full_total), ("address", &self.full_address)] {
            writeln!(out, "{name}{{cap=\"{cap}\"}} {}", count.load(Relaxed))?;
        }
        let name = "w3bstream_grpc_connections_cut_total";
        head(out, name, "counter", "Connections closed by a deadline, by which.")?;
        for (why, count) in Cut::ALL.into_iter().zip(&self.cut) {
            writeln!(out, "{name}{{deadline=\"{}\"}} {}", why.name(), count.load(Relaxed))?;
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}
