"""Two signers, and signing without the command."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from runtime.signature import SIGNATURE, sign_manifest

ALICE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MALLORY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))


def public_pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    """The public half, as `openssl pkey -pubout` writes it."""
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form)


def sign(bundle: Path, key: Ed25519PrivateKey) -> None:
    """Write the signature of a bundle's manifest."""
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / SIGNATURE).write_bytes(sign_manifest(manifest, key))


def text_of(key: bytes, signature: bytes) -> bytes:
    """What manifest.sig looks like, written down a second time."""
    return b"vitrine signature 1\nkey %b\ned25519 %b\n" % (
        key.hex().encode(),
        signature.hex().encode(),
    )
