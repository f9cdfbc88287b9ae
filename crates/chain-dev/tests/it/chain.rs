//! Fees, time, snapshots, reorganisations, gas.

use std::sync::Arc;

use pollster::block_on;
use proptest::prelude::*;
use w3bstream_chain::conformance::fixture;
use w3bstream_chain::{
    BlockId, Call, CallOutcome, Chain as _, ErrorKind, Hash, LogBlocks, LogFilter, Receipt,
    SignedTransaction, Simulation, Transaction, TxStatus,
};
use w3bstream_chain_dev::{DevChain, Fate, Mining, Settings, dev_key};
use w3bstream_types::{Address, ManualClock, SecretKey, Timestamp};

fn on_demand() -> DevChain {
    DevChain::new(Settings { mining: Mining::OnDemand, ..Settings::default() })
}

fn account(key: &SecretKey) -> Address {
    Address::of_key(&key.public()).unwrap()
}

/// A transfer of one wei to nobody, paying the current fee.
fn transfer(chain: &DevChain, key: &SecretKey, nonce: u64) -> Transaction {
    let fees = block_on(chain.fees()).unwrap();
    Transaction {
        chain_id: block_on(chain.chain_id()).unwrap(),
        nonce,
        priority_fee: fees.priority_fee,
        max_fee: 4 * fees.base_fee + fees.priority_fee,
        gas_limit: 21_000,
        to: Some(account(&dev_key(200))),
        value: u128::from(account(key) != account(&dev_key(200))),
        data: vec![],
    }
}

fn sign(transaction: Transaction, key: &SecretKey) -> SignedTransaction {
    let signature = key.sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
    SignedTransaction::new(transaction, &signature).unwrap()
}

fn fixture_on(chain: &DevChain) -> Address {
    chain.transact(&dev_key(0), None, fixture::init_code()).unwrap().created.unwrap()
}

fn set(chain: &DevChain, contract: Address, n: u64) -> Receipt {
    chain.transact(&dev_key(0), Some(contract), fixture::set(n)).unwrap()
}

fn value(chain: &DevChain, contract: Address, at: Hash) -> u64 {
    let answer = block_on(chain.call(at, &Call::new(contract, fixture::get()))).unwrap();
    let CallOutcome::Returned(word) = answer else { panic!("{answer:?}") };
    u64::from_be_bytes(word[24..].try_into().unwrap())
}

fn head(chain: &DevChain) -> w3bstream_chain::Block {
    block_on(chain.block(BlockId::Head)).unwrap().unwrap()
}

#[test]
fn development_keys_are_keys() {
    let mut all: Vec<Address> = (0..=255).map(|i| account(&dev_key(i))).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 256);
    let chain = DevChain::new(Settings::default());
    for (key, wei) in [(0, 10_000 * 10u128.pow(18)), (9, 10_000 * 10u128.pow(18)), (10, 0)] {
        assert_eq!(block_on(chain.balance(account(&dev_key(key)))).unwrap(), wei);
    }
}

#[test]
fn mining_is_instant_or_on_demand() {
    let chain = DevChain::new(Settings::default());
    let first = sign(transfer(&chain, &dev_key(0), 0), &dev_key(0));
    // The second waits for the first, and goes in as soon as it can.
    let second = sign(transfer(&chain, &dev_key(0), 1), &dev_key(0));
    block_on(chain.submit(&second)).unwrap();
    assert_eq!((chain.height(), chain.pending().len()), (0, 1));
    block_on(chain.submit(&first)).unwrap();
    assert_eq!((chain.height(), chain.pending().len()), (1, 0));
    chain.set_mining(Mining::OnDemand);
    block_on(chain.submit(&sign(transfer(&chain, &dev_key(0), 2), &dev_key(0)))).unwrap();
    assert_eq!((chain.height(), chain.pending().len()), (1, 1));
    chain.mine();
    assert_eq!((chain.height(), chain.pending().len()), (2, 0));
}

