//! A small backend with a real quorum, so that driver and kit are tested with messages, votes and timers.

use std::collections::BTreeMap;
use std::sync::Arc;

use w3bstream_types::{
    Block, BlockHeader, Canonical, Certificate, CertifiedBlock, Decoder, Digest, Encoder, Genesis, Malformed,
    Place,
};

use super::Builder;
use crate::{
    BuildSlot, Built, Claim, Consensus, ConsensusFactory, Context, Error, FaultModel, Finality, Input,
    Output, Outputs, Profile, Recovery, Slot, TimerId, Tip, To, Verdict, factory,
};

const LEADER: u32 = 0;
const PROPOSE: u8 = 0;
const VOTE: u8 = 1;
const AGAIN: TimerId = TimerId(0);
const AGAIN_MS: u64 = 100;
const WINDOW: u64 = 16;

/// Member 0 proposes, a quorum votes, member 0 shows the certificate. Survives members that stop and come
/// back, but nothing goes on without member 0: for tests, never for a subnet.
#[derive(Debug)]
pub struct FixedLeader {
    tip: Tip,
    applied: u64,
    wanted: bool,
    building: Option<BuildSlot>,
    proposal: Option<Block>,
    votes: BTreeMap<u32, [u8; 64]>,
    // A member's: the block that is being judged, and the last vote.
    judging: Option<Block>,
    voted: Option<(u64, Digest)>,
}

/// Messages of [`FixedLeader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderMessage {
    /// The leader's block, signed by it.
    Propose(Box<Block>, [u8; 64]),
    /// A member's vote: its place, the header, its part of the certificate.
    Vote(u32, Box<BlockHeader>, [u8; 64]),
    /// A final block.
    Final(Box<CertifiedBlock>),
    /// The leader's height, after it has started.
    Hello(u64),
}

/// Records of [`FixedLeader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderRecord {
    /// The leader's proposal.
    Proposed(Box<Block>),
    /// A member's vote: height and block.
    Voted(u64, Digest),
}

fn propose_input(genesis: &Digest, block: &Digest) -> Vec<u8> {
    Digest::tagged("w3b/fixed-leader/1", &[genesis.as_bytes(), block.as_bytes()]).as_bytes().to_vec()
}

const fn slot(header: &BlockHeader, phase: u8) -> Slot {
    Slot { epoch: header.epoch, height: header.height, phase, round: 0 }
}

impl FixedLeader {
    fn build(&mut self, cx: &Context<'_>, out: &mut Outputs<Self>) {
        let full = self.tip.height.saturating_sub(self.applied) >= WINDOW;
        let busy = self.building.is_some() || self.proposal.is_some();
        if cx.me() != Some(LEADER) || !self.wanted || busy || full {
            return;
        }
        let slot = BuildSlot { height: self.tip.height + 1, round: 0, parent: self.tip.id };
        (self.building, self.wanted) = (Some(slot), false);
        out.push(Output::Build { slot, within_ms: AGAIN_MS });
    }

    fn propose(&mut self, cx: &mut Context<'_>, built: Built, out: &mut Outputs<Self>) {
        if self.building != Some(built.slot) {
            return;
        }
        self.building = None;
        if built.entries.is_empty() {
            return;
        }
        let place = Place {
            genesis: cx.genesis_digest(),
            epoch: cx.genesis().epoch,
            height: self.tip.height + 1,
            parent: self.tip.id,
            time: built.time.max(self.tip.time),
            proposer: LEADER,
        };
        let block = Block::new(place, built.entries);
        out.push(Output::Persist(LeaderRecord::Proposed(Box::new(block.clone()))));
        self.proposal = Some(block);
        self.send_proposal(cx, out);
    }

    fn send_proposal(&self, cx: &mut Context<'_>, out: &mut Outputs<Self>) {
        let Some(block) = &self.proposal else { return };
        let statement = propose_input(&cx.genesis_digest(), &block.id());
        let Some(signature) = cx.sign(slot(block.header(), PROPOSE), &statement) else { return };
        let message = LeaderMessage::Propose(Box::new(block.clone()), signature);
        out.push(Output::Send { to: To::All, message });
        out.push(Output::SetTimer { id: AGAIN, after_ms: AGAIN_MS });
    }

