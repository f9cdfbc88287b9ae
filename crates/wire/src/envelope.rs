//! The envelope form: protobuf outside, canonical CBOR under the signature.

use prost::Message as _;
use w3bstream_types::{
    Digest, Draft, Envelope, MAX_KEY_ID_BYTES, MAX_PAYLOAD_BYTES, Malformed, ProjectId, Sequence, Timestamp,
};

use crate::generated;

/// The version of the envelope's field list.
pub const ENVELOPE_VERSION: u32 = 1;

// What surrounds the payload: tags, lengths and the fields of bounded size.
const MAX_OVERHEAD_BYTES: usize = 1024 + MAX_KEY_ID_BYTES;

/// The envelope as protobuf bytes.
#[must_use]
pub fn encode_envelope(envelope: &Envelope) -> Vec<u8> {
    let header = envelope.header();
    generated::Envelope {
        version: ENVELOPE_VERSION,
        audience: header.audience.digest().as_bytes().to_vec(),
        key: header.key.as_str().to_owned(),
        r#type: header.event_type.as_str().to_owned(),
        sequence: header.sequence.as_u64(),
        time: header.time.millis(),
        salt: envelope.salt().to_vec(),
        payload: envelope.payload().to_vec(),
        signature: envelope.signature().to_vec(),
    }
    .encode_to_vec()
}

/// Reads protobuf bytes. The order of the fields is free and a zero may be written or left away; unknown
/// fields, fields that stand twice and any other version are refused. The signature is *not* checked.
///
/// # Errors
/// [`Malformed`] naming the field.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, Malformed> {
    if bytes.len() > MAX_PAYLOAD_BYTES + MAX_OVERHEAD_BYTES {
        return Err(bad("is larger than 8 MiB of payload can make it"));
    }
    check_fields(bytes)?;
    let raw = generated::Envelope::decode(bytes).map_err(|e| bad(format!("is no protobuf message: {e}")))?;
    if raw.version != ENVELOPE_VERSION {
        return Err(bad(format!("version is {}, not {ENVELOPE_VERSION}", raw.version)));
    }
    if raw.payload.len() > MAX_PAYLOAD_BYTES {
        return Err(bad("payload is larger than 8 MiB"));
    }
    let salt = fixed("salt", &raw.salt)?;
    let signature = fixed("signature", &raw.signature)?;
    let draft = Draft {
        audience: ProjectId(Digest::from_bytes(fixed("audience", &raw.audience)?)),
        key: raw.key.parse()?,
        event_type: raw.r#type.parse()?,
        sequence: Sequence::from_u64(raw.sequence),
        time: Timestamp(raw.time),
        payload: raw.payload,
    };
    Ok(Envelope::new(draft, salt, signature))
}

fn bad(why: impl Into<std::borrow::Cow<'static, str>>) -> Malformed {
    Malformed::new("envelope", why)
}

fn fixed<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| bad(format!("{name} must be {N} bytes, has {}", bytes.len())))
}

/// Protobuf readers skip unknown fields and take the last of repeated ones. Here neither passes: what a
/// node does not understand it does not accept, and no two readers see different messages.
fn check_fields(bytes: &[u8]) -> Result<(), Malformed> {
    let mut rest = bytes;
    let mut seen = [false; 10];
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        let expected = match field {
            1 | 5 | 6 => 0,
            2..=4 | 7..=9 => 2,
            _ => return Err(bad(format!("has the unknown field {field}"))),
        };
        if wire_type != expected {
            return Err(bad(format!("field {field} has wire type {wire_type}, not {expected}")));
        }
        let slot = usize::try_from(field).ok().and_then(|f| seen.get_mut(f));
        if slot.is_none_or(|s| std::mem::replace(s, true)) {
            return Err(bad(format!("field {field} stands twice")));
        }
        let value = varint(&mut rest)?;
        if wire_type == 2 {
            let len = usize::try_from(value).unwrap_or(usize::MAX);
            rest = rest.get(len..).ok_or_else(|| bad(format!("field {field} is cut off")))?;
        } else if field == 1 && value > u64::from(u32::MAX) {
            // A protobuf reader would keep the low 32 bits.
            return Err(bad("version is out of range"));
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first().ok_or_else(|| bad("is cut off"))?;
        *bytes = rest;
        if place == 9 && *byte > 1 {
            return Err(bad("has a number above 2^64"));
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(bad("has a number above 2^64"))
}
