//! Opening a file: directory, pragmas, identity and migrations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::{Error, ErrorKind};

/// In the header of every database of this project: `w3bs`.
pub const APPLICATION_ID: i32 = 0x7733_6273;

/// Which tables a database has.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Whose file it is, such as `storage-sqlite`. Recorded in the file; another backend's file is refused.
    pub backend: &'static str,
    /// The version of the file is the number of steps applied. A step that was released is never changed; a
    /// change is a new step at the end. Each may hold several statements.
    pub steps: &'static [&'static str],
}

/// Limits. The default suits a node.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most jobs that one commit makes durable.
    pub batch_jobs: usize,
    /// Most bytes, as their callers give them, that one commit makes durable. One job may be larger.
    pub batch_bytes: usize,
    /// Most jobs that wait for the writer, and for the readers.
    pub queue_jobs: usize,
    /// Most bytes, as their callers give them, that wait for the writer.
    pub queue_bytes: usize,
    /// Threads that read; at least one.
    pub readers: usize,
    /// Size of the write-ahead log, in pages of 4 KiB, from which it is copied into the database.
    pub checkpoint_pages: u32,
    /// How long without a write until the write-ahead log is copied into the database anyway.
    pub checkpoint_idle: Duration,
    /// How long to wait for a lock that another process holds.
    pub busy_timeout: Duration,
    /// Page cache of each connection, in KiB.
    pub cache_kib: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch_jobs: 1024,
            batch_bytes: 8 << 20,
            queue_jobs: 4096,
            queue_bytes: 64 << 20,
            readers: 2,
            checkpoint_pages: 4096,
            checkpoint_idle: Duration::from_secs(1),
            busy_timeout: Duration::from_secs(5),
            cache_kib: 4096,
        }
    }
}

/// The write connection of a file that is ready for use.
pub(crate) fn open_writer(path: &Path, schema: &Schema, options: &Options) -> Result<Connection, Error> {
    make_directory(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut conn = connect(path, flags, options)?;
    let failed = |e| Error::sqlite(&format!("cannot open {}", path.display()), e);
    // Before anything is changed, so that a foreign file stays as it is.
    check_identity(&conn, path, schema)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "wal", |r| r.get(0)).map_err(failed)?;
    if mode != "wal" {
        let what = format!(
            "{} cannot use a write-ahead log (journal mode {mode:?}): use a local file system",
            path.display()
        );
        return Err(Error::new(ErrorKind::Io, what));
    }
    migrate(&mut conn, path, schema)?;
    Ok(conn)
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path, options: &Options) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = connect(path, flags, options)?;
    let failed = |e| Error::sqlite(&format!("cannot open {}", path.display()), e);
    conn.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok(conn)
}

fn connect(path: &Path, flags: OpenFlags, options: &Options) -> Result<Connection, Error> {
    let failed = |e| Error::sqlite(&format!("cannot open {}", path.display()), e);
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.busy_timeout(options.busy_timeout).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(128);
    let pragmas = [
        ("synchronous", "FULL".to_owned()),
        ("foreign_keys", "ON".to_owned()),
        ("trusted_schema", "OFF".to_owned()),
        // A negative number means KiB, not pages.
        ("cache_size", format!("-{}", options.cache_kib)),
    ];
    for (name, value) in pragmas {
        conn.pragma_update(None, name, value).map_err(failed)?;
    }
    // What is deleted is overwritten: an erased payload must not stay in free pages.
    conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(())).map_err(failed)?;
    // What a burst has made of the log is given back when the log starts anew.
    let limit = u64::from(options.checkpoint_pages) * 4096 * 2;
    conn.pragma_update_and_check(None, "journal_size_limit", limit.min(i64::MAX as u64) as i64, |_| Ok(()))
        .map_err(failed)?;
    Ok(conn)
}

fn number(conn: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, pragma, |r| r.get(0))
}

