//! Tests of the vocabulary through its public interface.

mod canonical;
mod did;
mod ethereum;
mod golden;
mod jws;
mod key;
mod merkle;
mod message;
mod quorum;
mod receipt;
mod receipt_mutation;
mod sample;
mod schema;
mod sequence;
mod strategies;
