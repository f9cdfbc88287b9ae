//! Datagrams: what they are, and what is checked beyond the codec. RFC 7252 §3 and §4.

use coap_lite::{MessageClass, MessageType, Packet};

/// The longest token (RFC 7252 §3).
const MAX_TOKEN: usize = 8;

/// A request, as far as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) confirmable: bool,
    pub(crate) id: u16,
    pub(crate) token: Vec<u8>,
}

/// What a datagram is.
#[derive(Debug)]
pub(crate) enum Datagram {
    /// Nothing that anybody should be answered.
    Nothing,
    /// A Confirmable message that is rejected with a Reset.
    Reject(u16),
    /// The peer has our Confirmable message.
    Acknowledged(u16),
    /// The peer does not know what our message is about.
    Reset(u16),
    /// A request that was cut off because it is larger than is read.
    TooLong(Head),
    /// A request.
    Request(Head, Box<Packet>),
}

/// Reads a datagram; `whole` is false if its end was cut off.
pub(crate) fn read(bytes: &[u8], whole: bool) -> Datagram {
    let Some((&[first, code, high, low], rest)) = bytes.split_first_chunk::<4>() else {
        return Datagram::Nothing;
    };
    // Another version is ignored in silence (RFC 7252 §3).
    if first >> 6 != 1 {
        return Datagram::Nothing;
    }
    let id = u16::from_be_bytes([high, low]);
    let (kind, token_length) = ((first >> 4) & 3, usize::from(first & 0x0f));
    match kind {
        // ACK and RST: ours never ask for a request's content, so an ACK with one means nothing.
        2 if code == 0 && bytes.len() == 4 => return Datagram::Acknowledged(id),
        3 if code == 0 && bytes.len() == 4 => return Datagram::Reset(id),
        2 | 3 => return Datagram::Nothing,
        _ => {}
    }
    let confirmable = kind == 0;
    let reject = || if confirmable { Datagram::Reject(id) } else { Datagram::Nothing };
    // 0.00 is a ping (§4.3) or malformed, classes 2 to 5 a response that nobody waits for, 1, 6 and 7 reserved.
    if code == 0 || code >> 5 != 0 {
        return reject();
    }
    let Some(token) = rest.get(..token_length).filter(|t| t.len() <= MAX_TOKEN) else { return reject() };
    let head = Head { confirmable, id, token: token.to_vec() };
    if !whole {
        return Datagram::TooLong(head);
    }
    match Packet::from_bytes(bytes) {
        Ok(packet) if !ends_in_marker(&packet, bytes) => Datagram::Request(head, Box::new(packet)),
        _ => reject(),
    }
}

/// The codec takes a payload marker with nothing behind it, which is malformed (RFC 7252 §3). What it read has one
/// encoding only, so a marker shows as a byte more than that.
fn ends_in_marker(packet: &Packet, bytes: &[u8]) -> bool {
    packet.payload.is_empty() && packet.to_bytes_unlimited().map_or(true, |again| again.len() != bytes.len())
}

/// A message of ours: the header is set here, options and payload before.
pub(crate) fn write(mut packet: Packet, kind: MessageType, id: u16, token: &[u8]) -> Vec<u8> {
    packet.header.set_version(1);
    packet.header.set_type(kind);
    packet.header.message_id = id;
    // Longer ones are never read; the codec would panic.
    packet.set_token(token.get(..token.len().min(MAX_TOKEN)).unwrap_or_default().to_vec());
    // An error is about the limit, and there is none here.
    packet.to_bytes_unlimited().unwrap_or_default()
}

/// An acknowledgement or a reset, which have a header alone.
pub(crate) fn empty(kind: MessageType, id: u16) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.header.code = MessageClass::Empty;
    write(packet, kind, id, &[])
}

/// An unsigned integer as an option's value: big-endian without leading zeros (RFC 7252 §3.2).
pub(crate) fn uint(value: u32) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect()
}