/// Refuses a file that is not this schema's.
fn check_identity(conn: &Connection, path: &Path, schema: &Schema) -> Result<(), Error> {
    let shown = path.display();
    let failed = |e| Error::sqlite(&format!("cannot open {shown}"), e);
    let refuse = |what: String| Err(Error::new(ErrorKind::Incompatible, what));
    let (id, version) =
        (number(conn, "application_id").map_err(failed)?, number(conn, "user_version").map_err(failed)?);
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(failed)?;
    if id == 0 && version == 0 && tables == 0 {
        return Ok(());
    }
    if id != i64::from(APPLICATION_ID) {
        return refuse(format!("{shown} is a database of another program: give another path"));
    }
    let backend: Option<String> = conn
        .query_row("SELECT value FROM meta WHERE key = 'backend'", [], |r| r.get(0))
        .optional()
        .map_err(failed)?;
    match backend {
        Some(found) if found == schema.backend => {}
        found => {
            let found = found.unwrap_or_else(|| "nobody".into());
            let wanted = schema.backend;
            return refuse(format!("{shown} belongs to {found:?}, not to {wanted:?}: give another path"));
        }
    }
    let supported = schema.steps.len() as i64;
    if version > supported {
        return refuse(format!(
            "{shown} has version {version}, this program knows up to {supported}: use a newer program"
        ));
    }
    Ok(())
}

/// Applies the steps that are missing, all in one transaction. Data of an older version are copied first.
fn migrate(conn: &mut Connection, path: &Path, schema: &Schema) -> Result<(), Error> {
    let failed = |e| Error::sqlite(&format!("cannot migrate {}", path.display()), e);
    let version = usize::try_from(number(conn, "user_version").map_err(failed)?).unwrap_or(0);
    let missing = schema.steps.get(version..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    if version > 0 {
        let copy = beside(path, &format!(".v{version}.bak"));
        copy_to(conn, &copy)?;
        tracing::info!(copy = %copy.display(), from = version, to = schema.steps.len(), "migrating");
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    if version == 0 {
        tx.execute_batch(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        )
        .map_err(failed)?;
        tx.execute("INSERT INTO meta (key, value) VALUES ('backend', ?1)", [schema.backend])
            .map_err(failed)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    }
    for step in missing {
        tx.execute_batch(step).map_err(failed)?;
    }
    tx.pragma_update(None, "user_version", schema.steps.len() as i64).map_err(failed)?;
    tx.commit().map_err(failed)
}

/// Writes a compact copy of the database, complete or not at all under that name.
pub(crate) fn copy_to(conn: &Connection, to: &Path) -> Result<(), Error> {
    let partial = beside(to, ".partial");
    match std::fs::remove_file(&partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&partial, &e)),
        _ => {}
    }
    let name = partial.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("{} is not a UTF-8 path", partial.display()))
    })?;
    conn.execute("VACUUM INTO ?1", [name])
        .map_err(|e| Error::sqlite(&format!("cannot copy to {}", to.display()), e))?;
    let synced = std::fs::File::open(&partial).and_then(|f| f.sync_all());
    synced.and_then(|()| std::fs::rename(&partial, to)).map_err(|e| Error::io(to, &e))?;
    sync_directory(to.parent())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the directory of `path`, durably: a new directory whose own entry is lost with the power takes the
/// database with it.
fn make_directory(path: &Path) -> Result<(), Error> {
    let Some(directory) = path.parent().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    let new: Vec<&Path> = directory.ancestors().take_while(|p| !p.exists()).collect();
    std::fs::create_dir_all(directory).map_err(|e| Error::io(directory, &e))?;
    new.into_iter().try_for_each(|made| sync_directory(made.parent()))
}

fn sync_directory(directory: Option<&Path>) -> Result<(), Error> {
    let Some(directory) = directory else { return Ok(()) };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // Only Unix can open a directory to sync it.
    if cfg!(unix) {
        let synced = std::fs::File::open(directory).and_then(|d| d.sync_all());
        synced.map_err(|e| Error::io(directory, &e))?;
    }
    Ok(())
}
