//! How fast records become durable, beside SQLite alone with the same batches, bytes and fsyncs.
//!
//! ```sh
//! cargo run --release -p w3bstream-storage-sqlite --example append -- [FOLDER] [RECORDS]
//! ```
//!
//! Give a folder on the disk that is to be measured: `/tmp` may be in memory.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::path::Path;
use std::time::Instant;

use w3bstream_sqlite::rusqlite::{Connection, params};
use w3bstream_storage::conformance::block_on;
use w3bstream_storage::conformance::fixtures::Message;
use w3bstream_storage::{Item, Storage};
use w3bstream_storage_sqlite::{SqliteConfig, SqliteStorage};
use w3bstream_types::{Canonical, Sequence};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DEVICES: u8 = 100;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".into());
    let records: u64 = arguments.next().map_or(Ok(20_000), |n| n.parse())?;
    let items = make(records)?;
    println!("                 ours                  plain           ours : plain");
    println!(" batch     rows/s  CPU µs/row    rows/s  CPU µs/row    rows/s    CPU");
    for batch in [1, 16, 64, 256, 1024] {
        // A commit takes the same time whatever is in it: fewer rows are enough for small batches.
        let items = &items[..items.len().min(batch * 400)];
        // Alternating, so that a slow moment of the machine hits both.
        let (mut ours, mut plain) = (Cost::WORST, Cost::WORST);
        for _ in 0..3 {
            ours = ours.better(time(&folder, |path| with_storage(path, items, batch))?);
            plain = plain.better(time(&folder, |path| with_rusqlite(path, items, batch))?);
        }
        let row = |cost: Cost| (items.len() as f64 / cost.wall, 1e6 * cost.cpu / items.len() as f64);
        let ((rate, cpu), (plain_rate, plain_cpu)) = (row(ours), row(plain));
        println!(
            "{batch:>6} {rate:>10.0} {cpu:>11.1} {plain_rate:>9.0} {plain_cpu:>11.1} {:>9.2} {:>6.2}",
            rate / plain_rate,
            cpu / plain_cpu
        );
    }
    Ok(())
}

fn make(records: u64) -> Outcome<Vec<Item>> {
    let message = |i: u64| Message {
        source: (i % u64::from(DEVICES)) as u8,
        sequence: i / u64::from(DEVICES),
        payload: vec![b'x'; 256],
        received_at: 1_700_000_000_000 + i,
        ..Message::default()
    };
    Ok((0..records).map(|i| message(i).envelope()).collect::<Result<_, _>>()?)
}

/// Seconds. On a busy machine only those of the CPU can be compared.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Cost {
    const WORST: Self = Self { wall: f64::MAX, cpu: f64::MAX };

    const fn better(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu) }
    }
}

/// What `run` takes, in a folder of its own. It starts and stops the clock where it is meant to.
fn time(folder: &str, run: impl Fn(&Path) -> Outcome<Cost>) -> Outcome<Cost> {
    let dir = tempfile::tempdir_in(folder)?;
    run(&dir.path().join("bench.db"))
}

struct Clock(Instant, f64);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), cpu_seconds())
    }

    fn stop(self) -> Cost {
        Cost { wall: self.0.elapsed().as_secs_f64(), cpu: cpu_seconds() - self.1 }
    }
}

/// Of all threads of this process, those of the system on its behalf included; 0 where that is not known.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn with_storage(path: &Path, items: &[Item], batch: usize) -> Outcome<Cost> {
    let store = SqliteStorage::open(&SqliteConfig::new(path))?;
    let batches: Vec<Vec<Item>> = items.chunks(batch).map(<[Item]>::to_vec).collect();
    let clock = Clock::start();
    for batch in batches {
        block_on(store.append(batch))?;
    }
    Ok(clock.stop())
}

/// What one would write without a node: a table with the unique numbers and the same bytes.
fn with_rusqlite(path: &Path, items: &[Item], batch: usize) -> Outcome<Cost> {
    let mut db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE record (id INTEGER PRIMARY KEY, device TEXT NOT NULL, sequence INTEGER NOT NULL,
             received_at INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (device, sequence))",
    )?;
    let rows: Vec<(String, u64, u64, Vec<u8>)> = items
        .iter()
        .map(|i| {
            let sequence = i.record.sequence().map_or(0, Sequence::as_u64);
            (i.record.source().to_string(), sequence, i.received_at.0, i.record.to_canonical())
        })
        .collect();
    let clock = Clock::start();
    for batch in rows.chunks(batch) {
        let tx = db.transaction()?;
        {
            let mut insert = tx.prepare_cached(
                "INSERT INTO record (device, sequence, received_at, body) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (device, sequence, received_at, body) in batch {
                insert.execute(params![device, sequence.cast_signed(), received_at.cast_signed(), body])?;
            }
        }
        tx.commit()?;
    }
    Ok(clock.stop())
}
