//! Errors of an endpoint.

w3bstream_types::room_error! {
    /// The address cannot be listened on.
    Bind => Halt,
    /// The endpoint is closing.
    Closed => Retry,
    /// A bounded queue is full.
    Overloaded => Retry,
    /// The node's state cannot be read.
    State => Retry,
    /// A task of the endpoint failed.
    Task => Halt,
    /// A setting is wrong.
    Config => Refuse,
}
