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
