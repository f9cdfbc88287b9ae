"""Sends over MQTT 5 with QoS 1 (needs `paho-mqtt`). Its PUBACKs carry the reason of a refusal, which 3.1.1's do not."""

import re
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from .outcome import Accepted, Later, Refused

_NEXT_EPOCH = re.compile(r"; next-epoch=(\d{1,10})$")


def read_reason(code: int, text: str) -> Accepted | Refused:
    """What a PUBACK means: below 0x80 it is accepted, else the reason is `<code>: <detail>[; next-epoch=N]`."""
    if code < 0x80:
        return Accepted()
    found = _NEXT_EPOCH.search(text)
    name, _, detail = text.partition(": ")
    return Refused(name or f"mqtt-0x{code:02x}", detail, int(found.group(1)) if found else None)


class MqttTransport:
    """`url` is `mqtt://host:port`, `mqtts://…`, `ws://host:port/path` or `wss://…`. A message without a PUBACK for
    `ack_timeout` seconds ends the connection; it is sent again on the next. `on_command(bytes)` gets what applets send to
    the device while it is connected."""

    def __init__(self, url: str, *, window: int = 16, client_id: str | None = None, username: str | None = None,
                 password: str | None = None, keepalive: int = 30, ack_timeout: float = 30,
                 context: ssl.SSLContext | None = None, on_command: Callable[[bytes], None] | None = None):
        self._parts = urllib.parse.urlsplit(url)
        if self._parts.scheme not in ("mqtt", "mqtts", "ws", "wss") or not self._parts.hostname:
            raise ValueError(f"{url!r} is no mqtt, mqtts, ws or wss URL")
        self.window = window
        self._client_id, self._user, self._keepalive = client_id, (username, password), keepalive
        self._ack_timeout, self._context, self._on_command = ack_timeout, context, on_command
        self._lock = threading.Lock()
        self._client: paho.Client | None = None
        self._pending: dict[int, tuple[Callable, float]] = {}
        self._early: dict[int, Accepted | Refused] = {}

    def open(self, device) -> None:
        """Called by the device when it starts."""
        self._project, self._did = device.project, device.did

    def send(self, entry, content_type: str, done: Callable) -> None:
        """Sends one message, connecting if need be, and calls `done` with what became of it. The form is known by its
        first bytes, so that the content type is not sent."""
        try:
            client = self._client or self._connect()
        except (OSError, ValueError) as error:
            done(Later("unreachable", f"{type(error).__name__}: {error}"))
            return
        info = client.publish(f"w3b/{self._project}/{entry.type}", entry.body, qos=1)
        with self._lock:
            if client is not self._client or info.rc != paho.MQTT_ERR_SUCCESS:
                outcome = Later("unreachable", "the connection was lost")
            elif info.mid in self._early:
                outcome = self._early.pop(info.mid)
            else:
                self._pending[info.mid] = (done, time.monotonic())
                return
        done(outcome)

    def tick(self) -> None:
        """Ends a connection on which a message is without answer for too long."""
        with self._lock:
            oldest = min((since for _, since in self._pending.values()), default=None)
            client = self._client
        if oldest is not None and time.monotonic() - oldest > self._ack_timeout:
            self._lose(client, "no PUBACK came in time")

    def close(self) -> None:
        """Says goodbye to the broker. Messages under way stay in the queue."""
        if client := self._client:
            client.disconnect()
            self._lose(client, "closed")

    def _connect(self) -> paho.Client:
        p = self._parts
        sockets = p.scheme in ("ws", "wss")
        # A new client for each connection: paho would else send again by itself what it has kept.
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, self._client_id or self._did, protocol=paho.MQTTv5,
                             transport="websockets" if sockets else "tcp")
        if sockets:
            client.ws_set_options(path=p.path or "/mqtt")
        if p.scheme in ("mqtts", "wss"):
            client.tls_set_context(self._context or ssl.create_default_context())
        if self._user[0] is not None:
            client.username_pw_set(*self._user)
        ready, told = threading.Event(), []

        def on_connect(_client, _data, _flags, reason, _properties):
            told.append(reason)
            ready.set()

        client.on_connect = on_connect
        client.on_disconnect = lambda c, _data, _flags, reason, _properties: (ready.set(), self._lose(c, str(reason)))
        client.on_publish = lambda c, _data, mid, reason, properties: self._answered(c, mid, reason, properties)
        client.max_inflight_messages_set(self.window)
        client.connect_timeout = 10
        port = p.port or {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}[p.scheme]
        client.connect(p.hostname, port, self._keepalive, clean_start=True, properties=Properties(PacketTypes.CONNECT))
        client.loop_start()
        if not ready.wait(15) or not told or told[0].is_failure:
            client.on_disconnect = None
            client.disconnect()
            client.loop_stop()
            raise OSError(f"the broker said {told[0]}" if told else "the broker does not answer CONNECT")
        if self._on_command:
            client.on_message = lambda _client, _data, message: self._on_command(message.payload)
            client.subscribe(f"w3b/{self._project}/cmd/{self._did}", qos=1)
        with self._lock:
            self._client = client
        # It may have ended in between, before anybody knew of it.
        if not client.is_connected():
            self._lose(client, "the connection was lost")
            raise OSError("the connection was lost")
        return client

    def _answered(self, client, mid: int, reason, properties) -> None:
        outcome = read_reason(reason.value, getattr(properties, "ReasonString", "") or "")
        with self._lock:
            if client is not self._client:
                return
            pending = self._pending.pop(mid, None)
            if pending is None:
                # The PUBACK was faster than `publish`, which has not yet told us the packet's number.
                self._early[mid] = outcome
                return
        pending[0](outcome)

    def _lose(self, client, why: str) -> None:
        with self._lock:
            if client is None or client is not self._client:
                return
            self._client = None
            lost, self._pending, self._early = list(self._pending.values()), {}, {}
        client.on_disconnect = None
        # After this its thread ends by itself, and it may be the one that we are on.
        client.disconnect()
        for done, _ in lost:
            done(Later("unreachable", why))
