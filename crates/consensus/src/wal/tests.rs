use std::fs;

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

fn batches() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let record = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec(prop::collection::vec(record, 1..4), 1..5)
}

/// The bytes of a log with these batches, and where each frame ends.
fn written(batches: &[Vec<Vec<u8>>]) -> (Vec<u8>, Vec<usize>) {
    let disk = MemoryDisk::new();
    let mut wal = disk.open().unwrap();
    let mut ends = vec![disk.bytes().len()];
    for batch in batches {
        for record in batch {
            wal.append(record).unwrap();
        }
        wal.sync().unwrap();
        ends.push(disk.bytes().len());
    }
    (disk.bytes(), ends)
}

fn flat(batches: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    batches.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Cut at any byte: exactly the batches that were whole are there.
    #[test]
    fn a_cut_log_is_a_prefix_of_its_batches(batches in batches()) {
        let (bytes, ends) = written(&batches);
        for cut in frame::HEADER_BYTES..=bytes.len() {
            let scanned = frame::scan(&bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            prop_assert_eq!(scanned.good_bytes, ends[whole]);
            prop_assert_eq!(scanned.records, flat(&batches[..whole]));
        }
        for cut in 0..frame::HEADER_BYTES {
            prop_assert_eq!(frame::scan(&bytes[..cut]).unwrap_err().kind(), ErrorKind::CorruptWal);
        }
    }

    /// Flip any bit: it is refused, or it hit the last batch, which then is dropped as a crash would.
    #[test]
    fn a_flipped_bit_never_changes_a_record(batches in batches(), bit in 0..8_u32) {
        let (bytes, ends) = written(&batches);
        let last = ends[ends.len() - 2];
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            match frame::scan(&bad) {
                Err(e) => prop_assert!(at < last && e.kind() == ErrorKind::CorruptWal, "byte {at}: {e}"),
                Ok(scanned) => {
                    prop_assert!(at >= last, "byte {at} was damaged and nobody noticed");
                    prop_assert_eq!(scanned.records, flat(&batches[..batches.len() - 1]));
                }
            }
        }
    }

    /// The same on a real file, which afterwards takes new records.
    #[test]
    fn a_torn_file_opens_and_goes_on(batches in batches(), cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = FileWal::open(dir.path()).unwrap();
        let mut ends = vec![wal.bytes()];
        for batch in &batches {
            for record in batch {
                wal.append(record).unwrap();
            }
            wal.sync().unwrap();
            ends.push(wal.bytes());
        }
        drop(wal);
        let path = dir.path().join("consensus.wal");
        let full = fs::metadata(&path).unwrap().len();
        let cut = frame::HEADER_BYTES as u64 + cut.index((full - 31) as usize) as u64;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let mut wal = FileWal::open(dir.path()).unwrap();
        prop_assert_eq!(fs::metadata(&path).unwrap().len(), wal.bytes(), "the torn end is cut off");
        wal.append(b"more").unwrap();
        wal.sync().unwrap();
        drop(wal);
        let mut expected = flat(&batches[..whole]);
        expected.push(b"more".to_vec());
        prop_assert_eq!(FileWal::open(dir.path()).unwrap().read().unwrap(), expected);
    }
}

#[test]
fn what_is_not_synced_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = FileWal::open(dir.path()).unwrap();
    wal.append(b"a").unwrap();
    wal.sync().unwrap();
    wal.append(b"b").unwrap();
    assert_eq!(wal.read().unwrap(), [b"a".to_vec()]);
    drop(wal);
    assert_eq!(FileWal::open(dir.path()).unwrap().read().unwrap(), [b"a".to_vec()]);
}

#[test]
fn a_rewrite_replaces_everything_and_shrinks_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = FileWal::open(dir.path()).unwrap();
    for _ in 0..100 {
        wal.append(&[7; 100]).unwrap();
        wal.sync().unwrap();
    }
    wal.append(b"never synced").unwrap();
    wal.rewrite(&[b"all in one".to_vec()]).unwrap();
    assert_eq!(wal.bytes(), fs::metadata(dir.path().join("consensus.wal")).unwrap().len());
    assert!(wal.bytes() < 100);
    wal.append(b"next").unwrap();
    wal.sync().unwrap();
    drop(wal);
    // What a rewrite left that never finished does not matter.
    fs::write(dir.path().join("consensus.wal.new"), b"half").unwrap();
    let mut wal = FileWal::open(dir.path()).unwrap();
    assert_eq!(wal.read().unwrap(), [b"all in one".to_vec(), b"next".to_vec()]);
    assert!(!dir.path().join("consensus.wal.new").exists());
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let _first = FileWal::open(dir.path()).unwrap();
    let second = FileWal::open(dir.path()).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Wal);
    assert!(second.to_string().contains("another node"), "{second}");
}

#[test]
fn a_newer_version_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileWal::open(dir.path()).unwrap());
    let path = dir.path().join("consensus.wal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] = 2;
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(b"something that only the newer version reads");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(FileWal::open(dir.path()).unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_disk_that_cannot_sync_is_not_used_again() {
    let disk = MemoryDisk::new();
    let mut wal = disk.open().unwrap();
    disk.fail_sync_at(1);
    wal.append(b"a").unwrap();
    wal.sync().unwrap();
    wal.append(b"b").unwrap();
    assert_eq!(wal.sync().unwrap_err().kind(), ErrorKind::Wal);
    assert!(wal.append(b"c").is_err());
    assert!(wal.sync().is_err());
}

#[test]
fn each_kind_of_crash_leaves_whole_batches() {
    for (damage, left) in Damage::ALL.into_iter().zip([1, 1, 1, 2]) {
        let disk = MemoryDisk::new();
        let mut wal = disk.open().unwrap();
        wal.append(b"first").unwrap();
        wal.sync().unwrap();
        wal.append(&[9; 64]).unwrap();
        wal.append(&[8; 64]).unwrap();
        // Operations 0 and 1 were the first sync; 2 is the write, 3 the fsync.
        disk.crash_at(3, damage);
        assert!(wal.sync().is_err());
        assert!(disk.has_crashed() && wal.read().is_err());
        let records = disk.open().unwrap().read().unwrap();
        assert_eq!(records.len(), if left == 1 { 1 } else { 3 }, "{damage:?}");
    }
}
