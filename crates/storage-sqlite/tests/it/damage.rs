//! Flipped bits, torn pages, foreign files, erased payloads.

use w3bstream_sqlite::rusqlite::Connection;
use w3bstream_storage::conformance::block_on;
use w3bstream_storage::conformance::fixtures::{Message, numbered, project};
use w3bstream_storage::{ErrorKind, Filter, Storage};
use w3bstream_storage_sqlite::{SqliteConfig, SqliteStorage};
use w3bstream_types::{Disposition, Position, Timestamp};

use crate::Directory;

fn one() -> Filter {
    Filter { project: Some(project(1)), ..Filter::default() }
}

/// A store with four records and a conflict, closed.
fn filled() -> Directory {
    let place = Directory::new();
    let store = place.store();
    let items = (0..4).map(|i| numbered(i).unwrap());
    let conflict = Message { sequence: 1, payload: vec![0], ..Message::default() }.envelope().unwrap();
    block_on(store.append(items.chain([conflict]).collect())).unwrap();
    assert_eq!(block_on(store.check()).unwrap(), Vec::<String>::new());
    block_on(store.close()).unwrap();
    place
}

#[test]
fn a_flipped_bit_is_found_and_never_served() {
    for (column, change) in [
        ("body", ""),
        ("trust", "0"),
        ("received_at", "received_at + 1"),
        ("seal", "zeroblob(32)"),
        ("id", "randomblob(32)"),
    ] {
        let place = filled();
        let raw = Connection::open(place.file()).unwrap();
        if column == "body" {
            let mut body: Vec<u8> =
                raw.query_row("SELECT body FROM message WHERE position = 3", [], |r| r.get(0)).unwrap();
            // The last byte is one of the signature, which the id does not bind.
            *body.last_mut().unwrap() ^= 1;
            raw.execute("UPDATE message SET body = ?1 WHERE position = 3", [body]).unwrap();
        } else {
            raw.execute(&format!("UPDATE message SET {column} = {change} WHERE position = 3"), []).unwrap();
        }
        drop(raw);
        let store = place.store();
        let found = block_on(store.check()).unwrap();
        assert_eq!(found.len(), 1, "{column}: {found:?}");
        assert!(found[0].contains("position 3"), "{column}: {found:?}");
        let error = block_on(store.scan(&one(), Position(2), 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{column}: {error}");
        assert_eq!(error.disposition(), Disposition::Halt);
        // What is sound is still served.
        assert_eq!(block_on(store.scan(&one(), Position(0), 2)).unwrap().len(), 2);
    }
}

#[test]
fn a_changed_column_is_found() {
    for change in [
        "UPDATE message SET sequence = 77 WHERE position = 2",
        "UPDATE message SET source = 99 WHERE position = 2",
        "UPDATE event_type SET name = 'another'",
        "UPDATE conflict SET body = zeroblob(10)",
        "DELETE FROM message_id WHERE position = 2",
    ] {
        let place = filled();
        let raw = Connection::open(place.file()).unwrap();
        raw.pragma_update(None, "foreign_keys", false).unwrap();
        raw.execute(change, []).unwrap();
        drop(raw);
        let found = block_on(place.store().check()).unwrap();
        assert!(!found.is_empty(), "{change}");
    }
}

#[test]
fn a_torn_page_is_found() {
    let place = filled();
    let mut bytes = std::fs::read(place.file()).unwrap();
    let start = bytes.windows(10).rposition(|w| w == b"w3b/record").unwrap();
    bytes[start - 40..start].fill(0xee);
    std::fs::write(place.file(), bytes).unwrap();
    let found = block_on(place.store().check()).unwrap();
    assert!(!found.is_empty());
}

#[test]
fn a_newer_or_foreign_file_is_refused_with_its_path() {
    let place = filled();
    let raw = Connection::open(place.file()).unwrap();
    raw.pragma_update(None, "user_version", 1000).unwrap();
    drop(raw);
    let error = SqliteStorage::open(&SqliteConfig::new(place.file())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    for part in ["storage.db", "1000", "up to 1"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn an_erased_payload_is_not_in_the_file_any_more() {
    let place = Directory::new();
    let store = place.store();
    let secret = b"a payload that somebody wants erased".to_vec();
    let item = Message { payload: secret.clone(), ..Message::default() }.envelope().unwrap();
    block_on(store.append(vec![item, numbered(1).unwrap()])).unwrap();
    let holds = || std::fs::read(place.file()).unwrap().windows(secret.len()).any(|w| w == secret);
    block_on(store.close()).unwrap();
    assert!(holds(), "the payload is there before");
    let store = place.store();
    assert_eq!(block_on(store.delete_before(project(1), Timestamp(u64::MAX >> 1), 1)).unwrap(), 1);
    block_on(store.close()).unwrap();
    assert!(!holds(), "the payload is still in the file");
}
