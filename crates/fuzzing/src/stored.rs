//! What a node has written itself, and reads after something else may have happened to the disk.

/// The consensus driver's log: its frames, and the records in them.
pub(crate) fn consensus_log(bytes: &[u8]) {
    w3bstream_consensus::fuzzing::log(bytes);
}
