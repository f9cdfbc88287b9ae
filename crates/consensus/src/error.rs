//! Errors of consensus and its driver.

w3bstream_types::room_error! {
    /// The backend cannot run with this genesis, these settings or this key.
    Config => Refuse,
    /// The host gave an input that is not allowed now. Nothing was done; the driver goes on.
    Input => Refuse,
    /// The write-ahead log could not be read or written.
    Wal => Halt,
    /// The write-ahead log is damaged in its middle.
    CorruptWal => Halt,
    /// The write-ahead log is of a newer version, of another subnet or member, or does not fit the node's
    /// own state.
    Incompatible => Halt,
    /// The backend broke its contract.
    Protocol => Halt,
    /// The guard was asked to sign a second statement for one slot.
    Equivocation => Halt,
    /// The key could not sign now. The driver must be opened again.
    Signer => Retry,
    /// A bounded buffer is full until something that is under way has ended.
    Full => Retry,
    /// The driver was stopped.
    Closed => Retry,
}
