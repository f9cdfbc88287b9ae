//! From SQLite's errors to the room's.

use w3bstream_vfs::{Error, ErrorKind};

/// The room's error, as a job of the database returns it.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) Error);

impl From<w3bstream_sqlite::Error> for Fault {
    fn from(e: w3bstream_sqlite::Error) -> Self {
        use w3bstream_sqlite::ErrorKind as Sqlite;
        let kind = match e.kind() {
            Sqlite::Full | Sqlite::Busy | Sqlite::Io => ErrorKind::Io,
            Sqlite::Closed => ErrorKind::Closed,
            Sqlite::Incompatible => ErrorKind::Incompatible,
            // A mistake in this code, or a panic over what was read: the state is not to be trusted either.
            _ => ErrorKind::Corrupt,
        };
        Self(Error::new(kind, "the state's database failed").with_source(e))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        w3bstream_sqlite::Error::from(e).into()
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Self(e)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

/// Something in the database that this code never wrote.
pub(crate) fn corrupt(why: impl Into<String>) -> Fault {
    Fault(Error::new(ErrorKind::Corrupt, why))
}
