//! Frames: four bytes with the length of what follows, one that says what it is, and that.

use std::fmt;
use std::io::{self, BufReader, Read, Write};

use w3bstream_types::{Decoder, Encoder, Malformed};

/// Version of the frames and of what is in them. It stands in the first frame of either side.
pub(crate) const VERSION: u64 = 1;
/// The longest frame, whatever a call's limits say.
pub(crate) const MAX_FRAME_BYTES: usize = 1 << 30;
/// The longest frame whose contents do not grow with a program or a call.
pub(crate) const SMALL_BYTES: usize = 128 << 10;
/// Bytes that are asked for at once, so that most frames are one read.
const READ_BYTES: usize = 16 << 10;
const HEAD_BYTES: usize = 5;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal,)+) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$doc])* $kind = $number,)+
        }

        impl Kind {
            /// All kinds.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),+];

            fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($number => Some(Self::$kind),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// From the node, first: version and terms.
    Hello = 1,
    /// Asks for a program by its digest.
    Load = 2,
    /// A program's bytes.
    Program = 3,
    /// A handler's call.
    Call = 4,
    /// What the state says.
    Answer = 5,
    /// From the worker, first: version and engine.
    Ready = 16,
    /// A program is there.
    Loaded = 17,
    /// A program is not there.
    Unknown = 18,
    /// Asks the state.
    Ask = 19,
    /// What a call gave.
    Outcome = 20,
    /// Why there is no engine, no program or no outcome.
    Failed = 21,
}

/// Why the other side cannot be talked to any more.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It has gone.
    Closed,
    /// It had no time left.
    TooLong,
    /// The connection failed.
    Io(io::Error),
    /// It said what must not be said, or what is nothing.
    Frame(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is closed"),
            Self::TooLong => f.write_str("it took too long"),
            Self::Io(e) => write!(f, "the connection failed: {e}"),
            Self::Frame(why) => f.write_str(why),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(e: Malformed) -> Self {
        Self::Frame(e.to_string())
    }
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match e.kind() {
            Kind::TimedOut | Kind::WouldBlock => Self::TooLong,
            Kind::UnexpectedEof | Kind::BrokenPipe | Kind::ConnectionReset => Self::Closed,
            _ => Self::Io(e),
        }
    }
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// Reads the body, all of it.
    pub(crate) fn parse<T>(
        &self,
        read: impl FnOnce(&mut Decoder<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Fault> {
        let mut d = Decoder::new(&self.body);
        let value = read(&mut d)?;
        if !d.is_at_end() {
            return Err(Fault::Frame(format!("there are bytes behind the contents of a {:?}", self.kind)));
        }
        Ok(value)
    }

    /// A frame that nobody expects here.
    pub(crate) fn unexpected(&self) -> Fault {
        Fault::Frame(format!("a frame {:?} has no place here", self.kind))
    }
}

/// Both directions of a connection. The two sides speak in turn: whoever has sent a frame that asks for one reads before it
/// sends again, so neither ever writes while the other does.
#[derive(Debug)]
pub(crate) struct Wire<S>(BufReader<S>);

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(BufReader::with_capacity(READ_BYTES, stream))
    }

    /// What it runs over.
    pub(crate) fn stream(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// Sends a frame whose body is written with `write`.
    pub(crate) fn put(&mut self, kind: Kind, write: impl FnOnce(&mut Encoder)) -> Result<(), Fault> {
        let mut e = Encoder::new();
        write(&mut e);
        self.send(kind, &e.into_bytes())
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, kind: Kind, body: &[u8]) -> Result<(), Fault> {
        let length = u32::try_from(body.len() + 1).ok().filter(|_| body.len() <= MAX_FRAME_BYTES);
        let Some(length) = length else {
            let (len, most) = (body.len(), MAX_FRAME_BYTES);
            return Err(Fault::Frame(format!("a frame {kind:?} of {len} bytes is over the bound of {most}")));
        };
        let [a, b, c, d] = length.to_le_bytes();
        let head = [a, b, c, d, kind as u8];
        let stream = self.stream();
        if body.len() <= READ_BYTES {
            stream.write_all(&[&head, body].concat())?;
        } else {
            stream.write_all(&head)?;
            stream.write_all(body)?;
        }
        Ok(stream.flush()?)
    }

    /// Reads a frame; `most` says how long the body of a kind may be, and that a kind may not come at all.
    pub(crate) fn receive(&mut self, most: impl FnOnce(Kind) -> Option<usize>) -> Result<Frame, Fault> {
        let mut head = [0; HEAD_BYTES];
        self.0.read_exact(&mut head)?;
        let [a, b, c, d, kind] = head;
        let kind =
            Kind::from_byte(kind).ok_or_else(|| Fault::Frame(format!("{kind} is no kind of frame")))?;
        let frame = Frame { kind, body: vec![] };
        let most = most(kind).ok_or_else(|| frame.unexpected())?.min(MAX_FRAME_BYTES);
        let length = u32::from_le_bytes([a, b, c, d]);
        let length = usize::try_from(length).ok().and_then(|l| l.checked_sub(1)).filter(|l| *l <= most);
        let Some(length) = length else {
            let why = format!("a frame {kind:?} may have {most} bytes, and says that it has others");
            return Err(Fault::Frame(why));
        };
        let mut body = Vec::with_capacity(length.min(READ_BYTES));
        // Memory grows with what has come, not with what was said to come.
        let read = (&mut self.0).take(length as u64).read_to_end(&mut body)?;
        if read < length {
            return Err(Fault::Closed);
        }
        if !self.0.buffer().is_empty() {
            return Err(Fault::Frame("it speaks out of turn".into()));
        }
        Ok(Frame { kind, body })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Frame, Fault> {
        Wire::new(Cursor::new(bytes.to_vec())).receive(|kind| (kind != Kind::Hello).then_some(20_000))
    }

    fn written(kind: Kind, body: &[u8]) -> Vec<u8> {
        let mut wire = Wire::new(Cursor::new(vec![]));
        wire.send(kind, body).unwrap();
        wire.stream().get_ref().clone()
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Hello) {
            for len in [0, 1, READ_BYTES - 6, READ_BYTES, READ_BYTES + 1, 20_000] {
                let body = vec![7; len];
                assert_eq!(read(&written(*kind, &body)).unwrap(), Frame { kind: *kind, body });
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_with_the_reason() {
        let why = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(why(&written(Kind::Hello, &[])).contains("a frame Hello has no place here"));
        assert!(why(&written(Kind::Ask, &[0; 20_001])).contains("may have 20000 bytes"));
        assert!(why(&[0, 0, 0, 0, 19]).contains("says that it has others"), "no room for its kind");
        assert!(why(&[0xff, 0xff, 0xff, 0xff, 19]).contains("may have 20000 bytes"));
        assert!(why(&[1, 0, 0, 0, 99]).contains("99 is no kind"));
        assert!(why(&[written(Kind::Ask, &[1]), vec![0]].concat()).contains("out of turn"));
        for cut in [0, 1, 4, 5, 7] {
            assert!(matches!(read(&written(Kind::Ask, &[1, 2, 3])[..cut]), Err(Fault::Closed)), "{cut}");
        }
    }

    #[test]
    fn a_body_is_read_to_its_end() {
        let frame = |body: &[u8]| Frame { kind: Kind::Load, body: body.to_vec() };
        assert_eq!(frame(&[5]).parse(|d| d.u64()).unwrap(), 5);
        assert!(frame(&[5, 5]).parse(|d| d.u64()).unwrap_err().to_string().contains("bytes behind"));
        assert!(frame(&[]).parse(|d| d.u64()).is_err());
    }

    #[test]
    fn a_frame_over_the_bound_is_not_sent() {
        let mut wire = Wire::new(Cursor::new(vec![]));
        let why = wire.send(Kind::Program, &vec![0; MAX_FRAME_BYTES + 1]).unwrap_err().to_string();
        assert!(why.contains("over the bound"), "{why}");
        assert!(wire.stream().get_ref().is_empty());
    }
}
