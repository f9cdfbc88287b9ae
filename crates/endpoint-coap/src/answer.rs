//! Answers: their codes, their content, and how they are made to fit.

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, ResponseType};
use serde_json::{Value, json};
use w3bstream_endpoint::MessageLife;
use w3bstream_types::{Accepted, Digest, MessageId, Refusal, RefusalKind};
use w3bstream_wire::{AckBody, RefusalBody};

use crate::codec::{Block, uint, write};

/// The largest message that is sent: it fits a datagram on every link (RFC 7252 §4.6).
pub(crate) const MAX_MESSAGE_BYTES: usize = 1152;
/// The largest block that is sent (RFC 7959 §2.2).
const MAX_EXPONENT: u8 = 6;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    /// The same members, as CBOR.
    Cbor,
    /// RFC 6690.
    Links,
}

impl Format {
    /// Its Content-Format (RFC 7252 §12.3).
    const fn number(self) -> u32 {
        match self {
            Self::Json => 50,
            Self::Cbor => 60,
            Self::Links => 40,
        }
    }

    fn write(self, value: &Value) -> Vec<u8> {
        if self == Self::Cbor {
            let mut out = minicbor::Encoder::new(Vec::new());
            // Writing to a vector does not fail.
            let _ = cbor(value, &mut out);
            return out.into_writer();
        }
        value.to_string().into_bytes()
    }
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn cbor(value: &Value, out: &mut minicbor::Encoder<Vec<u8>>) -> Written {
    match value {
        Value::Null => out.null()?.ok(),
        Value::Bool(it) => out.bool(*it)?.ok(),
        Value::Number(it) => match (it.as_u64(), it.as_i64()) {
            (Some(it), _) => out.u64(it)?.ok(),
            (None, Some(it)) => out.i64(it)?.ok(),
            (None, None) => out.f64(it.as_f64().unwrap_or_default())?.ok(),
        },
        Value::String(it) => out.str(it)?.ok(),
        Value::Array(items) => {
            out.array(items.len() as u64)?;
            items.iter().try_for_each(|item| cbor(item, out))
        }
        Value::Object(members) => {
            out.map(members.len() as u64)?;
            members.iter().try_for_each(|(name, item)| cbor(item, out.str(name)?))
        }
    }
}

/// An answer before it is put into a message.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: ResponseType,
    /// What it says, the richest first; `None` is text for people (RFC 7252 §5.5.2). If none fits, the code alone.
    contents: Vec<(Option<u32>, Vec<u8>)>,
    /// Seconds.
    max_age: Option<u32>,
    etag: Option<[u8; 4]>,
    pub(crate) block1: Option<Block>,
    block2: Option<Block>,
    size1: Option<u32>,
    size2: Option<u32>,
}

impl Reply {
    pub(crate) const fn bare(code: ResponseType) -> Self {
        Self {
            code,
            contents: Vec::new(),
            max_age: None,
            etag: None,
            block1: None,
            block2: None,
            size1: None,
            size2: None,
        }
    }

    /// With words for people.
    pub(crate) fn diagnostic(code: ResponseType, why: &str) -> Self {
        Self { contents: vec![(None, why.as_bytes().to_vec())], ..Self::bare(code) }
    }

    /// The node has accepted the message.
    pub(crate) fn accepted(accepted: &Accepted, format: Format) -> Self {
        let mut body = AckBody::from(accepted);
        let full = content(format, &body);
        body.results.clear();
        let contents = [full, content(format, &body)].into_iter().flatten().collect();
        Self { contents, ..Self::bare(ResponseType::Changed) }
    }

    /// A message was not accepted.
    pub(crate) fn refusal(id: Option<MessageId>, refusal: &Refusal, format: Format) -> Self {
        let mut contents: Vec<_> = content(format, &RefusalBody::new(id, refusal)).into_iter().collect();
        let code = match refusal.next_epoch {
            Some(next) => format!("{}; next-epoch={next}", refusal.kind.code()),
            None => refusal.kind.code().to_owned(),
        };
        contents.push((None, code.into_bytes()));
        Self { contents, max_age: retry_after(refusal.kind), ..Self::bare(refusal_code(refusal.kind)) }
    }

    /// The content is larger than is taken; `most` bytes are.
    pub(crate) fn too_large(most: usize) -> Self {
        let why = format!("at most {most} bytes are taken");
        let refusal = Refusal::new(RefusalKind::TooLarge, why);
        Self { size1: u32::try_from(most).ok(), ..Self::refusal(None, &refusal, Format::Json) }
    }

