//! The backend's instance, its twin, and the desk where they get signatures.

use std::sync::Arc;

use w3bstream_types::{Digest, Genesis, Timestamp};

use crate::{
    ConsensusSigner, Context, Desk, ErasedConsensus, ErasedOutput, Error, ErrorKind, Guard, GuardEntry,
    Input, Recovery, Setup, Slot, Tip,
};

/// One instance, or two that must agree.
#[derive(Debug)]
pub(super) struct Machine {
    one: Box<dyn ErasedConsensus>,
    twin: Option<Box<dyn ErasedConsensus>>,
}

/// What every step sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) now: Timestamp,
    pub(super) me: Option<u32>,
    pub(super) genesis: &'a Genesis,
    pub(super) digest: Digest,
}

impl Machine {
    pub(super) fn recover(setup: &Setup, tip: Tip, records: &[Vec<u8>]) -> Result<Self, Error> {
        let at = Recovery { genesis: &setup.genesis, me: setup.me, tip };
        let make = || setup.factory.recover(&setup.config, &at, records);
        let twin = if setup.options.check_determinism { Some(make()?) } else { None };
        Ok(Self { one: make()?, twin })
    }

    /// One step. The signatures of the step are in the desk afterwards.
    pub(super) fn step(
        &mut self,
        at: Surroundings<'_>,
        input: Input<Vec<u8>>,
        desk: &mut SigningDesk,
    ) -> Result<Vec<ErasedOutput>, Error> {
        let copy = self.twin.is_some().then(|| input.clone());
        desk.begin();
        let mut out = Vec::new();
        let mut cx = Context::new(at.now, at.me, (at.genesis, at.digest), desk);
        let malformed =
            |e| Error::new(ErrorKind::Protocol, "the backend sent itself a bad message").with_source(e);
        self.one.step(&mut cx, input, &mut out).map_err(malformed)?;
        desk.check()?;
        if let (Some(twin), Some(input)) = (&mut self.twin, copy) {
            let mut replay = ReplayDesk { signed: &desk.signed, next: 0, differs: false };
            let mut cx = Context::new(at.now, at.me, (at.genesis, at.digest), &mut replay);
            let what = format!("{input:?}");
            let mut again = Vec::new();
            twin.step(&mut cx, input, &mut again).map_err(malformed)?;
            let same_signatures = !replay.differs && replay.next == desk.signed.len();
            if again != out || !same_signatures || twin.snapshot() != self.one.snapshot() {
                let why = format!("the backend is not deterministic: two instances differ after {what}");
                return Err(Error::new(ErrorKind::Protocol, why));
            }
        }
        Ok(out)
    }

    pub(super) fn snapshot(&self) -> Vec<Vec<u8>> {
        self.one.snapshot()
    }
}

/// Guard and key together: nothing is signed that the guard has not admitted.
#[derive(Debug)]
pub(super) struct SigningDesk {
    pub(super) guard: Guard,
    signer: Arc<dyn ConsensusSigner>,
    epoch: u64,
    observer: bool,
    signed: Vec<(Slot, Digest, [u8; 64])>,
    fresh: Vec<GuardEntry>,
    error: Option<Error>,
}

impl SigningDesk {
    pub(super) fn new(setup: &Setup, guard: Guard) -> Self {
        Self {
            guard,
            signer: Arc::clone(&setup.signer),
            epoch: setup.genesis.epoch,
            observer: setup.me.is_none(),
            signed: Vec::new(),
            fresh: Vec::new(),
            error: None,
        }
    }

    fn begin(&mut self) {
        self.signed.clear();
        self.fresh.clear();
    }

    fn check(&mut self) -> Result<(), Error> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// What the guard learnt in this step and must be durable before anything of it leaves.
    pub(super) fn take_fresh(&mut self) -> Vec<GuardEntry> {
        std::mem::take(&mut self.fresh)
    }

    fn try_sign(&mut self, slot: Slot, statement: &[u8]) -> Result<[u8; 64], Error> {
        let broken = |why: String| Err(Error::new(ErrorKind::Protocol, why));
        if self.observer {
            return broken("an observer was asked to sign".into());
        }
        if slot.epoch != self.epoch || slot.phase == crate::PHASE_ATTEST {
            return broken(format!("the backend may not sign for {slot:?} in epoch {}", self.epoch));
        }
        let entry = GuardEntry { slot, statement: Digest::of(statement) };
        if self.guard.admit(entry)? {
            self.fresh.push(entry);
        }
        let signature = self.signer.sign(statement)?;
        self.signed.push((slot, entry.statement, signature));
        Ok(signature)
    }
}

impl Desk for SigningDesk {
    fn sign(&mut self, slot: Slot, statement: &[u8]) -> Option<[u8; 64]> {
        if self.error.is_some() {
            return None;
        }
        self.try_sign(slot, statement).map_err(|e| self.error = Some(e)).ok()
    }
}

/// Gives the twin the signatures that the first instance got, and sees whether it asks for the same.
#[derive(Debug)]
struct ReplayDesk<'a> {
    signed: &'a [(Slot, Digest, [u8; 64])],
    next: usize,
    differs: bool,
}

impl Desk for ReplayDesk<'_> {
    fn sign(&mut self, slot: Slot, statement: &[u8]) -> Option<[u8; 64]> {
        let found = self.signed.get(self.next).filter(|s| (s.0, s.1) == (slot, Digest::of(statement)));
        self.next += 1;
        self.differs |= found.is_none();
        found.map(|s| s.2)
    }
}
