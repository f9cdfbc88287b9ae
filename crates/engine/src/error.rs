//! Errors of an engine.

w3bstream_types::room_error! {
    /// The module is no applet, or uses what is not admitted.
    BadProgram => Refuse,
    /// The program is of a kind that this engine does not run.
    Unsupported => Refuse,
    /// The project's state could not be read.
    State => Retry,
    /// The engine itself failed, or a guard of this node was hit.
    Host => Halt,
    /// The engine was closed.
    Closed => Retry,
}
