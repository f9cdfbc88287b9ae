//! What the database promises, seen from outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use pollster::block_on;
use w3bstream_sqlite::{Database, Error, ErrorKind, Options, Schema, rusqlite};

const V1: Schema = Schema {
    backend: "test",
    steps: &["CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB NOT NULL UNIQUE) STRICT"],
};

fn open(path: &Path) -> Database {
    Database::open(path, &V1, &Options::default()).unwrap()
}

async fn insert(db: &Database, v: &str) -> Result<i64, Error> {
    let v = v.to_owned();
    db.write(v.len(), move |tx| {
        tx.prepare_cached("INSERT INTO t (v) VALUES (?1)")?.execute([v.as_bytes()])?;
        Ok(tx.last_insert_rowid())
    })
    .await
}

async fn count(db: &Database) -> i64 {
    db.read(|tx| Ok::<_, Error>(tx.query_row("SELECT count(*) FROM t", [], |r| r.get(0))?)).await.unwrap()
}

/// Holds the writer until the guard is dropped, so that jobs pile up into one batch.
struct Hold(Arc<Barrier>, std::thread::JoinHandle<()>);

fn hold(db: &Arc<Database>) -> Hold {
    let (started, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (db, s, r) = (Arc::clone(db), Arc::clone(&started), Arc::clone(&release));
    let thread = std::thread::spawn(move || {
        let job = move |_: &rusqlite::Transaction<'_>| {
            s.wait();
            r.wait();
            Ok::<_, Error>(())
        };
        block_on(db.write(0, job)).unwrap();
    });
    started.wait();
    Hold(release, thread)
}

impl Hold {
    fn release(self) {
        self.0.wait();
        self.1.join().unwrap();
    }
}

#[test]
fn jobs_that_wait_together_share_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(&dir.path().join("a.db")));
    let hold = hold(&db);
    let threads: Vec<_> = (0..20)
        .map(|i| {
            let db = Arc::clone(&db);
            std::thread::spawn(move || block_on(insert(&db, &i.to_string())))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    hold.release();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    let counters = db.counters();
    assert_eq!(counters.jobs, 21);
    assert!(counters.largest_batch >= 15, "{counters:?}");
    assert!(counters.commits <= 6, "{counters:?}");
    assert_eq!(block_on(count(&db)), 20);
}

#[test]
fn a_failing_or_panicking_job_undoes_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(&dir.path().join("a.db")));
    let hold = hold(&db);
    let run = |job: fn(&Database) -> Result<i64, Error>| {
        let db = Arc::clone(&db);
        let thread = std::thread::spawn(move || job(&db));
        std::thread::sleep(Duration::from_millis(30));
        thread
    };
    let before = run(|db| block_on(insert(db, "before")));
    let fails = run(|db| {
        block_on(db.write(1, |tx| {
            tx.execute("INSERT INTO t (v) VALUES (x'01')", [])?;
            Err(Error::new(ErrorKind::Internal, "no"))
        }))
    });
    let panics = run(|db| {
        block_on(db.write(1, |tx| {
            tx.execute("INSERT INTO t (v) VALUES (x'02')", [])?;
            panic!("a bug in a job");
        }))
    });
    let after = run(|db| block_on(insert(db, "after")));
    hold.release();
    before.join().unwrap().unwrap();
    assert_eq!(fails.join().unwrap().unwrap_err().to_string(), "no");
    assert!(panics.join().unwrap().unwrap_err().to_string().contains("panicked"));
    after.join().unwrap().unwrap();
    assert_eq!(block_on(count(&db)), 2, "only before and after");
    assert_eq!(db.counters().failed_jobs, 2);
}

#[test]
fn a_full_disk_fails_the_commit_and_later_writes_work_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = open(&path);
    block_on(insert(&db, "first")).unwrap();
    let limit = |pages: i64| {
        block_on(db.write(0, move |tx| Ok::<_, Error>(tx.pragma_update(None, "max_page_count", pages)?)))
    };
    limit(1).unwrap(); // SQLite takes the present size.
    let big = "x".repeat(1 << 20);
    let error = block_on(insert(&db, &big)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(block_on(count(&db)), 1);
    limit(1 << 30).unwrap();
    block_on(insert(&db, &big)).unwrap();
    block_on(db.close());
    assert_eq!(block_on(count(&open(&path))), 2);
}

