//! Errors of consensus and its driver.

w3bstream_types::room_error! {
    /// The backend cannot run with this genesis.
    Config => Refuse,
    /// The write-ahead log could not be written.
    Wal => Halt,
    /// The write-ahead log is damaged in its middle.
    CorruptWal => Halt,
    /// The backend broke its contract.
    Protocol => Halt,
    /// The guard was asked to sign a second statement for one slot.
    Equivocation => Halt,
    /// The driver was stopped.
    Closed => Retry,
}
