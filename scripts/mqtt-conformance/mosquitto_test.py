"""Runs one test of Mosquitto's broker against a node that runs already.

usage: mosquitto_test.py TEST PORT

Their tests start a broker of their own and compare bytes. Here nothing is started: when they end their broker, the sessions and
retained messages that they have made are taken away. Packets are compared by what they mean. What the standard leaves to a server
may differ: limits that it chooses (in CONNACK), words for people (reason strings), the order of properties, whether an
acknowledgement without a reason is written short or long, whether it says that nobody has subscribed (0x10), and whether a reason
comes before the end of a connection. A test that needs settings of Mosquitto's own is left out (exit code 77) and says which.
"""

import os
import pathlib
import runpy
import socket
import subprocess
import sys

test, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
sys.path.insert(0, str(test.parent))
sys.path.insert(0, str(test.parent.parent))
import mosq_test  # noqa: E402

LEFT_OUT = 77
# Settings with which a node behaves as the tests that have them expect, as it is.
HARMLESS = {"port", "listener", "allow_anonymous", "log_type", "log_dest", "per_listener_settings", "log_timestamp", "log_timestamp_format",
            "persistence", "autosave_interval", "persistence_file"}
# What a server grants as it likes.
GRANTED = {0x13, 0x21, 0x22, 0x24, 0x25, 0x27, 0x28, 0x29, 0x2A, 0x11}
WORDS = {0x1F}
NO_SUBSCRIBERS = 0x10
SIZES = {0x01: 1, 0x17: 1, 0x19: 1, 0x24: 1, 0x25: 1, 0x28: 1, 0x29: 1, 0x2A: 1, 0x13: 2, 0x21: 2, 0x22: 2, 0x23: 2, 0x02: 4, 0x11: 4, 0x18: 4, 0x27: 4}


class Broker:
    """The node, as their tests see the broker that they have started."""

    returncode = 0

    def __init__(self, persistent=False):
        self.persistent = persistent

    def terminate(self):
        if self.persistent:
            # What stays is taken away when they remove its file.
            stored().touch()
        else:
            clean_up()

    kill = terminate

    def wait(self, *_, **__):
        return 0

    def poll(self):
        return None

    def communicate(self, *_, **__):
        return b"", b""

    def send_signal(self, signal):
        leave_out(f"needs a broker that knows signal {signal}")

    @property
    def pid(self):
        leave_out("needs the process of the broker")


def stored():
    return pathlib.Path(f"mosquitto-{port}.db")


def remove(path, *arguments, **named):
    if pathlib.Path(path) == stored():
        clean_up()
    return unlink(path, *arguments, **named)


unlink = os.unlink


def leave_out(why):
    print(why, flush=True)
    os._exit(LEFT_OUT)


def start_broker(filename, cmd=None, port=0, use_conf=False, expect_fail=False, **_):
    if cmd is not None:
        leave_out("starts Mosquitto with options of its own")
    config = pathlib.Path(filename.replace(".py", ".conf"))
    if (use_conf or port == 0) and config.exists():
        for line in config.read_text().splitlines():
            word = line.split()[0] if line.split() else "#"
            if not word.startswith("#") and word not in HARMLESS:
                leave_out(f"needs Mosquitto's setting: {line}")
            if line.split() == ["allow_anonymous", "false"]:
                leave_out(f"needs Mosquitto's setting: {line}")
        return Broker(any(line.split() == ["persistence", "true"] for line in config.read_text().splitlines()))
    return Broker()


def get_port(count=1):
    if count != 1:
        leave_out(f"needs {count} listeners")
    return port


def varint(data, at):
    value, shift = 0, 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def properties(data, at):
    length, at = varint(data, at)
    end, found = at + length, []
    while at < end:
        kind, at = varint(data, at)
        begin = at
        if kind in SIZES:
            at += SIZES[kind]
        elif kind == 0x0B:
            _, at = varint(data, at)
        else:
            for _ in range(2 if kind == 0x26 else 1):
                at += 2 + int.from_bytes(data[at:at + 2], "big")
        found.append((kind, bytes(data[begin:at])))
    return found, end


def meaning(packet, v5):
    """What a packet says, as far as it matters."""
    if not packet:
        return "the end"
    kind, (_, at) = packet[0] >> 4, varint(packet, 1)
    body = packet[at:]
    if not v5:
        return kind, bytes(packet)
    without = lambda found, some: sorted((k, v) for k, v in found if k not in some)
    if kind == 2:
        found, _ = properties(body, 2)
        return kind, bytes(body[:2]), without(found, GRANTED | WORDS)
    if kind in (4, 5, 6, 7):
        reason = body[2] if len(body) > 2 else 0
        found = properties(body, 3)[0] if len(body) > 3 else []
        if kind in (4, 5) and reason == NO_SUBSCRIBERS:
            reason = 0
        return kind, packet[0], bytes(body[:2]), reason, without(found, WORDS)
    if kind in (9, 11):
        found, end = properties(body, 2)
        return kind, bytes(body[:2]), without(found, WORDS), bytes(body[end:])
    if kind == 14:
        reason = body[0] if body else 0
        found = properties(body, 1)[0] if len(body) > 1 else []
        return kind, reason, without(found, WORDS)
    if kind == 3:
        at = 2 + int.from_bytes(body[:2], "big") + (2 if packet[0] & 6 else 0)
        found, end = properties(body, at)
        return kind, packet[0], bytes(body[:at]), sorted(found), bytes(body[end:])
    return kind, bytes(packet)


