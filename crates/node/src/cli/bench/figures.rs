//! What came of a measurement.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What one connection did.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// Messages sent.
    pub(super) sent: usize,
    /// From each message to its acknowledgement; none where nothing is acknowledged.
    pub(super) latencies: Vec<Duration>,
}

/// What all connections did.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) runs: Vec<Run>,
    /// Seconds of processor time of the generator when it began, if the system tells.
    pub(super) cpu_before: Option<f64>,
}

/// The figures of one side.
#[derive(Debug)]
pub(super) struct Figures {
    /// Messages that count.
    pub(super) messages: u64,
    /// Messages that were sent and did not arrive.
    lost: u64,
    pub(super) per_second: f64,
    /// Half of the messages, 99 of 100, and the slowest; none where nothing is acknowledged.
    latency: Option<[f64; 3]>,
    seconds: f64,
    /// How many processors the generator itself used.
    generator: Option<f64>,
}

impl Measured {
    /// Messages sent after the clock ran.
    pub(super) fn sent(&self) -> u64 {
        self.runs.iter().map(|r| r.sent as u64).sum()
    }

    /// The figures, if what was measured has ended now and not with the last acknowledgement.
    pub(super) fn ended_now(mut self) -> Figures {
        let now = Instant::now();
        self.runs.iter_mut().for_each(|r| r.ended = now);
        self.figures(None)
    }

    /// The figures. `arrived` if that was counted elsewhere than in acknowledgements.
    pub(super) fn figures(self, arrived: Option<u64>) -> Figures {
        let sent = self.sent();
        let begun = self.runs.iter().map(|r| r.begun).min();
        let ended = self.runs.iter().map(|r| r.ended).max();
        let seconds = begun.zip(ended).map_or(0.0, |(b, e)| e.duration_since(b).as_secs_f64());
        let generator = self.cpu_before.zip(cpu_seconds()).map(|(before, now)| (now - before) / seconds);
        let mut latencies: Vec<_> = self.runs.into_iter().flat_map(|r| r.latencies).collect();
        latencies.sort_unstable();
        let at = |q: f64| {
            let place = (latencies.len().saturating_sub(1) as f64 * q) as usize;
            latencies.get(place).map_or(0.0, Duration::as_secs_f64) * 1000.0
        };
        let messages = arrived.unwrap_or(sent);
        Figures {
            messages,
            lost: sent.saturating_sub(messages),
            per_second: messages as f64 / seconds,
            latency: (!latencies.is_empty()).then(|| [at(0.5), at(0.99), at(1.0)]),
            seconds,
            generator,
        }
    }
}

impl Figures {
    pub(super) fn to_json(&self) -> Value {
        let [p50, p99, max] = self.latency.map_or([None; 3], |l| l.map(Some));
        json!({
            "messages": self.messages, "lost": self.lost, "messages_per_second": self.per_second, "p50_ms": p50,
            "p99_ms": p99, "max_ms": max, "seconds": self.seconds, "generator_processors": self.generator,
        })
    }

    /// One line of text; `verb` says what was counted.
    pub(super) fn line(&self, verb: &str) -> String {
        let mut line = format!("{:.0} {verb}/s", self.per_second);
        if let Some([p50, p99, max]) = self.latency {
            line += &format!("   p50 {p50:.1} ms   p99 {p99:.1} ms   max {max:.1} ms");
        }
        line += &format!("   {:.2} s", self.seconds);
        if self.lost > 0 {
            line += &format!("   {} lost", self.lost);
        }
        if let Some(generator) = self.generator {
            line += &format!("   generator {generator:.2} processors");
        }
        line
    }
}

/// Processor time of this process, from Linux' `/proc`; its unit is a hundredth of a second on every architecture that
/// is built for.
pub(super) fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold blanks.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}
