//! Everything goes wrong at once, from many seeds: each intent takes effect exactly once, and all of them do.

use std::collections::BTreeMap;

use w3bstream_chain::Chain as _;
use w3bstream_chain::conformance::block_on;
use w3bstream_chain::memory::{Fate, Troubles};
use w3bstream_chain::submit::{Offered, Outcome, Submitter};
use w3bstream_types::{Disposition, Timestamp};

use super::support::{Bench, account, dice, effects, intent, signed};

const INTENTS: u64 = 12;
const GWEI: u128 = 1_000_000_000;

struct Storm {
    bench: Bench,
    state: u64,
    foreign: u64,
    /// Outcomes that were stored by the caller.
    stored: BTreeMap<u64, Outcome>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let bench = Bench::new(seed, Troubles::ALL);
        bench.journal.fails.lock().unwrap().1 = 5;
        bench.signer.fails.lock().unwrap().1 = 5;
        Self { bench, state: seed.wrapping_mul(0x9e37_79b9) | 1, foreign: 0, stored: BTreeMap::new() }
    }

    fn dice(&mut self, n: u64) -> u64 {
        dice(&mut self.state, n)
    }

    /// Something that happens to the chain.
    async fn weather(&mut self) {
        let memory = std::sync::Arc::clone(&self.bench.memory);
        match self.dice(20) {
            0..=10 => {
                memory.mine();
            }
            11 => drop(memory.drop_pending()),
            12 | 13 => {
                // Less deep than the confirmations that are waited for.
                let depth = 1 + self.dice(self.bench.settings.confirmations - 1);
                let fate = if self.dice(2) == 0 { Fate::Pooled } else { Fate::Dropped };
                memory.reorg(depth, fate);
            }
            14 => memory.set_base_fee(GWEI * u128::from(1 + self.dice(60))),
            15 => {
                // Somebody uses the key elsewhere.
                let nonces = memory.nonces(account()).await.unwrap();
                let nonce = if self.dice(2) == 0 { nonces.latest } else { nonces.pending };
                self.foreign += 1;
                let transaction = signed(nonce, 400, format!("foreign {}", self.foreign).as_bytes());
                let _ = memory.submit(&transaction).await;
            }
            16 => memory.set_capacity(self.dice(3) as usize),
            17 => memory.set_capacity(usize::MAX),
            _ => {}
        }
    }

    /// What the pipeline does: tick, store what ended, forget it, offer the rest.
    async fn work(&mut self, submitter: &mut Submitter) {
        self.bench.now += 3_000 + dice(&mut self.state, 15_000);
        let now = Timestamp(self.bench.now);
        if let Err(e) = submitter.tick(now).await {
            assert_ne!(e.disposition(), Disposition::Halt, "{e}");
        }
        for n in 0..INTENTS {
            if self.stored.contains_key(&n) || self.dice(3) == 0 {
                continue;
            }
            if let Ok(Offered::Finished(outcome)) = submitter.offer(intent(n), now).await {
                self.stored.insert(n, outcome);
            }
            assert!(submitter.in_flight() <= self.bench.settings.max_in_flight);
        }
        for n in self.stored.keys() {
            if dice(&mut self.state, 2) == 0 {
                let _ = submitter.forget(intent(*n).id).await;
            }
        }
    }
}

async fn survive(seed: u64) -> Result<(), String> {
    let mut storm = Storm::new(seed);
    let mut submitter = storm.bench.open().await;
    for _ in 0..80 {
        storm.weather().await;
        storm.work(&mut submitter).await;
        if storm.dice(12) == 0 {
            submitter = storm.bench.open().await;
        }
    }
    let during = storm.stored.len();
    // The sky clears: now everything must come to its end.
    storm.bench.chain.inner.set_troubles(Troubles::default());
    storm.bench.journal.fails.lock().unwrap().1 = 0;
    storm.bench.signer.fails.lock().unwrap().1 = 0;
    storm.bench.memory.set_base_fee(GWEI);
    storm.bench.memory.set_capacity(usize::MAX);
    for _ in 0..150 {
        if storm.stored.len() == INTENTS as usize {
            break;
        }
        storm.bench.memory.mine();
        storm.work(&mut submitter).await;
    }
    for n in 0..INTENTS {
        let outcome = storm.stored.get(&n);
        if !matches!(outcome, Some(Outcome::Done(_))) {
            return Err(format!(
                "intent {n} ended as {outcome:?} ({during} during the storm): {submitter:?}"
            ));
        }
        let times = effects(&storm.bench.memory, &intent(n).data);
        if times != 1 {
            return Err(format!("intent {n} took effect {times} times"));
        }
    }
    Ok(())
}

#[test]
fn each_intent_takes_effect_once_whatever_happens() {
    let seeds = 200;
    let failed: Vec<String> = (0..seeds)
        .filter_map(|seed| block_on(survive(seed)).err().map(|e| format!("seed {seed}: {e}")))
        .collect();
    assert!(failed.is_empty(), "{} of {seeds} seeds:\n{}", failed.len(), failed.join("\n"));
}
