//! Ids, blocks, fees, reorganisations.

use super::place::{Site, sign};
use super::{Failure, Place, ensure, fixture, refused};
use crate::{BlockId, Call, ErrorKind, Hash, LogBlocks, LogFilter, TxStatus};

/// The chain's id stays the same, and a transaction for another chain is refused for ever.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn the_chain_has_one_id(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let id = site.chain.chain_id().await?;
    place.mine().await?;
    ensure!(id == site.chain.chain_id().await?, "the chain changed its id");
    let mut foreign = site.transaction().await?;
    foreign.chain_id += 1;
    let foreign = sign(foreign, &site.key)?;
    refused("a transaction of another chain", ErrorKind::Rejected, site.chain.submit(&foreign).await)
}

/// A block is found by number, by hash and as the head, and names its parent; others are not found.
///
/// # Errors
/// [`Failure`].
pub async fn blocks_are_linked(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let mut before = site.head().await?;
    for _ in 0..3 {
        place.mine().await?;
        let head = site.head().await?;
        ensure!(head.number == before.number + 1, "after block {} comes {}", before.number, head.number);
        ensure!(head.parent == before.hash, "block {} does not name the one before it", head.number);
        ensure!(head.time >= before.time, "block {} is older than the one before it", head.number);
        for id in [BlockId::Number(head.number), BlockId::Hash(head.hash)] {
            let found = site.chain.block(id).await?;
            ensure!(found == Some(head), "block {id} is {found:?}, not the head {head:?}");
        }
        let parent = site.chain.block(BlockId::Number(before.number)).await?;
        ensure!(parent == Some(before), "block {} has become {parent:?}", before.number);
        before = head;
    }
    for id in [BlockId::Number(before.number + 1), BlockId::Hash(Hash::of(b"no block"))] {
        ensure!(site.chain.block(id).await?.is_none(), "block {id} was found and does not exist");
    }
    Ok(())
}

/// What is suggested as a fee is near the head's base fee, and a transaction that pays it is mined at once.
///
/// # Errors
/// [`Failure`].
pub async fn fees_can_be_paid(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    place.mine().await?;
    let (fees, head) = (site.chain.fees().await?, site.head().await?);
    // A base fee changes by an eighth from block to block at most (EIP-1559).
    let (least, most) = (head.base_fee - head.base_fee / 8, head.base_fee + head.base_fee / 8 + 1);
    ensure!(
        (least..=most).contains(&fees.base_fee),
        "the base fee is said to be {} after {}",
        fees.base_fee,
        head.base_fee
    );
    let mut paying = site.transaction().await?;
    paying.priority_fee = fees.priority_fee;
    paying.max_fee = fees.base_fee + fees.base_fee / 8 + fees.priority_fee;
    let (max_fee, receipt) = (paying.max_fee, site.done(paying).await?);
    let base = site.head().await?.base_fee;
    let paid = receipt.effective_gas_price;
    ensure!(
        paid >= base && paid <= max_fee,
        "one gas cost {paid}, with a base fee of {base}, at most {max_fee}"
    );
    Ok(())
}

/// After a reorganisation the replaced blocks, and what was in them, are gone. Not checked where
/// [`Place::reorg`] cannot.
///
/// # Errors
/// [`Failure`].
pub async fn a_reorganisation_is_visible(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let contract = site.create().await?;
    place.mine().await?;
    let kept = site.head().await?;
    let nonce = site.chain.nonces(site.account).await?.latest;
    let receipt = site.done(site.calling(contract, fixture::set(5)).await?).await?;
    place.mine().await?;
    let head = site.head().await?;
    // Whatever is remembered from before must not be answered afterwards.
    let in_old = LogFilter {
        blocks: LogBlocks::Range { from: kept.number, to: head.number },
        addresses: vec![contract],
        topics: vec![],
    };
    let told = site.chain.transaction(receipt.transaction).await?;
    ensure!(told.is_some(), "the transaction was not found before the reorganisation");
    ensure!(site.chain.logs(&in_old).await?.len() == 1, "the event was not found before the reorganisation");
    let old = site.chain.block(BlockId::Number(receipt.number)).await?;
    ensure!(old.is_some_and(|b| b.hash == receipt.block), "block {} is {old:?}", receipt.number);
    if !place.reorg(2).await? {
        return Ok(());
    }
    let call = Call::new(contract, fixture::get());
    refused(
        "a call at a replaced block",
        ErrorKind::UnknownBlock,
        site.chain.call(receipt.block, &call).await,
    )?;
    let raw = site.chain.raw_receipts(receipt.block).await;
    if let Ok(raw) = raw {
        // A node may keep a replaced block for a while; it must be that one.
        ensure!(raw.block.hash == receipt.block, "the receipts of a replaced block are another's");
    }
    let now = site.chain.block(BlockId::Number(receipt.number)).await?;
    ensure!(now.is_some_and(|b| b.hash != receipt.block), "block {} is still {now:?}", receipt.number);
    ensure!(site.chain.block(BlockId::Hash(kept.hash)).await? == Some(kept), "a block that was kept is gone");
    ensure!(site.chain.receipt(receipt.transaction).await?.is_none(), "a lost transaction has a receipt");
    let told = site.chain.transaction(receipt.transaction).await?;
    ensure!(told.is_none(), "a lost transaction is still told: {told:?}");
    let status = site.chain.status(receipt.transaction).await?;
    ensure!(!matches!(status, TxStatus::Mined { .. }), "a lost transaction is {status:?}");
    ensure!(site.chain.sent(site.account, nonce).await?.is_none(), "a lost transaction still uses its nonce");
    let latest = site.chain.nonces(site.account).await?.latest;
    ensure!(latest == nonce, "the next nonce is {latest} and not {nonce} again");
    let head = site.head().await?;
    let logs = LogFilter { blocks: LogBlocks::Range { from: 0, to: head.number }, ..in_old };
    ensure!(site.chain.logs(&logs).await?.is_empty(), "an event of a replaced block is still there");
    let at_head = site.chain.call(head.hash, &call).await?;
    let zero = crate::CallOutcome::Returned(fixture::word(0).to_vec());
    ensure!(at_head == zero, "the state after the reorganisation is {at_head:?}");
    Ok(())
}
