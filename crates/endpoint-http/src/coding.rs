//! Content codings of request bodies: gzip and zstd, never more than is allowed.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use w3bstream_types::RefusalKind;
use zstd::stream::raw::{DParameter, Decoder as RawZstd, Operation as _};

use crate::HttpLimits;
use crate::problem::{Problem, ProblemKind};

/// What is understood, for `Accept-Encoding` in answers (RFC 9110 §12.5.3).
pub(crate) const CODINGS: &str = "gzip, zstd";

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// The coding of a `Content-Encoding` header; `None` for `identity`.
    pub(crate) fn of(header: Option<&str>) -> Result<Option<Self>, Problem> {
        let name = header.unwrap_or("identity").trim().to_ascii_lowercase();
        match &*name {
            "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => Err(Problem::new(
                ProblemKind::UnsupportedMediaType,
                format!(
                    "Content-Encoding may be gzip or zstd, once; or leave it away: {name:?} is not understood"
                ),
            )),
        }
    }
}

/// Windows of zstd have at most 8 MiB (RFC 9659), so a decoder needs little more.
const ZSTD_WINDOW_LOG: u32 = 23;
/// As much of a body may be the same byte over and over without anybody counting.
const FREE_BYTES: usize = 64 * 1024;
/// Bytes of input that are decoded at a time by who takes the output piece by piece: of gzip they become at most 1 MiB.
pub(crate) const STEP_BYTES: usize = 1024;

/// Decodes one body.
pub(crate) struct Decoder {
    kind: Kind,
    ratio: usize,
    came: usize,
    made: usize,
}

enum Kind {
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// The decoder, and whether it is between two frames.
    Zstd(Box<RawZstd<'static>>, bool),
}

/// Takes bytes up to a number.
#[derive(Debug, Default)]
struct Sink {
    bytes: Vec<u8>,
    room: usize,
    full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.room -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    pub(crate) fn new(coding: Coding, limits: &HttpLimits) -> Result<Self, Problem> {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(Sink::default()))),
            Coding::Zstd => {
                let decoder = RawZstd::new().and_then(|mut decoder| {
                    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
                    Ok(decoder)
                });
                let why = |_| Problem::refusal(RefusalKind::Overloaded, "there is no memory for a decoder");
                Kind::Zstd(Box::new(decoder.map_err(why)?), true)
            }
        };
        Ok(Self { kind, ratio: limits.max_compression_ratio, came: 0, made: 0 })
    }

    /// Decodes `input` and appends the output to `out`, which takes `room` more bytes.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), Problem> {
        self.came = self.came.saturating_add(input.len());
        let most = self.came.saturating_mul(self.ratio).saturating_add(FREE_BYTES);
        let by_ratio = most.saturating_sub(self.made);
        let before = out.len();
        let done = match &mut self.kind {
            Kind::Gzip(decoder) => feed_gzip(decoder, input, out, room.min(by_ratio)),
            Kind::Zstd(decoder, between) => feed_zstd(decoder, between, input, out, room.min(by_ratio)),
        };
        self.made = self.made.saturating_add(out.len() - before);
        done.map_err(|e| match e.kind() {
            io::ErrorKind::FileTooLarge if by_ratio < room => Problem::refusal(
                RefusalKind::TooLarge,
                format!("the body becomes more than {} times as large as it was sent", self.ratio),
            ),
            io::ErrorKind::FileTooLarge => {
                Problem::refusal(RefusalKind::TooLarge, "the decompressed body is larger than the node takes")
            }
            _ => broken(),
        })
    }

    /// The input has ended.
    pub(crate) fn finish(&mut self) -> Result<(), Problem> {
        let whole = match &mut self.kind {
            Kind::Gzip(decoder) => self.came > 0 && decoder.try_finish().is_ok(),
            Kind::Zstd(_, between) => self.came > 0 && *between,
        };
        if whole { Ok(()) } else { Err(broken()) }
    }
}

fn broken() -> Problem {
    let detail = "the body is not what its Content-Encoding says, is cut off, or needs a window above 8 MiB";
    Problem::refusal(RefusalKind::Malformed, detail)
}

