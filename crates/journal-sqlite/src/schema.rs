//! The tables and the statements that are used twice.

use w3bstream_sqlite::Schema;

pub(crate) const SCHEMA: Schema = Schema { backend: "journal-sqlite", steps: &[STEP_1, STEP_2] };

/// Projects are numbered, since the index of entries has a row for each message ever ordered.
const STEP_1: &str = "
CREATE TABLE project (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32)
) STRICT;

CREATE TABLE genesis (
    project INTEGER PRIMARY KEY REFERENCES project (id),
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES project (id),
    height INTEGER NOT NULL CHECK (height > 0),
    bytes BLOB NOT NULL,
    UNIQUE (project, height)
) STRICT;

CREATE TABLE attestation (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES project (id),
    height INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (project, height)
) STRICT;

-- The first place of each entry of a block, messages and controls alike.
CREATE TABLE entry (
    id BLOB PRIMARY KEY,
    project INTEGER NOT NULL,
    height INTEGER NOT NULL,
    place INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
    project INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE control (
    id BLOB NOT NULL UNIQUE,
    project INTEGER NOT NULL REFERENCES project (id),
    nonce INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    pending INTEGER NOT NULL
) STRICT;
CREATE INDEX control_pending ON control (project, nonce, id) WHERE pending = 1;

CREATE TABLE outbox (
    project INTEGER NOT NULL REFERENCES project (id),
    height INTEGER NOT NULL,
    place INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (project, height, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE halt (
    project INTEGER PRIMARY KEY REFERENCES project (id),
    reason TEXT NOT NULL
) STRICT;
";

/// The books of stages, apart from the tables that the journal itself understands.
const STEP_2: &str = "
CREATE TABLE record (
    project INTEGER NOT NULL REFERENCES project (id),
    space TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (project, space, key)
) STRICT, WITHOUT ROWID;
";

pub(crate) const BLOCK: &str =
    "SELECT bytes FROM block WHERE project = (SELECT id FROM project WHERE digest = ?1) AND height = ?2";
pub(crate) const ATTESTATION: &str = "SELECT bytes FROM attestation WHERE project = (SELECT id FROM project WHERE digest = ?1) AND height = ?2";
pub(crate) const LAST_HEIGHT: &str =
    "SELECT max(height) FROM block WHERE project = (SELECT id FROM project WHERE digest = ?1)";
pub(crate) const CURSOR: &str =
    "SELECT value FROM cursor WHERE project = (SELECT id FROM project WHERE digest = ?1) AND name = ?2";
