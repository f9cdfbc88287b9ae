//! The bytes of a log, shared by file and memory.
//!
//! ```text
//! file    = header frame*
//! header  = "w3b-wal\n" version:u16 zero:[u8;6] nonce:u64 zero:[u8;4] crc:u32          (32 bytes)
//! frame   = size:u32 zero:u32 sequence:u64 payload_crc:u32 head_crc:u32 payload         (24 bytes + size)
//! payload = (length:u32 record)*
//! ```
//! Numbers are big-endian. A frame holds all records of one sync and is written only after the sync of the
//! frame before has returned. So a bad frame with a good one behind it cannot come from a crash: it is
//! damage. The nonce enters every head's checksum, so that no record's content looks like a frame.

use crate::{Error, ErrorKind};

pub(crate) const HEADER_BYTES: usize = 32;
const HEAD_BYTES: usize = 24;
const MAGIC: &[u8; 8] = b"w3b-wal\n";
/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u16 = 1;

/// The header of a new log.
pub(crate) fn header(nonce: u64) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_be_bytes());
    out[16..24].copy_from_slice(&nonce.to_be_bytes());
    let crc = crc32fast::hash(&out[..28]);
    out[28..].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Appends the payload of one record.
pub(crate) fn push_record(payload: &mut Vec<u8>, record: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(record.len()).map_err(|_| too_large(record.len()))?;
    payload.extend_from_slice(&length.to_be_bytes());
    payload.extend_from_slice(record);
    Ok(())
}

/// The head of the frame with this payload.
pub(crate) fn head(nonce: u64, sequence: u64, payload: &[u8]) -> Result<[u8; HEAD_BYTES], Error> {
    let size = u32::try_from(payload.len()).map_err(|_| too_large(payload.len()))?;
    let mut out = [0; HEAD_BYTES];
    out[..4].copy_from_slice(&size.to_be_bytes());
    out[8..16].copy_from_slice(&sequence.to_be_bytes());
    out[16..20].copy_from_slice(&crc32fast::hash(payload).to_be_bytes());
    let crc = head_crc(nonce, &out[..20]);
    out[20..].copy_from_slice(&crc.to_be_bytes());
    Ok(out)
}

fn head_crc(nonce: u64, head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&nonce.to_be_bytes());
    crc.update(head);
    crc.finalize()
}

fn too_large(bytes: usize) -> Error {
    Error::new(ErrorKind::Wal, format!("{bytes} bytes in one sync are more than a log frame holds"))
}

/// A log that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) nonce: u64,
    pub(crate) records: Vec<Vec<u8>>,
    /// The sequence number of the next frame.
    pub(crate) next: u64,
    /// Everything behind this byte is the torn end.
    pub(crate) good_bytes: usize,
}

/// Reads a whole log.
pub(crate) fn scan(bytes: &[u8]) -> Result<Scanned, Error> {
    let nonce = read_header(bytes)?;
    let mut scanned = Scanned { nonce, records: Vec::new(), next: 0, good_bytes: HEADER_BYTES };
    while scanned.good_bytes < bytes.len() {
        let at = scanned.good_bytes;
        match read_frame(nonce, scanned.next, &bytes[at..]) {
            Frame::Good(payload) => {
                let end = at + HEAD_BYTES + payload.len();
                if !split_records(payload, &mut scanned.records) {
                    return Err(damaged(at, "its records do not fill it"));
                }
                (scanned.good_bytes, scanned.next) = (end, scanned.next + 1);
            }
            // The next frame is only begun when this one is synced.
            Frame::BadPayload(end) if at + end < bytes.len() => {
                return Err(damaged(at, "its content is wrong, and the log goes on behind it"));
            }
            Frame::Bad if frame_follows(nonce, scanned.next, &bytes[at + 1..]) => {
                return Err(damaged(at, "it is unreadable, and a good one stands behind it"));
            }
            Frame::Bad | Frame::BadPayload(_) => break,
        }
    }
    Ok(scanned)
}

fn read_header(bytes: &[u8]) -> Result<u64, Error> {
    let corrupt = |why: &str| Error::new(ErrorKind::CorruptWal, format!("the log's header {why}"));
    let header = bytes.get(..HEADER_BYTES).ok_or_else(|| corrupt("is incomplete"))?;
    if &header[..8] != MAGIC {
        return Err(corrupt("is not that of a consensus log"));
    }
    let version = u16::from_be_bytes([header[8], header[9]]);
    if crc32fast::hash(&header[..28]).to_be_bytes() != header[28..32] {
        return Err(corrupt("is damaged"));
    }
    if version != VERSION {
        let what =
            format!("the log is of version {version}, this program reads {VERSION}: use a newer program");
        return Err(Error::new(ErrorKind::Incompatible, what));
    }
    Ok(be_u64(&header[16..24]))
}

enum Frame<'a> {
    Good(&'a [u8]),
    /// The head is right, the payload is not; the frame should end at this byte.
    BadPayload(usize),
    Bad,
}

fn read_frame(nonce: u64, sequence: u64, bytes: &[u8]) -> Frame<'_> {
    let Some(head) = bytes.get(..HEAD_BYTES) else { return Frame::Bad };
    if head_crc(nonce, &head[..20]).to_be_bytes() != head[20..24] || be_u64(&head[8..16]) != sequence {
        return Frame::Bad;
    }
    let end = HEAD_BYTES + u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    match bytes.get(HEAD_BYTES..end) {
        Some(payload) if crc32fast::hash(payload).to_be_bytes() == head[16..20] => Frame::Good(payload),
        _ => Frame::BadPayload(end),
    }
}

/// Whether a frame with a later number stands anywhere in `bytes`.
fn frame_follows(nonce: u64, bad: u64, bytes: &[u8]) -> bool {
    bytes
        .windows(HEAD_BYTES)
        .any(|head| be_u64(&head[8..16]) > bad && head_crc(nonce, &head[..20]).to_be_bytes() == head[20..24])
}

fn split_records(mut payload: &[u8], records: &mut Vec<Vec<u8>>) -> bool {
    while let Some((length, rest)) = payload.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(record) = rest.get(..length) else { return false };
        records.push(record.to_vec());
        payload = &rest[length..];
    }
    payload.is_empty()
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| (n << 8) | u64::from(*b))
}

fn damaged(at: usize, why: &str) -> Error {
    let what = format!(
        "the log is damaged: frame at byte {at}: {why}; restore it from a backup, or join anew as an observer"
    );
    Error::new(ErrorKind::CorruptWal, what)
}
