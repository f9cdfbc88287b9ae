//! Errors of the pipeline.

use w3bstream_types::Disposition;

w3bstream_types::room_error! {
    /// There is no such project, message or program.
    NotFound => Refuse,
    /// A manifest or control transaction is wrong; the text says what to change.
    Refused => Refuse,
    /// The project is halted; the text says why.
    Halted => Refuse,
    /// A room cannot do its work now.
    Unavailable => Retry,
    /// State is no longer trusted.
    Fatal => Halt,
    /// The node is stopping.
    ShuttingDown => Retry,
}

impl Error {
    fn of_room(
        room: &str,
        disposition: Disposition,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let kind = match disposition {
            Disposition::Refuse => ErrorKind::Refused,
            Disposition::Retry => ErrorKind::Unavailable,
            Disposition::Halt => ErrorKind::Fatal,
        };
        Self::new(kind, room).with_source(source)
    }
}

macro_rules! from_room {
    ($($room:ident: $name:literal),+) => {
        $(impl From<$room::Error> for Error {
            fn from(e: $room::Error) -> Self {
                Self::of_room($name, e.disposition(), e)
            }
        })+
    };
}

use w3bstream_chain as chain;
use w3bstream_consensus as consensus;
use w3bstream_endpoint as endpoint;
use w3bstream_engine as engine;
use w3bstream_journal as journal;
use w3bstream_prover as prover;
use w3bstream_storage as storage;
use w3bstream_vfs as vfs;
use w3bstream_wallet as wallet;

from_room!(
    chain: "chain", consensus: "consensus", endpoint: "endpoint", engine: "engine", journal: "journal", prover: "prover",
    storage: "storage", vfs: "vfs", wallet: "wallet"
);

impl From<w3bstream_types::Invalid> for Error {
    fn from(e: w3bstream_types::Invalid) -> Self {
        Self::new(ErrorKind::Fatal, "evidence").with_source(e)
    }
}

impl From<w3bstream_types::Malformed> for Error {
    fn from(e: w3bstream_types::Malformed) -> Self {
        Self::new(ErrorKind::Fatal, "stored value").with_source(e)
    }
}