/// Reads one of at most `most` bytes.
pub(crate) fn read_uint(bytes: &[u8], most: usize) -> Option<u32> {
    (bytes.len() <= most).then(|| bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// The value of Block1 and Block2 (RFC 7959 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Which one: 20 bits.
    pub(crate) number: u32,
    pub(crate) more: bool,
    /// The size is 2 to the power of this and 4; at most 6.
    pub(crate) exponent: u8,
}

impl Block {
    /// `None` if it is longer than three bytes, or has the reserved size.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let value = read_uint(bytes, 3)?;
        let exponent = u8::try_from(value & 7).ok().filter(|e| *e < 7)?;
        Some(Self { number: value >> 4, more: value & 8 != 0, exponent })
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        uint(self.number << 4 | u32::from(self.more) << 3 | u32::from(self.exponent))
    }

    /// Bytes of one block.
    pub(crate) const fn size(self) -> usize {
        1 << (self.exponent + 4)
    }

    /// Where the block begins.
    pub(crate) const fn start(self) -> usize {
        self.number as usize * self.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_messages_are_told_from_requests() {
        let rejected: &[&[u8]] = &[
            &[0x40, 0, 1, 2],                            // a ping
            &[0x41, 0, 1, 2, 9],                         // an empty message with a token
            &[0x49, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], // a token of nine bytes
            &[0x44, 1, 1, 2, 0],                         // a token that is cut off
            &[0x40, 1, 1, 2, 0xff],                      // a marker without a payload
            &[0x40, 1, 1, 2, 0xb1],                      // an option that is cut off
            &[0x40, 1, 1, 2, 0xf0],                      // a reserved delta
            &[0x40, 1, 1, 2, 0x0f],                      // a reserved length
            &[0x40, 0x45, 1, 2],                         // a response that nobody waits for
            &[0x40, 0x21, 1, 2],                         // a reserved class
        ];
        for bytes in rejected {
            assert!(matches!(read(bytes, true), Datagram::Reject(0x102)), "{bytes:x?}");
            let mut non = bytes.to_vec();
            non[0] |= 0x10;
            assert!(matches!(read(&non, true), Datagram::Nothing), "{non:x?}");
        }
        for bytes in [&[0x40, 1, 1][..], &[0x80, 1, 1, 2], &[0x60, 0x45, 1, 2], &[0x60, 0, 1, 2, 3], &[]] {
            assert!(matches!(read(bytes, true), Datagram::Nothing), "{bytes:x?}");
        }
        assert!(matches!(read(&[0x60, 0, 1, 2], true), Datagram::Acknowledged(0x102)));
        assert!(matches!(read(&[0x70, 0, 1, 2], true), Datagram::Reset(0x102)));
        assert!(matches!(read(&[0x40, 1, 1, 2], false), Datagram::TooLong(_)));
        // The last byte of an option may be like a marker.
        assert!(matches!(read(&[0x40, 1, 1, 2, 0xb1, 0xff], true), Datagram::Request(..)));
        assert!(matches!(read(&[0x50, 2, 1, 2, 0xff, 1], true), Datagram::Request(..)));
    }

    #[test]
    fn integers_and_blocks_are_as_short_as_they_can_be() {
        assert_eq!((uint(0), uint(255), uint(256)), (vec![], vec![255], vec![1, 0]));
        assert_eq!(read_uint(&[0, 1], 2), Some(1));
        assert_eq!(read_uint(&[0, 0, 1], 2), None);
        let last = Block { number: (1 << 20) - 1, more: true, exponent: 6 };
        assert_eq!(Block::read(&last.to_bytes()), Some(last));
        assert_eq!(last.start(), 1_073_740_800);
        assert_eq!(Block::read(&[]), Some(Block { number: 0, more: false, exponent: 0 }));
        assert_eq!(Block::read(&[7]), None);
        assert_eq!(Block::read(&[0, 0, 0, 0]), None);
    }
}
