//! The wallet's keys in one encrypted file, and devices' key files.
//!
//! **Takes** a path and a [`Passphrase`]; **gives** a [`Signer`](w3bstream_wallet::Signer) ([`FileWallet`])
//! or a device's key ([`DeviceKey`]), and keys to and from other programs ([`exchange`]).
//!
//! # Invariants
//! - A file that holds a secret is made with mode 0600 and complete or not at all; it is read only if
//!   nobody but its owner may read or write it; it is never overwritten.
//! - Secrets, passphrases and what is derived from them are wiped when they are dropped, and never printed.
//! - A changed or cut-off file is told apart from a wrong passphrase.
//!
//! The key derivation takes some tenths of a second and blocks; call it from a thread that may.

pub mod exchange;
mod files;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod keyfile;
mod passphrase;
mod wallet;

pub use format::KdfParams;
pub use keyfile::DeviceKey;
pub use passphrase::Passphrase;
pub use w3bstream_wallet::{Error, ErrorKind};
pub use wallet::FileWallet;
