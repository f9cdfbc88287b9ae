//! Errors of a journal.

w3bstream_types::room_error! {
    /// The journal cannot take the batch now.
    Unavailable => Retry,
    /// What was read is not what was written.
    Corrupt => Halt,
    /// The data are of another or a newer version.
    Incompatible => Halt,
    /// A different value stands where a value may be written only once.
    Conflict => Halt,
    /// The journal was closed.
    Closed => Retry,
    /// The disk failed.
    Io => Retry,
}
