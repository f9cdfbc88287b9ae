//! Errors of TLS.

w3bstream_types::room_error! {
    /// A setting is wrong.
    Config => Refuse,
    /// A file cannot be read.
    File => Halt,
    /// The certificate is missing, broken, or of another key.
    Certificate => Halt,
    /// The private key is missing or broken.
    Key => Halt,
    /// The authorities of devices' certificates are missing or broken.
    Authorities => Halt,
    /// The revocation lists are missing or broken.
    Crl => Halt,
    /// The handshake took too long.
    Timeout => Refuse,
    /// The peer does not speak TLS.
    NotTls => Refuse,
    /// The peer's certificate is missing, or was refused.
    Peer => Refuse,
    /// The handshake failed otherwise.
    Handshake => Refuse,
}
