//! Device data in SQLite.