#[test]
fn two_runs_give_the_same_chain() {
    let run = || {
        let chain = DevChain::new(Settings::default());
        let contract = fixture_on(&chain);
        for n in 0..5 {
            set(&chain, contract, n);
        }
        head(&chain)
    };
    assert_eq!(run(), run());
}

#[test]
fn those_who_pay_more_go_first() {
    let chain = on_demand();
    let mut sent = Vec::new();
    for (i, tip) in [3u128, 9, 1, 7].into_iter().enumerate() {
        let key = dev_key(i as u8);
        let mut t = transfer(&chain, &key, 0);
        t.priority_fee = tip;
        sent.push((tip, sign(t, &key)));
        block_on(chain.submit(&sent[i].1)).unwrap();
    }
    chain.mine();
    sent.sort_by_key(|(tip, _)| std::cmp::Reverse(*tip));
    for (index, (_, signed)) in sent.iter().enumerate() {
        let receipt = block_on(chain.receipt(signed.hash())).unwrap().unwrap();
        assert_eq!(receipt.index, index as u64);
    }
}

#[test]
fn the_base_fee_follows_the_load() {
    // A block holds four transfers, and aims at two.
    let chain =
        DevChain::new(Settings { gas_limit: 84_000, mining: Mining::OnDemand, ..Settings::default() });
    let (key, mut nonce) = (dev_key(0), 0);
    let mut with = |count: u64| {
        for _ in 0..count {
            let mut t = transfer(&chain, &key, nonce);
            t.max_fee = 10u128.pow(12);
            block_on(chain.submit(&sign(t, &key))).unwrap();
            nonce += 1;
        }
        let mined = chain.mine();
        (mined.base_fee, block_on(chain.fees()).unwrap().base_fee)
    };
    // After the first block, which is empty, it is an eighth less.
    assert_eq!(with(2), (875_000_000, 875_000_000));
    assert_eq!(with(4), (875_000_000, 984_375_000));
    assert_eq!(with(0), (984_375_000, 861_328_125));
    // Five do not fit: the last waits.
    assert_eq!(with(5).0, 861_328_125);
    assert_eq!(chain.pending().len(), 1);
}

#[test]
fn who_pays_less_than_the_base_fee_waits() {
    let chain = on_demand();
    chain.set_base_fee(5_000_000_000);
    let mut t = transfer(&chain, &dev_key(0), 0);
    t.max_fee = 4_400_000_000;
    t.priority_fee = 1;
    let cheap = sign(t, &dev_key(0));
    block_on(chain.submit(&cheap)).unwrap();
    assert_eq!(chain.mine().base_fee, 5_000_000_000);
    assert_eq!(block_on(chain.status(cheap.hash())).unwrap(), TxStatus::Pending);
    // Empty blocks make it cheaper.
    assert_eq!(chain.mine().base_fee, 4_375_000_000);
    let receipt = block_on(chain.receipt(cheap.hash())).unwrap().unwrap();
    assert_eq!(receipt.effective_gas_price, 4_375_000_001);
}

#[test]
fn time_is_the_clocks_and_never_stands_still() {
    let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let chain = DevChain::new(Settings { clock: Some(clock.clone()), ..Settings::default() });
    assert_eq!(head(&chain).time, 1_800_000_000);
    assert_eq!(chain.mine().time, 1_800_000_001);
    clock.advance(60_000);
    assert_eq!(chain.mine().time, 1_800_000_060);
    chain.advance_time(1_000);
    assert_eq!(chain.mine().time, 1_800_001_060);
    clock.advance(1_000);
    assert_eq!(chain.mine().time, 1_800_001_061);
    let without = DevChain::new(Settings::default());
    let start = head(&without).time;
    assert_eq!([without.mine().time, without.mine().time], [start + 12, start + 24]);
    without.advance_time(100);
    assert_eq!([without.mine().time, without.mine().time], [start + 136, start + 148]);
}

