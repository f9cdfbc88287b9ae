//! The watcher: events of a chain, in order, each once, as soon as they are deep enough.
//!
//! **Takes** a cursor; **gives** the logs after it and the next cursor. It keeps nothing: the caller stores the cursor
//! together with what it made of the logs, and after a crash goes on from there.
//!
//! # Invariants
//! - Only logs with [`Rules::confirmations`] blocks are given (their own included), so a reorganisation that is
//!   less deep than that is never seen by the caller.
//! - The blocks of a batch follow the cursor's block and each other; a deeper reorganisation is found by the
//!   cursor's hash and is [`ErrorKind::Reorganised`].
//! - From cursor to cursor no block is left out and none comes twice.

use std::sync::Arc;

use w3bstream_types::Address;

use crate::{Block, BlockId, Chain, Error, ErrorKind, Hash, Log, LogBlocks, LogFilter};

/// How far a watcher has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The height of the next block to look at.
    pub next: u64,
    /// The hash of the block before it; `None` before the first batch.
    pub last: Option<Hash>,
}

impl Cursor {
    /// Before the block at this height.
    #[must_use]
    pub const fn start(number: u64) -> Self {
        Self { next: number, last: None }
    }
}

/// What is watched, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// As [`LogFilter::addresses`].
    pub addresses: Vec<Address>,
    /// As [`LogFilter::topics`].
    pub topics: Vec<Vec<Hash>>,
    /// How many blocks, its own included, a log must have. At least 1.
    pub confirmations: u64,
    /// The most blocks of one request while catching up. At least 1.
    pub max_range: u64,
}

/// Logs, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The logs, by height and index.
    pub logs: Vec<Log>,
    /// The cursor after them; the one that was given if there is no new block.
    pub cursor: Cursor,
    /// How many deep enough blocks are still to be looked at. If not 0, ask again at once.
    pub behind: u64,
}

/// So few blocks are asked for one by one, by their hashes: a node that lags or is on another fork cannot answer that
/// with an empty list.
const BY_HASH: u64 = 8;

/// Follows a chain. See the [module](self).
#[derive(Debug)]
pub struct Watcher {
    chain: Arc<dyn Chain>,
    rules: Rules,
    /// What nodes have accepted lately as a range.
    range: u64,
}

impl Watcher {
    /// A watcher on a chain.
    #[must_use]
    pub fn new(chain: Arc<dyn Chain>, rules: Rules) -> Self {
        let rules =
            Rules { confirmations: rules.confirmations.max(1), max_range: rules.max_range.max(1), ..rules };
        Self { chain, range: rules.max_range, rules }
    }

    /// The logs after a cursor, of at most [`Rules::max_range`] blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Reorganised`] if the cursor's block was replaced; then what the caller made of its logs is in
    /// doubt. Those of the chain: ask again with the same cursor.
    pub async fn next(&mut self, cursor: Cursor) -> Result<Batch, Error> {
        let none = Batch { logs: vec![], cursor, behind: 0 };
        let Some(head) = self.chain.block(BlockId::Head).await? else { return Ok(none) };
        let Some(safe) = (head.number + 1).checked_sub(self.rules.confirmations) else { return Ok(none) };
        if safe < cursor.next {
            return Ok(none);
        }
        self.check(cursor).await?;
        let mut to = safe.min(cursor.next.saturating_add(self.range - 1));
        let (logs, last) = loop {
            match self.logs(cursor, to).await {
                Err(e) if e.kind() == ErrorKind::TooLarge && to > cursor.next => {
                    self.range = ((to - cursor.next).div_ceil(2)).max(1);
                    to = cursor.next + (self.range - 1);
                }
                answer => break answer?,
            }
        };
        self.range = self.range.saturating_mul(2).min(self.rules.max_range);
        Ok(Batch { logs, cursor: Cursor { next: to + 1, last: Some(last) }, behind: safe - to })
    }

    async fn check(&self, cursor: Cursor) -> Result<(), Error> {
        let (Some(last), Some(number)) = (cursor.last, cursor.next.checked_sub(1)) else { return Ok(()) };
        let now = self.block(BlockId::Number(number)).await?.hash;
        if now == last {
            return Ok(());
        }
        let what = format!(
            "block {number} was {last} and is now {now}: a reorganisation deeper than {} confirmations",
            self.rules.confirmations
        );
        Err(Error::new(ErrorKind::Reorganised, what))
    }

    async fn block(&self, id: BlockId) -> Result<Block, Error> {
        let found = self.chain.block(id).await?;
        found.ok_or_else(|| Error::new(ErrorKind::UnknownBlock, format!("block {id} is not known (yet)")))
    }

    fn filter(&self, blocks: LogBlocks) -> LogFilter {
        LogFilter { blocks, addresses: self.rules.addresses.clone(), topics: self.rules.topics.clone() }
    }

    /// The logs from the cursor to a height, and the hash of the block there.
    async fn logs(&self, cursor: Cursor, to: u64) -> Result<(Vec<Log>, Hash), Error> {
        let end = self.block(BlockId::Number(to)).await?;
        let mut logs = if to - cursor.next < BY_HASH {
            self.one_by_one(cursor, end).await?
        } else {
            self.at_once(cursor, end).await?
        };
        logs.sort_by_key(|log| (log.at.number, log.at.index));
        // A node may name a log twice; it is the same if it is at the same place.
        logs.dedup_by_key(|log| log.at);
        Ok((logs, end.hash))
    }

    /// Walks from the end back to the cursor, from parent to parent, so that the blocks are one chain.
    async fn one_by_one(&self, cursor: Cursor, end: Block) -> Result<Vec<Log>, Error> {
        let mut logs = Vec::new();
        let mut block = end;
        loop {
            let mut found = self.chain.logs(&self.filter(LogBlocks::Block(block.hash))).await?;
            if let Some(other) = found.iter().find(|log| log.at.block != block.hash) {
                return Err(misplaced(other, block.hash));
            }
            logs.append(&mut found);
            if block.number <= cursor.next {
                break;
            }
            block = self.block(BlockId::Hash(block.parent)).await?;
        }
        match cursor.last {
            Some(last) if last != block.parent => {
                let what = format!("block {} does not follow {last}, the last one looked at", block.number);
                Err(Error::new(ErrorKind::UnknownBlock, what))
            }
            _ => Ok(logs),
        }
    }

    /// Asks for the whole range, and checks that the chain was the same one before and after, and in between.
    async fn at_once(&self, cursor: Cursor, end: Block) -> Result<Vec<Log>, Error> {
        let range = LogBlocks::Range { from: cursor.next, to: end.number };
        let logs = self.chain.logs(&self.filter(range)).await?;
        let mut checked: Option<Block> = None;
        for log in &logs {
            let block = match checked {
                Some(block) if block.number == log.at.number => block,
                _ => self.block(BlockId::Number(log.at.number)).await?,
            };
            if block.hash != log.at.block || !(cursor.next..=end.number).contains(&log.at.number) {
                return Err(misplaced(log, block.hash));
            }
            checked = Some(block);
        }
        self.check(cursor).await?;
        if self.block(BlockId::Number(end.number)).await?.hash != end.hash {
            let what = format!("block {} was replaced while its logs were read", end.number);
            return Err(Error::new(ErrorKind::UnknownBlock, what));
        }
        Ok(logs)
    }
}

fn misplaced(log: &Log, expected: Hash) -> Error {
    let at = log.at;
    let what = format!("the node gave a log of block {} ({}) for block {expected}", at.number, at.block);
    Error::new(ErrorKind::BadAnswer, what)
}
