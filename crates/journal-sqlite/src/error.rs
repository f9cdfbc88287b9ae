//! From the database's errors to the room's.

use w3bstream_journal::{Error, ErrorKind};
use w3bstream_sqlite::{ErrorKind as Db, rusqlite};

/// The room's error, in a type of this crate: so that `?` can convert into it.
#[derive(Debug)]
pub(crate) struct Fail(pub(crate) Error);

impl From<w3bstream_sqlite::Error> for Fail {
    fn from(e: w3bstream_sqlite::Error) -> Self {
        let kind = match e.kind() {
            Db::Full | Db::Busy => ErrorKind::Unavailable,
            Db::Closed => ErrorKind::Closed,
            Db::Incompatible => ErrorKind::Incompatible,
            Db::Io => ErrorKind::Io,
            // A mistake in our statements, or tables that somebody has changed: trying again does not help.
            _ => ErrorKind::Corrupt,
        };
        Self(Error::new(kind, "sqlite journal").with_source(e))
    }
}

impl From<rusqlite::Error> for Fail {
    fn from(e: rusqlite::Error) -> Self {
        w3bstream_sqlite::Error::from(e).into()
    }
}

impl From<Error> for Fail {
    fn from(e: Error) -> Self {
        Self(e)
    }
}

impl From<Fail> for Error {
    fn from(e: Fail) -> Self {
        e.0
    }
}