#[test]
fn a_snapshot_is_gone_back_to() {
    let chain = DevChain::new(Settings::default());
    let contract = fixture_on(&chain);
    set(&chain, contract, 1);
    chain.set_mining(Mining::OnDemand);
    let nonce = block_on(chain.nonces(account(&dev_key(1)))).unwrap().latest;
    let waiting = sign(transfer(&chain, &dev_key(1), nonce), &dev_key(1));
    block_on(chain.submit(&waiting)).unwrap();
    let (before, was) = (chain.snapshot(), head(&chain));
    let later = set(&chain, contract, 2);
    chain.mine();
    assert_eq!(value(&chain, contract, head(&chain).hash), 2);
    chain.restore(&before).unwrap();
    assert_eq!((head(&chain), chain.pending()), (was, vec![waiting.clone()]));
    assert_eq!(value(&chain, contract, was.hash), 1);
    assert_eq!(block_on(chain.receipt(later.transaction)).unwrap(), None);
    chain.mine();
    assert!(block_on(chain.receipt(waiting.hash())).unwrap().unwrap().success);
    // What was replaced cannot be gone back to.
    chain.reorg(100, Fate::Dropped);
    assert_eq!(chain.restore(&before).unwrap_err().kind(), ErrorKind::UnknownBlock);
}

#[test]
fn what_was_in_replaced_blocks_comes_back_or_is_lost() {
    for fate in [Fate::Pooled, Fate::Dropped] {
        let chain = DevChain::new(Settings::default());
        let contract = fixture_on(&chain);
        let receipts = [set(&chain, contract, 1), set(&chain, contract, 2)];
        let before = head(&chain);
        chain.reorg(2, fate);
        assert_eq!(head(&chain).number, before.number + 1);
        assert_eq!(value(&chain, contract, head(&chain).hash), 0);
        chain.mine();
        let filter = LogFilter {
            blocks: LogBlocks::Range { from: 0, to: u64::MAX },
            addresses: vec![contract],
            topics: vec![],
        };
        let events = block_on(chain.logs(&filter)).unwrap().len();
        let now = value(&chain, contract, head(&chain).hash);
        match fate {
            Fate::Pooled => {
                assert_eq!((events, now), (2, 2));
                let again = block_on(chain.receipt(receipts[0].transaction)).unwrap().unwrap();
                assert_ne!(again.block, receipts[0].block);
            }
            Fate::Dropped => assert_eq!((events, now), (0, 0)),
        }
    }
}

#[test]
fn a_failed_transaction_pays_and_leaves_nothing() {
    let chain = DevChain::new(Settings::default());
    let contract = fixture_on(&chain);
    let refused = chain.transact(&dev_key(0), Some(contract), fixture::fail(&fixture::error_string("no")));
    assert!(refused.unwrap_err().to_string().contains("\"no\""));
    let before = block_on(chain.balance(account(&dev_key(0)))).unwrap();
    let receipt = chain.transact_with_gas(&dev_key(0), Some(contract), fixture::fail(b""), 100_000).unwrap();
    assert!(!receipt.success && receipt.logs.is_empty());
    let paid = receipt.effective_gas_price * u128::from(receipt.gas_used);
    assert_eq!(block_on(chain.balance(account(&dev_key(0)))).unwrap(), before - paid);
    // A creation that fails creates nothing.
    let receipt = chain.transact_with_gas(&dev_key(0), None, vec![0xfe], 100_000).unwrap();
    assert_eq!((receipt.success, receipt.created, receipt.gas_used), (false, None, 100_000));
}

#[test]
fn a_call_sees_its_own_block() {
    let chain = DevChain::new(Settings::default());
    // NUMBER, TIMESTAMP, CHAINID, and the hash of the block before, returned as four words.
    let code = [
        0x43, 0x60, 0, 0x52, 0x42, 0x60, 32, 0x52, 0x46, 0x60, 64, 0x52, 0x60, 1, 0x43, 0x03, 0x40, 0x60, 96,
        0x52, 0x60, 128, 0x60, 0, 0xf3,
    ];
    let mut init = vec![0x60, code.len() as u8, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3];
    init.extend(code);
    let contract = chain.transact(&dev_key(0), None, init).unwrap().created.unwrap();
    assert_eq!(chain.code(contract), code);
    let mut blocks = vec![head(&chain)];
    blocks.extend((0..3).map(|_| chain.mine()));
    for block in blocks {
        let answer = block_on(chain.call(block.hash, &Call::new(contract, vec![]))).unwrap();
        let words = [
            fixture::word(block.number),
            fixture::word(block.time),
            fixture::word(31_337),
            *block.parent.as_bytes(),
        ];
        assert_eq!(answer, CallOutcome::Returned(words.concat()));
    }
}

