//! What needs a look inside: a disk that fills up, and the plans of the statements.

use std::path::PathBuf;

use w3bstream_sqlite::rusqlite;
use w3bstream_storage::conformance::block_on;
use w3bstream_storage::conformance::fixtures::{Message, numbered};
use w3bstream_storage::{Appended, ErrorKind, Storage};
use w3bstream_types::{Disposition, Position};

use crate::error::Fail;
use crate::{SqliteConfig, SqliteStorage, schema};

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