speaks_v5 = False
client_ids = set()


def clean_up():
    """Takes away what a broker that ends would forget: sessions, their wills, retained messages."""
    for client_id in client_ids:
        with connect(client_id):
            pass
    # A will that this has made due is submitted by now, and may be retained.
    with connect("") as retained:
        for at, pattern in enumerate(["#", "$test/#"]):
            retained.sendall(plain_subscribe(at + 1, pattern))
        found, answers = [], 0
        retained.sendall(b"\xc0\0")
        while answers < 2:
            packet = read_packet(retained)
            if not packet:
                break
            if packet[0] == 0xD0:
                # What is retained may come behind the first answer.
                answers += 1
                retained.sendall(b"\xc0\0")
            if packet and packet[0] >> 4 == 3 and packet[0] & 1:
                _, at = varint(packet, 1)
                found.append(packet[at:at + 2 + int.from_bytes(packet[at:at + 2], "big")])
        for topic in found:
            retained.sendall(bytes([0x31]) + mosq_test.pack_remaining_length(len(topic)) + topic)
        answers = 0
        while answers < 2:
            packet = read_packet(retained)
            answers += packet == b"\xd0\0"
            if not packet:
                break
            retained.sendall(b"\xc0\0" if answers == 1 else b"")


def connect(client_id):
    sock = Plain(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(("localhost", port))
    name = client_id.encode()
    body = b"\0\4MQTT\4\2\0\x3c" + len(name).to_bytes(2, "big") + name
    sock.sendall(b"\x10" + mosq_test.pack_remaining_length(len(body)) + body)
    read_packet(sock)
    return sock


def plain_subscribe(packet_id, pattern):
    body = packet_id.to_bytes(2, "big") + len(pattern).to_bytes(2, "big") + pattern.encode() + b"\0"
    return b"\x82" + mosq_test.pack_remaining_length(len(body)) + body


Plain = socket.socket


class Socket(Plain):
    """A DISCONNECT is the end, for tests that expect just that and read by themselves."""

    def recv(self, length, *flags):
        data = super().recv(length, *flags)
        if data[:1] != b"\xe0" or getattr(self, "by_packets", False):
            return data
        while super().recv(4096):
            pass
        return b""


class Popen(subprocess.Popen):
    """Their helpers are tests like themselves."""

    def __init__(self, command, *arguments, **named):
        if isinstance(command, list) and command and str(command[0]).endswith(".py"):
            command = [sys.executable, __file__, str(test.parent / pathlib.Path(command[0]).name), str(port)]
        super().__init__(command, *arguments, **named)


def note_version(kind):
    """Wraps a maker of packets, to know which version the test speaks."""
    made = getattr(mosq_test, kind)

    def make(*arguments, **named):
        global speaks_v5
        speaks_v5 = speaks_v5 or named.get("proto_ver") == 5
        if kind == "gen_connect" and arguments and arguments[0]:
            client_ids.add(arguments[0])
        return made(*arguments, **named)

    setattr(mosq_test, kind, make)


# Who said what, by the socket's number: a test may speak both versions.
versions = {}


def read_exactly(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            break
        data += more
    return data


def read_packet(sock):
    data = read_exactly(sock, 1)
    if not data:
        return data
    while True:
        byte = read_exactly(sock, 1)
        data += byte
        if not byte or byte[0] < 0x80:
            break
    length, _ = varint(data, 1)
    return data + read_exactly(sock, length)


def is_v5(packet, sock=None):
    """A CONNACK says which version: in 3.1.1 it has two bytes."""
    known = versions.get(id(sock))
    return speaks_v5 if known is None else known


def same(received, expected, v5):
    try:
        return received == expected or meaning(received, v5) == meaning(expected, v5)
    except IndexError:
        return False


def packet_matches(name, received, expected):
    if same(received, expected, speaks_v5):
        return True
    print(f"{name}: received {received.hex(' ')}\n{name}: expected {expected.hex(' ')}", flush=True)
    return False


def expect_packet(sock, name, expected):
    sock.by_packets = True
    try:
        return expect(sock, name, expected)
    finally:
        sock.by_packets = False


def expect(sock, name, expected):
    received = read_packet(sock)
    if expected and expected[0] >> 4 == 2:
        versions[id(sock)] = len(expected) > 4
    if not expected and received and (received[0] >> 4 == 14 or (received[0] >> 4 == 2 and received[3] >= 0x80)):
        # The reason before the end.
        received = read_packet(sock)
    if same(received, expected, is_v5(expected, sock)):
        return True
    print(f"{name}: received {received.hex(' ')}\n{name}: expected {expected.hex(' ')}", flush=True)
    raise mosq_test.TestError(f"another {name}")


for maker in ("gen_connect", "gen_connack"):
    note_version(maker)
socket.socket = Socket
os.unlink = os.remove = remove
subprocess.Popen = Popen
mosq_test.start_broker = start_broker
mosq_test.get_port = get_port
mosq_test.packet_matches = packet_matches
mosq_test.expect_packet = expect_packet
os.chdir(test.parent)
stored().unlink(missing_ok=True)
sys.argv = [str(test), str(port)]
runpy.run_path(str(test), run_name="__main__")
