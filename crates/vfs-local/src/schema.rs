//! The tables.

use w3bstream_sqlite::Schema;

/// `project.id` stands for the 32-byte id in all other tables. Heights and counts are i64 in SQLite, which
/// is enough for a block every microsecond for as long as there are computers.
pub(crate) const SCHEMA: Schema = Schema {
    backend: "vfs-local",
    steps: &[
        "
        CREATE TABLE project (
            id INTEGER PRIMARY KEY,
            project BLOB NOT NULL UNIQUE,
            height INTEGER NOT NULL,
            root BLOB NOT NULL
        ) STRICT;
        CREATE TABLE kv (
            project INTEGER NOT NULL REFERENCES project (id),
            key BLOB NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (project, key)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE node (
            project INTEGER NOT NULL REFERENCES project (id),
            path BLOB NOT NULL,
            bytes BLOB NOT NULL,
            PRIMARY KEY (project, path)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE result (
            project INTEGER NOT NULL REFERENCES project (id),
            height INTEGER NOT NULL,
            root BLOB NOT NULL,
            manifest BLOB NOT NULL,
            outputs BLOB NOT NULL,
            PRIMARY KEY (project, height)
        ) STRICT;
        CREATE TABLE message (
            project INTEGER NOT NULL REFERENCES project (id),
            message BLOB NOT NULL,
            height INTEGER NOT NULL,
            first INTEGER NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (project, message)
        ) STRICT, WITHOUT ROWID;
    ",
        "
        CREATE TABLE sql_log (
            project INTEGER NOT NULL REFERENCES project (id),
            height INTEGER NOT NULL,
            entries BLOB NOT NULL,
            PRIMARY KEY (project, height)
        ) STRICT;
    ",
    ],
};
