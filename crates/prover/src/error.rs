//! Errors of a prover.

w3bstream_types::room_error! {
    /// There is no such job or artefact.
    NotFound => Refuse,
    /// No proof system of that name is here.
    UnknownSystem => Refuse,
    /// Artefacts are not those that their digests name.
    WrongDigest => Halt,
    /// A circuit's file is none, or is of another curve, version or circuit.
    BadArtefact => Refuse,
    /// A statement, a number or a list of numbers is not in its only form.
    BadInput => Refuse,
    /// The numbers do not satisfy the circuit: what should be proved is not so.
    Unprovable => Refuse,
    /// A proof does not verify, or is not in its only form.
    Invalid => Refuse,
    /// Another job has this name, or this one is not in the state for that.
    Conflict => Refuse,
    /// The job was cancelled.
    Cancelled => Refuse,
    /// A file or a list is over its limit, or a circuit needs more memory or steps than it may have.
    TooLarge => Refuse,
    /// As many jobs as may be here are here; forget those that ended, or try later.
    Overloaded => Retry,
    /// The prover was closed.
    Closed => Retry,
    /// The proof system failed, which is no statement about the job.
    Internal => Retry,
    /// Artefacts could not be read.
    Io => Retry,
}
