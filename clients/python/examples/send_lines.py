#!/usr/bin/env python3
"""Sends each line of standard input as a message, and ends when all are acknowledged.

usage: send_lines.py [--algorithm A] [--jws] [--did DID] KEYFILE STORE OWNER PROJECT TYPE URL < lines

With `-` as TYPE it prints its DID and ends. URL: http, https, mqtt, mqtts, ws or wss.
"""

import argparse
import json
import sys
import threading

from w3bstream_device import Device, HttpTransport, Key, Store


STDOUT = threading.Lock()


def say(**what):
    with STDOUT:  # callbacks come from other threads
        print(json.dumps(what), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--algorithm", default="EdDSA")
    parser.add_argument("--jws", action="store_true")
    parser.add_argument("--did")
    for name in ("keyfile", "store", "owner", "project", "type", "url"):
        parser.add_argument(name)
    args = parser.parse_args()
    key = Key.load_or_make(args.keyfile, args.algorithm)
    if args.type == "-":
        print(key.did_key())
        return
    if args.url.startswith("http"):
        transport = HttpTransport(args.url)
    else:
        from w3bstream_device.mqtt import MqttTransport
        transport = MqttTransport(args.url)
    device = Device(
        key, did=args.did, owner=args.owner, project=args.project, transport=transport, store=Store(args.store),
        form="jws" if args.jws else "envelope",
        on_accepted=lambda e, o: say(accepted="yes", id=e.id, hex=e.payload.hex(), duplicate=o.duplicate),
        on_refused=lambda e, o: say(refused=o.code, hex=e.payload.hex(), detail=o.detail))
    with device:
        count = 0
        for line in sys.stdin:
            device.send(line.rstrip("\n").encode(), args.type)
            count += 1
        say(queued=count)
        device.flush()
    say(done=True)


if __name__ == "__main__":
    main()
