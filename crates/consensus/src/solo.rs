//! `solo`: the subnet of one. Every block is final when its only member has signed it.

use serde::Deserialize;
use w3bstream_types::{
    Block, Canonical, Certificate, CertifiedBlock, Decoder, Encoder, Genesis, Malformed, Place,
};

use crate::{
    BuildSlot, Built, Claim, Consensus, Context, Error, ErrorKind, FaultModel, Finality, Input, Output,
    Outputs, Profile, Recovery, Slot, Tip,
};

/// The phase of a member's word that a block is final.
const PHASE_COMMIT: u8 = 0;

/// Settings of [`Solo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SoloConfig {
    /// How many heights may be ordered but not yet applied; 1 to 1,024.
    pub max_in_flight: u32,
    /// Within which time the host should build a block, in milliseconds.
    pub build_within_ms: u32,
}

impl Default for SoloConfig {
    fn default() -> Self {
        Self { max_in_flight: 16, build_within_ms: 1000 }
    }
}

/// `solo` has nobody to talk to: there is no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMessage {}

impl Canonical for NoMessage {
    const DOMAIN: &'static str = "w3b/solo-message";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 0;

    fn encode_fields(&self, _: &mut Encoder) {}

    fn decode_fields(_: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Err(Malformed::new(Self::DOMAIN, "a subnet of one has no messages"))
    }
}

/// The block that was sealed: written before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoloRecord(pub Tip);

impl Canonical for SoloRecord {
    const DOMAIN: &'static str = "w3b/solo-record";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 1;

    fn encode_fields(&self, e: &mut Encoder) {
        e.item(&self.0);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self(d.item()?))
    }
}

/// The subnet of one.
#[derive(Debug)]
pub struct Solo {
    config: SoloConfig,
    pub(crate) tip: Tip,
    applied: u64,
    // The one request to build that is open.
    pub(crate) building: Option<BuildSlot>,
    // Something is to be ordered that the open request may have missed.
    wanted: bool,
}

impl Solo {
    fn build_if_wanted(&mut self, out: &mut Outputs<Self>) {
        let ahead = self.tip.height.saturating_sub(self.applied);
        if !self.wanted || self.building.is_some() || ahead >= u64::from(self.config.max_in_flight) {
            return;
        }
        let slot = BuildSlot { height: self.tip.height + 1, round: 0, parent: self.tip.id };
        (self.building, self.wanted) = (Some(slot), false);
        out.push(Output::Build { slot, within_ms: u64::from(self.config.build_within_ms) });
    }

    pub(crate) fn seal(&mut self, cx: &mut Context<'_>, built: Built, out: &mut Outputs<Self>) {
        let Some(me) = cx.me() else { return };
        let (genesis, epoch) = (cx.genesis_digest(), cx.genesis().epoch);
        // A clock that was set back must not stop the subnet.
        let time = built.time.max(self.tip.time);
        let (height, parent) = (self.tip.height + 1, self.tip.id);
        let block = Block::new(Place { genesis, epoch, height, parent, time, proposer: me }, built.entries);
        let tip = Tip::of(&block);
        out.push(Output::Persist(SoloRecord(tip)));
        let statement = Certificate::signing_input(&genesis, block.header());
        let slot = Slot { epoch, height, phase: PHASE_COMMIT, round: 0 };
        let Some(signature) = cx.sign(slot, &statement) else { return };
        let certificate = Certificate { epoch, height, block: tip.id, signatures: vec![(me, signature)] };
        self.tip = tip;
        out.push(Output::Commit(Box::new(CertifiedBlock { block, certificate })));
    }
}

impl Consensus for Solo {
    const NAME: &'static str = "solo";
    const WIRE_VERSION: u16 = 1;
    const MAX_MESSAGE_BYTES: usize = 0;
    type Config = SoloConfig;
    type Message = NoMessage;
    type Record = SoloRecord;

    fn profile(config: &SoloConfig, genesis: &Genesis) -> Result<Profile, Error> {
        let bad = |why: String| Err(Error::new(ErrorKind::Config, format!("consensus \"solo\": {why}")));
        if genesis.members.len() != 1 {
            return bad(format!("needs a subnet of one member, the genesis has {}", genesis.members.len()));
        }
        if !(1..=1024).contains(&config.max_in_flight) {
            return bad(format!("max-in-flight is {}, but must be 1 to 1024", config.max_in_flight));
        }
        Ok(Profile {
            fault: FaultModel::Crash,
            finality: Finality::Instant,
            max_faulty: 0,
            quorum: 1,
            min_members: 1,
            max_in_flight: config.max_in_flight,
            evidence: false,
        })
    }

    fn recover(config: SoloConfig, at: &Recovery<'_>, records: Vec<SoloRecord>) -> Result<Self, Error> {
        if at.me != Some(0) {
            return Err(Error::new(ErrorKind::Config, "consensus \"solo\": only its member can run it"));
        }
        // The record and the commit of one block are written as one: they cannot differ.
        if let Some(SoloRecord(sealed)) = records.last().filter(|r| r.0 != at.tip) {
            let (a, b) = (sealed.height, at.tip.height);
            let why = format!(
                "the log sealed height {a} last, but its last commit is another block, of height {b}"
            );
            return Err(Error::new(ErrorKind::CorruptWal, why));
        }
        Ok(Self { config, tip: at.tip, applied: 0, building: None, wanted: false })
    }

    fn claims(message: &NoMessage, _: &Genesis) -> Result<Vec<Claim>, Malformed> {
        match *message {}
    }

    fn step(&mut self, cx: &mut Context<'_>, input: Input<NoMessage>, out: &mut Outputs<Self>) {
        match input {
            Input::Start { applied } => self.applied = applied,
            Input::Applied { height, .. } => self.applied = self.applied.max(height),
            Input::Pending => self.wanted = true,
            Input::Built(built) if self.building == Some(built.slot) => {
                self.building = None;
                if !built.entries.is_empty() {
                    self.seal(cx, built, out);
                }
            }
            Input::Built(_)
            | Input::Timer(_)
            | Input::Validated { .. }
            | Input::Fetched(_)
            | Input::Peer { .. } => {}
            Input::Message { message, .. } => match message {},
        }
        self.build_if_wanted(out);
    }

    fn snapshot(&self) -> Vec<SoloRecord> {
        if self.tip.height == 0 { Vec::new() } else { vec![SoloRecord(self.tip)] }
    }
}
