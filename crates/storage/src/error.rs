//! Errors of a storage backend.

w3bstream_types::room_error! {
    /// There is no such record.
    NotFound => Refuse,
    /// The backend does not claim this ability.
    Unsupported => Refuse,
    /// The backend cannot be reached or is full.
    Unavailable => Retry,
    /// What was read is not what was written.
    Corrupt => Halt,
    /// The data are of another or a newer version.
    Incompatible => Halt,
    /// The backend was closed.
    Closed => Retry,
    /// The disk or network failed.
    Io => Retry,
}
