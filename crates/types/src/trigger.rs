//! Triggers: what a project wants to be told of that no device sends. An event of a chain or a moment becomes a
//! message, which is ordered and executed as a device's is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::TriggerName;
use crate::message::check_payload;
use crate::text::text_serde;
use crate::{
    Address, Canonical, Decoder, Digest, Encoder, EventType, Malformed, ProjectId, Timestamp, check_event_id,
    keccak256,
};

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

/// An event's signature as Solidity hashes it: `Transfer(address,address,uint256)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventSignature(Box<str>);

impl EventSignature {
    /// The first topic of such events: the Keccak-256 of the text.
    #[must_use]
    pub fn topic(&self) -> [u8; 32] {
        keccak256(self.0.as_bytes())
    }
}

impl fmt::Display for EventSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EventSignature {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = |why: String| {
            Malformed::new(
                "event",
                format!("{why}; write it as in Transfer(address,address,uint256), without blanks and names"),
            )
        };
        if s.len() > MAX_TEXT_BYTES {
            return Err(bad(format!("has {} bytes, {MAX_TEXT_BYTES} is the most", s.len())));
        }
        let (name, types) = s.split_once('(').ok_or_else(|| bad(format!("{s:?} has no arguments")))?;
        let types = types.strip_suffix(')').ok_or_else(|| bad(format!("{s:?} does not end with ')'")))?;
        let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word(name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(bad(format!("{name:?} is no name")));
        }
        check_types(types).map_err(bad)?;
        Ok(Self(s.into()))
    }
}

text_serde!(EventSignature);

/// Arguments' types, tuples included, in the form that is hashed (Solidity ABI specification).
fn check_types(types: &str) -> Result<(), String> {
    if types.is_empty() {
        return Ok(());
    }
    // Tuples count for their members: what is left are the types and the commas between them.
    let (mut depth, mut plain) = (0_i32, String::new());
    for c in types.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => plain.push(c),
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Err(format!("the brackets of {types:?} do not match"));
    }
    for part in plain.split(',') {
        let (base, dims) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !known_type(base) || !known_dims(dims) {
            let full = if matches!(base, "uint" | "int") { " (uint is written uint256)" } else { "" };
            return Err(format!("{part:?} is no type{full}"));
        }
    }
    Ok(())
}

fn known_type(base: &str) -> bool {
    let sized = |prefix: &str, fits: fn(u32) -> bool| {
        base.strip_prefix(prefix)
            .filter(|d| !d.starts_with(['0', '+']))
            .and_then(|d| d.parse().ok())
            .is_some_and(fits)
    };
    let bits = |n: u32| (8..=256).contains(&n) && n.is_multiple_of(8);
    // What is left of a tuple in an array is its dimensions alone.
    matches!(base, "address" | "bool" | "string" | "bytes" | "function" | "")
        || sized("uint", bits)
        || sized("int", bits)
        || sized("bytes", |n| (1..=32).contains(&n))
}

fn known_dims(mut dims: &str) -> bool {
    while let Some(rest) = dims.strip_prefix('[') {
        let Some((count, after)) = rest.split_once(']') else { return false };
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return false;
        }
        dims = after;
    }
    dims.is_empty()
}

/// 32 bytes of a chain, written as `0x` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(pub [u8; 32]);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Word {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        let bad = || Malformed::new("word", format!("{s:?} must be 0x and 64 lower-case hex digits"));
        let digits = s.strip_prefix("0x").ok_or_else(bad)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        let word = Self(bytes);
        if word.to_string() == s { Ok(word) } else { Err(bad()) }
    }
}

text_serde!(Word);

/// What an indexed argument must be; empty for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic(pub Option<Word>);

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |word| word.fmt(f))
    }
}

impl FromStr for Topic {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Self, Malformed> {
        if s.is_empty() { Ok(Self(None)) } else { s.parse().map(|word| Self(Some(word))) }
    }
}

text_serde!(Topic);

impl Trigger {
    /// The chain that it watches; `None` if it watches none.
    #[must_use]
    pub const fn chain_id(&self) -> Option<u64> {
        match &self.on {
            TriggerOn::Log(on) => Some(on.chain_id),
            TriggerOn::Height(on) => Some(on.chain_id),
            TriggerOn::Transaction(on) => Some(on.chain_id),
            TriggerOn::Cron(_) => None,
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
            e.text(&event.0);
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
        };
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (name, event_type) = (d.parse()?, d.parse()?);
        let on = match d.u64()? {
            0 => TriggerOn::Log(d.item()?),
            1 => TriggerOn::Height(d.item()?),
            2 => TriggerOn::Transaction(d.item()?),
            3 => TriggerOn::Cron(d.item()?),
            n => return Err(Malformed::new(Self::DOMAIN, format!("watches the unknown thing {n}"))),
        };
        Ok(Self { name, event_type, on })
    }
}

