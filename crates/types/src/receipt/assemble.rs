//! Makes a receipt from what a node has.

use super::encoding::FormatVersion;
use super::links::{
    EnvelopeLink, ExecutionLink, JwsLink, MessageLink, OrderingLink, OutputLink, PayloadLink, ProgramLink,
    Receipt, RegistrationLink, SessionLink, TokenLink, TriggerLink,
};
use super::settled::SettlementLink;
use crate::{
    Attestation, Canonical, CertifiedBlock, Entry, Form, Genesis, Invalid, MessageId, Output, OutputKind,
    PublicKey, Record, ResultRecord, merkle, output_leaves,
};

/// What a receipt is made of.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptParts<'a> {
    /// The message.
    pub record: &'a Record,
    /// The device's key as it was registered when the message was executed; `None` for a message without a
    /// signature.
    pub key: Option<&'a PublicKey>,
    /// Whether an envelope's payload and salt go into the file. A JWS always contains its payload.
    pub with_payload: bool,
    /// The block that ordered the message.
    pub block: &'a CertifiedBlock,
    /// All outputs of the block, in order.
    pub outputs: &'a [Output],
    /// The attestation of the block.
    pub attestation: &'a Attestation,
    /// The genesis of the block's epoch.
    pub genesis: &'a Genesis,
    /// What is known of the message's settlements; those of other messages are left away.
    pub settlements: &'a [SettlementLink],
}

impl Receipt {
    /// Makes the receipt and verifies it, so that a node hands out none that does not hold.
    ///
    /// # Errors
    /// [`Invalid`] naming the link that the parts do not support.
    pub fn assemble(parts: ReceiptParts<'_>) -> Result<Self, Invalid> {
        let id = parts.record.id();
        let outputs = outputs_about(id, parts.outputs)?;
        let receipt = Self {
            version: FormatVersion,
            id,
            message: message(parts.record, parts.with_payload),
            registration: registration(&parts)?,
            ordering: ordering(id, parts.block)?,
            programs: programs(&outputs),
            settlements: settlements(parts.settlements, &outputs),
            execution: ExecutionLink { outputs },
            attestation: parts.attestation.clone(),
            genesis: parts.genesis.clone(),
            manifest: parts.attestation.statement.manifest,
        };
        match receipt.verify(None).first_broken() {
            None => Ok(receipt),
            Some((link, why)) => Err(Invalid::new(link.name(), why.to_owned())),
        }
    }
}

fn message(record: &Record, with_payload: bool) -> MessageLink {
    match record.form() {
        Form::Envelope(e) => MessageLink::Envelope(EnvelopeLink {
            header: e.header().clone(),
            signature: *e.signature(),
            payload: with_payload.then(|| PayloadLink { salt: *e.salt(), data: e.payload().to_vec() }),
        }),
        Form::Jws(j) => MessageLink::Jws(JwsLink { compact: j.clone() }),
        Form::Token(t) => MessageLink::Token(TokenLink {
            project: t.project,
            publisher: t.publisher.clone(),
            event_id: t.event_id.clone(),
        }),
        Form::Trigger(t) => MessageLink::Trigger(TriggerLink {
            header: t.header(),
            payload: with_payload.then(|| t.payload.clone()),
        }),
        Form::Session(s) => MessageLink::Session(SessionLink {
            project: s.project,
            device: s.device.clone(),
            event_id: s.event_id.clone(),
            node: s.token.claims().node.clone(),
        }),
    }
}

fn registration(parts: &ReceiptParts<'_>) -> Result<Option<RegistrationLink>, Invalid> {
    let missing = || Invalid::new("registration", "the device's key is missing");
    parts
        .record
        .device()
        .map(|device| Ok(RegistrationLink { device, key: parts.key.ok_or_else(missing)?.clone() }))
        .transpose()
}

fn ordering(id: MessageId, certified: &CertifiedBlock) -> Result<OrderingLink, Invalid> {
    let absent = || Invalid::new("ordering", format!("the block does not name {id}"));
    let block = &certified.block;
    let at = block.entries().iter().position(|e| *e == Entry::Message(id)).ok_or_else(absent)?;
    Ok(OrderingLink {
        header: block.header().clone(),
        index: at as u64,
        path: block.entry_path(at).ok_or_else(absent)?,
        certificate: certified.certificate.clone(),
    })
}

fn outputs_about(id: MessageId, outputs: &[Output]) -> Result<Vec<OutputLink>, Invalid> {
    let leaves = output_leaves(outputs);
    let mut found = Vec::new();
    // How many more outputs belong to the result before.
    let mut owned = 0;
    for (at, output) in outputs.iter().enumerate() {
        let about = output.target == id.0.as_bytes();
        match output.kind {
            OutputKind::Result if about => {
                owned = ResultRecord::from_canonical(&output.data)
                    .map_err(|e| Invalid::new("execution", e.to_string()))?
                    .outputs;
            }
            OutputKind::Rejected if about => owned = 0,
            OutputKind::Result | OutputKind::Rejected | OutputKind::Control => {
                owned = 0;
                continue;
            }
            _ if owned > 0 => owned -= 1,
            _ => continue,
        }
        let path = merkle::steps(&leaves, at)
            .ok_or_else(|| Invalid::new("execution", format!("there is no output {at}")))?;
        found.push(OutputLink { index: at as u64, output: output.clone(), path });
    }
    Ok(found)
}

fn settlements(all: &[SettlementLink], outputs: &[OutputLink]) -> Vec<SettlementLink> {
    let own = |link: &&SettlementLink| outputs.iter().any(|o| o.index == link.index);
    let mut own: Vec<_> = all.iter().filter(own).cloned().collect();
    own.sort_by_key(|link| link.index);
    own
}

fn programs(outputs: &[OutputLink]) -> Vec<ProgramLink> {
    let results = outputs.iter().filter(|o| o.output.kind == OutputKind::Result);
    results
        .filter_map(|o| ResultRecord::from_canonical(&o.output.data).ok())
        .map(|r| ProgramLink { program: r.program, instrumented: r.instrumented })
        .collect()
}
