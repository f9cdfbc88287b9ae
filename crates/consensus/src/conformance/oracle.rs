//! What has left any node, remembered outside of all of them.

use std::collections::BTreeMap;

use w3bstream_types::{CertifiedBlock, Digest, Entry, Genesis};

use crate::{Action, ConsensusFactory, Slot, Tip};

/// Judges everything that leaves a node. No crash makes it forget.
#[derive(Debug)]
pub(super) struct Oracle {
    genesis: Genesis,
    blocks: BTreeMap<u64, Tip>,
    entries: BTreeMap<Digest, u64>,
    said: BTreeMap<(u32, Slot), Digest>,
    /// Everything that left, in order, as one digest.
    pub(super) trace: Digest,
    /// How many actions left, but for wishes to be woken.
    pub(super) left: u64,
}

impl Oracle {
    pub(super) fn new(genesis: Genesis) -> Self {
        let (blocks, entries, said) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { genesis, blocks, entries, said, trace: Digest::ZERO, left: 0 }
    }

    pub(super) fn heights(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// An action has left `node`.
    pub(super) fn left(
        &mut self,
        node: u32,
        action: &Action,
        factory: &dyn ConsensusFactory,
    ) -> Result<(), String> {
        let text = format!("{node} {action:?}");
        self.trace = Digest::tagged("trace", &[self.trace.as_bytes(), text.as_bytes()]);
        self.left += u64::from(!matches!(action, Action::WakeAt(_)));
        match action {
            Action::Committed(block) => self.committed(node, block),
            Action::Send { bytes, .. } => self.sent(node, bytes, factory),
            Action::Halt(why) => Err(format!("node {node} halted: {why}")),
            Action::Penalise { member, fault } => {
                Err(format!("node {node} penalises the honest member {member}: {fault:?}"))
            }
            Action::Evidence(e) => Err(format!("node {node} accuses the honest member {}", e.first.member)),
            _ => Ok(()),
        }
    }

    fn committed(&mut self, node: u32, block: &CertifiedBlock) -> Result<(), String> {
        let header = block.block.header();
        let height = header.height;
        let tip = Tip::of(&block.block);
        block.certificate.verify(&self.genesis, header).map_err(|e| format!("height {height}: {e}"))?;
        match self.blocks.get(&height) {
            Some(known) if *known == tip => return Ok(()),
            Some(known) => {
                return Err(format!(
                    "two blocks for height {height}: {} left before, now {} from node {node}",
                    known.id, tip.id
                ));
            }
            None => {}
        }
        let before = match height.checked_sub(1) {
            Some(0) => Tip::before_first(&self.genesis),
            Some(h) => *self.blocks.get(&h).ok_or(format!("height {height} left, but never {h}"))?,
            None => return Err("a block of height 0".into()),
        };
        if header.parent != before.id || header.time < before.time {
            return Err(format!("height {height} does not continue height {}: {header:?}", before.height));
        }
        for entry in block.block.entries() {
            if let Some(other) = self.entries.insert(entry.id(), height) {
                return Err(format!("{entry:?} is ordered at height {other} and again at {height}"));
            }
        }
        self.blocks.insert(height, tip);
        Ok(())
    }

    fn sent(&mut self, node: u32, bytes: &[u8], factory: &dyn ConsensusFactory) -> Result<(), String> {
        let claims = factory.claims(bytes, &self.genesis).map_err(|e| format!("node {node} sent: {e}"))?;
        for claim in claims {
            claim.verify(&self.genesis).map_err(|e| format!("node {node} sent: {e}"))?;
            let statement = Digest::of(&claim.statement);
            let before = *self.said.entry((claim.member, claim.slot)).or_insert(statement);
            if before != statement {
                return Err(format!("member {} said two things for {:?}", claim.member, claim.slot));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use w3bstream_types::{Block, Canonical as _, Certificate, Place, Timestamp};

    use super::*;
    use crate::conformance::{FixedLeader, LeaderMessage, Subnet};
    use crate::{To, factory};

    fn commit(subnet: &Subnet, height: u64, parent: Digest, entry: &[u8]) -> (Digest, Action) {
        let (genesis, time) = (subnet.digest(), Timestamp(5_000));
        let place = Place { genesis, epoch: 0, height, parent, time, proposer: 0 };
        let block = Block::new(place, vec![Entry::Control(Digest::of(entry))]);
        let certificate = Certificate::sign_alone(&genesis, block.header(), &subnet.consensus_keys[0]);
        (block.id(), Action::Committed(Box::new(CertifiedBlock { block, certificate })))
    }

    #[test]
    fn two_blocks_for_a_height_and_an_entry_twice_are_seen() {
        let subnet = Subnet::new(1, "fixed-leader");
        let factory = factory::<FixedLeader>();
        let mut oracle = Oracle::new(subnet.genesis.clone());
        let mut left = |action: &Action| oracle.left(0, action, &*factory);
        let (first, action) = commit(&subnet, 1, Digest::ZERO, b"a");
        left(&action).unwrap();
        left(&action).unwrap();
        let other = left(&commit(&subnet, 1, Digest::ZERO, b"b").1).unwrap_err();
        assert!(other.contains("two blocks for height 1"), "{other}");
        let twice = left(&commit(&subnet, 2, first, b"a").1).unwrap_err();
        assert!(twice.contains("again at 2"), "{twice}");
        let orphan = left(&commit(&subnet, 2, Digest::ZERO, b"c").1).unwrap_err();
        assert!(orphan.contains("does not continue"), "{orphan}");
        let gap = left(&commit(&subnet, 3, first, b"d").1).unwrap_err();
        assert!(gap.contains("never 2"), "{gap}");
        left(&commit(&subnet, 2, first, b"e").1).unwrap();
    }

    #[test]
    fn two_statements_in_a_slot_are_seen() {
        let subnet = Subnet::new(4, "fixed-leader");
        let factory = factory::<FixedLeader>();
        let mut oracle = Oracle::new(subnet.genesis.clone());
        let vote = |parent: &[u8]| {
            let (genesis, parent) = (subnet.digest(), Digest::of(parent));
            let place = Place { genesis, epoch: 0, height: 2, parent, time: Timestamp(1), proposer: 0 };
            let header = Block::new(place, Vec::new()).header().clone();
            let signature = subnet.consensus_keys[1].sign(&Certificate::signing_input(&genesis, &header));
            let bytes = LeaderMessage::Vote(1, Box::new(header), signature).to_canonical();
            Action::Send { to: To::Member(0), bytes }
        };
        oracle.left(1, &vote(b"a"), &*factory).unwrap();
        oracle.left(1, &vote(b"a"), &*factory).unwrap();
        let two = oracle.left(1, &vote(b"b"), &*factory).unwrap_err();
        assert!(two.contains("two things"), "{two}");
    }
}
