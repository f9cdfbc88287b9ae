//! For `w3bstream-fuzzing` alone: the log from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use w3bstream_types::Canonical as _;

use crate::driver::replay_any;
use crate::wal::frame::{HEADER_BYTES, scan};
use crate::{GuardEntry, SoloRecord};

/// A log as it stands on the disk, and its records; also the bytes as one record.
pub fn log(bytes: &[u8]) {
    for same in [
        GuardEntry::from_canonical(bytes).map(|v| v.to_canonical()),
        SoloRecord::from_canonical(bytes).map(|v| v.to_canonical()),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(same, bytes);
    }
    replay_any(&[bytes.to_vec()]);
    let Ok(found) = scan(bytes) else { return };
    assert!((HEADER_BYTES..=bytes.len()).contains(&found.good_bytes));
    let good = &bytes[..found.good_bytes];
    assert_eq!(scan(good).as_ref().ok(), Some(&found), "the torn end was part of the log");
    // What a crash leaves is a beginning of the log: it is read, and nothing else is in it.
    for cut in [good.len().saturating_sub(1), good.len() / 2].into_iter().filter(|cut| *cut >= HEADER_BYTES) {
        let torn = scan(&good[..cut]).expect("a torn log is no damage");
        assert!(found.records.starts_with(&torn.records) && torn.good_bytes <= cut);
    }
    replay_any(&found.records);
}
