"""`vitrine sign` and `vitrine verify`: who made a bundle, and whether it has changed since."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from export.console import DONE, REFUSED, note, print_json, user_errors

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "VITRINE_KEY_PASSPHRASE"
"""The environment variable that holds the passphrase of an encrypted key."""

Bundle = Annotated[Path, typer.Argument(help="A bundle's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def sign(
    bundle: Bundle,
    key: Annotated[Path, typer.Option(help="Ed25519 private key, a PEM file.")],
    json: Json = False,
) -> None:
    """Check a bundle and sign it; a signature that it has already is replaced.

    The passphrase of an encrypted key is read from VITRINE_KEY_PASSPHRASE, or asked for.
    """
    with user_errors(json):
        from runtime.bundle import open_bundle, open_parts
        from runtime.signature import SIGNATURE, fingerprint, sign_manifest

        private = _read_private_key(key)
        opened = open_bundle(bundle)
        open_parts(opened)
        text = sign_manifest(opened.manifest_bytes, private)
        target = bundle / SIGNATURE
        temporary = target.with_name(f".{SIGNATURE}.new")
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:  # follows no link that lies there
                file.write(text)
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    signer = fingerprint(private.public_key().public_bytes_raw())
    record = {"bundle": str(bundle), "files": len(opened.manifest.files)}
    _show({**record, "key": signer, "signature": str(target)}, json)


def verify(
    bundle: Bundle,
    key: Annotated[
        Path | None, typer.Option(help="Ed25519 public key, a PEM file, that must have signed.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every file's hash and the signature, without loading the model.

    Without a key, a signature shows that nothing was changed since, but not who signed.
    """
    with user_errors(json):
        from runtime.bundle import open_bundle, open_parts
        from runtime.errors import EngineError
        from runtime.signature import (
            SIGNATURE,
            fingerprint,
            read_public_keys,
            require_cryptography,
        )

        trusted = None if key is None else [str(key)]
        # What is wrong so far is the user's mistake (exit code 2), what follows the bundle's (1).
        if trusted is not None:
            read_public_keys(trusted)
        elif (bundle / SIGNATURE).exists():
            require_cryptography()
        if not bundle.is_dir():
            raise EngineError(f"{bundle} is not a folder; give the folder of a built bundle")
        try:
            opened = open_bundle(bundle, trusted_keys=trusted)
            open_parts(opened)
            signer = opened.signer()
        except EngineError as error:
            if json:
                print_json({"bundle": str(bundle), "verdict": "refused", "error": str(error)})
            note(f"vitrine: {error}")
            sys.exit(REFUSED)
    record = {"bundle": str(bundle), "files": len(opened.manifest.files), "verdict": "good"}
    signed_by = None if signer is None else fingerprint(signer)
    _show({**record, "key": signed_by, "trusted": trusted is not None}, json)
    sys.exit(DONE)


def _show(record: dict[str, Any], json: bool) -> None:
    if json:
        print_json(record)
        return
    print(f"{record['bundle']}: {record['files']} files are what the manifest says")
    if record["key"] is None:
        print("not signed")
    elif "signature" in record:
        print(f"signed by the key {record['key']}: {record['signature']}")
    else:
        how = "which you trust" if record["trusted"] else "which --key would check"
        print(f"signed by the key {record['key']}, {how}")


def _read_private_key(path: Path) -> Ed25519PrivateKey:
    from runtime.errors import EngineError, one_line
    from runtime.signature import require_cryptography

    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    wanted = "give an Ed25519 private key in PEM (`openssl genpkey -algorithm ed25519`)"
    pem = path.read_bytes()
    try:
        try:
            key = serialization.load_pem_private_key(pem, None)
        except TypeError:  # it is encrypted
            key = serialization.load_pem_private_key(pem, _passphrase(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EngineError(
            f"{path} is no private key, or has another passphrase ({one_line(error)}); {wanted}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise EngineError(f"{path} is a key of another kind ({type(key).__name__}); {wanted}")
    return key


def _passphrase(path: Path) -> bytes:
    from runtime.errors import EngineError

    given = os.environ.get(PASSPHRASE)
    if given is None and sys.stdin.isatty():
        given = getpass.getpass(f"Passphrase of {path}: ")
    if not given:
        raise EngineError(f"{path} is encrypted; set {PASSPHRASE} to its passphrase")
    return given.encode()
