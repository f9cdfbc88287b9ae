//! From the database's errors to the room's.

w3bstream_sqlite::fail_of_room!(w3bstream_journal, "sqlite journal");
