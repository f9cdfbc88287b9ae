//! The watcher: every event once, in order, through failures and reorganisations.

use std::sync::Arc;

use w3bstream_chain::conformance::{block_on, fixture};
use w3bstream_chain::memory::{Effect, Env, Fate, FlakyChain, MemoryChain, Storage, Troubles};
use w3bstream_chain::watch::{Cursor, Rules, Watcher};
use w3bstream_chain::{Chain, ErrorKind, Hash, Log, LogBlocks, LogFilter, Revert};

use crate::submit::support::{CHAIN, ETHER, account, counter, dice, signed};

const CONFIRMATIONS: u64 = 4;

fn shout(env: &Env<'_>, _: &mut Storage) -> Result<Effect, Revert> {
    Ok(Effect { output: vec![], logs: vec![(vec![Hash::of(b"Shout()")], env.data.to_vec()); 2] })
}

fn chain() -> Arc<MemoryChain> {
    let chain = MemoryChain::new(CHAIN);
    chain.fund(account(), 1000 * ETHER);
    chain.place(counter(), Arc::new(shout));
    Arc::new(chain)
}

fn rules(max_range: u64) -> Rules {
    Rules { addresses: vec![counter()], topics: vec![], confirmations: CONFIRMATIONS, max_range }
}

/// Something that is logged in the next block.
async fn say(chain: &MemoryChain, n: u64) {
    let nonce = chain.nonces(account()).await.unwrap().pending;
    chain.submit(&signed(nonce, 10, &fixture::word(n))).await.unwrap();
}

fn mine(chain: &MemoryChain, blocks: u64) {
    for _ in 0..blocks {
        chain.mine();
    }
}

async fn canonical(chain: &MemoryChain, to: u64) -> Vec<Log> {
    let blocks = LogBlocks::Range { from: 1, to };
    chain.logs(&LogFilter { blocks, addresses: vec![], topics: vec![] }).await.unwrap()
}

async fn follow(seed: u64) {
    let memory = chain();
    let flaky = Arc::new(FlakyChain::new(memory.clone(), seed, Troubles::ALL));
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut watcher = Watcher::new(flaky.clone(), rules(1 + seed % 20));
    let mut cursor = Cursor::start(1);
    let mut seen: Vec<Log> = Vec::new();
    for round in 0..150 {
        if round == 110 {
            flaky.set_troubles(Troubles::default());
        }
        for n in 0..dice(&mut state, 3) {
            say(&memory, round * 10 + n).await;
        }
        match dice(&mut state, 10) {
            0 if round < 110 => memory.reorg(1 + dice(&mut state, CONFIRMATIONS - 1), Fate::Pooled),
            1 => mine(&memory, dice(&mut state, 30)),
            2 => watcher = Watcher::new(flaky.clone(), rules(1 + dice(&mut state, 40))),
            3..=8 => mine(&memory, 1),
            _ => {}
        }
        if let Ok(batch) = watcher.next(cursor).await {
            assert!(batch.cursor.next >= cursor.next);
            seen.extend(batch.logs);
            cursor = batch.cursor;
        }
    }
    loop {
        let batch = watcher.next(cursor).await.unwrap();
        seen.extend(batch.logs);
        cursor = batch.cursor;
        if batch.behind == 0 {
            break;
        }
    }
    let safe = memory.height() + 1 - CONFIRMATIONS;
    assert_eq!(cursor.next, safe + 1, "seed {seed}");
    assert_eq!(seen, canonical(&memory, safe).await, "seed {seed}");
    assert!(seen.len() > 20, "seed {seed} saw {} events", seen.len());
}

#[test]
fn every_event_comes_once_and_in_order_whatever_happens() {
    for seed in 0..60 {
        block_on(follow(seed));
    }
}

#[test]
fn nothing_comes_before_it_is_deep_enough() {
    block_on(async {
        let memory = chain();
        let mut watcher = Watcher::new(memory.clone(), rules(10));
        say(&memory, 1).await;
        let mut cursor = Cursor::start(1);
        for confirmations in 1..=CONFIRMATIONS {
            memory.mine();
            let batch = watcher.next(cursor).await.unwrap();
            let expected = if confirmations == CONFIRMATIONS { 2 } else { 0 };
            assert_eq!(batch.logs.len(), expected, "with {confirmations} confirmations");
            cursor = batch.cursor;
        }
        assert_eq!(cursor.next, 2);
    });
}

#[test]
fn a_deeper_reorganisation_is_told() {
    block_on(async {
        let memory = chain();
        let mut watcher = Watcher::new(memory.clone(), rules(100));
        mine(&memory, 10);
        let cursor = watcher.next(Cursor::start(1)).await.unwrap().cursor;
        memory.reorg(CONFIRMATIONS - 1, Fate::Pooled);
        let cursor = watcher.next(cursor).await.unwrap().cursor;
        memory.reorg(CONFIRMATIONS, Fate::Pooled);
        let e = watcher.next(cursor).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Reorganised, "{e}");
    });
}

#[test]
fn too_wide_a_range_is_halved_until_it_is_answered() {
    block_on(async {
        let memory = chain();
        for n in 0..100 {
            say(&memory, n).await;
            memory.mine();
        }
        let narrow = Arc::new(Narrow(Arc::clone(&memory), 10));
        let mut watcher = Watcher::new(narrow, rules(1000));
        let (mut cursor, mut seen, mut asked) = (Cursor::start(0), vec![], 0);
        loop {
            let batch = watcher.next(cursor).await.unwrap();
            seen.extend(batch.logs);
            cursor = batch.cursor;
            asked += 1;
            if batch.behind == 0 {
                break;
            }
        }
        assert_eq!(seen, canonical(&memory, memory.height() + 1 - CONFIRMATIONS).await);
        assert!(asked < 40, "asked {asked} times");
    });
}

/// A node that gives the logs of so many blocks at once and no more.
#[derive(Debug)]
struct Narrow(Arc<MemoryChain>, u64);

mod narrow {
    use super::Narrow;
    use w3bstream_chain::*;
    use w3bstream_types::Address;

    #[async_trait]
    impl Chain for Narrow {
        async fn chain_id(&self) -> Result<u64, Error> {
            self.0.chain_id().await
        }
        async fn block(&self, id: BlockId) -> Result<Option<Block>, Error> {
            self.0.block(id).await
        }
        async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error> {
            self.0.call(at, call).await
        }
        async fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
            self.0.simulate(call).await
        }
        async fn nonces(&self, account: Address) -> Result<Nonces, Error> {
            self.0.nonces(account).await
        }
        async fn balance(&self, account: Address) -> Result<u128, Error> {
            self.0.balance(account).await
        }
        async fn fees(&self) -> Result<Fees, Error> {
            self.0.fees().await
        }
        async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error> {
            self.0.submit(transaction).await
        }
        async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error> {
            self.0.receipt(transaction).await
        }
        async fn status(&self, transaction: Hash) -> Result<TxStatus, Error> {
            self.0.status(transaction).await
        }
        async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error> {
            self.0.transaction(hash).await
        }
        async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
            self.0.sent(account, nonce).await
        }
        async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
            if let LogBlocks::Range { from, to } = filter.blocks
                && to - from >= self.1
            {
                return Err(Error::new(ErrorKind::TooLarge, "ask for less"));
            }
            self.0.logs(filter).await
        }
        async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error> {
            self.0.raw_receipts(block).await
        }
    }
}
