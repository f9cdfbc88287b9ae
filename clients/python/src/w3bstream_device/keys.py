"""Device keys and their DIDs."""

import base64
import json
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

_CURVES = {"ES256": ec.SECP256R1(), "ES256K": ec.SECP256K1()}
_ORDERS = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES256K": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
}
_JWK_NAMES = {"EdDSA": "Ed25519", "ES256": "P-256", "ES256K": "secp256k1"}
# Multicodec prefixes of public keys, as varints.
_MULTICODEC = {"EdDSA": b"\xed\x01", "ES256": b"\x80\x24", "ES256K": b"\xe7\x01"}
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value) -> str:
    """JSON without blanks, members in the order of the dict."""
    return json.dumps(value, separators=(",", ":"))


def _base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


class Key:
    """A private key: Ed25519 (`EdDSA`), P-256 (`ES256`) or secp256k1 (`ES256K`)."""

    def __init__(self, algorithm: str, secret: bytes):
        if algorithm not in _JWK_NAMES:
            raise ValueError(f"algorithm {algorithm!r} is not one of {', '.join(_JWK_NAMES)}")
        if len(secret) != 32:
            raise ValueError(f"a secret key has 32 bytes, not {len(secret)}")
        self.algorithm, self._secret = algorithm, secret
        if algorithm == "EdDSA":
            self._key = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
        else:
            self._key = ec.derive_private_key(int.from_bytes(secret, "big"), _CURVES[algorithm])

    @classmethod
    def generate(cls, algorithm: str = "EdDSA") -> "Key":
        """A new key. A secret above an ECDSA curve's order is drawn again."""
        while True:
            secret = os.urandom(32)
            if algorithm not in _ORDERS or 0 < int.from_bytes(secret, "big") < _ORDERS[algorithm]:
                return cls(algorithm, secret)

    @classmethod
    def load_or_make(cls, path: str, algorithm: str = "EdDSA") -> "Key":
        """The key in a file, which is made (mode 0600) if it is not there."""
        try:
            with open(path, encoding="utf-8") as file:
                saved = json.load(file)
            return cls(saved["algorithm"], bytes.fromhex(saved["secret_key"]))
        except FileNotFoundError:
            pass
        key = cls.generate(algorithm)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"algorithm": algorithm, "secret_key": key._secret.hex()}, file)
            file.flush()
            os.fsync(file.fileno())
        return key

    def sign(self, message: bytes) -> bytes:
        """64 bytes: Ed25519's signature, or r ‖ s over SHA-256 with a low s (a high one is refused on secp256k1)."""
        if self.algorithm == "EdDSA":
            return self._key.sign(message)
        der = self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(der)
        s = min(s, _ORDERS[self.algorithm] - s)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def did_key(self) -> str:
        """The did:key."""
        public, encoding = self._key.public_key(), serialization.Encoding
        if self.algorithm == "EdDSA":
            data = public.public_bytes(encoding.Raw, serialization.PublicFormat.Raw)
        else:
            data = public.public_bytes(encoding.X962, serialization.PublicFormat.CompressedPoint)
        return "did:key:z" + _base58(_MULTICODEC[self.algorithm] + data)

    def did_jwk(self) -> str:
        """The did:jwk. Its members are in lexical order; another order would be another DID."""
        public = self._key.public_key()
        name = _JWK_NAMES[self.algorithm]
        if self.algorithm == "EdDSA":
            x = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            jwk = {"crv": name, "kty": "OKP", "x": b64url(x)}
        else:
            numbers = public.public_numbers()
            x, y = (b64url(v.to_bytes(32, "big")) for v in (numbers.x, numbers.y))
            jwk = {"crv": name, "kty": "EC", "x": x, "y": y}
        return "did:jwk:" + b64url(compact(jwk).encode())
