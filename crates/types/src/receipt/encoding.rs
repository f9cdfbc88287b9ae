//! The two forms of the file: JSON for people, canonical CBOR for machines. Each receipt has one of each.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::links::{
    EnvelopeLink, ExecutionLink, JwsLink, MessageLink, OrderingLink, OutputLink, PayloadLink, ProgramLink,
    Receipt, RegistrationLink, SessionLink, TokenLink, TriggerLink,
};
use crate::control::{decode_key, encode_key};
use crate::merkle::Step;
use crate::text::{hex_bytes, present};
use crate::time::decimal;
use crate::{
    Canonical, Decoder, Digest, Encoder, Malformed, MessageId, Output, OutputKind, ProjectId, ResultRecord,
};

/// The largest JSON receipt that is read, in bytes.
pub const MAX_RECEIPT_BYTES: usize = 64 * 1024 * 1024;

impl Receipt {
    /// The receipt as JSON for people: indented, digests and bytes in hex, 64-bit numbers as decimal strings.
    ///
    /// # Errors
    /// [`Malformed`] if a result among the outputs is none; [`Receipt::assemble`] makes no such receipt.
    pub fn to_json(&self) -> Result<String, Malformed> {
        serde_json::to_string_pretty(self).map_err(|e| Malformed::new("receipt", e.to_string()))
    }

    /// Reads JSON. Unknown, missing and repeated members are refused. Nothing is verified.
    ///
    /// # Errors
    /// [`Malformed`] with line and column.
    pub fn from_json(json: &[u8]) -> Result<Self, Malformed> {
        if json.len() > MAX_RECEIPT_BYTES {
            return Err(Malformed::new("receipt", "is larger than 64 MiB"));
        }
        serde_json::from_slice(json).map_err(|e| Malformed::new("receipt", e.to_string()))
    }
}

/// The number 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatVersion;

impl Serialize for FormatVersion {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u16(Receipt::VERSION)
    }
}

impl<'de> Deserialize<'de> for FormatVersion {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let version = u16::deserialize(d)?;
        if version == Receipt::VERSION {
            return Ok(Self);
        }
        Err(D::Error::custom(format!("version {version} is not {}; use a newer w3bstream", Receipt::VERSION)))
    }
}

/// [`OutputLink`] as it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputJson {
    #[serde(with = "decimal")]
    index: u64,
    kind: OutputKind,
    #[serde(with = "decimal")]
    chain_id: u64,
    #[serde(with = "hex_bytes")]
    target: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    result: Option<ResultRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    data: Option<HexBytes>,
    path: Vec<Step>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct HexBytes(#[serde(with = "hex_bytes")] Vec<u8>);

impl Serialize for OutputLink {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Output { kind, chain_id, target, data } = self.output.clone();
        let (result, data) = match kind {
            OutputKind::Result => {
                let result = ResultRecord::from_canonical(&data).map_err(serde::ser::Error::custom)?;
                (Some(result), None)
            }
            _ => (None, Some(HexBytes(data))),
        };
        OutputJson { index: self.index, kind, chain_id, target, result, data, path: self.path.clone() }
            .serialize(s)
    }
}

impl<'de> Deserialize<'de> for OutputLink {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let OutputJson { index, kind, chain_id, target, result, data, path } = OutputJson::deserialize(d)?;
        let data = match (kind, result, data) {
            (OutputKind::Result, Some(result), None) => result.to_canonical(),
            (OutputKind::Result, ..) => return Err(D::Error::custom("a result has `result` and no `data`")),
            (_, None, Some(data)) => data.0,
            _ => return Err(D::Error::custom("an output that is no result has `data` and no `result`")),
        };
        Ok(Self { index, output: Output { kind, chain_id, target, data }, path })
    }
}

fn encode_steps(e: &mut Encoder, steps: &[Step]) {
    // One byte for the side, then the digest.
    e.list(steps, |e, step| {
        let (side, digest) = match step {
            Step::Left(d) => (0, d),
            Step::Right(d) => (1, d),
        };
        e.bytes(&[&[side][..], digest.as_bytes()].concat());
    });
}

fn decode_steps(d: &mut Decoder<'_>) -> Result<Vec<Step>, Malformed> {
    d.list(|d| match d.bytes()?.split_first() {
        Some((0, digest)) => Ok(Step::Left(Digest::from_slice(digest)?)),
        Some((1, digest)) => Ok(Step::Right(Digest::from_slice(digest)?)),
        _ => Err(Malformed::new("receipt", "a step is neither left nor right")),
    })
}

