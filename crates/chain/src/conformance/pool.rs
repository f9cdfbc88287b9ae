//! What may be submitted.

use super::place::{Site, key, sign, stranger};
use super::{Failure, Place, ensure, refused};
use crate::{ErrorKind, TxStatus};

/// A transaction that is in the pool is accepted again and mined once; a mined one is told by its nonce.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn submitting_again_is_a_success(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let sent = site.send(site.transaction().await?).await?;
    for _ in 0..2 {
        site.chain.submit(&sent).await?;
    }
    place.mine().await?;
    ensure!(site.receipt(&sent).await?.success, "the transaction failed");
    ensure!(site.chain.nonces(site.account).await?.latest == 1, "one transaction was mined more than once");
    ensure!(site.chain.balance(stranger()).await? == 1, "one transaction paid more than once");
    refused("a mined transaction", ErrorKind::NonceTooLow, site.chain.submit(&sent).await)
}

/// Mined transactions count, and those in the pool beside them; a used nonce is refused.
///
/// # Errors
/// [`Failure`].
pub async fn nonces_are_counted(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let count = || site.chain.nonces(site.account);
    ensure!(
        (count().await?.latest, count().await?.pending) == (0, 0),
        "a fresh account has {:?}",
        count().await?
    );
    for (i, n) in (1..=3).zip(1u64..) {
        site.send(site.transaction().await?).await?;
        let now = count().await?;
        ensure!((now.latest, now.pending) == (0, n), "after {i} submissions the nonces are {now:?}");
    }
    place.mine().await?;
    let now = count().await?;
    ensure!((now.latest, now.pending) == (3, 3), "after mining the nonces are {now:?}");
    let mut late = site.transaction().await?;
    (late.nonce, late.value) = (1, 2);
    let late = sign(late, &site.key)?;
    refused("a nonce that is used", ErrorKind::NonceTooLow, site.chain.submit(&late).await)
}

/// Another transaction with the nonce of one in the pool replaces it if it pays twice as much, and not if it pays the
/// same.
///
/// # Errors
/// [`Failure`].
pub async fn a_replacement_needs_a_higher_fee(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let first = site.transaction().await?;
    let old = site.send(first.clone()).await?;
    let mut same = first.clone();
    same.value = 2;
    let answer = site.chain.submit(&sign(same, &site.key)?).await;
    refused("a replacement that pays the same", ErrorKind::ReplacementUnderpriced, answer)?;
    let mut second = first.clone();
    (second.value, second.max_fee, second.priority_fee) = (3, first.max_fee * 2, first.priority_fee * 2);
    let second = site.send(second).await?;
    let status = site.chain.status(old.hash()).await?;
    ensure!(status == TxStatus::Unknown, "a replaced transaction is {status:?}");
    place.mine().await?;
    ensure!(site.receipt(&second).await?.success, "the replacement failed");
    ensure!(site.chain.receipt(old.hash()).await?.is_none(), "the replaced transaction was mined too");
    ensure!(site.chain.balance(stranger()).await? == 3, "not the replacement alone took effect");
    Ok(())
}

/// A transaction beyond the next nonce is refused or waits; it is not counted and not mined before the others.
///
/// # Errors
/// [`Failure`].
pub async fn transactions_wait_for_the_nonce_before(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let first = site.transaction().await?;
    let mut second = first.clone();
    second.nonce += 1;
    let second = sign(second, &site.key)?;
    let queued = match site.chain.submit(&second).await {
        Ok(()) => true,
        Err(e) if e.kind() == ErrorKind::NonceTooHigh => false,
        Err(e) => return Err(e.into()),
    };
    let nonces = site.chain.nonces(site.account).await?;
    ensure!(nonces.pending == 0, "a transaction after a gap is counted: {nonces:?}");
    place.mine().await?;
    ensure!(site.chain.receipt(second.hash()).await?.is_none(), "it was mined before the one before it");
    let first = site.send(first).await?;
    if !queued {
        site.chain.submit(&second).await?;
    }
    let nonces = site.chain.nonces(site.account).await?;
    ensure!(nonces.pending == 2, "both are in the pool and {nonces:?} are counted");
    place.mine().await?;
    for sent in [first, second] {
        ensure!(site.receipt(&sent).await?.success, "{sent:?} failed");
    }
    Ok(())
}

/// A sender without money, and a gas limit that can never do, are told apart.
///
/// # Errors
/// [`Failure`].
pub async fn what_cannot_be_is_refused(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let poor = sign(site.transaction().await?, &key(0x55)?)?;
    ensure!(site.chain.balance(poor.sender()).await? == 0, "an account that nobody uses has money");
    refused("a sender without money", ErrorKind::InsufficientFunds, site.chain.submit(&poor).await)?;
    let mut starved = site.transaction().await?;
    starved.gas_limit = 20_999;
    let starved = sign(starved, &site.key)?;
    refused("too low a gas limit", ErrorKind::Rejected, site.chain.submit(&starved).await)?;
    let nonces = site.chain.nonces(site.account).await?;
    ensure!(nonces.pending == 0, "a refused transaction is counted: {nonces:?}");
    Ok(())
}