    fn judge(&mut self, block: Block, out: &mut Outputs<Self>) {
        let header = block.header();
        if header.height > self.tip.height + 1 {
            out.push(Output::Fetch { from: self.tip.height + 1, to: header.height - 1 });
        }
        let fits = (header.height, header.parent) == (self.tip.height + 1, self.tip.id);
        let other = self.voted.is_some_and(|(h, id)| h == header.height && id != block.id());
        if fits && !other && header.time >= self.tip.time && self.judging.as_ref() != Some(&block) {
            self.judging = Some(block.clone());
            out.push(Output::Validate(block));
        }
    }

    fn vote(&mut self, cx: &mut Context<'_>, id: Digest, out: &mut Outputs<Self>) {
        let (Some(me), Some(block)) = (cx.me(), self.judging.take_if(|b| b.id() == id)) else { return };
        let header = block.header();
        if self.voted != Some((header.height, id)) {
            self.voted = Some((header.height, id));
            out.push(Output::Persist(LeaderRecord::Voted(header.height, id)));
        }
        let statement = Certificate::signing_input(&cx.genesis_digest(), header);
        let Some(signature) = cx.sign(slot(header, VOTE), &statement) else { return };
        let message = LeaderMessage::Vote(me, Box::new(header.clone()), signature);
        out.push(Output::Send { to: To::Member(LEADER), message });
    }

    fn count(&mut self, cx: &Context<'_>, vote: (u32, Digest, [u8; 64]), out: &mut Outputs<Self>) {
        if self.proposal.as_ref().map(Block::id) != Some(vote.1) {
            return;
        }
        self.votes.insert(vote.0, vote.2);
        if self.votes.len() < cx.genesis().quorum() {
            return;
        }
        let Some(block) = self.proposal.take() else { return };
        let (epoch, height, id) = (block.header().epoch, block.header().height, block.id());
        let signatures = std::mem::take(&mut self.votes).into_iter().collect();
        let certificate = Certificate { epoch, height, block: id, signatures };
        let certified = CertifiedBlock { block, certificate };
        out.push(Output::CancelTimer(AGAIN));
        self.commit(certified.clone(), out);
        out.push(Output::Send { to: To::All, message: LeaderMessage::Final(Box::new(certified)) });
    }

    fn commit(&mut self, certified: CertifiedBlock, out: &mut Outputs<Self>) {
        let header = certified.block.header();
        if header.height > self.tip.height + 1 {
            out.push(Output::Fetch { from: self.tip.height + 1, to: header.height });
        }
        if (header.height, header.parent) != (self.tip.height + 1, self.tip.id) {
            return;
        }
        self.tip = Tip::of(&certified.block);
        self.judging = None;
        out.push(Output::Commit(Box::new(certified)));
    }

    fn message(&mut self, cx: &mut Context<'_>, message: LeaderMessage, out: &mut Outputs<Self>) {
        match message {
            LeaderMessage::Propose(block, _) => self.judge(*block, out),
            LeaderMessage::Vote(member, header, signature) => {
                self.count(cx, (member, header.digest(), signature), out);
            }
            LeaderMessage::Final(certified) => {
                if certified.certificate.verify(cx.genesis(), certified.block.header()).is_ok() {
                    self.commit(*certified, out);
                }
            }
            LeaderMessage::Hello(height) if height > self.tip.height => {
                out.push(Output::Fetch { from: self.tip.height + 1, to: height });
            }
            LeaderMessage::Hello(_) => {}
        }
    }

    fn start(&mut self, cx: &mut Context<'_>, applied: u64, out: &mut Outputs<Self>) {
        self.applied = applied;
        if cx.me() == Some(LEADER) {
            out.push(Output::Send { to: To::All, message: LeaderMessage::Hello(self.tip.height) });
            self.send_proposal(cx, out);
        } else {
            let from = self.tip.height + 1;
            out.push(Output::Fetch { from, to: from + WINDOW });
        }
    }
}

impl Consensus for FixedLeader {
    const NAME: &'static str = "fixed-leader";
    const WIRE_VERSION: u16 = 1;
    const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
    type Config = ();
    type Message = LeaderMessage;
    type Record = LeaderRecord;

    fn profile((): &(), genesis: &Genesis) -> Result<Profile, Error> {
        let quorum = u32::try_from(genesis.quorum()).unwrap_or(u32::MAX);
        Ok(Profile {
            fault: FaultModel::Crash,
            finality: Finality::Instant,
            max_faulty: 0,
            quorum,
            min_members: 1,
            max_in_flight: 16,
            evidence: false,
        })
    }

