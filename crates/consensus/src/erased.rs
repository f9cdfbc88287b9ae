//! The type-erased form: bytes in, bytes out. The registry and the driver know only this one.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use w3bstream_types::{Canonical, Genesis, Malformed};

use crate::{Claim, Consensus, Context, Error, ErrorKind, Input, Output, Profile, Recovery};

/// An output with message and record as canonical bytes.
pub type ErasedOutput = Output<Vec<u8>, Vec<u8>>;

/// A running backend behind bytes. See [`Consensus`] for what it owes.
pub trait ErasedConsensus: Send + Debug {
    /// One step.
    ///
    /// # Errors
    /// [`Malformed`] if a message's bytes are none; then nothing has changed.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input<Vec<u8>>,
        out: &mut Vec<ErasedOutput>,
    ) -> Result<(), Malformed>;

    /// The records that stand for all before.
    fn snapshot(&self) -> Vec<Vec<u8>>;
}

/// Makes instances of one backend. Register it under its name.
pub trait ConsensusFactory: Send + Sync + Debug {
    /// The name in the genesis.
    fn name(&self) -> &str;

    /// Version of messages and records.
    fn wire_version(&self) -> u16;

    /// The largest message, in bytes.
    fn max_message_bytes(&self) -> usize;

    /// What the backend promises in this subnet; also the check of the settings. `null` means defaults.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the setting.
    fn profile(&self, config: &serde_json::Value, genesis: &Genesis) -> Result<Profile, Error>;

    /// Every signature inside a message.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are no message of this backend.
    fn claims(&self, message: &[u8], genesis: &Genesis) -> Result<Vec<Claim>, Malformed>;

    /// An instance in the state after these records.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], or [`ErrorKind::CorruptWal`] if the records are not this backend's.
    fn recover(
        &self,
        config: &serde_json::Value,
        at: &Recovery<'_>,
        records: &[Vec<u8>],
    ) -> Result<Box<dyn ErasedConsensus>, Error>;
}

/// The factory of a backend.
#[must_use]
pub fn factory<C: Consensus>() -> Arc<dyn ConsensusFactory> {
    Arc::new(Factory::<C>(PhantomData))
}

struct Factory<C>(PhantomData<fn() -> C>);

impl<C: Consensus> Debug for Factory<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Factory({})", C::NAME)
    }
}

fn settings<C: Consensus>(config: &serde_json::Value) -> Result<C::Config, Error> {
    if config.is_null() {
        return Ok(C::Config::default());
    }
    serde::Deserialize::deserialize(config).map_err(|e| {
        Error::new(ErrorKind::Config, format!("settings of consensus {:?}", C::NAME)).with_source(e)
    })
}

impl<C: Consensus> ConsensusFactory for Factory<C> {
    fn name(&self) -> &str {
        C::NAME
    }

    fn wire_version(&self) -> u16 {
        C::WIRE_VERSION
    }

    fn max_message_bytes(&self) -> usize {
        C::MAX_MESSAGE_BYTES
    }

    fn profile(&self, config: &serde_json::Value, genesis: &Genesis) -> Result<Profile, Error> {
        C::profile(&settings::<C>(config)?, genesis)
    }

    fn claims(&self, message: &[u8], genesis: &Genesis) -> Result<Vec<Claim>, Malformed> {
        C::claims(&C::Message::from_canonical(message)?, genesis)
    }

    fn recover(
        &self,
        config: &serde_json::Value,
        at: &Recovery<'_>,
        records: &[Vec<u8>],
    ) -> Result<Box<dyn ErasedConsensus>, Error> {
        let read = |bytes: &Vec<u8>| {
            C::Record::from_canonical(bytes).map_err(|e| {
                Error::new(ErrorKind::CorruptWal, format!("record of consensus {:?}", C::NAME)).with_source(e)
            })
        };
        let records = records.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(Erased(C::recover(settings::<C>(config)?, at, records)?)))
    }
}

#[derive(Debug)]
struct Erased<C>(C);

impl<C: Consensus> ErasedConsensus for Erased<C> {
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input<Vec<u8>>,
        out: &mut Vec<ErasedOutput>,
    ) -> Result<(), Malformed> {
        let mut typed = Vec::new();
        self.0.step(cx, read_input::<C>(input)?, &mut typed);
        out.extend(typed.into_iter().map(write_output::<C>));
        Ok(())
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        self.0.snapshot().iter().map(Canonical::to_canonical).collect()
    }
}

fn read_input<C: Consensus>(input: Input<Vec<u8>>) -> Result<Input<C::Message>, Malformed> {
    Ok(match input {
        Input::Message { from, message } => {
            Input::Message { from, message: C::Message::from_canonical(&message)? }
        }
        Input::Start { applied } => Input::Start { applied },
        Input::Timer(id) => Input::Timer(id),
        Input::Pending => Input::Pending,
        Input::Built(built) => Input::Built(built),
        Input::Validated { block, verdict } => Input::Validated { block, verdict },
        Input::Applied { height, state_root } => Input::Applied { height, state_root },
        Input::Fetched(blocks) => Input::Fetched(blocks),
        Input::Peer { member, up } => Input::Peer { member, up },
    })
}

fn write_output<C: Consensus>(output: Output<C::Message, C::Record>) -> ErasedOutput {
    match output {
        Output::Persist(record) => Output::Persist(record.to_canonical()),
        Output::Send { to, message } => Output::Send { to, message: message.to_canonical() },
        Output::SetTimer { id, after_ms } => Output::SetTimer { id, after_ms },
        Output::CancelTimer(id) => Output::CancelTimer(id),
        Output::Build { slot, within_ms } => Output::Build { slot, within_ms },
        Output::Validate(block) => Output::Validate(block),
        Output::Commit(block) => Output::Commit(block),
        Output::Fetch { from, to } => Output::Fetch { from, to },
        Output::Checkpoint { height, state_root } => Output::Checkpoint { height, state_root },
        Output::Evidence(evidence) => Output::Evidence(evidence),
        Output::Penalise { member, fault } => Output::Penalise { member, fault },
        Output::Halt(why) => Output::Halt(why),
    }
}
