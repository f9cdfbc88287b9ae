//! Numbers about guests, as metrics: what they submit, how they fail, what their limits take away.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use w3bstream_engine::{Cut, EngineStats};
use w3bstream_types::{
    AppletName, Canonical as _, HandlerResult, MAX_APPLETS, Output, OutputKind, ProjectName, ResultRecord,
};

/// How often an applet's calls failed, by reason, and what its limits took away.
#[derive(Debug, Default)]
struct OfApplet {
    errors: BTreeMap<String, u64>,
    log_lines: u64,
    events: u64,
}

/// How a project's guests failed since the node started, and what limits took away from them, by applet. As many applets are
/// told apart as a manifest can have; what later versions name beside them is counted together, under no name, so that
/// nobody can grow the table.
#[derive(Debug, Default)]
pub(crate) struct GuestCounts(Mutex<BTreeMap<String, OfApplet>>);

impl GuestCounts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, OfApplet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, applet: &AppletName, change: impl FnOnce(&mut OfApplet)) {
        let mut all = self.lock();
        let known = all.len() < MAX_APPLETS || all.contains_key(applet.as_str());
        let name = if known { applet.as_str() } else { "" };
        change(all.entry(name.to_owned()).or_default());
    }

    /// Counts the calls that did not return. Their reasons are the codes of `GuestError`, which are few.
    pub(crate) fn failed(&self, results: &[HandlerResult]) {
        for result in results {
            if let Some(why) = &result.error {
                self.change(&result.applet, |of| *of.errors.entry(why.clone()).or_default() += 1);
            }
        }
    }

    /// Counts what a call's limits took away without ending it.
    pub(crate) fn cut(&self, applet: &AppletName, cut: &Cut) {
        self.change(applet, |of| {
            of.log_lines += cut.log_lines;
            of.events += cut.events;
        });
    }
}

/// How guests failed and what limits took away, in the Prometheus text format.
pub(crate) fn write_guest_counts(out: &mut String, projects: &[(ProjectName, &GuestCounts)]) {
    let head = |out: &mut String, name: &str, help: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
    };
    let name = "w3b_handler_errors_total";
    head(out, name, "Handler calls that did not return, by applet and reason.");
    for (project, counts) in projects {
        for (applet, of) in counts.lock().iter() {
            for (error, n) in &of.errors {
                let labels = format!("project=\"{project}\",applet=\"{applet}\",error=\"{error}\"");
                let _ = writeln!(out, "{name}{{{labels}}} {n}");
            }
        }
    }
    let mut row = |name: &str, help: &str, get: fn(&OfApplet) -> u64| {
        head(out, name, help);
        for (project, counts) in projects {
            let counts = counts.lock();
            for (applet, n) in counts.iter().map(|(applet, of)| (applet, get(of))).filter(|(_, n)| *n > 0) {
                let _ = writeln!(out, "{name}{{project=\"{project}\",applet=\"{applet}\"}} {n}");
            }
        }
    };
    let name = "w3b_log_lines_cut_total";
    row(name, "Lines of applets that the log limit cut short or left away.", |of| of.log_lines);
    row("w3b_events_refused_total", "Events of applets that were one too many.", |of| of.events);
}

/// The engine's numbers, in the Prometheus text format.
pub(crate) fn write_engine_stats(out: &mut String, stats: EngineStats) {
    for (name, kind, help, n) in [
        ("w3b_engine_instances", "gauge", "Calls that have an instance now.", stats.running),
        ("w3b_engine_waits_total", "counter", "Calls that waited for an instance.", stats.waited),
    ] {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {n}");
    }
}

/// The most metrics of one project's guests, and the longest name of one.
const MAX_GUEST_METRICS: usize = 200;
const MAX_GUEST_METRIC_NAME: usize = 64;

/// Numbers that a project's guests submitted with `ws_submit_metrics`, by applet and name: the last of each.
#[derive(Debug, Default)]
pub(crate) struct GuestMetrics(Mutex<Submitted>);

#[derive(Debug, Default)]
struct Submitted {
    last: BTreeMap<(AppletName, String), f64>,
    dropped: u64,
}

impl GuestMetrics {
    /// Takes the metrics among a message's outputs: of each object its members that are numbers or truth values. What is
    /// beyond the limits is counted and not kept, so that a guest cannot fill the node's metrics.
    pub(crate) fn take(&self, outputs: &[Output]) {
        if outputs.iter().all(|output| output.kind != OutputKind::Metric) {
            return;
        }
        let mut applet = None;
        for output in outputs {
            match output.kind {
                // A call's result stands before what the call put out.
                OutputKind::Result => {
                    applet = ResultRecord::from_canonical(&output.data).ok().map(|r| r.applet)
                }
                OutputKind::Metric => {
                    if let Some(applet) = &applet {
                        self.set(applet, &output.data);
                    }
                }
                _ => {}
            }
        }
    }

