"""A device of W3bstream: signs messages, keeps them until they are acknowledged, and sends them over HTTP or MQTT.

    device = Device(Key.load_or_make("device.key"), owner="did:key:…", project="cold-chain",
                    store=Store("device.db"), transport=HttpTransport("http://127.0.0.1:8889"))
    with device:
        device.send(b'{"celsius":4.5}', "temperature")
        device.flush(timeout=30)
"""

from .device import Device
from .http import HttpTransport
from .keys import Key
from .message import Message, key_id, project_id
from .outcome import Accepted, Later, Refused, TRANSIENT
from .store import Entry, QueueFull, Store, StoreMismatch

__all__ = [
    "TRANSIENT", "Accepted", "Device", "Entry", "HttpTransport", "Key", "Later", "Message", "QueueFull", "Refused",
    "Store", "StoreMismatch", "key_id", "project_id",
]
