//! Errors of a chain.

w3bstream_types::room_error! {
    /// The node does not answer, or not now: no connection, a time-out, too many requests, its pool is full. What
    /// was sent may have arrived all the same.
    Unavailable => Retry,
    /// The node answered something that cannot be: wrong types, a block whose hash is not the one asked for.
    BadAnswer => Retry,
    /// The answer is larger than the bound, or the node refuses so wide a range of blocks: ask for less.
    TooLarge => Refuse,
    /// The node does not offer this method.
    Unsupported => Refuse,
    /// The node serves another chain than the one that is configured.
    WrongChain => Halt,
    /// The block is not known: never seen, pruned, or replaced in a reorganisation. A node that lags may learn it.
    UnknownBlock => Retry,
    /// Blocks that were taken for final were replaced: the reorganisation was deeper than the confirmations.
    Reorganised => Halt,
    /// The transaction's nonce was used by a mined transaction: by this very one, or by another.
    NonceTooLow => Retry,
    /// The nonce is beyond the next one, and the node keeps no queue for it.
    NonceTooHigh => Retry,
    /// A transaction with this nonce is in the pool and this one does not pay enough more to replace it.
    ReplacementUnderpriced => Retry,
    /// The fee is below the block's base fee or below what the pool accepts.
    FeeTooLow => Retry,
    /// The sender's balance does not cover value and the highest fee.
    InsufficientFunds => Retry,
    /// The transaction can never be valid on this chain: wrong chain id or signature, gas limit below the
    /// intrinsic cost or above a block's, code or data too large, or the pool's limit on fees.
    Rejected => Refuse,
    /// The submitter's journal cannot be read or written now.
    Journal => Retry,
    /// The submitter's signer does not sign now.
    Signer => Retry,
    /// The submitter's journal gave something else than was written.
    Corrupt => Halt,
}
