//! Triggers: what a project wants to be told of that no device sends. An event of a chain or a moment becomes a
//! message, which is ordered and executed as a device's is.

mod event;
mod message;

use serde::{Deserialize, Serialize};

pub use event::{EventSignature, Topic, Word};
pub use message::{TriggerHeader, TriggerMessage};

use crate::ids::TriggerName;
use crate::{Address, Canonical, Decoder, Encoder, EventType, Malformed};

/// The most triggers in a project.
pub const MAX_TRIGGERS: usize = 64;
/// The most confirmations that a trigger may wait for.
pub const MAX_CONFIRMATIONS: u32 = 10_000;
/// The longest event signature and the longest cron expression, in bytes.
const MAX_TEXT_BYTES: usize = 512;

/// Something that a project's guests are told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trigger {
    /// Its name, unique in the project.
    pub name: TriggerName,
    /// The event type of its messages.
    pub event_type: EventType,
    /// What it watches.
    pub on: TriggerOn,
}

/// What a trigger watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerOn {
    /// Events of a contract.
    Log(LogTrigger),
    /// A chain's height.
    Height(HeightTrigger),
    /// One transaction.
    Transaction(TransactionTrigger),
    /// The time.
    Cron(CronTrigger),
    /// Transactions that the project's guests asked for.
    Sent(SentTrigger),
}

/// Events of a contract: one message for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogTrigger {
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
    /// The event's signature, such as `Transfer(address,address,uint256)`. Without it, every event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventSignature>,
    /// What the indexed arguments must be, in order; an empty text means anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Topic>,
    /// The first block that is looked at. Without it, the one after the head when the node sees the trigger first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_block: Option<u64>,
    /// The last block that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_block: Option<u64>,
    /// How many blocks, the event's own included, there must be before it is told.
    #[serde(default = "confirmations")]
    pub confirmations: u32,
}

/// A chain's height: a message when it is reached, and perhaps again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HeightTrigger {
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The height of the first message.
    pub height: u64,
    /// How many blocks there are from message to message; without it there is one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// How many blocks, the one of that height included, there must be before it is told.
    #[serde(default = "confirmations")]
    pub confirmations: u32,
}

/// One transaction: a message when it is in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TransactionTrigger {
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The transaction's hash.
    pub hash: Word,
    /// How many blocks, the transaction's own included, there must be before it is told.
    #[serde(default = "confirmations")]
    pub confirmations: u32,
}

/// Transactions that the project's guests asked for: a message when one is sent, and one when it came to an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentTrigger {}

/// The time: a message at each moment of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CronTrigger {
    /// A cron expression (POSIX `crontab`): minute, hour, day, month, weekday, in UTC.
    pub schedule: String,
    /// What becomes of the moments at which no node was there.
    #[serde(default)]
    pub missed: Missed,
}

/// What becomes of the moments at which no node was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// The last of them is made up for.
    #[default]
    Last,
    /// All are made up for, in order.
    All,
    /// None is.
    None,
}

const MISSED: [Missed; 3] = [Missed::Last, Missed::All, Missed::None];

const fn confirmations() -> u32 {
    12
}

impl Trigger {
    /// The chain that it watches; `None` if it watches none.
    #[must_use]
    pub const fn chain_id(&self) -> Option<u64> {
        match &self.on {
            TriggerOn::Log(on) => Some(on.chain_id),
            TriggerOn::Height(on) => Some(on.chain_id),
            TriggerOn::Transaction(on) => Some(on.chain_id),
            TriggerOn::Cron(_) | TriggerOn::Sent(_) => None,
        }
    }

    /// What it watches, in one word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.on {
            TriggerOn::Log(_) => "log",
            TriggerOn::Height(_) => "height",
            TriggerOn::Transaction(_) => "transaction",
            TriggerOn::Cron(_) => "cron",
            TriggerOn::Sent(_) => "sent",
        }
    }

    /// Checks what the types do not. Whether a schedule is one is for who reads schedules.
    ///
    /// # Errors
    /// [`Malformed`] naming the trigger and what is wrong.
    pub fn check(&self) -> Result<(), Malformed> {
        let bad = |why: String| Err(Malformed::new("trigger", format!("{}: {why}", self.name)));
        if self.chain_id() == Some(0) {
            return bad("chain-id must not be 0".into());
        }
        let confirmations = match &self.on {
            TriggerOn::Log(on) => {
                if on.topics.len() > if on.event.is_some() { 3 } else { 4 } {
                    return bad("a log has four topics, of which the event's signature is the first".into());
                }
                if on.start_block.zip(on.end_block).is_some_and(|(start, end)| start > end) {
                    return bad("end-block is before start-block".into());
                }
                on.confirmations
            }
            TriggerOn::Height(on) => {
                if on.every == Some(0) {
                    return bad("every must be at least 1".into());
                }
                on.confirmations
            }
            TriggerOn::Transaction(on) => on.confirmations,
            TriggerOn::Cron(on) => {
                if on.schedule.is_empty() || on.schedule.len() > MAX_TEXT_BYTES {
                    return bad(format!("schedule must have 1 to {MAX_TEXT_BYTES} bytes"));
                }
                1
            }
            TriggerOn::Sent(_) => 1,
        };
        if confirmations == 0 || confirmations > MAX_CONFIRMATIONS {
            return bad(format!("confirmations must be 1 to {MAX_CONFIRMATIONS}"));
        }
        Ok(())
    }
}

