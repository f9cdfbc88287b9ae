#!/usr/bin/env python3
"""A device that shows its key once, in Python: opens a session, sends in it, and makes statements to connect over MQTT.
Needs device.py beside it and PyPI `cryptography` 43 or newer.

    session.py open device.json --url http://127.0.0.1:8889 --owner DID --project NAME [--no-clock]
    session.py send --url http://127.0.0.1:8889 --project NAME --token JWT --id EVENT-ID --type TYPE DATA
    session.py connect device.json --owner DID --project NAME --node DID --client CLIENT-ID
    session.py vectors < inputs.json     # computes docs/devices.md's vectors of sessions from their inputs

docs/devices.md explains each step.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

from device import Key, b64url, compact, key_id, project_id, tagged


def introduction(key: Key, claims: dict) -> str:
    """A compact JWS. With a client it connects, without it opens a session."""
    kind = "w3b-connect+jws" if "client" in claims else "w3b-session+jws"
    header = {"alg": key.algorithm, "kid": key_id(claims["sub"]), "typ": kind}
    text = b64url(compact(header).encode()) + "." + b64url(compact(dict(sorted(claims.items()))).encode())
    return text + "." + b64url(key.sign(text.encode()))


def event_id(audience: bytes, device: str, event: str) -> str:
    return tagged("w3b/session-message/1", audience, device.encode(), event.encode()).hex()


def ask(url: str, headers: dict, body: bytes | None = None) -> tuple[int, dict]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def load(path: str) -> Key:
    with open(path) as file:
        state = json.load(file)
    return Key(state["algorithm"], bytes.fromhex(state["secret_key"]))


def show(answer: tuple[int, dict]) -> int:
    print(json.dumps(answer[1]))
    return 0 if answer[0] in (200, 201) else 1


def open_session(args) -> int:
    key, url = load(args.keyfile), f"{args.url}/v1/projects/{args.project}/sessions"
    status, challenge = ask(f"{url}/challenge", {})
    if status != 200:
        return show((status, challenge))
    claims = {
        "aud": project_id(args.owner, args.project).hex(),
        # Without a clock the node's nonce counts instead.
        "iat": 0 if args.no_clock else int(time.time()),
        "node": challenge["node"],
        "nonce": challenge["nonce"] if args.no_clock else os.urandom(16).hex(),
        "sub": key.did_key(),
    }
    return show(ask(url, {"Content-Type": "application/jose"}, introduction(key, claims).encode()))


def send(args) -> int:
    url = f"{args.url}/v1/projects/{args.project}/events?type={args.type}"
    headers = {"Authorization": f"Bearer {args.token}", "Idempotency-Key": args.id, "Content-Type": "application/json"}
    return show(ask(url, headers, args.data.encode()))


def connect(args) -> int:
    key = load(args.keyfile)
    claims = {
        "aud": project_id(args.owner, args.project).hex(),
        "client": args.client,
        "iat": int(time.time()),
        "node": args.node,
        "nonce": os.urandom(16).hex(),
        "sub": key.did_key(),
    }
    print(json.dumps({"username": key.did_key(), "password": introduction(key, claims)}))
    return 0


def vector(given: dict) -> dict:
    key = Key(given["algorithm"], bytes.fromhex(given["secret_key"]))
    audience, device = project_id(given["owner"], given["project"]), key.did_key()
    inputs = ("algorithm", "secret_key", "owner", "project", "node", "iat", "nonce", "client", "event_id")
    claims = {"aud": audience.hex(), "sub": device} | {name: given[name] for name in ("iat", "node", "nonce")}
    return {name: given[name] for name in inputs} | {
        "device": device,
        "session": introduction(key, claims),
        "connect": introduction(key, claims | {"client": given["client"]}),
        "id": event_id(audience, device, given["event_id"]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="a device that shows its key once")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("open", help="open a session, print its JWT")
    command.add_argument("keyfile")
    command.add_argument("--url", default="http://127.0.0.1:8889")
    command.add_argument("--owner", required=True, help="the DID of the project's owner")
    command.add_argument("--project", required=True)
    command.add_argument("--no-clock", action="store_true", help="sign the node's nonce instead of the time")
    command.set_defaults(run=open_session)
    command = commands.add_parser("send", help="send in a session")
    command.add_argument("--url", default="http://127.0.0.1:8889")
    command.add_argument("--project", required=True)
    command.add_argument("--token", required=True, help="the session's JWT")
    command.add_argument("--id", required=True, help="your id of the event, the same in each repeat")
    command.add_argument("--type", default="default")
    command.add_argument("data")
    command.set_defaults(run=send)
    command = commands.add_parser("connect", help="print user name and password for MQTT")
    command.add_argument("keyfile")
    command.add_argument("--owner", required=True, help="the DID of the project's owner")
    command.add_argument("--project", required=True)
    command.add_argument("--node", required=True, help="the node's DID")
    command.add_argument("--client", required=True, help="the client id of the connection")
    command.set_defaults(run=connect)
    command = commands.add_parser("vectors", help="compute the test vectors from their inputs on standard input")
    command.set_defaults(run=lambda _: print(json.dumps([vector(v) for v in json.load(sys.stdin)], indent=2)) or 0)
    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
