//! What needs a look inside: a disk that fills up, the plans of the statements, the runs of ids.

use std::path::PathBuf;

use w3bstream_sqlite::rusqlite;
use w3bstream_storage::conformance::block_on;
use w3bstream_storage::conformance::fixtures::{Message, numbered};
use w3bstream_storage::{Appended, ErrorKind, Storage};
use w3bstream_types::{Digest, Disposition, MessageId, Position};

use crate::error::Fail;
use crate::{SqliteConfig, SqliteStorage, ids, schema};

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("storage.db")
}

fn open(dir: &tempfile::TempDir) -> SqliteStorage {
    SqliteStorage::open(&SqliteConfig::new(file(dir))).unwrap()
}

fn limit(store: &SqliteStorage, pages: i64) {
    let set = store.db.write(0, move |tx| Ok::<_, Fail>(tx.pragma_update(None, "max_page_count", pages)?));
    block_on(set).unwrap();
}

/// A disk that is full while the batch is written: nothing is acknowledged, nothing of it is stored, and
/// once there is space the same batch goes through.
#[test]
fn a_full_disk_acknowledges_nothing_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    block_on(store.append((0..4).map(|i| numbered(i).unwrap()).collect())).unwrap();
    let big =
        |i: u64| Message { sequence: i, payload: vec![7; 100_000], ..Message::default() }.envelope().unwrap();
    limit(&store, 1); // SQLite takes the present size.
    let batch: Vec<_> = (10..20).map(big).collect();
    for _ in 0..3 {
        let error = block_on(store.append(batch.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.disposition(), Disposition::Retry);
    }
    assert_eq!(block_on(store.stats()).unwrap().records, 4);
    let known = block_on(store.append(vec![numbered(0).unwrap()])).unwrap();
    assert_eq!(known, [Appended::Duplicate(Position(1))], "what was stored before is still known");
    limit(&store, 1 << 30);
    let answers = block_on(store.append(batch)).unwrap();
    assert!(answers.iter().all(|a| matches!(a, Appended::New(_))), "{answers:?}");
    drop(store);
    let store = open(&dir);
    assert_eq!(block_on(store.stats()).unwrap().records, 14);
    assert_eq!(block_on(store.check()).unwrap(), Vec::<String>::new());
}

/// A page of a project costs the page, not the store.
#[test]
fn scans_use_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(&dir);
    let raw = rusqlite::Connection::open(file(&dir)).unwrap();
    for sql in [schema::SCAN_PROJECT, schema::DELETE_BEFORE] {
        let mut statement = raw.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // Unbound parameters are null; a plan does not depend on them.
        let plan: Vec<String> = statement.raw_query().mapped(|r| r.get(3)).collect::<Result<_, _>>().unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("COVERING INDEX by_project (project=?"), "{sql}\n{plan}");
        assert!(!plan.contains("SCAN message") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

/// Young runs are merged when their group is full, and every id is found in whichever run it is.
#[test]
fn ids_are_found_across_merges() {
    const LAST: i64 = 150_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let id = |n: i64| MessageId(Digest::of(&n.to_be_bytes()));
    let fill = store.db.write(0, move |tx| {
        let mut before = 0;
        for n in 1..=LAST {
            let sql = "INSERT INTO message (id, project, source, event_type, sequence, received_at, trust, seal, body)
                VALUES (?1, 1, 1, 1, ?2, 1, 1, x'', x'')";
            tx.prepare_cached(sql)?.execute((id(n).0.as_bytes(), n))?;
            ids::insert(tx, n, &id(n))?;
            // Batches that end before, at and after the end of a group, and one that spans two.
            if [10, 65_535, 65_536, 140_000, LAST].contains(&n) {
                ids::merge(tx, before, n)?;
                before = n;
            }
        }
        Ok::<_, Fail>(())
    });
    block_on(fill).unwrap();
    let checked = store.db.read(move |tx| {
        for n in (1..=LAST).step_by(1009).chain([65_535, 65_536, 65_537, 131_071, 131_072, LAST]) {
            assert_eq!(ids::find(tx, &id(n), LAST)?, Some(n));
            let sql = "SELECT 1 FROM message_id WHERE run = ?1 AND prefix = ?2 AND position = ?3";
            let there = tx.prepare(sql)?.exists((ids::run_of(n, LAST), ids::prefix(&id(n)), n))?;
            assert!(there, "position {n} is not in run {}", ids::run_of(n, LAST));
        }
        assert_eq!(ids::find(tx, &id(LAST + 1), LAST)?, None);
        let runs: i64 = tx.query_row("SELECT count(DISTINCT run) FROM message_id", [], |r| r.get(0))?;
        assert_eq!(runs, 2 + 5, "two merged groups and what is young");
        let kept: i64 = tx.query_row("SELECT count(*) FROM message_id", [], |r| r.get(0))?;
        assert_eq!(kept, LAST);
        Ok::<_, Fail>(())
    });
    block_on(checked).unwrap();
}

/// Two ids with the same first eight bytes are told apart.
#[test]
fn ids_that_share_their_prefix_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let id = |n: u8| {
        let mut bytes = [7; 32];
        bytes[31] = n;
        MessageId(Digest::from_bytes(bytes))
    };
    let run = store.db.write(0, move |tx| {
        for n in 1..=2 {
            let sql = "INSERT INTO message (id, project, source, event_type, sequence, received_at, trust, seal, body)
                VALUES (?1, 1, 1, 1, ?2, 1, 1, x'', x'')";
            tx.prepare_cached(sql)?.execute((id(n).0.as_bytes(), n))?;
            ids::insert(tx, n.into(), &id(n))?;
        }
        for (n, expected) in [(1, Some(1)), (2, Some(2)), (3, None)] {
            assert_eq!(ids::find(tx, &id(n), 2)?, expected);
        }
        Ok::<_, Fail>(())
    });
    block_on(run).unwrap();
}