    /// One part of a body: all of it if it fits into `room` bytes, else the block that was asked for or a smaller one.
    ///
    /// A question that comes from an address that somebody else has put there brings that address no more than `room`.
    pub(crate) fn part(body: &[u8], format: Format, asked: Option<Block>, room: usize) -> Self {
        let mut block = asked.unwrap_or(Block { number: 0, more: false, exponent: MAX_EXPONENT });
        let start = block.start();
        if start > 0 && start >= body.len() {
            return Self::diagnostic(ResponseType::BadRequest, "there is no such block");
        }
        // Header and token, ETag, Content-Format, Max-Age, Block2, Size2, and the marker.
        let room = room.min(MAX_MESSAGE_BYTES).saturating_sub(4 + 8 + 5 + 2 + 2 + 4 + 5 + 1);
        while block.size() > room && block.exponent > 0 {
            block.exponent -= 1;
        }
        block.number = u32::try_from(start / block.size()).unwrap_or(u32::MAX);
        let end = body.len().min(start + block.size());
        block.more = end < body.len();
        let whole = start == 0 && !block.more && asked.is_none();
        let mut etag = [0; 4];
        etag.iter_mut().zip(Digest::of(body).as_bytes()).for_each(|(to, from)| *to = *from);
        Self {
            contents: vec![(Some(format.number()), body.get(start..end).unwrap_or_default().to_vec())],
            // A message goes on; what was read is not true for long.
            max_age: Some(1),
            etag: Some(etag),
            block2: (!whole).then_some(block),
            size2: u32::try_from(body.len()).ok().filter(|_| !whole && start == 0),
            ..Self::bare(ResponseType::Content)
        }
    }

    /// The message for this answer, with the most content that fits into `room` bytes; and whether some was left out.
    pub(crate) fn fit(&self, kind: MessageType, id: u16, token: &[u8], room: usize) -> (Vec<u8>, bool) {
        let room = room.min(MAX_MESSAGE_BYTES);
        for (place, content) in self.contents.iter().enumerate() {
            let bytes = write(self.packet(Some(content)), kind, id, token);
            if bytes.len() <= room {
                return (bytes, place > 0);
            }
        }
        (write(self.packet(None), kind, id, token), !self.contents.is_empty())
    }

    fn packet(&self, content: Option<&(Option<u32>, Vec<u8>)>) -> Packet {
        let mut packet = Packet::new();
        packet.header.code = MessageClass::Response(self.code);
        let mut add = |option: CoapOption, value: Option<Vec<u8>>| {
            if let Some(value) = value {
                packet.add_option(option, value);
            }
        };
        add(CoapOption::MaxAge, self.max_age.map(uint));
        add(CoapOption::Block1, self.block1.map(Block::to_bytes));
        add(CoapOption::Size1, self.size1.map(uint));
        if let Some((format, payload)) = content {
            add(CoapOption::ContentFormat, format.map(uint));
            add(CoapOption::ETag, self.etag.map(|e| e.to_vec()));
            add(CoapOption::Block2, self.block2.map(Block::to_bytes));
            add(CoapOption::Size2, self.size2.map(uint));
            packet.payload.clone_from(payload);
        }
        packet
    }
}

fn content(format: Format, body: &impl serde::Serialize) -> Option<(Option<u32>, Vec<u8>)> {
    let value = serde_json::to_value(body).ok()?;
    Some((Some(format.number()), format.write(&value)))
}

/// The life of a message, as over HTTP.
pub(crate) fn life(id: MessageId, life: &MessageLife, format: Format) -> Vec<u8> {
    format.write(&json!({
        "id": id, "project": life.project, "states": life.states, "settlements": life.settlements,
        "settlement_count": life.settlement_count,
    }))
}

/// The code for a kind of refusal. Classes 2 and 4 are final for these bytes; 5 is not.
pub(crate) const fn refusal_code(kind: RefusalKind) -> ResponseType {
    match kind {
        RefusalKind::Malformed => ResponseType::BadRequest,
        RefusalKind::BadSignature
        | RefusalKind::UnknownDevice
        | RefusalKind::Revoked
        | RefusalKind::BadToken => ResponseType::Unauthorized,
        RefusalKind::NotAllowed | RefusalKind::WrongAudience => ResponseType::Forbidden,
        RefusalKind::UnknownProject | RefusalKind::Removed => ResponseType::NotFound,
        RefusalKind::Conflict | RefusalKind::TooOld => ResponseType::Conflict,
        RefusalKind::TooLarge => ResponseType::RequestEntityTooLarge,
        RefusalKind::Overloaded
        | RefusalKind::ShuttingDown
        | RefusalKind::StorageFailing
        | RefusalKind::NotReady => ResponseType::ServiceUnavailable,
    }
}