/// A commit that fails fails every job of its group, also those that had done their work.
#[test]
fn a_failed_commit_is_everybodys_failure() {
    const SCHEMA: Schema = Schema {
        backend: "test",
        steps: &["CREATE TABLE p (id INTEGER PRIMARY KEY) STRICT;
             CREATE TABLE c (p INTEGER NOT NULL REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED) STRICT"],
    };
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(Database::open(&dir.path().join("a.db"), &SCHEMA, &Options::default()).unwrap());
    let held = hold(&db);
    let run = |sql: &'static str| {
        let db = Arc::clone(&db);
        let job = move |tx: &rusqlite::Transaction<'_>| Ok::<_, Error>(tx.execute(sql, [])?);
        let thread = std::thread::spawn(move || block_on(db.write(1, job)));
        std::thread::sleep(Duration::from_millis(30));
        thread
    };
    let good = run("INSERT INTO p VALUES (1)");
    let broken = run("INSERT INTO c VALUES (99)");
    held.release();
    for thread in [good, broken] {
        let error = thread.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("cannot commit"), "{error}");
    }
    assert_eq!(db.counters().failed_commits, 1);
    run("INSERT INTO p VALUES (1)").join().unwrap().unwrap();
}

#[test]
fn closing_does_what_is_queued_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/a.db");
    let db = Arc::new(open(&path));
    let held = hold(&db);
    let queued = {
        let db = Arc::clone(&db);
        std::thread::spawn(move || block_on(insert(&db, "queued")))
    };
    std::thread::sleep(Duration::from_millis(100));
    let closed = Arc::new(AtomicBool::new(false));
    let closing = {
        let (db, closed) = (Arc::clone(&db), Arc::clone(&closed));
        std::thread::spawn(move || {
            block_on(db.close());
            closed.store(true, Ordering::SeqCst);
        })
    };
    std::thread::sleep(Duration::from_millis(100));
    assert!(!closed.load(Ordering::SeqCst), "close waits for what is under way");
    assert_eq!(block_on(insert(&db, "late")).unwrap_err().kind(), ErrorKind::Closed);
    held.release();
    queued.join().unwrap().unwrap();
    closing.join().unwrap();
    block_on(db.close());
    let read = block_on(db.read(|_| Ok::<_, Error>(())));
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Closed);
    let log = path.with_extension("db-wal");
    assert!(!log.exists() || log.metadata().unwrap().len() == 0, "the log was copied");
    assert_eq!(block_on(count(&open(&path))), 1);
}

#[test]
fn dropping_does_what_is_queued_even_from_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = open(&path);
    block_on(insert(&db, "one")).unwrap();
    drop(db);
    let db = Arc::new(open(&path));
    let (inside, gone) = (Arc::clone(&db), Arc::new(Barrier::new(2)));
    let barrier = Arc::clone(&gone);
    let thread = std::thread::spawn(move || {
        let own = Arc::clone(&db);
        // The job holds the last reference; its thread must not wait for itself.
        block_on(own.write(1, move |tx| {
            barrier.wait();
            let last = inside;
            tx.execute("INSERT INTO t (v) VALUES (x'02')", [])?;
            drop(last);
            Ok::<_, Error>(())
        }))
    });
    gone.wait();
    thread.join().unwrap().unwrap();
    assert_eq!(block_on(count(&open(&path))), 2);
}

