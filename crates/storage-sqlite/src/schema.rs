//! The tables and the statements on them.

use w3bstream_sqlite::Schema;

pub(crate) const SCHEMA: Schema = Schema { backend: "storage-sqlite", steps: &[STEP_1] };

/// Projects, sources and event types are numbered, so that an index entry is some 20 bytes instead of some
/// 150. A project's scan with any filter needs `by_project` alone until it reads the bodies of one page;
/// that is why `kept`, which says whether there is a body, is a column of its own and part of that index.
const STEP_1: &str = "
CREATE TABLE project (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32)
) STRICT;

CREATE TABLE source (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    UNIQUE (project, name)
) STRICT;

CREATE TABLE event_type (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE message (
    position INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    project INTEGER NOT NULL,
    source INTEGER NOT NULL,
    event_type INTEGER NOT NULL,
    sequence INTEGER,
    received_at INTEGER NOT NULL,
    trust INTEGER NOT NULL,
    seal BLOB NOT NULL,
    body BLOB,
    kept INTEGER NOT NULL DEFAULT 1 CHECK (kept = (body IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX by_sequence ON message (source, sequence) WHERE sequence IS NOT NULL;
CREATE UNIQUE INDEX by_token_event ON message (id) WHERE sequence IS NULL;
CREATE INDEX by_project ON message (project, position, received_at, source, event_type, kept) WHERE kept = 1;

-- Ids of signed messages, in runs: see ids.rs.
CREATE TABLE message_id (
    run INTEGER NOT NULL,
    prefix INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (run, prefix, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE conflict (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    kept BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    trust INTEGER NOT NULL,
    seal BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX conflict_by_kept ON conflict (kept);
CREATE INDEX conflict_by_project ON conflict (project);
";

/// Does nothing if the sequence, or a token message's id, is taken: the fast path needs no look-up before.
pub(crate) const INSERT: &str = "
INSERT INTO message (id, project, source, event_type, sequence, received_at, trust, seal, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT DO NOTHING";

pub(crate) const INSERT_ID: &str = "INSERT INTO message_id (run, prefix, position) VALUES (?1, ?2, ?3)";
pub(crate) const MERGE_IDS: &str = "
INSERT INTO message_id (run, prefix, position)
SELECT ?1, prefix, position FROM message_id WHERE run >= ?2 AND run < ?3 ORDER BY prefix, position";

pub(crate) const TOKEN_POSITION: &str = "SELECT position FROM message WHERE id = ?1 AND sequence IS NULL";
pub(crate) const BY_TOKEN_EVENT: &str =
    "SELECT position, received_at, trust, seal FROM message WHERE id = ?1 AND sequence IS NULL";
pub(crate) const BY_SEQUENCE: &str = "SELECT position, id FROM message WHERE source = ?1 AND sequence = ?2";

/// The columns that `read::Raw` expects.
pub(crate) const AT: &str =
    "SELECT position, id, received_at, trust, seal, body FROM message WHERE position = ?1 AND kept = 1";

/// Positions of one page.
pub(crate) const SCAN_PROJECT: &str = "
SELECT position FROM message INDEXED BY by_project
WHERE kept = 1 AND project = (SELECT id FROM project WHERE digest = ?6) AND position > ?1
    AND (?2 IS NULL OR source = (SELECT s.id FROM source s JOIN project p ON p.id = s.project
                                 WHERE p.digest = ?6 AND s.name = ?2))
    AND (?3 IS NULL OR event_type = (SELECT id FROM event_type WHERE name = ?3))
    AND received_at >= ?4 AND received_at < ?5
ORDER BY position LIMIT ?7";

pub(crate) const SCAN_ALL: &str = "
SELECT position FROM message
WHERE kept = 1 AND position > ?1
    AND (?2 IS NULL OR source IN (SELECT id FROM source WHERE name = ?2))
    AND (?3 IS NULL OR event_type = (SELECT id FROM event_type WHERE name = ?3))
    AND received_at >= ?4 AND received_at < ?5
ORDER BY position LIMIT ?6";

pub(crate) const CONFLICTS: &str = "
SELECT id, kept, received_at, trust, seal, body FROM conflict
WHERE project = (SELECT id FROM project WHERE digest = ?1) ORDER BY id LIMIT ?2";

pub(crate) const DELETE_BEFORE: &str = "
UPDATE message SET body = NULL, kept = 0 WHERE position IN (
    SELECT position FROM message INDEXED BY by_project
    WHERE kept = 1 AND project = (SELECT id FROM project WHERE digest = ?1) AND received_at < ?2
    ORDER BY position LIMIT ?3)";

pub(crate) const COUNT: &str = "
SELECT (SELECT count(*) FROM message INDEXED BY by_project WHERE kept = 1),
       (SELECT count(*) FROM conflict)";

/// A stretch of everything, with the columns that are derived from the body.
pub(crate) const CHECK_MESSAGES: &str = "
SELECT m.position, m.id, m.received_at, m.trust, m.seal, m.body, p.digest, s.name, t.name, m.sequence
FROM message m
LEFT JOIN project p ON p.id = m.project
LEFT JOIN source s ON s.id = m.source
LEFT JOIN event_type t ON t.id = m.event_type
WHERE m.position > ?1 ORDER BY m.position LIMIT ?2";

pub(crate) const CHECK_CONFLICTS: &str =
    "SELECT id, kept, received_at, trust, seal, body FROM conflict WHERE id > ?1 ORDER BY id LIMIT ?2";
