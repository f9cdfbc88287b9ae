//! Errors of a wallet.

w3bstream_types::room_error! {
    /// There is no such key.
    NotFound => Refuse,
    /// There is a key file already; it is never overwritten.
    Exists => Refuse,
    /// The key file does not open with this passphrase.
    WrongPassphrase => Refuse,
    /// The key file or passphrase file can be read by others.
    Permissions => Refuse,
    /// The key file was changed or cut off.
    Corrupt => Halt,
    /// The key file is of a newer version.
    Incompatible => Halt,
    /// The guard was asked to sign a second statement for one slot.
    Equivocation => Halt,
    /// The replicated registry cannot be read.
    Registry => Retry,
    /// The disk failed.
    Io => Retry,
}
