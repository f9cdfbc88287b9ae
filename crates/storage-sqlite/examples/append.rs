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
    println!("{:>6}  {:>14}  {:>14}  {:>6}", "batch", "ours, rows/s", "plain, rows/s", "ratio");
    for batch in [1, 16, 64, 256, 1024] {
        // A commit takes the same time whatever is in it: fewer rows are enough for small batches.
        let items = &items[..items.len().min(batch * 400)];
        // Alternating, so that a slow moment of the machine hits both.
        let (mut ours, mut plain) = (f64::MAX, f64::MAX);
        for _ in 0..3 {
            ours = ours.min(time(&folder, |path| with_storage(path, items, batch))?);
            plain = plain.min(time(&folder, |path| with_rusqlite(path, items, batch))?);
        }
        let rate = |seconds: f64| items.len() as f64 / seconds;
        println!("{batch:>6}  {:>14.0}  {:>14.0}  {:>6.2}", rate(ours), rate(plain), plain / ours);
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

/// Seconds that `run` takes, in a folder of its own.
fn time(folder: &str, run: impl Fn(&Path) -> Outcome<f64>) -> Outcome<f64> {
    let dir = tempfile::tempdir_in(folder)?;
    run(&dir.path().join("bench.db"))
}

fn with_storage(path: &Path, items: &[Item], batch: usize) -> Outcome<f64> {
    let store = SqliteStorage::open(&SqliteConfig::new(path))?;
    let batches: Vec<Vec<Item>> = items.chunks(batch).map(<[Item]>::to_vec).collect();
    let start = Instant::now();
    for batch in batches {
        block_on(store.append(batch))?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// What one would write without a node: a table with the unique numbers and the same bytes.
fn with_rusqlite(path: &Path, items: &[Item], batch: usize) -> Outcome<f64> {
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
    let start = Instant::now();
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
    Ok(start.elapsed().as_secs_f64())
}
