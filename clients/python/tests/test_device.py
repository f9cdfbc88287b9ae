"""Queue, numbers and refusals against a node of the test's own."""

import http.server
import pathlib
import tempfile
import threading
import time
import unittest

from w3bstream_device import Accepted, Device, HttpTransport, Key, Later, QueueFull, Refused, Store, StoreMismatch
from w3bstream_device.http import read_answer
from w3bstream_device.mqtt import read_reason

KEY = Key("EdDSA", bytes([0x21] * 32))


class Node:
    """A transport that asks `judge(entry)` what becomes of a message."""

    def __init__(self, judge, window=4):
        self.judge, self.window, self.sent = judge, window, []

    def open(self, device):
        pass

    def send(self, entry, content_type, done):
        self.sent.append(entry)
        outcome = self.judge(entry)
        if outcome:
            done(outcome)

    def tick(self):
        pass

    def close(self):
        pass


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(pathlib.Path(folder.name) / "device.db")
        self.accepted, self.refused = [], []

    def device(self, judge, store=None, **options):
        self.node = Node(judge)
        options = {"first_wait": 0.01, "longest_wait": 0.02, **options}
        made = Device(KEY, owner="did:key:zOwner", project="p", transport=self.node, store=store or Store(self.path),
                      on_accepted=lambda e, o: self.accepted.append(e),
                      on_refused=lambda e, o: self.refused.append((e, o)), **options)
        return made

    def run_until_empty(self, device):
        with device:
            self.assertTrue(device.flush(10), f"{device.waiting()} left")


class Queue(Case):
    def test_a_transient_refusal_is_tried_again_with_the_same_bytes(self):
        answers = [Later("overloaded", "x"), Later("unreachable", "x"), Accepted()]
        device = self.device(lambda e: answers.pop(0))
        device.send(b"1")
        self.run_until_empty(device)
        self.assertEqual(len({e.body for e in self.node.sent}), 1)
        self.assertEqual((len(self.node.sent), len(self.accepted), self.refused), (3, 1, []))

    def test_the_waits_grow_and_what_the_node_asks_for_is_kept(self):
        # Without an answer's own wait: 25 to 50 ms, 50 to 100, then 100 to 200.
        for wait, shortest in [(0, 0.1), (0.4, 0.4)]:
            device = self.device(lambda e: Later("overloaded", "x", wait), Store(":memory:"), first_wait=0.05, longest_wait=0.2)
            device.send(b"1")
            begin = time.monotonic()
            with device:
                time.sleep(1.0)
                count, most = len(self.node.sent), 3 + (time.monotonic() - begin) / shortest
            self.assertTrue(2 <= count <= most, f"{count} tries")

    def test_a_permanent_refusal_is_told_and_is_not_in_the_way(self):
        device = self.device(lambda e: Refused("revoked", "x") if e.payload == b"1" else Accepted(duplicate=True))
        device.send(b"1")
        device.send(b"2")
        self.run_until_empty(device)
        self.assertEqual([(e.payload, o.code) for e, o in self.refused], [(b"1", "revoked")])
        self.assertEqual([e.payload for e in self.accepted], [b"2"], "a duplicate counts as accepted")
        self.assertEqual(len(self.node.sent), 2)

    def test_the_queue_outlives_the_process_and_no_number_comes_twice(self):
        numbers, first = [], self.device(lambda e: None)
        for n in range(100):
            first.send(b"%d" % n)
        bodies = {e.body for e in first._store.first(1000)}
        numbers += [e.sequence for e in first._store.first(1000)]
        first._store.close()  # as a crash: the device is not told
        second = self.device(lambda e: Accepted())
        second.send(b"100")
        numbers.append(second._store.first(1000)[-1].sequence)
        self.assertEqual(len(set(numbers)), 101)
        self.assertEqual(numbers[-1], 128, "what was reserved (2 blocks of 64) is not used again")
        self.run_until_empty(second)
        self.assertEqual(len(self.accepted), 101)
        self.assertTrue(bodies < {e.body for e in self.accepted}, "what was signed stays as it was")

    def test_a_full_queue_takes_no_more_or_drops_the_oldest(self):
        device = self.device(lambda e: None, max_queue=2)
        device.send(b"1"), device.send(b"2")
        with self.assertRaises(QueueFull):
            device.send(b"3")
        self.assertEqual(device.waiting(), 2)
        device.close()
        device = self.device(lambda e: None, max_queue=2, when_full="drop-oldest")
        device.send(b"3")
        self.assertEqual([(e.payload, o.code) for e, o in self.refused], [(b"1", "dropped")])
        self.assertEqual([e.payload for e in device._store.first(9)], [b"2", b"3"])
        device.close()

    def test_a_file_belongs_to_one_device_and_one_process(self):
        device = self.device(lambda e: None)
        with self.assertRaises(Exception):
            Store(self.path).open("x")
        device.close()
        with self.assertRaises(StoreMismatch):
            Store(self.path).open("another")

    def test_a_callback_that_fails_does_not_stop_the_queue(self):
        device = self.device(lambda e: Accepted())
        device._on_accepted = lambda e, o: 1 / 0
        device.send(b"1"), device.send(b"2")
        with self.assertLogs("w3bstream_device", "ERROR"):
            self.run_until_empty(device)


