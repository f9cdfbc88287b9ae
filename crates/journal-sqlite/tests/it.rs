//! The kit, and what only a file can show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use w3bstream_journal::conformance::fixtures::{block_of, control, effect, genesis, message, project};
use w3bstream_journal::conformance::{Place, block_on, follows_the_reference_from};
use w3bstream_journal::{Error, ErrorKind, Journal, Write, async_trait};
use w3bstream_journal_sqlite::SqliteJournal;
use w3bstream_sqlite::rusqlite::Connection;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("data/journal.db")
    }

    fn journal(&self) -> SqliteJournal {
        SqliteJournal::open(&self.file()).unwrap()
    }
}

#[async_trait]
impl Place for Directory {
    async fn open(&self) -> Result<Arc<dyn Journal>, Error> {
        Ok(Arc::new(SqliteJournal::open(&self.file())?))
    }
}

mod kit {
    w3bstream_journal::journal_conformance!(super::Directory::new);
}

#[test]
fn follows_the_reference_from_many_seeds() {
    for seed in 10..14 {
        block_on(follows_the_reference_from(&Directory::new(), seed)).unwrap();
    }
}

fn filled() -> Directory {
    let place = Directory::new();
    let journal = place.journal();
    let mut batch = vec![
        Write::Genesis(Box::new(genesis(1, 1).unwrap())),
        Write::Control(Box::new(control(1, 1, 1).unwrap())),
    ];
    batch.extend((1..=5).map(|h| Write::Block(project(1), Box::new(block_of(h, &[h])))));
    block_on(journal.commit(batch)).unwrap();
    assert_eq!(block_on(journal.check()).unwrap(), Vec::<String>::new());
    block_on(journal.close()).unwrap();
    place
}

#[test]
fn a_damaged_block_is_refused_and_found() {
    let place = filled();
    let raw = Connection::open(place.file()).unwrap();
    let mut bytes: Vec<u8> =
        raw.query_row("SELECT bytes FROM block WHERE height = 3", [], |r| r.get(0)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    raw.execute("UPDATE block SET bytes = ?1 WHERE height = 3", [bytes]).unwrap();
    drop(raw);
    let journal = place.journal();
    let found = block_on(journal.check()).unwrap();
    assert!(found.len() == 1 && found[0].contains("block 3"), "{found:?}");
    let error = block_on(journal.block(project(1), 3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(block_on(journal.block(project(1), 2)).unwrap().is_some());
}

#[test]
fn a_missing_block_is_found() {
    let place = filled();
    Connection::open(place.file()).unwrap().execute("DELETE FROM block WHERE height = 2", []).unwrap();
    let found = block_on(place.journal().check()).unwrap();
    assert!(found.len() == 1 && found[0].contains("block 2"), "{found:?}");
}

#[test]
fn a_newer_or_foreign_file_is_refused_with_its_path() {
    let place = filled();
    Connection::open(place.file()).unwrap().pragma_update(None, "user_version", 1000).unwrap();
    let error = SqliteJournal::open(&place.file()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    for part in ["journal.db", "1000", "up to 2"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let place = filled();
    let raw = Connection::open(place.file()).unwrap();
    raw.execute("UPDATE meta SET value = 'storage-sqlite'", []).unwrap();
    drop(raw);
    let error = SqliteJournal::open(&place.file()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("storage-sqlite"), "{error}");
}

#[test]
fn a_copy_is_a_journal() {
    let place = filled();
    let journal = place.journal();
    let copy = place.0.path().join("backup/copy.db");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    block_on(journal.copy_to(&copy)).unwrap();
    block_on(journal.commit(vec![Write::Outbox(vec![effect(1, 1, 0)])])).unwrap();
    let copy = SqliteJournal::open(&copy).unwrap();
    assert_eq!(block_on(copy.last_height(project(1))).unwrap(), 5);
    assert_eq!(block_on(copy.ordered(&[message(4)])).unwrap(), [Some((project(1), 4, 0))]);
    assert_eq!(block_on(copy.outbox(project(1), 9)).unwrap(), []);
}

#[test]
fn values_beyond_what_the_file_can_hold_are_refused_not_cut() {
    let place = Directory::new();
    let journal = place.journal();
    let error = block_on(journal.commit(vec![Write::Cursor(project(1), "applied", u64::MAX)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(block_on(journal.cursor(project(1), "applied")).unwrap(), 0);
    block_on(journal.commit(vec![Write::Cursor(project(1), "applied", u64::MAX >> 1)])).unwrap();
    assert_eq!(block_on(journal.cursor(project(1), "applied")).unwrap(), u64::MAX >> 1);
}