fn encode_message(e: &mut Encoder, message: &MessageLink) {
    match message {
        MessageLink::Envelope(m) => {
            e.array(4).u64(0).item(&m.header).bytes(&m.signature);
            e.option(m.payload.as_ref(), |e, p| {
                e.array(2).bytes(&p.salt).bytes(&p.data);
            });
        }
        MessageLink::Jws(m) => {
            e.array(2).u64(1).item(&m.compact);
        }
        MessageLink::Token(m) => {
            e.array(4).u64(2).digest(&m.project.0).text(m.publisher.as_str()).text(&m.event_id);
        }
        MessageLink::Trigger(m) => {
            e.array(3).u64(3).item(&m.header);
            e.option(m.payload.as_ref(), |e, p| {
                e.bytes(p);
            });
        }
        MessageLink::Session(m) => {
            e.array(5).u64(4).digest(&m.project.0).text(m.device.as_str()).text(&m.event_id);
            e.text(m.node.as_str());
        }
    }
}

fn decode_message(d: &mut Decoder<'_>) -> Result<MessageLink, Malformed> {
    let bad = || Malformed::new(Receipt::DOMAIN, "has a message of an unknown form");
    let len = d.head()?;
    Ok(match (d.u64()?, len) {
        (0, 4) => {
            let (header, signature) = (d.item()?, d.array()?);
            let payload = d.option(|d| match d.head()? {
                2 => Ok(PayloadLink { salt: d.array()?, data: d.bytes()?.to_vec() }),
                _ => Err(bad()),
            })?;
            MessageLink::Envelope(EnvelopeLink { header, signature, payload })
        }
        (1, 2) => MessageLink::Jws(JwsLink { compact: d.item()? }),
        (2, 4) => {
            let (project, publisher) = (ProjectId(d.digest()?), d.parse()?);
            MessageLink::Token(TokenLink { project, publisher, event_id: d.text()?.to_owned() })
        }
        (3, 3) => {
            let (header, payload) = (d.item()?, d.option(|d| d.bytes().map(<[u8]>::to_vec))?);
            MessageLink::Trigger(TriggerLink { header, payload })
        }
        (4, 5) => {
            let (project, device) = (ProjectId(d.digest()?), d.parse()?);
            let (event_id, node) = (d.text()?.to_owned(), d.parse()?);
            MessageLink::Session(SessionLink { project, device, event_id, node })
        }
        _ => return Err(bad()),
    })
}

fn encode_programs(e: &mut Encoder, programs: &[ProgramLink]) {
    e.list(programs, |e, p| {
        e.array(2).digest(&p.program).digest(&p.instrumented);
    });
}

fn decode_programs(d: &mut Decoder<'_>) -> Result<Vec<ProgramLink>, Malformed> {
    d.list(|d| match d.head()? {
        2 => Ok(ProgramLink { program: d.digest()?, instrumented: d.digest()? }),
        _ => Err(Malformed::new(Receipt::DOMAIN, "has a program that is no pair")),
    })
}

impl Canonical for OrderingLink {
    const DOMAIN: &'static str = "w3b/receipt-ordering";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 4;

    fn encode_fields(&self, e: &mut Encoder) {
        e.item(&self.header).u64(self.index);
        e.list(&self.path, |e, digest| {
            e.digest(digest);
        });
        e.item(&self.certificate);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            header: d.item()?,
            index: d.u64()?,
            path: d.list(Decoder::digest)?,
            certificate: d.item()?,
        })
    }
}

impl Canonical for OutputLink {
    const DOMAIN: &'static str = "w3b/receipt-output";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 3;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.index).item(&self.output);
        encode_steps(e, &self.path);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (index, output): (u64, Output) = (d.u64()?, d.item()?);
        if output.kind == OutputKind::Result {
            // As in JSON, where the record stands decoded.
            ResultRecord::from_canonical(&output.data)?;
        }
        Ok(Self { index, output, path: decode_steps(d)? })
    }
}

impl Canonical for Receipt {
    const DOMAIN: &'static str = "w3b/receipt";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 10;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.id.0);
        encode_message(e, &self.message);
        e.option(self.registration.as_ref(), |e, r| {
            e.array(3).text(r.device.as_str());
            encode_key(e, &r.key);
        });
        e.item(&self.ordering);
        e.list(&self.execution.outputs, |e, output| {
            e.item(output);
        });
        e.item(&self.attestation).item(&self.genesis).digest(&self.manifest);
        encode_programs(e, &self.programs);
        e.list(&self.settlements, |e, settlement| {
            e.item(settlement);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            version: FormatVersion,
            id: MessageId(d.digest()?),
            message: decode_message(d)?,
            registration: d.option(|d| match d.head()? {
                3 => Ok(RegistrationLink { device: d.parse()?, key: decode_key(d)? }),
                _ => Err(Malformed::new(Self::DOMAIN, "has a registration of another length")),
            })?,
            ordering: d.item()?,
            execution: ExecutionLink { outputs: d.list(|d| d.item())? },
            attestation: d.item()?,
            genesis: d.item()?,
            manifest: d.digest()?,
            programs: decode_programs(d)?,
            settlements: d.list(|d| d.item())?,
        })
    }
}
