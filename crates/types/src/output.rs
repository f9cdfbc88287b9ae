//! What executing a block gives: results and side effects, as leaves that a contract can check.

use serde::{Deserialize, Serialize};

use crate::{
    AppletName, Canonical, Decoder, Digest, Encoder, EventType, HandlerResult, Malformed, MessageId, merkle,
};

/// What kind of output a leaf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u16)]
pub enum OutputKind {
    /// A handler's result: target is the message id, data a canonical [`ResultRecord`].
    Result = 1,
    /// A message that was ordered but not executed: target is the message id, data the reason's code.
    Rejected = 2,
    /// A control transaction's outcome: target is its id, data empty if applied, else the reason.
    Control = 3,
    /// An MQTT message to publish: target is the topic, data the payload. At least once.
    Mqtt = 4,
    /// A metric that a guest submitted: target is the applet's name, data a JSON object.
    Metric = 5,
    /// A statement for a contract to act on, of one of the manifest's settlements: target is the executor's
    /// address followed by the contract's, data the statement's ABI encoding; see [`Settlement`](crate::Settlement).
    Settlement = 6,
    /// A transaction to send: target is the account or contract, data a canonical
    /// [`TransactionRequest`](crate::TransactionRequest).
    Transaction = 7,
    /// What a handler answers to who waits for it, and what a WASI program wrote to standard output: target is the
    /// handler's name, data the bytes.
    Answer = 8,
    /// An event that a handler sent to handlers of its own project: target is the event type, data a canonical
    /// [`EventRecord`].
    Event = 9,
}

impl OutputKind {
    fn from_u64(v: u64) -> Option<Self> {
        [
            Self::Result,
            Self::Rejected,
            Self::Control,
            Self::Mqtt,
            Self::Metric,
            Self::Settlement,
            Self::Transaction,
            Self::Answer,
            Self::Event,
        ]
        .into_iter()
        .find(|k| *k as u64 == v)
    }
}

/// One output of a block. Its place in the block's list is its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What kind it is.
    pub kind: OutputKind,
    /// The chain that it is meant for; 0 if none.
    pub chain_id: u64,
    /// Whom or what it is about; see [`OutputKind`].
    pub target: Vec<u8>,
    /// The bytes; see [`OutputKind`].
    pub data: Vec<u8>,
}

impl Output {
    /// The leaf's data: Solidity's `abi.encode(uint64 index, uint16 kind, uint64 chainId, bytes target,
    /// bytes data)` (Solidity ABI specification, §"Formal Specification of the Encoding").
    #[must_use]
    pub fn abi_encode(&self, index: u64) -> Vec<u8> {
        let padded = |len: usize| len.div_ceil(32) * 32;
        let word = |v: u64| {
            let mut w = [0; 32];
            w[24..].copy_from_slice(&v.to_be_bytes());
            w
        };
        let target_at = 5 * 32;
        let data_at = target_at + 32 + padded(self.target.len());
        let mut out = Vec::with_capacity(data_at + 32 + padded(self.data.len()));
        for v in [index, self.kind as u64, self.chain_id, target_at as u64, data_at as u64] {
            out.extend_from_slice(&word(v));
        }
        for bytes in [&self.target, &self.data] {
            out.extend_from_slice(&word(bytes.len() as u64));
            out.extend_from_slice(bytes);
            out.resize(out.len() + padded(bytes.len()) - bytes.len(), 0);
        }
        out
    }

    /// The leaf in the outputs' tree.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Digest {
        merkle::leaf_hash(&self.abi_encode(index))
    }
}

impl Canonical for Output {
    const DOMAIN: &'static str = "w3b/output";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.kind as u64).u64(self.chain_id).bytes(&self.target).bytes(&self.data);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let kind = d.u64()?;
        Ok(Self {
            kind: OutputKind::from_u64(kind)
                .ok_or_else(|| Malformed::new(Self::DOMAIN, format!("has the unknown kind {kind}")))?,
            chain_id: d.u64()?,
            target: d.bytes()?.to_vec(),
            data: d.bytes()?.to_vec(),
        })
    }
}

/// The leaves of a block's outputs, in order.
#[must_use]
pub fn output_leaves(outputs: &[Output]) -> Vec<Digest> {
    (0..).zip(outputs).map(|(i, o)| o.leaf(i)).collect()
}