    fn recover((): (), at: &Recovery<'_>, records: Vec<LeaderRecord>) -> Result<Self, Error> {
        let mut state = Self {
            tip: at.tip,
            applied: 0,
            wanted: false,
            building: None,
            proposal: None,
            votes: BTreeMap::new(),
            judging: None,
            voted: None,
        };
        for record in records {
            match record {
                LeaderRecord::Proposed(block) => {
                    state.proposal = Some(*block).filter(|b| b.header().height == at.tip.height + 1);
                }
                LeaderRecord::Voted(height, id) => state.voted = Some((height, id)),
            }
        }
        Ok(state)
    }

    fn claims(message: &LeaderMessage, genesis: &Genesis) -> Result<Vec<Claim>, Malformed> {
        let digest = genesis.digest();
        Ok(match message {
            LeaderMessage::Propose(block, signature) => vec![Claim {
                member: LEADER,
                slot: slot(block.header(), PROPOSE),
                statement: propose_input(&digest, &block.id()),
                signature: *signature,
            }],
            LeaderMessage::Vote(member, header, signature) => vec![Claim {
                member: *member,
                slot: slot(header, VOTE),
                statement: Certificate::signing_input(&digest, header),
                signature: *signature,
            }],
            LeaderMessage::Final(_) | LeaderMessage::Hello(_) => Vec::new(),
        })
    }

    fn step(&mut self, cx: &mut Context<'_>, input: Input<LeaderMessage>, out: &mut Outputs<Self>) {
        match input {
            Input::Start { applied } => self.start(cx, applied, out),
            Input::Message { message, .. } => self.message(cx, message, out),
            Input::Timer(_) => self.send_proposal(cx, out),
            Input::Pending => self.wanted = true,
            Input::Built(built) => self.propose(cx, built, out),
            Input::Validated { block, verdict: Verdict::Accept } => self.vote(cx, block, out),
            Input::Validated { .. } => self.judging = None,
            Input::Applied { height, .. } => self.applied = height,
            Input::Fetched(blocks) => blocks.into_iter().for_each(|b| self.commit(b, out)),
            Input::Peer { .. } => {}
        }
        self.build(cx, out);
    }

    fn snapshot(&self) -> Vec<LeaderRecord> {
        let proposed = self.proposal.iter().map(|b| LeaderRecord::Proposed(Box::new(b.clone())));
        let voted = self.voted.filter(|(height, _)| *height > self.tip.height);
        proposed.chain(voted.map(|(h, id)| LeaderRecord::Voted(h, id))).collect()
    }
}

impl Canonical for LeaderMessage {
    const DOMAIN: &'static str = "w3b/fixed-leader-message";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        match self {
            Self::Propose(block, signature) => e.u64(0).u64(0).item(&**block).bytes(signature),
            Self::Vote(member, header, signature) => {
                e.u64(1).u64(u64::from(*member)).item(&**header).bytes(signature)
            }
            Self::Final(certified) => e.u64(2).u64(0).item(&**certified).bytes(&[]),
            Self::Hello(height) => e.u64(3).u64(*height).bytes(&[]).bytes(&[]),
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (kind, number) = (d.u64()?, d.u64()?);
        let member = || u32::try_from(number).map_err(|_| Malformed::new(Self::DOMAIN, "names no member"));
        Ok(match kind {
            0 => Self::Propose(Box::new(d.item()?), d.array()?),
            1 => Self::Vote(member()?, Box::new(d.item()?), d.array()?),
            2 => {
                let certified = Box::new(d.item()?);
                d.array::<0>()?;
                Self::Final(certified)
            }
            3 => {
                d.array::<0>()?;
                d.array::<0>()?;
                Self::Hello(number)
            }
            _ => return Err(Malformed::new(Self::DOMAIN, "has an unknown kind")),
        })
    }
}

impl Canonical for LeaderRecord {
    const DOMAIN: &'static str = "w3b/fixed-leader-record";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        match self {
            Self::Proposed(block) => e.u64(0).item(&**block),
            Self::Voted(height, id) => e.u64(*height).digest(id),
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match d.u64()? {
            0 => Ok(Self::Proposed(Box::new(d.item()?))),
            // Heights count from 1.
            height => Ok(Self::Voted(height, d.digest()?)),
        }
    }
}

/// [`FixedLeader`] in a subnet of this many members.
#[derive(Clone, Copy, Debug)]
pub struct FixedLeaderBuilder(pub u32);

impl Builder for FixedLeaderBuilder {
    fn factory(&self) -> Arc<dyn ConsensusFactory> {
        factory::<FixedLeader>()
    }

    fn members(&self) -> u32 {
        self.0
    }
}
