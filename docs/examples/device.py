#!/usr/bin/env python3
"""A device in Python: makes a key, signs messages, sends them over HTTP. Needs PyPI `cryptography` 43 or newer.

    device.py new device.json [--algorithm EdDSA|ES256|ES256K]
    device.py send device.json --url http://127.0.0.1:8889 --owner DID --project NAME --type TYPE DATA
    device.py vectors < inputs.json      # computes docs/devices.md's vectors from their inputs

docs/devices.md explains each step.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

CURVES = {"ES256": ec.SECP256R1(), "ES256K": ec.SECP256K1()}
ORDERS = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES256K": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
}
MULTICODEC = {"EdDSA": b"\xed\x01", "ES256": b"\x80\x24", "ES256K": b"\xe7\x01"}


def tagged(tag: str, *parts: bytes) -> bytes:
    """H(tag, parts…): SHA-256 over each part behind its length."""
    h = hashlib.sha256()
    for part in (tag.encode(), *parts):
        h.update(len(part).to_bytes(8, "big") + part)
    return h.digest()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def base58(data: bytes) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = alphabet[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


class Key:
    """A private key and its two DIDs."""

    def __init__(self, algorithm: str, secret: bytes):
        self.algorithm = algorithm
        if algorithm == "EdDSA":
            self.key = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
        else:
            self.key = ec.derive_private_key(int.from_bytes(secret, "big"), CURVES[algorithm])

    def sign(self, message: bytes) -> bytes:
        if self.algorithm == "EdDSA":
            return self.key.sign(message)
        der = self.key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(der)
        # A high s is refused on secp256k1.
        s = min(s, ORDERS[self.algorithm] - s)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def did_key(self) -> str:
        public, raw = self.key.public_key(), serialization.Encoding
        if self.algorithm == "EdDSA":
            data = public.public_bytes(raw.Raw, serialization.PublicFormat.Raw)
        else:
            data = public.public_bytes(raw.X962, serialization.PublicFormat.CompressedPoint)
        return "did:key:z" + base58(MULTICODEC[self.algorithm] + data)

    def did_jwk(self) -> str:
        public = self.key.public_key()
        if self.algorithm == "EdDSA":
            x = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64url(x)}
        else:
            n = public.public_numbers()
            curve = {"ES256": "P-256", "ES256K": "secp256k1"}[self.algorithm]
            x, y = (b64url(v.to_bytes(32, "big")) for v in (n.x, n.y))
            jwk = {"crv": curve, "kty": "EC", "x": x, "y": y}
        return "did:jwk:" + b64url(compact(jwk).encode())


def key_id(did: str) -> str:
    return did + "#" + (did.removeprefix("did:key:") if did.startswith("did:key:") else "0")


def compact(value) -> str:
    return json.dumps(value, separators=(",", ":"))


def project_id(owner: str, project: str) -> bytes:
    return tagged("w3b/project/1", owner.encode(), project.encode())


def cbor_head(major: int, n: int) -> bytes:
    """The shortest head of a CBOR item."""
    if n < 24:
        return bytes([major << 5 | n])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << 8 * size:
            return bytes([major << 5 | code]) + n.to_bytes(size, "big")
    raise ValueError("a number has at most 64 bits")


def cbor(item) -> bytes:
    if isinstance(item, int):
        return cbor_head(0, item)
    if isinstance(item, bytes):
        return cbor_head(2, len(item)) + item
    if isinstance(item, str):
        return cbor_head(3, len(item.encode())) + item.encode()
    return cbor_head(4, len(item)) + b"".join(map(cbor, item))


def signing_input(m: dict) -> bytes:
    digest = tagged("w3b/payload/1", m["salt"], m["payload"])
    return cbor(["w3b/message", 1, m["audience"], m["key"], m["type"], m["sequence"], m["time"], digest])


def varint(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def protobuf(m: dict, signature: bytes) -> bytes:
    out = b""
    fields = (1, m["audience"], m["key"], m["type"], m["sequence"], m["time"], m["salt"], m["payload"], signature)
    for number, value in enumerate(fields, 1):
        if not value:
            continue
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def jws(key: Key, m: dict) -> str:
    header = {"alg": key.algorithm, "kid": m["key"], "typ": "w3b+jws"}
    claims = {
        "aud": m["audience"].hex(),
        "data": b64url(m["payload"]),
        "iat": m["time"] // 1000,
        "seq": str(m["sequence"]),
        "type": m["type"],
    }
    text = b64url(compact(header).encode()) + "." + b64url(compact(claims).encode())
    return text + "." + b64url(key.sign(text.encode()))


def vector(given: dict) -> dict:
    key = Key(given["algorithm"], bytes.fromhex(given["secret_key"]))
    did = key.did_jwk() if given["did"].startswith("did:jwk:") else key.did_key()
    message = {
        "audience": project_id(given["owner"], given["project"]),
        "key": key_id(did),
        "type": given["type"],
        "sequence": int(given["sequence"]),
        "time": int(given["time"]),
        "salt": bytes.fromhex(given["salt"]),
        "payload": bytes.fromhex(given["payload"]),
    }
    signed = signing_input(message)
    signature = key.sign(signed)
    text = jws(key, message)
    inputs = ("name", "algorithm", "secret_key", "owner", "project", "type", "sequence", "time", "salt", "payload")
    return {name: given[name] for name in inputs} | {
        "did": did,
        "key": message["key"],
        "audience": message["audience"].hex(),
        "payload_digest": tagged("w3b/payload/1", message["salt"], message["payload"]).hex(),
        "signing_input": signed.hex(),
        "signature": signature.hex(),
        "id": tagged("w3b/message/1", signed).hex(),
        "envelope": protobuf(message, signature).hex(),
        "jws": text,
        "jws_id": tagged("w3b/message/1", text.rsplit(".", 1)[0].encode()).hex(),
    }


def store(path: str, state: dict) -> None:
    """Writes the device's state so that a crash leaves the old or the new one."""
    with open(path + ".new", "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        json.dump(state, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def post(url: str, content_type: str, body: bytes) -> tuple[int, dict, float]:
    """Returns status, body, and after how many seconds to try again (0: never)."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer), 0
    except urllib.error.HTTPError as refused:
        wait = float(refused.headers.get("Retry-After", 1)) if refused.code in (408, 503, 504) else 0
        try:
            return refused.code, json.load(refused), wait
        except ValueError:
            return refused.code, {"code": "none", "detail": refused.reason}, wait
    except OSError as unreachable:
        return 0, {"code": "unreachable", "detail": str(unreachable)}, 1


def deliver(args, content_type: str, body: bytes) -> tuple[int, dict]:
    """Sends the same bytes until they are accepted or refused for ever."""
    url = f"{args.url}/v1/projects/{args.project}/events"
    for _ in range(args.tries):
        status, answer, wait = post(url, content_type, body)
        if not wait:
            break
        print(f"{answer.get('code')}: {answer.get('detail')}; trying again", file=sys.stderr)
        time.sleep(wait)
    return status, answer


def send(args) -> int:
    with open(args.keyfile) as file:
        state = json.load(file)
    key = Key(state["algorithm"], bytes.fromhex(state["secret_key"]))
    for attempt in range(2):
        message = {
            "audience": project_id(args.owner, args.project),
            "key": key_id(key.did_key()),
            "type": args.type,
            "sequence": state["epoch"] << 32 | state["counter"],
            "time": int(time.time() * 1000),
            "salt": os.urandom(16),
            "payload": args.data.encode(),
        }
        # The number is used up before the message leaves: it must never stand in two messages.
        state["counter"] += 1
        store(args.keyfile, state)
        if args.form == "jws":
            status, answer = deliver(args, "application/jose", jws(key, message).encode())
        else:
            body = protobuf(message, key.sign(signing_input(message)))
            status, answer = deliver(args, "application/vnd.w3bstream.envelope", body)
        if attempt == 0 and answer.get("code") in ("too-old", "conflict"):
            # The device has lost its counter: it goes on in the next boot epoch.
            state["epoch"], state["counter"] = answer.get("next_epoch", state["epoch"] + 1), 0
            continue
        break
    print(json.dumps(answer))
    return 0 if status in (200, 201) else 1


def new(args) -> int:
    secret = os.urandom(32)
    key = Key(args.algorithm, secret)
    if os.path.exists(args.keyfile):
        sys.exit(f"{args.keyfile} is there already; a device's key is not overwritten")
    store(args.keyfile, {"algorithm": args.algorithm, "secret_key": secret.hex(), "epoch": 0, "counter": 0})
    print(key.did_key())
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="a device that signs its messages")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("new", help="make a key")
    command.add_argument("keyfile")
    command.add_argument("--algorithm", choices=list(MULTICODEC), default="EdDSA")
    command.set_defaults(run=new)
    command = commands.add_parser("send", help="sign a message and send it over HTTP")
    command.add_argument("keyfile")
    command.add_argument("--url", default="http://127.0.0.1:8889")
    command.add_argument("--owner", required=True, help="the DID of the project's owner")
    command.add_argument("--project", required=True)
    command.add_argument("--type", default="default")
    command.add_argument("--form", choices=["envelope", "jws"], default="envelope")
    command.add_argument("--tries", type=int, default=10)
    command.add_argument("data")
    command.set_defaults(run=send)
    command = commands.add_parser("vectors", help="compute the test vectors from their inputs on standard input")
    command.set_defaults(run=lambda _: print(json.dumps([vector(v) for v in json.load(sys.stdin)], indent=2)) or 0)
    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
