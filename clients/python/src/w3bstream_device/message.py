"""What is signed and what travels: docs/devices.md, forms 1 and 2."""

import hashlib
import re
from dataclasses import dataclass

from .keys import Key, b64url, compact

ENVELOPE = "application/vnd.w3bstream.envelope"
JWS = "application/jose"
_TYPE = re.compile(r"[a-z0-9-]{1,63}")


def tagged(tag: str, *parts: bytes) -> bytes:
    """H(tag, parts…): SHA-256 over each part behind its length as 8 bytes, big-endian."""
    h = hashlib.sha256()
    for part in (tag.encode(), *parts):
        h.update(len(part).to_bytes(8, "big") + part)
    return h.digest()


def project_id(owner: str, project: str) -> bytes:
    """The audience: 32 bytes."""
    return tagged("w3b/project/1", owner.encode(), project.encode())


def key_id(did: str) -> str:
    """The DID URL of a DID's only key."""
    return did + "#" + (did.removeprefix("did:key:") if did.startswith("did:key:") else "0")


def _cbor_head(major: int, n: int) -> bytes:
    """The shortest head of a CBOR item (RFC 8949)."""
    if n < 24:
        return bytes([major << 5 | n])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << 8 * size:
            return bytes([major << 5 | code]) + n.to_bytes(size, "big")
    raise ValueError("a number has at most 64 bits")


def _cbor(item) -> bytes:
    if isinstance(item, int):
        return _cbor_head(0, item)
    if isinstance(item, bytes):
        return _cbor_head(2, len(item)) + item
    if isinstance(item, str):
        return _cbor_head(3, len(item.encode())) + item.encode()
    return _cbor_head(4, len(item)) + b"".join(map(_cbor, item))


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


@dataclass(frozen=True)
class Message:
    """One message before it is signed. `sequence` is boot epoch × 2^32 + counter; `time` is in milliseconds, 0 without
    a clock; `salt` is 16 random bytes, never used twice."""

    audience: bytes
    key: str
    type: str
    sequence: int
    time: int
    salt: bytes
    payload: bytes

    def __post_init__(self):
        if not _TYPE.fullmatch(self.type):
            raise ValueError(f"the event type {self.type!r} is not [a-z0-9-]{{1,63}}")
        if len(self.audience) != 32 or len(self.salt) != 16:
            raise ValueError("an audience has 32 bytes and a salt 16")

    def signing_input(self) -> bytes:
        """The bytes that an envelope's signature is over."""
        digest = tagged("w3b/payload/1", self.salt, self.payload)
        return _cbor(["w3b/message", 1, self.audience, self.key, self.type, self.sequence, self.time, digest])

    def envelope(self, key: Key) -> tuple[bytes, str]:
        """The protobuf envelope, and the message's id in hex."""
        signed = self.signing_input()
        fields = (1, self.audience, self.key, self.type, self.sequence, self.time, self.salt, self.payload, key.sign(signed))
        out = b""
        for number, value in enumerate(fields, 1):
            if not value:
                continue
            if isinstance(value, int):
                out += _varint(number << 3) + _varint(value)
            else:
                value = value.encode() if isinstance(value, str) else value
                out += _varint(number << 3 | 2) + _varint(len(value)) + value
        return out, tagged("w3b/message/1", signed).hex()

    def jws(self, key: Key) -> tuple[bytes, str]:
        """The compact JWS, and the message's id in hex. The time is cut to seconds and the salt is not used."""
        header = {"alg": key.algorithm, "kid": self.key, "typ": "w3b+jws"}
        claims = {
            "aud": self.audience.hex(),
            "data": b64url(self.payload),
            "iat": self.time // 1000,
            "seq": str(self.sequence),
            "type": self.type,
        }
        signed = f"{b64url(compact(header).encode())}.{b64url(compact(claims).encode())}".encode()
        return signed + b"." + b64url(key.sign(signed)).encode(), tagged("w3b/message/1", signed).hex()