/// The RFC 6962 root over a block's outputs.
#[must_use]
pub fn outputs_root(outputs: &[Output]) -> Digest {
    merkle::root(&output_leaves(outputs))
}

/// What one handler did with one message, as every node of the subnet must find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRecord {
    /// The message.
    pub message: MessageId,
    /// The applet.
    pub applet: AppletName,
    /// The exported function.
    pub handler: String,
    /// SHA-256 of the module as it was uploaded.
    pub program: Digest,
    /// SHA-256 of the module as it ran, after instrumentation.
    pub instrumented: Digest,
    /// What the handler returned; −1 if it did not return.
    pub code: i32,
    /// Why it did not return, such as `out-of-gas`; its writes and outputs were then dropped.
    #[serde(deserialize_with = "crate::text::nullable")]
    pub error: Option<String>,
    /// Gas used.
    #[serde(with = "crate::time::decimal")]
    pub gas: u64,
    /// Which of the message's calls this is, or of the event's, from 0.
    #[serde(with = "crate::time::decimal")]
    pub call: u64,
    /// How many handlers were called with the message, or with the event, so that nobody can leave one's result away.
    #[serde(with = "crate::time::decimal")]
    pub calls: u64,
    /// How many outputs this call made: that many follow this one in the block's list.
    #[serde(with = "crate::time::decimal")]
    pub outputs: u64,
    /// The event that the handler was called with, by its [`EventRecord::id`]; `None` if that was the message itself.
    #[serde(deserialize_with = "crate::text::nullable")]
    pub event: Option<Digest>,
}

/// An event that a handler sent. Its handlers run behind those of the message that caused it, in the same block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Names it for ever; see [`Self::id_of`].
    pub id: Digest,
    /// How many events lead from the message to this one, itself included: at least 1.
    pub depth: u64,
    /// How many handlers are called with it, so that nobody can leave one's result away.
    pub calls: u64,
    /// [`payload_digest`](crate::payload_digest) of what the handlers get, with the message's salt, or zeros if it has
    /// none: so it tells nothing once the salt is erased.
    pub payload: Digest,
}

impl EventRecord {
    /// The id of the `n`th event, from 0, that a handler's call sent.
    #[must_use]
    pub fn id_of(call: &Digest, n: u64) -> Digest {
        Digest::tagged("w3b/event-id/1", &[call.as_bytes(), &n.to_be_bytes()])
    }

    /// The output that tells of it.
    #[must_use]
    pub fn to_output(&self, event_type: &EventType) -> Output {
        let target = event_type.as_str().as_bytes().to_vec();
        Output { kind: OutputKind::Event, chain_id: 0, target, data: self.to_canonical() }
    }
}

impl Canonical for EventRecord {
    const DOMAIN: &'static str = "w3b/event";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.id).u64(self.depth).u64(self.calls).digest(&self.payload);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { id: d.digest()?, depth: d.u64()?, calls: d.u64()?, payload: d.digest()? })
    }
}

impl ResultRecord {
    /// The part that a sender is told, without what stands in other outputs: the event's type and the answer.
    #[must_use]
    pub fn to_handler_result(&self) -> HandlerResult {
        HandlerResult {
            applet: self.applet.clone(),
            handler: self.handler.clone(),
            code: self.code,
            error: self.error.clone(),
            gas: self.gas,
            event: None,
            answer: None,
        }
    }
}

impl Canonical for ResultRecord {
    const DOMAIN: &'static str = "w3b/result";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 12;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.message.0).text(self.applet.as_str()).text(&self.handler);
        e.digest(&self.program).digest(&self.instrumented).i64(i64::from(self.code));
        e.option(self.error.as_ref(), |e, why| {
            e.text(why);
        });
        e.u64(self.gas).u64(self.call).u64(self.calls).u64(self.outputs);
        e.option(self.event.as_ref(), |e, id| {
            e.digest(id);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            message: MessageId(d.digest()?),
            applet: d.parse()?,
            handler: d.text()?.to_owned(),
            program: d.digest()?,
            instrumented: d.digest()?,
            code: i32::try_from(d.i64()?).map_err(|_| Malformed::new(Self::DOMAIN, "code is no i32"))?,
            error: d.option(|d| d.text().map(str::to_owned))?,
            gas: d.u64()?,
            call: d.u64()?,
            calls: d.u64()?,
            outputs: d.u64()?,
            event: d.option(|d| d.digest())?,
        })
    }
}
