//! Calls, simulations, reverts.

use super::place::Site;
use super::{Failure, Place, ensure, fixture, refused};
use crate::{Call, CallOutcome, ErrorKind, Hash, Reason, Simulation};

/// A call at a block's hash sees the state after that block, however old it is; at no block it is refused.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn a_call_sees_the_state_of_its_block(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let contract = site.create().await?;
    let mut states = vec![(site.head().await?.hash, 0)];
    for n in [7, 8, 9] {
        let receipt = site.done(site.calling(contract, fixture::set(n)).await?).await?;
        ensure!(receipt.success, "setting {n} failed");
        states.push((receipt.block, n));
    }
    let call = Call::new(contract, fixture::get());
    for (block, n) in states {
        let found = site.chain.call(block, &call).await?;
        let expected = CallOutcome::Returned(fixture::word(n).to_vec());
        ensure!(found == expected, "after block {block} the value is {n}, and the call gave {found:?}");
    }
    let nowhere = site.chain.call(Hash::of(b"no block"), &call).await;
    refused("a call at no block", ErrorKind::UnknownBlock, nowhere)
}

/// A call that fails gives the contract's bytes; so does a simulation, and a transaction that fails is told by its
/// receipt.
///
/// # Errors
/// [`Failure`].
pub async fn reverts_are_told_with_their_data(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let contract = site.create().await?;
    let custom = [&[1, 2, 3, 4][..], &fixture::word(9)].concat();
    let cases = [
        (fixture::error_string("no such luck"), Reason::Message("no such luck".into())),
        (fixture::panic(0x11), Reason::Panic(0x11)),
        (custom, Reason::Custom([1, 2, 3, 4], fixture::word(9).to_vec())),
        (vec![], Reason::None),
    ];
    for (data, reason) in cases {
        let mut call = Call::new(contract, fixture::fail(&data));
        let found = site.chain.call(site.head().await?.hash, &call).await?;
        let CallOutcome::Reverted(revert) = &found else {
            return Err(Failure::new(format!("a call that reverts with {reason:?} gave {found:?}")));
        };
        ensure!(revert.data == data, "a call that reverts with {reason:?} gave the data {:?}", revert.data);
        ensure!(revert.reason() == reason, "{reason:?} was decoded as {:?}", revert.reason());
        call.from = Some(site.account);
        let found = site.chain.simulate(&call).await?;
        let Simulation::Reverted(revert) = &found else {
            return Err(Failure::new(format!("a simulation that reverts with {reason:?} gave {found:?}")));
        };
        ensure!(revert.data == data, "a simulation gave the data {:?}, not {data:?}", revert.data);
    }
    let failing = site.calling(contract, fixture::fail(&fixture::error_string("no"))).await?;
    let receipt = site.done(failing).await?;
    ensure!(!receipt.success && receipt.logs.is_empty(), "a failed transaction has {receipt:?}");
    ensure!(receipt.gas_used > 0, "a failed transaction used no gas");
    Ok(())
}

/// A transaction with the gas that its simulation asked for succeeds.
///
/// # Errors
/// [`Failure`].
pub async fn simulated_gas_is_enough(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let contract = site.create().await?;
    // Gives a slot its first value, changes it, clears it.
    for n in [1, 2, 0] {
        let mut transaction = site.calling(contract, fixture::set(n)).await?;
        let mut call = Call::new(contract, transaction.data.clone());
        call.from = Some(site.account);
        let gas = match site.chain.simulate(&call).await? {
            Simulation::Gas(gas) => gas,
            Simulation::Reverted(revert) => return Err(Failure::new(format!("setting {n} {revert}"))),
        };
        ensure!(gas > 21_000, "calling a contract is said to need only {gas} gas");
        transaction.gas_limit = gas;
        let receipt = site.done(transaction).await?;
        ensure!(receipt.success, "with the {gas} gas that it was said to need, setting {n} failed");
    }
    Ok(())
}
