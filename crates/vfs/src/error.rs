//! Errors of a virtual file system.

w3bstream_types::room_error! {
    /// There is no such program or state.
    NotFound => Refuse,
    /// Bytes do not match their digest.
    WrongDigest => Halt,
    /// The block is not the next one of this state.
    WrongHeight => Halt,
    /// A program, key or value is over its limit.
    TooLarge => Refuse,
    /// What was read is not what was written.
    Corrupt => Halt,
    /// The data are of another or a newer version.
    Incompatible => Halt,
    /// This store has no databases, or not with the SQLite that the ABI names.
    Unsupported => Refuse,
    /// The store was closed.
    Closed => Retry,
    /// The disk failed.
    Io => Retry,
}
