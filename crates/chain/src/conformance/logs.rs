//! Events.

use super::place::{Site, stranger};
use super::{Failure, Place, ensure, fixture, refused};
use crate::{ErrorKind, Hash, Log, LogBlocks, LogFilter};

/// The numbers that were set in each of some blocks; the first blocks' height.
const SET: [&[u64]; 5] = [&[1, 2, 3], &[], &[4], &[5, 6], &[]];

/// Sends what [`SET`] says and gives the contract with the height before the first of the blocks.
async fn filled(site: &Site<'_>) -> Result<(w3bstream_types::Address, u64), Failure> {
    let contract = site.create().await?;
    let start = site.head().await?.number;
    for numbers in SET {
        for n in numbers {
            site.send(site.calling(contract, fixture::set(*n)).await?).await?;
        }
        site.place.mine().await?;
    }
    Ok((contract, start))
}

fn numbers(logs: &[Log]) -> Vec<u64> {
    let last = |log: &Log| log.data.last_chunk::<8>().map_or(u64::MAX, |b| u64::from_be_bytes(*b));
    logs.iter().map(last).collect()
}

/// A range gives the logs of its blocks, both ends included, by block and index, each with its place; blocks
/// that do not exist yet have none.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn logs_of_a_range_are_whole_and_ordered(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let (contract, start) = filled(&site).await?;
    let all = |from, to| LogFilter {
        blocks: LogBlocks::Range { from: start + from, to: start + to },
        addresses: vec![contract],
        topics: vec![],
    };
    let cases: [(u64, u64, &[u64]); 6] = [
        (1, 5, &[1, 2, 3, 4, 5, 6]),
        (0, 5, &[1, 2, 3, 4, 5, 6]),
        (1, 1, &[1, 2, 3]),
        (2, 2, &[]),
        (3, 4, &[4, 5, 6]),
        (5, 5, &[]),
    ];
    for (from, to, expected) in cases {
        let found = numbers(&site.chain.logs(&all(from, to)).await?);
        ensure!(found == expected, "blocks {from} to {to} have the events {found:?}, not {expected:?}");
    }
    // What does not exist yet has no logs; the blocks before it have theirs.
    let found = numbers(&site.chain.logs(&all(4, 100)).await?);
    ensure!(found == [5, 6], "a range beyond the head gave {found:?}");
    let logs = site.chain.logs(&all(1, 5)).await?;
    let places: Vec<_> = logs.iter().map(|l| (l.at.number - start, l.at.index)).collect();
    ensure!(places == [(1, 0), (1, 1), (1, 2), (3, 0), (4, 0), (4, 1)], "the events are at {places:?}");
    for log in &logs {
        let receipt = site.chain.receipt(log.at.transaction).await?;
        let same = receipt.is_some_and(|r| r.logs == [log.clone()] && r.block == log.at.block);
        ensure!(same, "the receipt of {} does not have the event {log:?}", log.at.transaction);
        let mut by = [0; 32];
        by.split_at_mut(12).1.copy_from_slice(site.account.as_bytes());
        let topics = [fixture::set_topic(), Hash::from_bytes(by)];
        ensure!(log.topics == topics, "the topics are {:?}, not {topics:?}", log.topics);
    }
    Ok(())
}

/// Filters by contract, by topics and by a block's hash mean what they say.
///
/// # Errors
/// [`Failure`].
pub async fn logs_are_filtered(place: &dyn Place) -> Result<(), Failure> {
    let site = Site::of(place).await?;
    let (contract, start) = filled(&site).await?;
    let other = site.create().await?;
    site.done(site.calling(other, fixture::set(99)).await?).await?;
    let end = site.head().await?.number;
    let range = LogBlocks::Range { from: start, to: end };
    let no_topic = Hash::of(b"Unset()");
    let mut by = [0; 32];
    by.split_at_mut(12).1.copy_from_slice(site.account.as_bytes());
    let by = Hash::from_bytes(by);
    let set = fixture::set_topic();
    let everything: &[u64] = &[1, 2, 3, 4, 5, 6, 99];
    let ours: &[u64] = &[1, 2, 3, 4, 5, 6];
    #[allow(clippy::type_complexity, reason = "a table: addresses, topics, the logs that match")]
    let cases: [(Vec<_>, Vec<Vec<Hash>>, &[u64]); 10] = [
        (vec![], vec![], everything),
        (vec![contract], vec![], ours),
        (vec![other, contract], vec![], everything),
        (vec![stranger()], vec![], &[]),
        (vec![], vec![vec![set]], everything),
        (vec![contract], vec![vec![no_topic]], &[]),
        (vec![contract], vec![vec![no_topic, set]], ours),
        (vec![contract], vec![vec![], vec![by]], ours),
        (vec![contract], vec![vec![set], vec![set]], &[]),
        (vec![contract], vec![vec![], vec![], vec![]], &[]),
    ];
    for (addresses, topics, expected) in cases {
        let filter = LogFilter { blocks: range, addresses, topics };
        let found = numbers(&site.chain.logs(&filter).await?);
        ensure!(found == expected, "{filter:?} gave {found:?}, not {expected:?}");
    }
    let first = site.chain.block(crate::BlockId::Number(start + 1)).await?;
    let hash = first.map(|b| b.hash).unwrap_or_default();
    let of_block = |hash| LogFilter { blocks: LogBlocks::Block(hash), addresses: vec![], topics: vec![] };
    let found = numbers(&site.chain.logs(&of_block(hash)).await?);
    ensure!(found == [1, 2, 3], "the block {hash} has the events {found:?}");
    let nowhere = site.chain.logs(&of_block(Hash::of(b"no block"))).await;
    refused("the logs of no block", ErrorKind::UnknownBlock, nowhere)
}