class Epochs(Case):
    def judge(self, entry):
        """A node that has seen epoch 4 up to 7, and whose window is one number."""
        epoch, counter = entry.sequence >> 32, entry.sequence & 0xFFFFFFFF
        if (epoch, counter) in self.seen:
            return Accepted(duplicate=True)
        if epoch < self.highest:
            return Refused("too-old", "x", self.highest + 1)
        self.highest = epoch
        self.seen.add((epoch, counter))
        return Accepted()

    def test_a_wiped_device_goes_on_in_the_epoch_that_it_is_told(self):
        self.highest, self.seen = 4, set()
        device = self.device(self.judge)
        for n in range(10):
            device.send(b"%d" % n)
        self.run_until_empty(device)
        self.assertEqual(sorted(e.payload for e in self.accepted), sorted(b"%d" % n for n in range(10)))
        self.assertEqual({e.sequence >> 32 for e in self.accepted}, {5})
        self.assertEqual(self.refused, [])
        later = self.device(self.judge)
        self.assertEqual(later._store.epoch, 5, "the epoch is kept")
        later.close()

    def test_after_a_conflict_its_own_epoch_and_one(self):
        device = self.device(lambda e: Accepted() if e.sequence >> 32 else Refused("conflict", "x"))
        device.send(b"1")
        self.run_until_empty(device)
        self.assertEqual([e.sequence for e in self.accepted], [1 << 32])

    def test_two_devices_with_one_key_do_not_fight_for_ever(self):
        device = self.device(lambda e: Refused("conflict", "x"))
        device.send(b"1")
        self.run_until_empty(device)
        self.assertEqual(len(self.node.sent), 5)
        self.assertEqual(self.refused[0][1].code, "conflict")

    def test_no_newer_epoch_is_sent_while_an_older_message_is_without_answer(self):
        held, out, gate = [], [], threading.Event()

        def judge(entry):
            epoch = entry.sequence >> 32
            out.append((epoch, entry.payload))
            if epoch == 0 and entry.payload == b"0" and not gate.is_set():
                held.append(entry)
                return None  # it has it, but its answer is late
            return Refused("conflict", "x") if epoch == 0 and entry.payload == b"1" else Accepted()

        device = self.device(judge)
        device.send(b"0"), device.send(b"1")
        with device:
            threading.Event().wait(0.3)
            self.assertEqual(out, [(0, b"0"), (0, b"1")], "the message signed anew waits for the older one")
            gate.set()
            device._answered(held[0], Later("unreachable", "x"))
            self.assertTrue(device.flush(10))
        self.assertEqual(out[2:], [(0, b"0"), (1, b"1")])

    def test_after_the_last_counter_comes_the_next_epoch_and_it_waits_for_the_older_one(self):
        store = Store(self.path)
        device = self.device(lambda e: None, store)
        store._next, store._reserved = 2**32 - 1, 2**32
        device.send(b"0"), device.send(b"1")
        with device:
            threading.Event().wait(0.2)
            self.assertEqual([e.sequence for e in store.first(9)], [2**32 - 1, 1 << 32])
            self.assertEqual([e.payload for e in self.node.sent], [b"0"])

    def test_messages_under_way_are_near_each_other(self):
        store = Store(self.path, block=2000)
        device = self.device(lambda e: None, store)
        device.send(b"0")
        store._next = 1500
        device.send(b"1")
        with device:
            threading.Event().wait(0.2)
            self.assertEqual([e.payload for e in self.node.sent], [b"0"])


class Impolite(http.server.BaseHTTPRequestHandler):
    """Closes each connection behind its answer, and does not say so."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.count += 1
        self.send_response(201)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.close_connection = True

    def log_message(self, *_):
        pass


class Http(Case):
    def test_a_connection_that_was_closed_meanwhile_is_no_failure(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impolite)
        server.count = 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        device = self.device(None, first_wait=60, longest_wait=60)
        device._transport = HttpTransport(f"http://127.0.0.1:{server.server_port}", connections=1)
        with device:
            for n in range(5):
                device.send(b"x")
                self.assertTrue(device.flush(10))
                time.sleep(0.05)
        self.assertEqual((server.count, len(self.accepted)), (5, 5))


class Answers(unittest.TestCase):
    def test_http(self):
        node = b'{"code":"too-old","detail":"d","next_epoch":7}'
        self.assertEqual(read_answer(409, {}, node), Refused("too-old", "d", 7))
        self.assertEqual(read_answer(200, {}, b'{"duplicate":true,"mode":"durable"}'), Accepted(True, "durable"))
        busy = read_answer(503, {"Retry-After": "3"}, b'{"code":"overloaded","detail":"d"}')
        self.assertEqual(busy, Later("overloaded", "d", 3))
        for status, body in [(404, b"<html>"), (500, b'{"code":"x"}'), (429, b'{"code":"x"}'), (302, b""), (403, b"[]")]:
            self.assertIsInstance(read_answer(status, {}, body), Later, "not the node's own word")

    def test_mqtt(self):
        self.assertEqual(read_reason(0, ""), Accepted())
        self.assertEqual(read_reason(0x10, ""), Accepted())
        self.assertEqual(read_reason(0x83, "too-old: a: b; next-epoch=7"), Refused("too-old", "a: b; next-epoch=7", 7))
        self.assertEqual(read_reason(0x87, "").code, "mqtt-0x87")


if __name__ == "__main__":
    unittest.main()
