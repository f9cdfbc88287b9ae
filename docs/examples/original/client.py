"""A client of the original W3bstream's routes, in Python: `requests` for HTTP, `paho-mqtt` for MQTT.

    python client.py URL PASSWORD APPLET.wasm [MQTT_HOST:PORT]

Logs in, makes a project, uploads and deploys an applet, makes a publisher, sends events in each form, and prints what it was
answered as one JSON object.
"""

import json
import pathlib
import sys
import time
import uuid

import requests

url, password, applet = sys.argv[1:4]
mqtt_at = sys.argv[4] if len(sys.argv) > 4 else ""
name = f"py_{uuid.uuid4().hex[:8]}"
http = requests.Session()


def call(method, path, expected, token, **body):
    # The bare token: the original took it with and without "Bearer".
    headers = {"Authorization": token} if token else {}
    answer = http.request(method, f"{url}/srv-applet-mgr/v0/{path}", headers=headers, timeout=60, **body)
    if answer.status_code != expected:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json() if answer.content else None


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def field(tag, value):
    return bytes([tag << 3 | 2]) + varint(len(value)) + value


def eventpb(event_type, key, token, at, event_id, payload):
    """eventpb.Event{header{event_type, pub_id, token, pub_time, event_id}, payload}"""
    header = field(1, event_type.encode()) + field(2, key.encode()) + field(3, token.encode())
    header += bytes([4 << 3]) + varint(at) + field(5, event_id.encode())
    return field(1, header) + field(2, payload)


def over_mqtt(channel, token):
    import paho.mqtt.client as mqtt

    acks = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"original-{name}", protocol=mqtt.MQTTv311)
    client.on_message = lambda _c, _u, m: acks.append({"topic": m.topic, **json.loads(m.payload)})
    host, port = mqtt_at.rsplit(":", 1)
    client.connect(host, int(port))
    client.loop_start()
    client.subscribe("ack/py_device", qos=1)
    time.sleep(0.5)
    now = int(time.time())
    messages = [
        (channel, eventpb("DEFAULT", "py_device", token, now, "PY-PB", b"[1]")),
        (f"{channel}/push/{token}/DEFAULT", b"[2]"),
        (f"{channel}/push/{token}/DEFAULT/ts={now}&id=PY-TOPIC", b"[3]"),
    ]
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(10)
    until = time.monotonic() + 5
    while len(acks) < len(messages) and time.monotonic() < until:
        time.sleep(0.05)
    client.loop_stop()
    client.disconnect()
    return acks


session = call("PUT", "login", 200, "", json={"username": "admin", "password": password})["token"]
project = call("POST", "project", 201, session, json={"name": name})
info = {"appletName": "log", "wasmName": "applet.wasm", "strategies": [{"eventType": "DEFAULT", "handler": "default"}]}
files = {"file": ("applet.wasm", pathlib.Path(applet).read_bytes()), "info": (None, json.dumps(info))}
uploaded = call("POST", f"applet/x/{name}", 201, session, files=files)
call("POST", f"deploy/applet/{uploaded['appletID']}", 201, session)
publisher = call("POST", f"publisher/x/{name}", 201, session, json={"name": "py device", "key": "py_device"})
token = publisher["token"]

now = int(time.time())
events = [
    call("POST", f"event/{channel}?eventType=DEFAULT&timestamp={now}", 201, token, data=b"\x00\xff")
    for channel in (name, project["channel"])
]
events.append(call("POST", f"event/{name}?authorization={token}", 201, "", data=b"[]"))
key = call("POST", "account_access_key", 201, session, json={"name": "py", "expirationDays": 0})["accessKey"]
batch = [{"device_id": "py_one", "event_type": "DEFAULT", "payload": "{}", "timestamp": now}]
pushed = call("POST", f"event/{name}?eventType=DA-TA_PU-SH", 201, key, json=batch)
# The original's own Python client sent one event with the account's key and the device in the query.
events.append(call("POST", f"event/{name}?device_id=py_three&eventType=DEFAULT&timestamp={now}", 201, key, data=b"x"))
acks = over_mqtt(name, token) if mqtt_at else []
call("DELETE", "account_access_key/py", 204, session)
call("DELETE", f"project/x/{name}", 204, session)
print(json.dumps({"key": "py_device", "events": events, "pushed": pushed, "acks": acks}))
