//! Inputs on their way to the backend, outputs on their way to log and host.

use w3bstream_types::{Block, CertifiedBlock, Digest, Statement, Timestamp};

use super::log::{self, Step};
use super::{Action, Batch, BuildRequest, Driver, DriverInput, MAX_BLOCK_ENTRIES, State};
use crate::{
    BuildSlot, ErasedOutput, Error, ErrorKind, Fault, GuardEntry, Input, Output, PHASE_ATTEST, Slot, Tip, To,
};

impl Driver {
    /// Refuses a batch that the host may not give now, before anything of it is done.
    pub(super) fn check_inputs(&self, inputs: &[DriverInput]) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Input, why));
        let mut running = matches!(self.state, State::Running);
        for input in inputs {
            match input {
                DriverInput::Start { .. } if running => {
                    return refuse("the driver was started before".into());
                }
                DriverInput::Start { .. } => running = true,
                _ if !running => return refuse("the driver must be started first".into()),
                DriverInput::Built(built) if built.entries.len() > MAX_BLOCK_ENTRIES => {
                    let n = built.entries.len();
                    return refuse(format!(
                        "a block of {n} entries is too large, at most {MAX_BLOCK_ENTRIES}"
                    ));
                }
                DriverInput::Applied { height, .. } if *height > self.tip.height => {
                    let tip = self.tip.height;
                    return refuse(format!("height {height} cannot be applied, the last final one is {tip}"));
                }
                DriverInput::Peer { member, .. } if *member as usize >= self.setup.genesis.members.len() => {
                    return refuse(format!("there is no member {member}"));
                }
                DriverInput::Attest(statement) => self.check_statement(statement)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_statement(&self, statement: &Statement) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::Input, format!("the attestation {why}")));
        let named = (statement.subnet, statement.genesis, statement.epoch);
        if named != (self.setup.genesis.project, self.digest, self.setup.genesis.epoch) {
            return refuse("is of another subnet, genesis or epoch");
        }
        if statement.height > self.tip.height {
            return refuse("is of a height that is not final");
        }
        Ok(())
    }

    pub(super) fn take(&mut self, input: DriverInput, batch: &mut Batch) -> Result<(), Error> {
        let input = match input {
            DriverInput::Start { applied } => return self.start(applied, batch),
            DriverInput::Tick => return Ok(()),
            DriverInput::Attest(statement) => return self.attest(statement, batch),
            DriverInput::Message { from, bytes } => match self.check_message(from, &bytes) {
                Ok(()) => Input::Message { from, message: bytes },
                Err(fault) => {
                    batch.actions.push(Action::Penalise { member: from, fault });
                    return Ok(());
                }
            },
            DriverInput::Applied { height, state_root } => {
                if height <= self.settled.height {
                    return Ok(());
                }
                self.settle(height);
                Input::Applied { height, state_root }
            }
            DriverInput::Fetched(blocks) => Input::Fetched(self.check_fetched(blocks)),
            DriverInput::Pending => Input::Pending,
            DriverInput::Built(built) => Input::Built(built),
            DriverInput::Validated { block, verdict } => Input::Validated { block, verdict },
            DriverInput::Peer { member, up } => Input::Peer { member, up },
        };
        self.step(input, batch)
    }

    fn start(&mut self, applied: u64, batch: &mut Batch) -> Result<(), Error> {
        let (settled, tip) = (self.settled.height, self.tip.height);
        if !(settled..=tip).contains(&applied) {
            let why = format!(
                "the node has applied height {applied}, but the consensus log holds heights {} to {tip}: \
                 one of them is older; restore both from one backup",
                settled + 1
            );
            return Err(Error::new(ErrorKind::Incompatible, why));
        }
        self.state = State::Running;
        self.settle(applied);
        let again = self.unapplied.values().map(|c| Action::Committed(Box::new(c.clone())));
        batch.actions.extend(again);
        self.step(Input::Start { applied }, batch)
    }

    fn settle(&mut self, height: u64) {
        let later = self.unapplied.split_off(&(height + 1));
        if let Some(last) = self.unapplied.values().next_back() {
            self.settled = Tip::of(&last.block);
        }
        self.unapplied = later;
    }

    fn attest(&mut self, statement: Box<Statement>, batch: &mut Batch) -> Result<(), Error> {
        let slot = Slot { epoch: statement.epoch, height: statement.height, phase: PHASE_ATTEST, round: 0 };
        let entry = GuardEntry { slot, statement: Digest::from_bytes(statement.signing_hash()) };
        if self.desk.guard.admit(entry)? {
            batch.log.push(log::encode(&Step { guard: vec![entry], ..Step::default() })?);
        }
        batch.actions.push(Action::SignAttestation(statement));
        Ok(())
    }

    fn check_message(&self, from: u32, bytes: &[u8]) -> Result<(), Fault> {
        if from as usize >= self.setup.genesis.members.len() || self.setup.me == Some(from) {
            return Err(Fault::NotMember);
        }
        if bytes.len() > self.setup.factory.max_message_bytes() {
            return Err(Fault::TooLarge);
        }
        let claims = self.setup.factory.claims(bytes, &self.setup.genesis).map_err(|_| Fault::Malformed)?;
        claims.iter().try_for_each(|c| c.verify(&self.setup.genesis)).map_err(|_| Fault::BadSignature)
    }

    /// The blocks that continue the chain and are certified; whoever served others has no say.
    fn check_fetched(&self, blocks: Vec<CertifiedBlock>) -> Vec<CertifiedBlock> {
        let mut tip = self.tip;
        let mut good = Vec::new();
        for block in blocks {
            if block.block.header().height <= tip.height {
                continue;
            }
            if self.check_commit(&block, tip).is_err() {
                break;
            }
            tip = Tip::of(&block.block);
            good.push(block);
        }
        good
    }

    fn check_commit(&self, commit: &CertifiedBlock, tip: Tip) -> Result<(), Error> {
        let header = commit.block.header();
        let broken = |why: &str| {
            let at = (header.height, tip.height);
            Err(Error::new(ErrorKind::Protocol, format!("commit of height {} after {}: {why}", at.0, at.1)))
        };
        if header.height != tip.height + 1 {
            return broken("heights must rise by one");
        }
        if header.parent != tip.id {
            return broken("it does not stand on the last block");
        }
        if header.time < tip.time {
            return broken("its time is before its parent's");
        }
        if commit.block.entries().len() > MAX_BLOCK_ENTRIES {
            return broken("it has too many entries");
        }
        commit.certificate.verify(&self.setup.genesis, header).map_err(|e| {
            Error::new(ErrorKind::Protocol, format!("commit of height {}", header.height)).with_source(e)
        })
    }

    /// Where one output goes.
    pub(super) fn route(
        &mut self,
        output: ErasedOutput,
        step: &mut Step,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        match output {
            Output::Persist(record) => step.records.push(record),
            Output::Send { to, message } => return self.send(to, message, batch),
            Output::SetTimer { id, after_ms } => {
                let at = Timestamp(self.now.0.saturating_add(after_ms.max(1)));
                self.timers.set(id, at);
            }
            Output::CancelTimer(id) => self.timers.cancel(id),
            Output::Build { slot, within_ms } => {
                let request = self.build_request(slot, within_ms)?;
                batch.actions.push(Action::Build(request));
            }
            Output::Validate(block) => {
                batch.actions.push(Action::Validate(Box::new(self.check_block(block)?)))
            }
            Output::Commit(commit) => {
                self.check_commit(&commit, self.tip)?;
                self.tip = Tip::of(&commit.block);
                self.unapplied.insert(self.tip.height, (*commit).clone());
                step.commits.push((*commit).clone());
                batch.actions.push(Action::Committed(commit));
            }
            Output::Fetch { from, to } => batch.actions.push(Action::Fetch { from, to }),
            Output::Checkpoint { height, state_root } => {
                batch.actions.push(Action::Checkpoint { height, state_root });
            }
            Output::Evidence(evidence) => batch.actions.push(Action::Evidence(evidence)),
            Output::Penalise { member, fault } => batch.actions.push(Action::Penalise { member, fault }),
            // The first reason is the one that counts.
            Output::Halt(why) => batch.halted = batch.halted.take().or(Some(why)),
        }
        Ok(())
    }

    fn send(&mut self, to: To, message: Vec<u8>, batch: &mut Batch) -> Result<(), Error> {
        let limit = self.setup.factory.max_message_bytes();
        if message.len() > limit {
            let why = format!("the backend sends {} bytes, but at most {limit} are allowed", message.len());
            return Err(Error::new(ErrorKind::Protocol, why));
        }
        let Some(me) = self.setup.me else {
            batch.actions.push(Action::Send { to, bytes: message });
            return Ok(());
        };
        let (to_me, to_others) = match to {
            To::All => (true, self.setup.genesis.members.len() > 1),
            To::Member(other) => (other == me, other != me),
        };
        if to_me {
            batch.looped.push_back(message.clone());
        }
        if to_others {
            batch.actions.push(Action::Send { to, bytes: message });
        }
        Ok(())
    }

    fn build_request(&self, slot: BuildSlot, within_ms: u64) -> Result<BuildRequest, Error> {
        let Some(proposer) = self.setup.me else {
            return Err(Error::new(ErrorKind::Protocol, "an observer was asked to build"));
        };
        Ok(BuildRequest {
            slot,
            genesis: self.digest,
            epoch: self.setup.genesis.epoch,
            proposer,
            parent_time: self.tip.time,
            deadline: Timestamp(self.now.0.saturating_add(within_ms)),
        })
    }

    /// What every block of this subnet has in common; the rest is the host's to judge.
    fn check_block(&self, block: Block) -> Result<Block, Error> {
        let header = block.header();
        if header.genesis != self.digest || header.epoch != self.setup.genesis.epoch {
            let why = format!("the backend wants a block judged that is of another genesis: {}", block.id());
            return Err(Error::new(ErrorKind::Protocol, why));
        }
        Ok(block)
    }
}