/// A message that no device sent: a trigger of the project has fired. Every node that sees the same makes the same
/// bytes of it, so that it is one message however often it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerMessage {
    /// The project that the message is for.
    pub project: ProjectId,
    /// The trigger.
    pub trigger: TriggerName,
    /// Names what happened: an event by its block, transaction and place, a moment by its time.
    pub event_id: String,
    /// What kind of event it is.
    pub event_type: EventType,
    /// When it happened, by the chain's or the schedule's time.
    pub time: Timestamp,
    /// The bytes that an applet gets.
    pub payload: Vec<u8>,
}

impl TriggerMessage {
    /// What names the message: everything of it, the payload by its digest.
    #[must_use]
    pub fn header(&self) -> TriggerHeader {
        TriggerHeader {
            project: self.project,
            trigger: self.trigger.clone(),
            event_id: self.event_id.clone(),
            event_type: self.event_type.clone(),
            time: self.time,
            payload_digest: Digest::of(&self.payload),
        }
    }
}

impl Canonical for TriggerMessage {
    const DOMAIN: &'static str = "w3b/trigger-message";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).text(self.trigger.as_str()).text(&self.event_id);
        e.text(self.event_type.as_str()).u64(self.time.0).bytes(&self.payload);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let message = Self {
            project: ProjectId(d.digest()?),
            trigger: d.parse()?,
            event_id: d.text()?.to_owned(),
            event_type: d.parse()?,
            time: Timestamp(d.u64()?),
            payload: d.bytes()?.to_vec(),
        };
        check_event_id(&message.event_id)?;
        check_payload(&message.payload)?;
        Ok(message)
    }
}

/// A trigger's message without its payload: what its id is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerHeader {
    /// The project that the message is for.
    pub project: ProjectId,
    /// The trigger.
    pub trigger: TriggerName,
    /// Names what happened.
    pub event_id: String,
    /// What kind of event it is.
    pub event_type: EventType,
    /// When it happened, by the chain's or the schedule's time.
    pub time: Timestamp,
    /// SHA-256 of the payload.
    pub payload_digest: Digest,
}

impl Canonical for TriggerHeader {
    const DOMAIN: &'static str = "w3b/trigger-header";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 6;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).text(self.trigger.as_str()).text(&self.event_id);
        e.text(self.event_type.as_str()).u64(self.time.0).digest(&self.payload_digest);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            project: ProjectId(d.digest()?),
            trigger: d.parse()?,
            event_id: d.text()?.to_owned(),
            event_type: d.parse()?,
            time: Timestamp(d.u64()?),
            payload_digest: d.digest()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_signature_is_what_is_hashed() {
        let known: EventSignature = "Transfer(address,address,uint256)".parse().unwrap();
        // The topic of every ERC-20 transfer.
        assert_eq!(
            Word(known.topic()).to_string(),
            "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
        );
        for good in ["Done()", "A(bytes32[],uint8[4][])", "B((address,uint256)[],bool)", "C((uint8))"] {
            assert!(good.parse::<EventSignature>().is_ok(), "{good}");
        }
        for bad in [
            "Transfer",
            "Transfer(address",
            "(address)",
            "1T()",
            "T(address to)",
            "T(uint)",
            "T(uint7)",
            "T(bytes33)",
            "T(uint256,)x",
            "T(address[)",
            "T((address)",
            "T(address))",
            "T(strin)",
        ] {
            assert!(bad.parse::<EventSignature>().is_err(), "{bad}");
        }
        let error = "T(uint)".parse::<EventSignature>().unwrap_err().to_string();
        assert!(error.contains("uint256"), "{error}");
    }

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

    #[test]
    fn every_field_of_a_message_is_in_its_header() {
        let message = TriggerMessage {
            project: ProjectId(Digest::of(b"p")),
            trigger: "t".parse().unwrap(),
            event_id: "1".into(),
            event_type: "e".parse().unwrap(),
            time: Timestamp(7),
            payload: vec![1],
        };
        let header = message.header().to_canonical();
        let others = [
            TriggerMessage { project: ProjectId(Digest::of(b"q")), ..message.clone() },
            TriggerMessage { trigger: "u".parse().unwrap(), ..message.clone() },
            TriggerMessage { event_id: "2".into(), ..message.clone() },
            TriggerMessage { event_type: "f".parse().unwrap(), ..message.clone() },
            TriggerMessage { time: Timestamp(8), ..message.clone() },
            TriggerMessage { payload: vec![2], ..message },
        ];
        for other in others {
            assert_ne!(other.header().to_canonical(), header, "{other:?}");
        }
    }
}
