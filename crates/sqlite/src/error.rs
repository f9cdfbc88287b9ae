//! Errors of the database.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// What went wrong, as far as a caller branches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The disk, or the size that the database may have, is used up. Works again when there is space.
    Full,
    /// Another process holds the database.
    Busy,
    /// The operating system failed to read, write or sync.
    Io,
    /// The file is damaged, or holds what this code never wrote.
    Corrupt,
    /// The file is another program's, another backend's, or of a newer version.
    Incompatible,
    /// The database was closed.
    Closed,
    /// A mistake in this code: wrong SQL, a broken constraint that nobody expected, a job that panicked.
    Internal,
}

/// An error with its kind. Cheap to clone, since one failed commit is the answer to many jobs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    kind: ErrorKind,
    what: Arc<str>,
    #[source]
    source: Option<Arc<rusqlite::Error>>,
}

impl Error {
    /// An error without a deeper cause.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into().into(), source: None }
    }

    /// The operating system refused something about `path`.
    #[must_use]
    pub fn io(path: &Path, cause: &std::io::Error) -> Self {
        let kind = match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("{}: {cause}", path.display()))
    }

    /// SQLite failed while `doing` something, such as `"cannot commit to a.db"`.
    #[must_use]
    pub fn sqlite(doing: &str, cause: rusqlite::Error) -> Self {
        let what = format!("{doing}: {cause}").into();
        Self { kind: kind_of(&cause), what, source: Some(Arc::new(cause)) }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn closed(path: &Path) -> Self {
        Self::new(ErrorKind::Closed, format!("{} was closed", path.display()))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(cause: rusqlite::Error) -> Self {
        Self::sqlite("sqlite", cause)
    }
}

/// Defines `Fail`: the error of a room (a crate that is named first) in a type of the crate that calls this, so that `?` makes
/// it of this crate's errors, of rusqlite's and of the room's. The room's [`ErrorKind`] has the variants `Unavailable`,
/// `Closed`, `Incompatible`, `Io` and `Corrupt`; its error begins with the words that are given.
#[macro_export]
macro_rules! fail_of_room {
    ($room:ident, $what:literal) => {
        /// The room's error, in a type of this crate: so that `?` can convert into it.
        #[derive(Debug)]
        pub(crate) struct Fail(pub(crate) $room::Error);

        impl From<$crate::Error> for Fail {
            fn from(e: $crate::Error) -> Self {
                use $room::ErrorKind as Room;
                let kind = match e.kind() {
                    $crate::ErrorKind::Full | $crate::ErrorKind::Busy => Room::Unavailable,
                    $crate::ErrorKind::Closed => Room::Closed,
                    $crate::ErrorKind::Incompatible => Room::Incompatible,
                    $crate::ErrorKind::Io => Room::Io,
                    // A mistake in our statements, or tables that somebody has changed: trying again does not help.
                    _ => Room::Corrupt,
                };
                Self($room::Error::new(kind, $what).with_source(e))
            }
        }

        impl From<$crate::rusqlite::Error> for Fail {
            fn from(e: $crate::rusqlite::Error) -> Self {
                $crate::Error::from(e).into()
            }
        }

        impl From<$room::Error> for Fail {
            fn from(e: $room::Error) -> Self {
                Self(e)
            }
        }

        impl From<Fail> for $room::Error {
            fn from(e: Fail) -> Self {
                e.0
            }
        }
    };
}

fn kind_of(cause: &rusqlite::Error) -> ErrorKind {
    use rusqlite::Error as E;
    match cause {
        E::SqliteFailure(e, _) => match e.code {
            ErrorCode::DiskFull => ErrorKind::Full,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ErrorKind::Busy,
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::NoLargeFileSupport => ErrorKind::Io,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => ErrorKind::Corrupt,
            _ => ErrorKind::Internal,
        },
        // The tables are STRICT, so a value that does not fit its column's type was not written by us.
        E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..) => {
            ErrorKind::Corrupt
        }
        _ => ErrorKind::Internal,
    }
}
