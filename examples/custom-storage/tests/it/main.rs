//! The backend passes the kit, serves a whole node, and the guide shows the code as it is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod node;

use std::path::PathBuf;
use std::sync::Arc;

use w3bstream_example_custom_storage::FileStorage;
use w3bstream_storage::conformance::fixtures::numbered;
use w3bstream_storage::conformance::{Place, block_on};
use w3bstream_storage::{Appended, Error, ErrorKind, Storage, async_trait};
use w3bstream_types::Position;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("records.log")
    }
}

#[async_trait]
impl Place for Directory {
    async fn open(&self) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(FileStorage::open(&self.file())?))
    }
}

mod kit {
    w3bstream_storage::storage_conformance!(super::Directory::new);
}

/// A file with three batches of one record each.
fn filled() -> (Directory, Vec<u8>) {
    let place = Directory::new();
    let store = FileStorage::open(&place.file()).unwrap();
    for i in 0..3 {
        block_on(store.append(vec![numbered(i).unwrap()])).unwrap();
    }
    drop(store);
    let bytes = std::fs::read(place.file()).unwrap();
    (place, bytes)
}

#[test]
fn a_batch_that_was_cut_off_is_as_if_it_had_never_been() {
    let (place, bytes) = filled();
    let two = bytes.len() / 3 * 2;
    for end in [two + 1, two + 39, two + 41, bytes.len() - 1] {
        std::fs::write(place.file(), &bytes[..end]).unwrap();
        let store = FileStorage::open(&place.file()).unwrap();
        assert_eq!(block_on(store.stats()).unwrap().records, 2, "cut at {end} of {}", bytes.len());
        let again = block_on(store.append(vec![numbered(2).unwrap()])).unwrap();
        assert_eq!(again, [Appended::New(Position(3))]);
        drop(store);
        assert_eq!(std::fs::read(place.file()).unwrap(), bytes);
    }
}

#[test]
fn a_flipped_bit_is_refused_not_cut_off() {
    let (place, bytes) = filled();
    for at in [0, 2, 5, 10, 60, bytes.len() / 2, bytes.len() - 1] {
        let store = FileStorage::open(&place.file()).unwrap();
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        std::fs::write(place.file(), &flipped).unwrap();
        let found = block_on(store.check()).unwrap();
        assert!(found.len() == 1 && found[0].contains("damaged"), "byte {at}: {found:?}");
        drop(store);
        let error = FileStorage::open(&place.file()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert_eq!(std::fs::read(place.file()).unwrap(), flipped, "a damaged file is left as it is");
        std::fs::write(place.file(), &bytes).unwrap();
    }
}

/// Blocks of the guide that are marked `rust,ignore` are fragments of the sources beside it.
#[test]
fn the_guide_quotes_the_code_as_it_is() {
    let guide = include_str!("../../../../docs/write-a-storage-backend.md");
    let sources = concat!(
        include_str!("../../src/lib.rs"),
        include_str!("../../src/log.rs"),
        include_str!("../../src/main.rs")
    );
    let blocks: Vec<&str> =
        guide.split("```rust,ignore\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert!(blocks.len() >= 6, "the guide has {} fragments", blocks.len());
    for block in blocks {
        assert!(sources.contains(block), "not in the sources:\n{block}");
    }
}
