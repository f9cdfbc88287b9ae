"""The device: its queue, its numbers, and what it does with answers."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from .keys import Key
from .message import ENVELOPE, JWS, Message, key_id, project_id
from .outcome import Accepted, Later, Refused
from .store import Entry, QueueFull, Store

_log = logging.getLogger("w3bstream_device")

# How far apart the numbers of messages under way may be. The node tells repeats from strangers within 4,096.
MAX_SPREAD = 1024
# How often one message is signed anew. Once is what a wiped device needs; more means that two devices share a key.
MAX_RESIGNED = 4


class Device:
    """Sends messages so that each is executed once, whatever crashes, as long as its file is kept.

    `send` returns when the message is on disk. From then on it is sent until the node accepts it or refuses it for
    ever; the callbacks say which, from other threads, but one at a time:

    - `on_accepted(entry, Accepted)`
    - `on_refused(entry, Refused)`: the message was taken out of the queue. Its code is one of docs/devices.md, or
      `dropped` if the queue was full and `when_full` is `"drop-oldest"`.

    A callback may come a second time for a message if the process dies between the callback and the removal.
    """

    def __init__(self, key: Key, *, project: str, transport, store: Store, owner: str | None = None,
                 audience: bytes | None = None, did: str | None = None, form: str = "envelope", max_queue: int = 10_000,
                 when_full: str = "reject", first_wait: float = 0.5, longest_wait: float = 60.0,
                 clock: Callable[[], float] | None = time.time,
                 on_accepted: Callable[[Entry, Accepted], None] | None = None,
                 on_refused: Callable[[Entry, Refused], None] | None = None):
        if (owner is None) == (audience is None):
            raise ValueError("give the project owner's DID as `owner`, or the project's id as `audience`")
        if form not in ("envelope", "jws") or when_full not in ("reject", "drop-oldest"):
            raise ValueError("`form` is envelope or jws, `when_full` is reject or drop-oldest")
        self.project, self.did = project, did or key.did_key()
        self._key, self._form, self._clock = key, form, clock
        self._audience = audience or project_id(owner, project)
        self._transport, self._store = transport, store
        self._max_queue, self._when_full = max_queue, when_full
        self._waits = (first_wait, longest_wait)
        self._on_accepted, self._on_refused = on_accepted, on_refused
        self._changed, self._telling = threading.Condition(), threading.RLock()
        self._under_way: set[int] = set()
        self._failures, self._not_before, self._stop, self._closed = 0, 0.0, False, False
        self._worker: threading.Thread | None = None
        store.open(f"{key_id(self.did)} {self._audience.hex()}")

    def __enter__(self) -> "Device":
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    def start(self) -> None:
        """Begins to send what is in the queue."""
        self._transport.open(self)
        self._worker = threading.Thread(target=self._work, name="w3b-device", daemon=True)
        self._worker.start()

    def send(self, payload: bytes, type: str = "default") -> int:
        """Signs a message and puts it on disk; gives its ticket. Raises `QueueFull` if the queue is full and nothing
        may be dropped."""
        now = int(self._clock() * 1000) if self._clock else 0
        dropped = None
        with self._changed:
            if self._store.count() >= self._max_queue:
                dropped = self._droppable()
            with self._store.transaction():
                if dropped:
                    self._store.remove(dropped.ticket)
                entry = self._sign(Entry(0, 0, type, now, bytes(payload), "", b""))
                ticket = self._store.put(entry)
            self._changed.notify_all()
        if dropped:
            self._tell(self._on_refused, dropped, Refused("dropped", "the queue was full"))
        return ticket

    def waiting(self) -> int:
        """How many messages are in the queue."""
        with self._changed:
            return self._store.count()

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until the queue is empty; False if the time (seconds) is over before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._store.count() == 0, timeout)

    def close(self) -> None:
        """Stops sending. What is in the queue stays there for the next start."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._worker:
            self._worker.join()
            self._transport.close()
        with self._changed:
            self._closed = True
            self._store.close()

    def _droppable(self) -> Entry:
        if self._when_full == "drop-oldest":
            for entry in self._store.first(self._transport.window + 1):
                if entry.ticket not in self._under_way:
                    return entry
        raise QueueFull(f"{self._max_queue} messages wait; the node has not acknowledged them")

    def _sign(self, entry: Entry) -> Entry:
        """With the next number and a new salt. The number is on disk with the message before it can leave."""
        sequence = self._store.take_number()
        message = Message(self._audience, key_id(self.did), entry.type, sequence, entry.time, os.urandom(16), entry.payload)
        body, id = message.envelope(self._key) if self._form == "envelope" else message.jws(self._key)
        return replace(entry, sequence=sequence, body=body, id=id)

    def _work(self) -> None:
        content_type = ENVELOPE if self._form == "envelope" else JWS
        while True:
            with self._changed:
                if self._stop:
                    return
                entry = self._next() if time.monotonic() >= self._not_before else None
                if entry is None:
                    wait = self._not_before - time.monotonic()
                    self._changed.wait(min(max(wait, 0.001), 1.0) if wait > 0 else 1.0)
                else:
                    self._under_way.add(entry.ticket)
            self._transport.tick()
            if entry:
                self._transport.send(entry, content_type, lambda outcome, entry=entry: self._answered(entry, outcome))

    def _next(self) -> Entry | None:
        """The next message to send. Those under way are the lowest, of one boot epoch, and near each other: a node that
        has ordered a message of a newer epoch, or one far above, says `too-old` to a repeat of an older message, even if
        it has that message. Signing it anew would then make it two."""
        first = self._store.first(self._transport.window)
        for entry in first:
            same_epoch = entry.sequence >> 32 == first[0].sequence >> 32
            if not same_epoch or entry.sequence - first[0].sequence >= MAX_SPREAD:
                return None
            if entry.ticket not in self._under_way:
                return entry
        return None

    def _answered(self, entry: Entry, outcome: Accepted | Refused | Later) -> None:
        if isinstance(outcome, Later):
            self._wait(entry, outcome)
            return
        if isinstance(outcome, Refused) and self._anew(entry, outcome):
            return
        self._tell(self._on_accepted if isinstance(outcome, Accepted) else self._on_refused, entry, outcome)
        with self._changed:
            self._under_way.discard(entry.ticket)
            # An answer of any kind says that the node is there.
            self._failures = 0
            if self._closed:
                return
            self._store.remove(entry.ticket)
            self._changed.notify_all()

    def _wait(self, entry: Entry, outcome: Later) -> None:
        first, longest = self._waits
        with self._changed:
            self._under_way.discard(entry.ticket)
            if time.monotonic() >= self._not_before:
                # Several messages that fail together count once.
                self._failures += 1
                wait = min(first * 2 ** min(self._failures - 1, 20), longest)
                # Between half and the whole of it, so that many devices do not come back at once.
                wait = max(wait * random.uniform(0.5, 1.0), outcome.wait)
                self._not_before = time.monotonic() + wait
                _log.info("%s: %s; trying again in %.1f s", outcome.code, outcome.detail, wait)
            self._changed.notify_all()

    def _anew(self, entry: Entry, refused: Refused) -> bool:
        """Signs a message anew whose number is of no use, because the device had lost its counter."""
        if refused.code not in ("too-old", "conflict") or entry.resigned >= MAX_RESIGNED:
            return False
        with self._changed:
            if self._closed:
                return True
            try:
                with self._store.transaction():
                    self._start_epoch_after(entry, refused)
                    self._store.replace(replace(self._sign(entry), resigned=entry.resigned + 1))
            except OverflowError:  # no epoch is left: the refusal stands
                return False
            self._under_way.discard(entry.ticket)
            self._changed.notify_all()
        return True

    def _start_epoch_after(self, entry: Entry, refused: Refused) -> None:
        # If the epoch has risen since the message was signed, its present numbers are good.
        epoch = entry.sequence >> 32
        if refused.next_epoch is not None:
            self._store.start_epoch(refused.next_epoch)
        else:
            self._store.start_epoch(epoch + 1)

    def _tell(self, callback, entry: Entry, outcome) -> None:
        if callback is None:
            if isinstance(outcome, Refused):
                _log.warning("message %s was refused for ever: %s: %s", entry.id, outcome.code, outcome.detail)
            return
        try:
            with self._telling:
                callback(entry, outcome)
        except Exception:  # the queue goes on whatever the application's code does
            _log.exception("a callback failed")