impl LogTrigger {
    /// For each topic what it must be: the event's signature first, then the indexed arguments.
    #[must_use]
    pub fn filter(&self) -> Vec<Option<[u8; 32]>> {
        let first = self.event.as_ref().map(|event| Some(event.topic()));
        first.into_iter().chain(self.topics.iter().map(|t| t.0.map(|w| w.0))).collect()
    }
}

impl Canonical for LogTrigger {
    const DOMAIN: &'static str = "w3b/trigger-log";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 7;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.chain_id).bytes(self.contract.as_bytes());
        e.option(self.event.as_ref(), |e, event| {
            e.text(&event.to_string());
        });
        e.list(&self.topics, |e, topic| {
            e.text(&topic.to_string());
        });
        for block in [self.start_block, self.end_block] {
            e.option(block.as_ref(), |e, n| {
                e.u64(*n);
            });
        }
        e.u64(self.confirmations.into());
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            chain_id: d.u64()?,
            contract: Address::from_bytes(d.array()?),
            event: d.option(|d| d.parse())?,
            topics: d.list(|d| d.parse())?,
            start_block: d.option(|d| d.u64())?,
            end_block: d.option(|d| d.u64())?,
            confirmations: d.u32()?,
        })
    }
}

impl Canonical for HeightTrigger {
    const DOMAIN: &'static str = "w3b/trigger-height";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.chain_id).u64(self.height);
        e.option(self.every.as_ref(), |e, n| {
            e.u64(*n);
        });
        e.u64(self.confirmations.into());
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            chain_id: d.u64()?,
            height: d.u64()?,
            every: d.option(|d| d.u64())?,
            confirmations: d.u32()?,
        })
    }
}

impl Canonical for TransactionTrigger {
    const DOMAIN: &'static str = "w3b/trigger-transaction";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.chain_id).bytes(&self.hash.0).u64(self.confirmations.into());
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { chain_id: d.u64()?, hash: Word(d.array()?), confirmations: d.u32()? })
    }
}

impl Canonical for CronTrigger {
    const DOMAIN: &'static str = "w3b/trigger-cron";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(&self.schedule).u64(self.missed as u64);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (schedule, missed) = (d.text()?.to_owned(), d.u64()?);
        let missed = usize::try_from(missed).ok().and_then(|i| MISSED.get(i).copied());
        let unknown = || Malformed::new(Self::DOMAIN, "has an unknown rule for what was missed");
        Ok(Self { schedule, missed: missed.ok_or_else(unknown)? })
    }
}

impl Canonical for SentTrigger {
    const DOMAIN: &'static str = "w3b/trigger-sent";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 0;

    fn encode_fields(&self, _: &mut Encoder) {}

    fn decode_fields(_: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {})
    }
}

impl Canonical for Trigger {
    const DOMAIN: &'static str = "w3b/trigger";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.name.as_str()).text(self.event_type.as_str());
        match &self.on {
            TriggerOn::Log(on) => e.u64(0).item(on),
            TriggerOn::Height(on) => e.u64(1).item(on),
            TriggerOn::Transaction(on) => e.u64(2).item(on),
            TriggerOn::Cron(on) => e.u64(3).item(on),
            TriggerOn::Sent(on) => e.u64(4).item(on),
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (name, event_type) = (d.parse()?, d.parse()?);
        let on = match d.u64()? {
            0 => TriggerOn::Log(d.item()?),
            1 => TriggerOn::Height(d.item()?),
            2 => TriggerOn::Transaction(d.item()?),
            3 => TriggerOn::Cron(d.item()?),
            4 => TriggerOn::Sent(d.item()?),
            n => return Err(Malformed::new(Self::DOMAIN, format!("watches the unknown thing {n}"))),
        };
        Ok(Self { name, event_type, on })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_that_could_never_fire_is_refused() {
        let cron =
            |schedule: &str| TriggerOn::Cron(CronTrigger { schedule: schedule.into(), missed: Missed::Last });
        let trigger = |on| Trigger { name: "t".parse().unwrap(), event_type: "e".parse().unwrap(), on };
        let log = LogTrigger {
            chain_id: 1,
            contract: Address::from_bytes([1; 20]),
            event: Some("A()".parse().unwrap()),
            topics: vec![Topic(None); 3],
            start_block: Some(5),
            end_block: Some(5),
            confirmations: 1,
        };
        assert!(trigger(TriggerOn::Log(log.clone())).check().is_ok());
        assert!(trigger(cron("* * * * *")).check().is_ok());
        let bad = [
            TriggerOn::Log(LogTrigger { chain_id: 0, ..log.clone() }),
            TriggerOn::Log(LogTrigger { end_block: Some(4), ..log.clone() }),
            TriggerOn::Log(LogTrigger { confirmations: 0, ..log.clone() }),
            TriggerOn::Log(LogTrigger { topics: vec![Topic(None); 4], ..log }),
            TriggerOn::Height(HeightTrigger { chain_id: 1, height: 1, every: Some(0), confirmations: 1 }),
            cron(""),
        ];
        for on in bad {
            assert!(trigger(on.clone()).check().is_err(), "{on:?}");
        }
    }
}