fn feed_gzip(
    decoder: &mut MultiGzDecoder<Sink>,
    input: &[u8],
    out: &mut Vec<u8>,
    room: usize,
) -> io::Result<()> {
    *decoder.get_mut() = Sink { bytes: std::mem::take(out), room, full: false };
    let done = decoder.write_all(input).and_then(|()| decoder.flush());
    let sink = decoder.get_mut();
    *out = std::mem::take(&mut sink.bytes);
    // The library may give its own error for ours.
    if sink.full { Err(io::ErrorKind::FileTooLarge.into()) } else { done }
}

fn feed_zstd(
    decoder: &mut RawZstd<'static>,
    between: &mut bool,
    mut input: &[u8],
    out: &mut Vec<u8>,
    mut room: usize,
) -> io::Result<()> {
    let mut piece = [0; 16 * 1024];
    loop {
        let status = decoder.run_on_buffers(input, &mut piece)?;
        let made = piece.get(..status.bytes_written).unwrap_or_default();
        if made.len() > room {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        room -= made.len();
        out.extend_from_slice(made);
        input = input.get(status.bytes_read..).unwrap_or_default();
        if status.bytes_read > 0 || status.bytes_written > 0 {
            *between = status.remaining == 0;
        }
        // A full piece may not have been all; without progress nothing more comes of this input.
        let more = status.bytes_written == piece.len() || !input.is_empty();
        if !more || (status.bytes_read == 0 && status.bytes_written == 0) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0] % 16
        };
        (0..len).map(|_| next()).collect()
    }

    fn decode(coding: Coding, input: &[u8], step: usize, room: usize) -> Result<Vec<u8>, Problem> {
        let mut decoder = Decoder::new(coding, &HttpLimits::default())?;
        let mut out = Vec::new();
        for piece in input.chunks(step) {
            let left = room - out.len();
            decoder.feed(piece, &mut out, left)?;
        }
        decoder.finish()?;
        Ok(out)
    }

    fn both(bytes: &[u8]) -> [(Coding, Vec<u8>); 2] {
        [(Coding::Gzip, gzip(bytes)), (Coding::Zstd, zstd::bulk::compress(bytes, 3).unwrap())]
    }

    #[test]
    fn what_was_compressed_comes_back_in_pieces_of_any_size() {
        let plain = noise(300_000);
        for (coding, packed) in both(&plain) {
            for step in [1, 7, 1024, usize::MAX] {
                assert_eq!(decode(coding, &packed, step, plain.len()).unwrap(), plain, "{coding:?} {step}");
            }
            // Two members, or frames, one behind the other.
            let twice = [&packed[..], &packed].concat();
            assert_eq!(decode(coding, &twice, 1000, 600_000).unwrap(), [&plain[..], &plain].concat());
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_too_large() {
        let plain = noise(100_000);
        for (coding, packed) in both(&plain) {
            let problem = decode(coding, &packed, 1024, plain.len() - 1).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Refusal(RefusalKind::TooLarge), "{coding:?}");
        }
    }

    #[test]
    fn bombs_are_noticed_while_they_are_small() {
        for (coding, bomb) in both(&vec![b' '; 64 * 1024 * 1024]) {
            let mut decoder = Decoder::new(coding, &HttpLimits::default()).unwrap();
            let mut out = Vec::new();
            let problem = bomb.chunks(STEP_BYTES).find_map(|p| decoder.feed(p, &mut out, usize::MAX).err());
            assert_eq!(problem.unwrap().kind, ProblemKind::Refusal(RefusalKind::TooLarge), "{coding:?}");
            assert!(out.capacity() < 1024 * 1024, "{coding:?}: {} bytes", out.capacity());
        }
    }

    #[test]
    fn what_is_cut_off_or_nonsense_is_malformed() {
        for (coding, packed) in both(&noise(10_000)) {
            let mut flipped = packed.clone();
            flipped[0] ^= 1;
            for bad in [&packed[..packed.len() - 1], &packed[..packed.len() / 2], &flipped, b"nonsense", b""]
            {
                let problem = decode(coding, bad, 64, 20_000).unwrap_err();
                assert_eq!(problem.kind, ProblemKind::Refusal(RefusalKind::Malformed), "{coding:?}");
            }
        }
        // A window of 128 MiB is in the frame's head: nothing is reserved for it.
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00];
        assert!(decode(Coding::Zstd, &huge, 64, 20_000).is_err());
    }
}
