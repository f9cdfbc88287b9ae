#!/usr/bin/env python3
"""Compares what the C client makes with the vectors of docs/devices.md. usage: vectors.py DEVICES.MD TEST-VECTORS"""

import json
import pathlib
import re
import subprocess
import sys

text = pathlib.Path(sys.argv[1]).read_text()
vectors = json.loads(re.search(r"<!-- vectors: begin -->\n```json\n(.*?)```", text, re.DOTALL).group(1))
# secp256k1 is not in this client.
vectors = [v for v in vectors if v["algorithm"] in ("EdDSA", "ES256")]
names = ("algorithm", "secret_key", "owner", "project", "type", "sequence", "time", "salt", "did", "payload")
given = "".join(" ".join(v[name] or "-" for name in names) + "\n" for v in vectors)
made = subprocess.run([sys.argv[2]], input=given, capture_output=True, text=True, timeout=60)
if made.returncode:
    sys.exit(f"test-vectors ended with {made.returncode}: {made.stderr}")
blocks = made.stdout.split("end .\n")[:-1]
assert len(blocks) == len(vectors) >= 3, made.stdout
compared = 0
for vector, block in zip(vectors, blocks, strict=True):
    got = dict(line.split(" ", 1) for line in block.splitlines())
    did = got.pop("did_key")
    assert did.startswith("did:key:z6Mk" if vector["algorithm"] == "EdDSA" else "did:key:zDn"), did
    if vector["did"].startswith("did:key:"):
        assert did == vector["did"], did
    for name, value in got.items():
        assert value == vector[name], f"{vector['name']}: {name} is\n{value}, not\n{vector[name]}"
        compared += 1
print(f"{len(vectors)} vectors, {compared} values as published")
