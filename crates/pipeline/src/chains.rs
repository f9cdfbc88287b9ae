//! The chains that a node has, as the stages ask them.

use w3bstream_chain::{Block, BlockId, Chain};

use crate::parts::ChainParts;
use crate::{Error, ErrorKind, Parts};

impl Parts {
    /// A chain by its EIP-155 id.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if this node has none of this id: it may have when it is started anew.
    pub(crate) fn chain(&self, id: u64) -> Result<&ChainParts, Error> {
        self.chains.get(&id).ok_or_else(|| Error::new(ErrorKind::Unavailable, unknown(id)))
    }
}

/// What is said of a chain that this node does not have.
pub(crate) fn unknown(id: u64) -> String {
    format!("this node has no chain {id}: add [[chains]] with id = {id} to node.toml")
}

/// Whatever is wrong with a chain, it is nothing that makes the project's state doubtful: it is tried again.
pub(crate) fn of_chain(e: w3bstream_chain::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("chain: {e}")).with_source(e)
}

/// A block that must be there.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if it is not, or if the chain does not answer.
pub(crate) async fn block(chain: &dyn Chain, id: BlockId) -> Result<Block, Error> {
    let missing = || {
        let why = format!("the chain's node does not know block {id} (any more)");
        Error::new(ErrorKind::Unavailable, why)
    };
    chain.block(id).await.map_err(of_chain)?.ok_or_else(missing)
}

/// How long to wait after so many tries in vain, in milliseconds: from a second, doubled each time, to `most`.
pub(crate) fn back_off(tries: u32, most: u64) -> u64 {
    500_u64.saturating_mul(1 << tries.clamp(1, 12)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [0, 1, 2, 3, 6, 7, u32::MAX].map(|tries| back_off(tries, 60_000));
        assert_eq!(pauses, [1_000, 1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
        assert_eq!(back_off(u32::MAX, u64::MAX), 2_048_000);
    }
}
