//! A long run of random batches, held against [`MemoryJournal`].

use w3bstream_types::Entry;

use super::fixtures::{attestation, block, control, effect, genesis, message, project};
use super::once::{compare, write_block};
use super::{Failure, Place, ensure};
use crate::{Journal, MemoryJournal, Write};

/// After each of 60 random batches, restarts among them, everything reads as in the reference.
///
/// # Errors
/// [`Failure`], as for every property.
pub async fn follows_the_reference(place: &dyn Place) -> Result<(), Failure> {
    follows_the_reference_from(place, 1).await
}

/// The same with the run that `seed` gives.
///
/// # Errors
/// [`Failure`], naming the step.
pub async fn follows_the_reference_from(place: &dyn Place, seed: u64) -> Result<(), Failure> {
    let mut random = Random(seed);
    let reference = MemoryJournal::new();
    let mut journal = place.open().await?;
    for step in 0..60 {
        let when = format!("seed {seed}, step {step}");
        let mut batch = Vec::new();
        for _ in 0..1 + random.below(4) {
            batch.push(random.write(&reference).await?);
        }
        let (answer, expected) = (journal.commit(batch.clone()).await, reference.commit(batch.clone()).await);
        let kinds =
            (answer.as_ref().map_err(crate::Error::kind), expected.as_ref().map_err(crate::Error::kind));
        ensure!(kinds.0 == kinds.1, "{when}: {batch:?} was answered with {answer:?}, expected {expected:?}");
        if random.below(8) == 0 {
            drop(journal);
            journal = place.open().await?;
        }
        compare(&*journal, &reference, &when).await?;
    }
    Ok(())
}

/// SplitMix64: enough to vary, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A write that may well be refused: the domain is small.
    async fn write(&mut self, now: &MemoryJournal) -> Result<Write, Failure> {
        let n = 1 + self.below(2) as u8;
        let p = project(n);
        let last = now.last_height(p).await?;
        let name = if self.below(2) == 0 { "applied" } else { "archived" };
        let effect = effect(n, 1 + self.below(3), self.below(2));
        Ok(match self.below(14) {
            0 => Write::Genesis(Box::new(genesis(n, self.below(8) / 7)?)),
            1..=4 => {
                // Mostly the next one, now and then one that is there or too far.
                let height = (last + [1, 1, 1, 1, 1, 1, 0, 2][self.below(8) as usize]).min(30);
                let mut entries = Vec::new();
                for _ in 0..self.below(4) {
                    entries.push(if self.below(4) == 0 {
                        Entry::Control(control(n, 1 + self.below(5), 1)?.id())
                    } else {
                        Entry::Message(message(self.below(40)))
                    });
                }
                write_block(n, block(height, entries))
            }
            5 => Write::Attestation(p, Box::new(attestation(n, 1 + self.below(6), self.below(8) / 7))),
            6 => Write::Cursor(p, name, now.cursor(p, name).await? + self.below(3)),
            7 => Write::Cursor(p, name, self.below(60)),
            8 => Write::Control(Box::new(control(n, 1 + self.below(5), 1)?)),
            9 | 10 => Write::Outbox(vec![effect, effect]),
            11 => Write::OutboxFailed(effect, format!("reason {}", self.below(9))),
            12 => Write::OutboxDone(effect),
            _ => Write::Halt(p, ["", "why"][self.below(2) as usize].into()),
        })
    }
}