    fn set(&self, applet: &AppletName, json: &[u8]) {
        let Ok(object) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json) else {
            return;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in object {
            let known = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            let fits = known && !name.is_empty() && name.len() <= MAX_GUEST_METRIC_NAME;
            let number = value.as_f64().or_else(|| value.as_bool().map(f64::from));
            let key = (applet.clone(), name);
            match number
                .filter(|_| fits && (all.last.len() < MAX_GUEST_METRICS || all.last.contains_key(&key)))
            {
                Some(number) => drop(all.last.insert(key, number)),
                None => all.dropped += 1,
            }
        }
    }

    fn write(&self, out: &mut String, project: &ProjectName) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((applet, name), value) in &all.last {
            let labels = format!("project=\"{project}\",applet=\"{applet}\",name=\"{name}\"");
            let _ = writeln!(out, "w3b_guest_metric{{{labels}}} {value}");
        }
    }

    fn dropped(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}

/// What guests submitted, in the Prometheus text format.
pub(crate) fn write_guest_metrics(out: &mut String, projects: &[(ProjectName, &GuestMetrics)]) {
    let _ = writeln!(
        out,
        "# HELP w3b_guest_metric What an applet submitted last.\n# TYPE w3b_guest_metric gauge"
    );
    projects.iter().for_each(|(name, metrics)| metrics.write(out, name));
    let name = "w3b_guest_metrics_dropped_total";
    let _ = writeln!(
        out,
        "# HELP {name} Metrics of applets over the limits, or no numbers.\n# TYPE {name} counter"
    );
    for (project, metrics) in projects {
        let _ = writeln!(out, "{name}{{project=\"{project}\"}} {}", metrics.dropped());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_fill_the_metrics() {
        let metrics = GuestMetrics::default();
        let applet: AppletName = "a".parse().unwrap();
        metrics.set(
            &applet,
            br#"{"door_open": true, "t.max": 21.5, "text": "x", "a b": 1, "": 2, "deep": {"x": 1}}"#,
        );
        let shown = |metrics: &GuestMetrics| {
            let mut out = String::new();
            write_guest_metrics(&mut out, &[("p".parse().unwrap(), metrics)]);
            out
        };
        let out = shown(&metrics);
        assert!(out.contains("w3b_guest_metric{project=\"p\",applet=\"a\",name=\"door_open\"} 1\n"), "{out}");
        assert!(out.contains("w3b_guest_metric{project=\"p\",applet=\"a\",name=\"t.max\"} 21.5\n"), "{out}");
        assert!(out.contains("w3b_guest_metrics_dropped_total{project=\"p\"} 4\n"), "{out}");
        for n in 0..300 {
            metrics.set(&applet, format!("{{\"n{n}\": 1, \"{}\": 1}}", "x".repeat(65)).as_bytes());
        }
        metrics.set(&applet, br#"{"t.max": 7}"#);
        let out = shown(&metrics);
        assert_eq!(out.matches("w3b_guest_metric{").count(), MAX_GUEST_METRICS);
        assert!(out.contains("name=\"t.max\"} 7\n"), "a known one goes on: {out}");
        assert!(out.contains(&format!("}} {}\n", 4 + 300 + 300 - (MAX_GUEST_METRICS - 2))), "{out}");
    }

    #[test]
    fn versions_of_a_project_cannot_fill_the_counts() {
        let counts = GuestCounts::default();
        let result = |applet: AppletName| HandlerResult {
            applet,
            handler: "h".into(),
            code: -1,
            error: Some("trap".into()),
            gas: 1,
            event: None,
            answer: None,
        };
        for n in 0..MAX_APPLETS + 50 {
            counts.failed(&[result(format!("a-{n}").parse().unwrap())]);
        }
        counts.failed(&[result("a-7".parse().unwrap())]);
        counts.cut(&"a-9".parse().unwrap(), &Cut { log_lines: 3, events: 0 });
        let mut out = String::new();
        write_guest_counts(&mut out, &[("p".parse().unwrap(), &counts)]);
        let row = |labels: &str, n: u64| {
            assert!(out.contains(&format!("{{project=\"p\",applet={labels}}} {n}\n")), "{labels}: {out}");
        };
        row("\"a-7\",error=\"trap\"", 2);
        row("\"\",error=\"trap\"", 50);
        row("\"a-9\"", 3);
        assert_eq!(out.matches("w3b_handler_errors_total{").count(), MAX_APPLETS + 1);
        assert!(!out.contains("w3b_events_refused_total{"), "what is zero is left away: {out}");
    }
}
