//! A process that is killed in the middle of appends has every record that it acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use w3bstream_storage::conformance::block_on;
use w3bstream_storage::conformance::fixtures::{Message, project};
use w3bstream_storage::{Filter, Item, Storage};
use w3bstream_storage_sqlite::{SqliteConfig, SqliteStorage};
use w3bstream_types::Position;

use crate::Directory;

const PATH: &str = "STORAGE_SQLITE_KILL_TEST";

fn item(writer: u8, sequence: u64) -> Item {
    Message { source: writer, sequence, payload: vec![writer; 300], ..Message::default() }.token().unwrap()
}

/// Not a test of its own: what the test below starts as another process. Appends from four threads and
/// prints each number after its acknowledgement.
#[test]
fn child() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store = SqliteStorage::open(&SqliteConfig::new(path)).unwrap();
    let mut start = 0;
    block_on(async {
        let filter = Filter { project: Some(project(1)), ..Filter::default() };
        while !store.scan(&filter, Position(start), 1).await.unwrap().is_empty() {
            start += 1;
        }
    });
    std::thread::scope(|scope| {
        for writer in 1..=4 {
            let store = &store;
            scope.spawn(move || {
                for sequence in start.. {
                    block_on(store.append(vec![item(writer, sequence)])).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "acknowledged {writer} {sequence}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

#[test]
fn no_acknowledged_record_is_lost_by_a_kill() {
    let place = Directory::new();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(PATH, place.file())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut parse = |line: &str| {
            // The test harness prints on the same line as the first acknowledgement.
            let Some((_, numbers)) = line.split_once("acknowledged ") else { return };
            let (writer, sequence) = numbers.split_once(' ').unwrap();
            acknowledged.push(item(writer.parse().unwrap(), sequence.parse().unwrap()));
        };
        // Wait for some, then kill at a moment that differs each time.
        for line in lines.by_ref().take(20 + 13 * round) {
            parse(&line.unwrap());
        }
        std::thread::sleep(Duration::from_millis(7 * round as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may be cut off; what is cut off was not acknowledged to anybody.
        for line in lines.map_while(Result::ok) {
            if line.starts_with("acknowledged ") {
                parse(&line);
            }
        }
        let store = place.store();
        let ids: Vec<_> = acknowledged.iter().map(|i: &Item| i.record.id()).collect();
        let found = block_on(store.get(&ids)).unwrap();
        let lost =
            found.iter().zip(&acknowledged).filter(|(f, a)| f.as_ref().map(|f| &f.1) != Some(*a)).count();
        assert_eq!(lost, 0, "round {round}: {lost} of {} acknowledged records are lost", ids.len());
        assert_eq!(block_on(store.check()).unwrap(), Vec::<String>::new());
    }
    assert!(acknowledged.len() > 200, "only {} were acknowledged", acknowledged.len());
}
