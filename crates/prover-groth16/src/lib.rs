//! Groth16 over BN254 ([paper](https://eprint.iacr.org/2016/260)) for circuits that circom 2 compiles.
//!
//! **Takes** circom's witness program and snarkjs's proving key (`.zkey`), both by digest, and the signals of a job;
//! **gives** a proof that the EVM's precompiles check (EIP-196, EIP-197).
//!
//! # Invariants
//! - A key is used only after all of it was read: every length, every coordinate below the prime, every point on its
//!   curve and in its group. That is done once for each digest, as long as the key is kept.
//! - The witness program is a stranger's: it has a limit of memory and of operations, sees nothing but the job's signals,
//!   and gets a fresh instance for each job.
//! - A proof is handed out only after this prover verified it for the job's public numbers.
//! - `r` and `s`, which hide the witness, come from the operating system for each proof.
//! - Work runs on the prover's own threads; queue, caches and kept results have bounds.

mod cache;
mod codec;
mod jobs;
mod key;
mod limits;
mod points;
mod prove;
mod prover;
mod qap;
mod thread;
mod verify;
mod witness;

pub use codec::{proof_from_snarkjs, proof_to_snarkjs};
pub use key::ProvingKey;
pub use prove::prove;
pub use prover::{Config, Groth16Prover, SYSTEM};
pub use verify::VerifyingKey;
pub use witness::{Program, Witness, WitnessLimits};
