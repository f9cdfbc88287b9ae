//! Errors of a prover.

w3bstream_types::room_error! {
    /// The queue is full.
    Busy => Retry,
    /// The prover was closed.
    Closed => Retry,
    /// An artefact is not here yet.
    Missing => Retry,
    /// The machine has too little of something: threads, randomness.
    Resources => Retry,
    /// There is no such job, or it was forgotten.
    NotFound => Refuse,
    /// The job is of another proof system, or of a size that no prover takes.
    Unsupported => Refuse,
    /// There is another job with this id.
    Conflict => Refuse,
    /// The statement or the private input makes no signals.
    Signals => Refuse,
    /// An artefact's bytes have another digest, or are no program or key.
    Artefact => Refuse,
    /// The bytes are no proof.
    Proof => Refuse,
}
