"""Ed25519 signatures (RFC 8032) of a manifest, which holds the hash of every other file.

What is signed is a line that names this use, so that the signature means nothing elsewhere,
followed by the exact bytes of manifest.json. manifest.sig is three lines of ASCII:

    vitrine signature 1
    key <the public key's 32 bytes in hexadecimal>
    ed25519 <the signature's 64 bytes in hexadecimal>
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import EngineError, one_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "manifest.sig"
_PURPOSE = b"vitrine bundle manifest 1\n"
_FORM = re.compile(rb"vitrine signature 1\nkey ([0-9a-f]{64})\ned25519 ([0-9a-f]{128})\n")
_LARGEST_KEY = 1 << 14  # bytes of a PEM file; an Ed25519 key has 113


def sign_manifest(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The contents of manifest.sig for these bytes of manifest.json."""
    public, signature = key.public_key().public_bytes_raw(), key.sign(_PURPOSE + manifest)
    return f"vitrine signature 1\nkey {public.hex()}\ned25519 {signature.hex()}\n".encode()


def fingerprint(key: bytes) -> str:
    """A short name of a public key: the first 16 digits of its sha256."""
    return hashlib.sha256(key).hexdigest()[:16]


def require_cryptography() -> None:
    """Raise `EngineError` where the package that signatures need is not installed."""
    try:
        import cryptography.exceptions  # noqa: F401
    except ImportError as error:
        raise EngineError(
            f"signatures need the package cryptography ({one_line(error)}); run "
            '`pip install -e ".[sign]"`'
        ) from error


def read_public_keys(keys: Sequence[str | Path | bytes]) -> tuple[bytes, ...]:
    """The 32 bytes of each Ed25519 public key.

    Args:
        keys: paths of PEM files, or the bytes of such files.

    Raises:
        TypeError, ValueError: no sequence, or an empty one, which would trust nobody.
        EngineError: one cannot be read or is no such key, or `cryptography` is not installed.
    """
    if isinstance(keys, str | Path | bytes) or not isinstance(keys, Sequence):
        raise TypeError(f"trusted_keys is a {type(keys).__name__}; give a list of PEM files")
    if not keys:
        raise ValueError("trusted_keys is empty; give at least one key, or None to trust anybody")
    return tuple(_read_public_key(key) for key in keys)


def check_signature(
    manifest: bytes, text: bytes, trusted: Collection[bytes] | None = None
) -> bytes:
    """Check the contents of manifest.sig.

    Args:
        manifest: the bytes of manifest.json.
        text: of manifest.sig.
        trusted: public keys as `read_public_keys` gives them; None accepts the one that the
            signature names, which says that nothing was changed, not who signed.

    Returns:
        The public key that signed.

    Raises:
        EngineError: not a signature, one by another key, or of other bytes.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise EngineError(
            f"{SIGNATURE} is no signature of Vitrine's form; do not use this bundle, or sign it "
            "again with `vitrine sign`"
        )
    key, signature = (bytes.fromhex(part.decode()) for part in found.groups())
    if trusted is not None and key not in trusted:
        raise EngineError(
            f"{SIGNATURE} is by the key {fingerprint(key)}, trusted are "
            f"{', '.join(map(fingerprint, trusted))}; do not use this bundle, or trust that key"
        )
    require_cryptography()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _PURPOSE + manifest)
    except (InvalidSignature, ValueError) as error:
        raise EngineError(
            f"manifest.json is not what the key {fingerprint(key)} signed; copy the bundle again "
            "or do not use it"
        ) from error
    return key


def _read_public_key(source: str | Path | bytes) -> bytes:
    if not isinstance(source, str | Path | bytes):
        raise TypeError(f"a trusted key is a {type(source).__name__}; give a path, or PEM as bytes")
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name = "a trusted key" if isinstance(source, bytes) else str(source)
    wanted = "give an Ed25519 public key in PEM (`openssl pkey -in private.pem -pubout`)"
    try:
        pem = source if isinstance(source, bytes) else _contents(Path(source))
        if b"PRIVATE KEY" in pem:
            raise EngineError(f"{name} is a private key, which devices must not have; {wanted}")
        key = serialization.load_pem_public_key(pem)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise EngineError(f"{name} is no public key ({one_line(error)}); {wanted}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise EngineError(f"{name} is a key of another kind ({type(key).__name__}); {wanted}")
    return key.public_bytes_raw()


def _contents(path: Path) -> bytes:
    """Of a file that is small enough to be a key."""
    with path.open("rb") as file:
        data = file.read(_LARGEST_KEY + 1)
    if len(data) > _LARGEST_KEY:
        raise ValueError(f"more than {_LARGEST_KEY} bytes")
    return data