#[test]
fn what_no_block_can_have_is_refused() {
    let chain = on_demand();
    let refused = |change: &dyn Fn(&mut Transaction)| {
        let mut t = transfer(&chain, &dev_key(0), 0);
        change(&mut t);
        block_on(chain.submit(&sign(t, &dev_key(0)))).unwrap_err().kind()
    };
    assert_eq!(refused(&|t| t.gas_limit = (1 << 24) + 1), ErrorKind::Rejected);
    assert_eq!(refused(&|t| t.priority_fee = t.max_fee + 1), ErrorKind::Rejected);
    assert_eq!(refused(&|t| t.nonce = 65), ErrorKind::NonceTooHigh);
    assert_eq!(refused(&|t| t.value = u128::MAX), ErrorKind::InsufficientFunds);
    assert_eq!(refused(&|t| t.max_fee = u128::MAX), ErrorKind::InsufficientFunds);
    // 100 bytes of data cost 4,000 at least (EIP-7623), zeros a quarter of it.
    assert_eq!(refused(&|t| (t.data, t.gas_limit) = (vec![1; 100], 24_999)), ErrorKind::Rejected);
    assert_eq!(refused(&|t| (t.data, t.gas_limit) = (vec![0; 100], 21_999)), ErrorKind::Rejected);
    assert_eq!(
        refused(&|t| (t.to, t.data, t.gas_limit) = (None, vec![0; 49_153], 10_000_000)),
        ErrorKind::Rejected
    );
    assert_eq!(chain.pending().len(), 0);
}

#[test]
fn value_that_is_not_there_is_not_simulated() {
    let chain = DevChain::new(Settings::default());
    let call = Call {
        from: Some(account(&dev_key(100))),
        to: Some(account(&dev_key(1))),
        value: 1,
        data: vec![],
        gas_limit: None,
    };
    assert_eq!(block_on(chain.simulate(&call)).unwrap_err().kind(), ErrorKind::InsufficientFunds);
    let rich = Call { from: Some(account(&dev_key(1))), ..call };
    assert!(matches!(block_on(chain.simulate(&rich)).unwrap(), Simulation::Gas(21_000..=24_000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The state at every height is what was set there, through mining, reorganisations and snapshots.
    #[test]
    fn history_is_kept(steps in proptest::collection::vec((0u8..8, 1u64..5), 1..40)) {
        let chain = DevChain::new(Settings::default());
        let contract = fixture_on(&chain);
        let (floor, mut expected) = (chain.height(), vec![0u64]);
        let mut noted = None;
        for (step, n) in steps {
            match step {
                0..=4 => {
                    set(&chain, contract, n * 10);
                    expected.push(n * 10);
                }
                5 => {
                    let depth = n.min(expected.len() as u64 - 1);
                    expected.truncate(expected.len() - depth as usize);
                    let value = expected[expected.len() - 1];
                    expected.extend(vec![value; depth as usize + 1]);
                    chain.reorg(depth, Fate::Dropped);
                    noted = None;
                }
                6 => noted = Some((chain.snapshot(), expected.clone())),
                _ => if let Some((snapshot, then)) = noted.take() {
                    chain.restore(&snapshot).unwrap();
                    expected = then;
                }
            }
            prop_assert_eq!(chain.height() - floor, expected.len() as u64 - 1);
            for (number, expected) in (floor..).zip(&expected) {
                let block = block_on(chain.block(BlockId::Number(number))).unwrap().unwrap();
                prop_assert_eq!(value(&chain, contract, block.hash), *expected, "at {}", number);
            }
        }
    }
}
