"""The published vectors. DEVICES_MD names docs/devices.md if the package stands outside of the repository."""

import json
import os
import pathlib
import re
import unittest

from w3bstream_device import Key, Message, key_id, project_id

DOC = pathlib.Path(os.environ.get("DEVICES_MD") or pathlib.Path(__file__).resolve().parents[3] / "docs" / "devices.md")


def vectors():
    text = DOC.read_text()
    return json.loads(re.search(r"<!-- vectors: begin -->\n```json\n(.*?)```", text, re.DOTALL).group(1))


def made(v):
    key = Key(v["algorithm"], bytes.fromhex(v["secret_key"]))
    did = key.did_jwk() if v["did"].startswith("did:jwk:") else key.did_key()
    return key, did, Message(project_id(v["owner"], v["project"]), key_id(did), v["type"], int(v["sequence"]),
                             int(v["time"]), bytes.fromhex(v["salt"]), bytes.fromhex(v["payload"]))


class Vectors(unittest.TestCase):
    def test_each_byte_is_as_published(self):
        self.assertGreaterEqual(len(vectors()), 4)
        for v in vectors():
            with self.subTest(v["name"]):
                key, did, message = made(v)
                self.assertEqual(did, v["did"])
                self.assertEqual(message.key, v["key"])
                self.assertEqual(message.audience.hex(), v["audience"])
                self.assertEqual(message.signing_input().hex(), v["signing_input"])
                self.assertEqual(key.sign(message.signing_input()).hex(), v["signature"])
                body, id = message.envelope(key)
                self.assertEqual((body.hex(), id), (v["envelope"], v["id"]))
                body, id = message.jws(key)
                self.assertEqual((body.decode(), id), (v["jws"], v["jws_id"]))

    def test_every_part_is_signed(self):
        key, _, m = made(vectors()[0])
        ids = {m.envelope(key)[1]}
        changes = [("audience", bytes(32)), ("key", m.key + "x"), ("type", "other"), ("sequence", 8), ("time", 1),
                   ("salt", bytes(16)), ("payload", b"x")]
        for name, value in changes:
            ids.add(Message(**{**vars(m), name: value}).envelope(key)[1])
        self.assertEqual(len(ids), len(changes) + 1)

    def test_nonsense_is_not_signed(self):
        _, _, m = made(vectors()[0])
        for name, value in [("type", "Upper"), ("type", ""), ("type", "x" * 64), ("salt", b""), ("audience", b"")]:
            with self.assertRaises(ValueError):
                Message(**{**vars(m), name: value})


if __name__ == "__main__":
    unittest.main()