/// After how many seconds the same bytes may be sent again (Max-Age of 5.03, RFC 7252 §5.9.3.4).
const fn retry_after(kind: RefusalKind) -> Option<u32> {
    match kind {
        RefusalKind::Overloaded => Some(1),
        kind if kind.is_permanent() => None,
        _ => Some(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_refusals_and_only_they_ask_for_another_try() {
        for kind in RefusalKind::ALL {
            let code = refusal_code(kind);
            assert_eq!(code == ResponseType::ServiceUnavailable, !kind.is_permanent(), "{kind}");
            assert_eq!(retry_after(kind).is_some(), !kind.is_permanent(), "{kind}");
            let row = format!("| {} | `{}` |", MessageClass::Response(code), kind.code());
            assert!(include_str!("lib.rs").contains(&row), "the crate's table lacks {row}");
        }
    }

    #[test]
    fn an_answer_says_less_where_there_is_less_room() {
        let mut refusal = Refusal::new(RefusalKind::TooOld, "below the window");
        refusal.next_epoch = Some(7);
        let reply = Reply::refusal(None, &refusal, Format::Json);
        let read = |room| {
            let (bytes, shortened) = reply.fit(MessageType::Acknowledgement, 1, &[1, 2], room);
            assert!(bytes.len() <= room);
            (Packet::from_bytes(&bytes).unwrap(), shortened)
        };
        let (full, shortened) = read(1000);
        assert!(!shortened && full.get_first_option(CoapOption::ContentFormat) == Some(&vec![50]));
        let body: Value = serde_json::from_slice(&full.payload).unwrap();
        assert_eq!((&body["code"], &body["next_epoch"]), (&json!("too-old"), &json!(7)));
        let (code, shortened) = read(40);
        assert!(shortened && code.get_first_option(CoapOption::ContentFormat).is_none());
        assert_eq!(code.payload, b"too-old; next-epoch=7");
        let (bare, shortened) = read(12);
        assert!(shortened && bare.payload.is_empty());
        assert_eq!(bare.header.code, MessageClass::Response(ResponseType::Conflict));
    }

    #[test]
    fn blocks_make_the_body_again_whatever_the_room() {
        let body: Vec<u8> = (0..3000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for (exponent, room) in [(6, 5000), (6, 200), (2, 5000), (0, 50)] {
            let (mut got, mut asked) = (Vec::new(), None);
            loop {
                let reply = Reply::part(&body, Format::Json, asked, room);
                let (bytes, shortened) = reply.fit(MessageType::Acknowledgement, 1, &[0; 8], room);
                assert!(!shortened && bytes.len() <= room, "{} of {room}", bytes.len());
                let packet = Packet::from_bytes(&bytes).unwrap();
                let block = Block::read(packet.get_first_option(CoapOption::Block2).unwrap()).unwrap();
                assert_eq!(block.start(), got.len());
                got.extend(packet.payload);
                if !block.more {
                    break;
                }
                let exponent = exponent.min(block.exponent);
                let number = u32::try_from(got.len() >> (exponent + 4)).unwrap();
                asked = Some(Block { number, more: false, exponent });
            }
            assert_eq!(got, body);
        }
        let beyond =
            Reply::part(&body, Format::Json, Some(Block { number: 99, more: false, exponent: 6 }), 999);
        assert_eq!(beyond.code, ResponseType::BadRequest);
        let small = Reply::part(b"{}", Format::Json, None, 999);
        assert!(small.block2.is_none() && small.code == ResponseType::Content);
    }

    #[test]
    fn cbor_has_the_members_of_json() {
        let bytes = Format::Cbor.write(&json!({"a": [1, -2, null, true, "x"], "b": 1.5}));
        let expected = [
            0xa2, 0x61, b'a', 0x85, 1, 0x21, 0xf6, 0xf5, 0x61, b'x', 0x61, b'b', 0xfb, 0x3f, 0xf8, 0, 0, 0,
            0, 0, 0,
        ];
        assert_eq!(bytes, expected);
    }
}
