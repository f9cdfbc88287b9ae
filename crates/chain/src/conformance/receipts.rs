//! What became of transactions.

use super::place::{Site, sign, stranger};
use super::{Failure, Place, ensure, fixture, refused};
use crate::{BlockId, ErrorKind, Hash, TxStatus, trie};

/// From submission to receipt: first pending, then mined, with an effect and a price that add up.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn a_submitted_transaction_gets_a_receipt(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let before = site.chain.balance(site.account).await?;
    let transfer = sign(site.transaction().await?, &site.key)?;
    let status = site.chain.status(transfer.hash()).await?;
    ensure!(status == TxStatus::Unknown, "before it is submitted, a transaction is {status:?}");
    site.chain.submit(&transfer).await?;
    let status = site.chain.status(transfer.hash()).await?;
    ensure!(status == TxStatus::Pending, "before it is mined, a transaction is {status:?}");
    ensure!(site.chain.receipt(transfer.hash()).await?.is_none(), "there is a receipt before it is mined");
    place.mine().await?;
    let (receipt, head) = (site.receipt(&transfer).await?, site.head().await?);
    let status = site.chain.status(transfer.hash()).await?;
    let mined = TxStatus::Mined { number: head.number, block: head.hash };
    ensure!(status == mined, "after it was mined, a transaction is {status:?}");
    let found = (receipt.transaction, receipt.number, receipt.block, receipt.index);
    ensure!(found == (transfer.hash(), head.number, head.hash, 0), "the receipt is of {found:?}");
    ensure!(receipt.success && receipt.logs.is_empty() && receipt.created.is_none(), "it is {receipt:?}");
    ensure!(receipt.gas_used == 21_000, "a transfer used {} gas", receipt.gas_used);
    let cost = 1 + receipt.effective_gas_price * u128::from(receipt.gas_used);
    let after = site.chain.balance(site.account).await?;
    ensure!(before - after == cost, "the sender paid {} wei, not {cost}", before - after);
    let got = site.chain.balance(stranger()).await?;
    ensure!(got == 1, "the receiver has {got} wei, not 1");
    Ok(())
}

/// What a transaction of a block was, is told: all of it, and where it is; of one in the pool nothing.
///
/// # Errors
/// [`Failure`].
pub async fn a_mined_transaction_is_told(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let contract = site.create().await?;
    let first = site.send(site.transaction().await?).await?;
    let second = site.send(site.calling(contract, fixture::set(3)).await?).await?;
    let early = site.chain.transaction(first.hash()).await?;
    ensure!(early.is_none(), "before it is mined, it is told: {early:?}");
    place.mine().await?;
    let head = site.head().await?;
    for (index, sent) in (0..).zip([&first, &second]) {
        let told = site.chain.transaction(sent.hash()).await?;
        let expected = sent.mined((head.number, head.hash, index));
        ensure!(told.as_ref() == Some(&expected), "sent {expected:?}, told {told:?}");
    }
    let nobodys = site.chain.transaction(Hash::of(b"nobody's")).await?;
    ensure!(nobodys.is_none(), "a transaction that nobody sent is told: {nobodys:?}");
    Ok(())
}

/// Who used a nonce is told by the transaction's hash, also if it is one of two with the same nonce; nobody for a
/// nonce that is only in the pool.
///
/// # Errors
/// [`Failure`].
pub async fn what_used_a_nonce_is_found(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let mut sent = Vec::new();
    for round in 0..3 {
        for _ in 0..=round {
            sent.push(site.send(site.transaction().await?).await?);
        }
        place.mine().await?;
        place.mine().await?;
    }
    let pending = site.transaction().await?;
    let replaced = site.send(pending.clone()).await?;
    let mut replacement = pending.clone();
    (replacement.max_fee, replacement.priority_fee) = (pending.max_fee * 2, pending.priority_fee * 2);
    let replacement = site.send(replacement).await?;
    let nonce = replaced.transaction().nonce;
    ensure!(site.chain.sent(site.account, nonce).await?.is_none(), "a nonce of the pool counts as used");
    place.mine().await?;
    sent.push(replacement);
    for (nonce, transaction) in (0..).zip(&sent) {
        let found = site.chain.sent(site.account, nonce).await?;
        ensure!(
            found == Some(transaction.hash()),
            "nonce {nonce} was used by {transaction:?}, not by {found:?}"
        );
    }
    let next = sent.len() as u64;
    ensure!(site.chain.sent(site.account, next).await?.is_none(), "nonce {next} was used by somebody");
    ensure!(site.chain.sent(stranger(), 0).await?.is_none(), "a stranger has sent something");
    Ok(())
}

/// Header and receipts of a block hash to the block's hash and the receipts' root, and one receipt can be shown
/// by the nodes of the trie.
///
/// # Errors
/// [`Failure`].
pub async fn raw_receipts_make_the_receipts_root(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let contract = site.create().await?;
    for i in 0..20 {
        let data = if i % 3 == 2 { fixture::fail(b"") } else { fixture::set(i) };
        site.send(site.calling(contract, data).await?).await?;
    }
    place.mine().await?;
    let head = site.head().await?;
    let raw = site.chain.raw_receipts(head.hash).await?;
    ensure!(raw.block == head, "asked for block {head:?}, got {:?}", raw.block);
    raw.check().map_err(|e| Failure::new(e.to_string()))?;
    ensure!(raw.receipts.len() == 20, "a block with 20 transactions has {} receipts", raw.receipts.len());
    for (index, receipt) in raw.receipts.iter().enumerate() {
        // EIP-2718: the type, then a list whose first item is the status.
        ensure!(receipt.first() == Some(&2), "receipt {index} is not of type 2");
        let proof = trie::prove(&raw.receipts, index).unwrap_or_default();
        let shown = trie::verify(&head.receipts_root, index as u64, &proof);
        ensure!(shown.as_ref() == Ok(receipt), "receipt {index} is shown as {shown:?}");
    }
    let empty = {
        place.mine().await?;
        site.head().await?
    };
    let raw = site.chain.raw_receipts(empty.hash).await?;
    raw.check().map_err(|e| Failure::new(e.to_string()))?;
    ensure!(raw.receipts.is_empty(), "an empty block has receipts");
    ensure!(
        site.chain.block(BlockId::Hash(empty.hash)).await? == Some(empty),
        "its header is not that block's"
    );
    let unknown = site.chain.raw_receipts(Hash::of(b"no block")).await;
    refused("the receipts of no block", ErrorKind::UnknownBlock, unknown)
}
