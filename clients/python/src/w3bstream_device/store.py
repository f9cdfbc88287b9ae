"""What must survive a crash: the numbers that are used up, and the messages that are not acknowledged.

Both are in one SQLite file, each change in a transaction that is on disk when it returns (synchronous = FULL).
"""

import sqlite3
from dataclasses import dataclass

COUNTERS = 1 << 32


class QueueFull(Exception):
    """The queue has its largest number of messages and its policy is to take no more."""


class StoreMismatch(Exception):
    """The file belongs to another device or project."""


@dataclass(frozen=True)
class Entry:
    """A message in the queue. `ticket` counts up and is never used twice in a file; `body` is what is sent."""

    ticket: int
    sequence: int
    type: str
    time: int
    payload: bytes
    id: str
    body: bytes
    resigned: int = 0


class Store:
    """The file of one device. `path` may be ":memory:", which forgets. Only one process can have it open."""

    def __init__(self, path: str, *, block: int = 64):
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("CREATE TABLE IF NOT EXISTS device (one INTEGER PRIMARY KEY CHECK (one = 1), owner TEXT NOT NULL,"
                         " epoch INTEGER NOT NULL, reserved INTEGER NOT NULL)")
        # A sequence has 64 bits without a sign; SQLite's integers have a sign. So it is kept as text of fixed width.
        self._db.execute("CREATE TABLE IF NOT EXISTS queue (ticket INTEGER PRIMARY KEY AUTOINCREMENT,"
                         " sequence TEXT NOT NULL UNIQUE, type TEXT NOT NULL, time INTEGER NOT NULL, payload BLOB NOT NULL,"
                         " id TEXT NOT NULL, body BLOB NOT NULL, resigned INTEGER NOT NULL)")
        self._db.execute("COMMIT")
        self._block = block
        self._epoch = self._next = self._reserved = 0

    def open(self, owner: str) -> None:
        """Ties a new file to `owner` (key and audience), or checks that it is tied to it."""
        self._db.execute("INSERT OR IGNORE INTO device VALUES (1, ?, 0, 0)", (owner,))
        known, epoch, reserved = self._db.execute("SELECT owner, epoch, reserved FROM device").fetchone()
        if known != owner:
            raise StoreMismatch(f"the file belongs to {known}, not to {owner}; give each device and project its own")
        # What was reserved and not used before the stop is left as a gap: a crash never uses a number twice.
        self._epoch, self._next, self._reserved = epoch, reserved, reserved

    @property
    def epoch(self) -> int:
        """The boot epoch that the next message gets."""
        return self._epoch

    def take_number(self) -> int:
        """A sequence number that no other call has given or will give. Call it inside of `transaction`."""
        if self._next >= COUNTERS:
            self.start_epoch(self._epoch + 1)
        if self._next >= self._reserved:
            self._reserved = min(self._next + self._block, COUNTERS)
            self._save()
        self._next += 1
        return self._epoch << 32 | self._next - 1

    def start_epoch(self, epoch: int) -> None:
        """Goes on with counter 0 of a later boot epoch; an earlier one changes nothing."""
        if epoch <= self._epoch:
            return
        if epoch >= COUNTERS:
            raise OverflowError("all boot epochs are used up; the device needs a new key")
        self._epoch, self._next, self._reserved = epoch, 0, 0
        self._save()

    def _save(self) -> None:
        self._db.execute("UPDATE device SET epoch = ?, reserved = ?", (self._epoch, self._reserved))

    def transaction(self) -> "_Transaction":
        """A context in which changes are kept together or, after an exception, not at all."""
        return _Transaction(self)

    def put(self, entry: Entry) -> int:
        """Adds a message; gives its ticket."""
        cursor = self._db.execute(
            "INSERT INTO queue (sequence, type, time, payload, id, body, resigned) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (f"{entry.sequence:016x}", entry.type, entry.time, entry.payload, entry.id, entry.body, entry.resigned))
        return cursor.lastrowid

    def replace(self, entry: Entry) -> None:
        """The message of this ticket, signed anew."""
        self._db.execute("UPDATE queue SET sequence = ?, id = ?, body = ?, resigned = ? WHERE ticket = ?",
                         (f"{entry.sequence:016x}", entry.id, entry.body, entry.resigned, entry.ticket))

    def remove(self, ticket: int) -> None:
        """Forgets a message."""
        self._db.execute("DELETE FROM queue WHERE ticket = ?", (ticket,))

    def count(self) -> int:
        """How many messages wait."""
        return self._db.execute("SELECT count(*) FROM queue").fetchone()[0]

    def first(self, limit: int) -> list[Entry]:
        """The messages with the lowest sequence numbers, in their order."""
        rows = self._db.execute("SELECT ticket, sequence, type, time, payload, id, body, resigned FROM queue"
                                " ORDER BY sequence LIMIT ?", (limit,))
        return [Entry(row[0], int(row[1], 16), *row[2:]) for row in rows]

    def close(self) -> None:
        """Closes the file."""
        self._db.close()


class _Transaction:
    def __init__(self, store: Store):
        self._store = store

    def __enter__(self):
        store = self._store
        self._before = (store._epoch, store._next, store._reserved)
        store._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind, value, trace):
        store = self._store
        if kind is None:
            store._db.execute("COMMIT")
            return
        store._db.execute("ROLLBACK")
        # The reservation is undone with the transaction, and nothing that used it was kept or sent.
        store._epoch, store._next, store._reserved = self._before
