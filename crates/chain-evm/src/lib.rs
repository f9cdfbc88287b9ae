//! An EVM chain over its JSON-RPC interface (Ethereum execution APIs), by HTTP or HTTPS.
//!
//! ```no_run
//! use std::sync::Arc;
//! use w3bstream_chain::{BlockId, Chain};
//! use w3bstream_chain_evm::{EvmChain, EvmSettings};
//!
//! # async fn example() -> Result<(), w3bstream_chain::Error> {
//! let settings = EvmSettings::new("https://rpc.example.org/v1/key", 4690);
//! let chain: Arc<dyn Chain> = Arc::new(EvmChain::new(settings)?);
//! let head = chain.block(BlockId::Head).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - Every request ends within [`EvmSettings::timeout`]; no answer is read beyond [`EvmSettings::max_response`] bytes.
//! - Reads are repeated a few times while the node is not available; a submission never is: that is for the caller,
//!   who knows that it is idempotent.
//! - Nothing but the chain's id is answered before the node has shown to be of the configured chain.
//! - What a node says is checked where it can be: blocks and logs are those that were asked for, raw receipts make the
//!   hashes of their block.
//! - The address of the node is shown without path and credentials, which often hold a key.
//!
//! Answers come by polling; there are no subscriptions.

mod chain;
mod errors;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod rpc;
mod settings;
mod used;
mod wire;

pub use chain::EvmChain;
pub use settings::EvmSettings;