#[test]
fn foreign_and_newer_files_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    drop(open(&path));
    let refused = |path: &Path, schema: &Schema| {
        let before = std::fs::read(path).unwrap();
        let error = Database::open(path, schema, &Options::default()).unwrap_err();
        assert_eq!(std::fs::read(path).unwrap(), before);
        assert!(error.to_string().contains("a.db") || error.to_string().contains("b.db"), "{error}");
        error
    };
    let other = Schema { backend: "other", ..V1 };
    let error = refused(&path, &other);
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("belongs to \"test\", not to \"other\""), "{error}");

    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = refused(&path, &V1);
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("version 7") && error.to_string().contains("up to 1"), "{error}");

    let foreign = dir.path().join("b.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    assert_eq!(refused(&foreign, &V1).kind(), ErrorKind::Incompatible);
    std::fs::write(&foreign, "no database at all, but long enough to have a header ".repeat(40)).unwrap();
    assert_eq!(refused(&foreign, &V1).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_migration_is_applied_once_whole_and_after_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = open(&path);
    block_on(insert(&db, "old")).unwrap();
    drop(db);
    const BROKEN: Schema = Schema {
        backend: "test",
        steps: &[V1.steps[0], "ALTER TABLE t ADD COLUMN w INTEGER; INSERT INTO nowhere VALUES (1)"],
    };
    Database::open(&path, &BROKEN, &Options::default()).unwrap_err();
    const GOOD: Schema = Schema {
        backend: "test",
        steps: &[V1.steps[0], "ALTER TABLE t ADD COLUMN w INTEGER", "UPDATE t SET w = 7"],
    };
    for _ in 0..2 {
        let db = Database::open(&path, &GOOD, &Options::default()).unwrap();
        let w: i64 = block_on(db.read(|tx| {
            Ok::<_, Error>(tx.query_row("SELECT w FROM t WHERE v = ?1", [b"old"], |r| r.get(0))?)
        }))
        .unwrap();
        assert_eq!(w, 7);
    }
    assert_eq!(block_on(count(&open(&dir.path().join("a.db.v1.bak")))), 1);
}

#[test]
fn a_copy_is_whole_while_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(open(&dir.path().join("a.db")));
    for i in 0..50 {
        block_on(insert(&db, &format!("a{i}"))).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (db, stop) = (Arc::clone(&db), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut i = 0;
            while !stop.load(Ordering::SeqCst) {
                block_on(insert(&db, &format!("b{i}"))).unwrap();
                i += 1;
            }
        })
    };
    let copy = dir.path().join("copy.db");
    for _ in 0..2 {
        block_on(db.copy_to(&copy)).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    writing.join().unwrap();
    let copy = open(&copy);
    assert!(block_on(count(&copy)) >= 50);
    assert_eq!(block_on(copy.integrity_check()).unwrap(), Vec::<String>::new());
    // Readers are read-only again.
    let wrote = block_on(db.read(|tx| Ok::<_, Error>(tx.execute("DELETE FROM t", [])?)));
    wrote.unwrap_err();
}

#[test]
fn a_full_queue_makes_callers_wait() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { queue_jobs: 2, queue_bytes: 10, batch_jobs: 1, ..Options::default() };
    let db = Arc::new(Database::open(&dir.path().join("a.db"), &V1, &options).unwrap());
    let held = hold(&db);
    let threads: Vec<_> = (0..12)
        .map(|i| {
            let db = Arc::clone(&db);
            std::thread::spawn(move || block_on(insert(&db, &format!("{i:020}"))))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    held.release();
    // Each is larger than the queue may be, and still all get through.
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(block_on(count(&db)), 12);
    assert_eq!(db.counters().largest_batch, 1);
}

#[test]
fn the_log_does_not_grow_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let options = Options { checkpoint_pages: 64, ..Options::default() };
    let db = Database::open(&path, &V1, &options).unwrap();
    for i in 0..150 {
        block_on(insert(&db, &format!("{i}{}", "x".repeat(20_000)))).unwrap();
    }
    let log = path.with_extension("db-wal").metadata().unwrap().len();
    assert!(log < 2 << 20, "{log} bytes of log after 3 MB of rows");
    assert!(db.counters().checkpoints >= 3, "{:?}", db.counters());
    // And an idle database has copied everything.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(path.metadata().unwrap().len() > 3_000_000, "the rows are in the database itself");
    let before = db.counters().checkpoints;
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(db.counters().checkpoints, before, "nothing more to copy");
}
