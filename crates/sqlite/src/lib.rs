//! SQLite as this project uses it: pragmas, migrations, one writer with group commit.
//!
//! **Takes** closures over a transaction; **gives** their results, those of writes only after the commit
//! that makes them durable.
//!
//! # Invariants
//! - WAL, `synchronous = FULL`, foreign keys on: what [`Database::write`] has answered survives the process
//!   and the loss of power, as far as disk and file system keep their word.
//! - One thread writes. It commits together whatever has queued up while the last fsync ran; each job of such
//!   a group stands in a savepoint of its own, so a job that fails undoes nobody else's work.
//! - If the commit fails, every job of the group gets the error, and none was applied. The writer goes on:
//!   once there is space again, the next job succeeds.
//! - A read sees every write that was answered before the read was asked for, and sees one moment.
//! - Every queue is bounded by number and bytes; a caller waits while it is full.
//! - A file that another program, another backend or a newer version has made is refused and not touched.
//!
//! ```
//! use w3bstream_sqlite::{Database, Error, Options, Schema};
//!
//! const SCHEMA: Schema = Schema {
//!     backend: "example",
//!     steps: &["CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT"],
//! };
//!
//! # fn main() -> Result<(), Error> {
//! # let dir = tempfile::tempdir().map_err(|e| Error::io(std::path::Path::new("tmp"), &e))?;
//! let db = Database::open(&dir.path().join("words.db"), &SCHEMA, &Options::default())?;
//! # pollster::block_on(async {
//! let id = db
//!     .write(5, |tx| {
//!         tx.prepare_cached("INSERT INTO word (text) VALUES (?1)")?.execute(["hello"])?;
//!         Ok::<_, Error>(tx.last_insert_rowid())
//!     })
//!     .await?;
//! let text: String =
//!     db.read(move |tx| Ok::<_, Error>(tx.query_row("SELECT text FROM word WHERE id = ?1", [id], |r| r.get(0))?)).await?;
//! assert_eq!(text, "hello");
//! db.close().await;
//! # Ok(())
//! # })
//! # }
//! ```

mod database;
mod error;
mod open;
mod queue;
mod reader;
mod signal;
mod writer;

pub use database::{Counters, Database};
pub use error::{Error, ErrorKind};
pub use open::{APPLICATION_ID, Options, Schema};
pub use rusqlite;
