from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from runtime import EngineError
from runtime.bundle import open_bundle
from runtime.signature import (
    SIGNATURE,
    check_signature,
    fingerprint,
    read_public_keys,
)
from tests.security.keys import ALICE, MALLORY, public_pem, sign, text_of

# Of RFC 8032, section 7.1: a check of the primitive that shares no code with the bundle's form.
RFC_SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def refused(bundle: Path, message: str, keys: list[str | Path | bytes] | None = None) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        open_bundle(bundle, trusted_keys=keys or [public_pem(ALICE)])
    assert "\n" not in str(caught.value)


def test_a_signed_bundle(bundle: Path, tmp_path: Path) -> None:
    sign(bundle, ALICE)
    path = tmp_path / "alice.pem"
    path.write_bytes(public_pem(ALICE))
    for keys in ([path], [str(path)], [public_pem(MALLORY), public_pem(ALICE)]):
        opened = open_bundle(bundle, trusted_keys=keys)
        assert opened.manifest_bytes == (bundle / "manifest.json").read_bytes()
    assert open_bundle(bundle).manifest == opened.manifest  # no key, no question


def test_what_is_signed_by_the_key_of_the_rfc() -> None:
    key = Ed25519PrivateKey.from_private_bytes(RFC_SECRET)
    assert key.public_key().public_bytes_raw() == RFC_PUBLIC
    text = text_of(RFC_PUBLIC, key.sign(b"vitrine bundle manifest 1\n{}"))
    assert check_signature(b"{}", text, [RFC_PUBLIC]) == RFC_PUBLIC
    # Without the line that names the use, the same bytes are signed for something else.
    elsewhere = text_of(RFC_PUBLIC, key.sign(b"{}"))
    with pytest.raises(EngineError, match=r"is not what the key .* signed"):
        check_signature(b"{}", elsewhere, [RFC_PUBLIC])


def test_openssl_verifies_what_we_sign_and_we_what_openssl_signs(
    bundle: Path, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = "openssl genpkey -algorithm ed25519 -out private.pem"
    made += " && openssl pkey -in private.pem -pubout -out public.pem"
    subprocess.run(made, shell=True, cwd=tmp_path, check=True)
    manifest = (bundle / "manifest.json").read_bytes()
    (tmp_path / "message").write_bytes(b"vitrine bundle manifest 1\n" + manifest)
    pkeyutl = ["openssl", "pkeyutl", "-rawin", "-in", "message"]
    signing = [*pkeyutl, "-sign", "-inkey", "private.pem", "-out", "theirs"]
    subprocess.run(signing, cwd=tmp_path, check=True)
    (public,) = read_public_keys([tmp_path / "public.pem"])
    theirs = (tmp_path / "theirs").read_bytes()
    assert check_signature(manifest, text_of(public, theirs), [public]) == public

    private = serialization.load_pem_private_key((tmp_path / "private.pem").read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    sign(bundle, private)
    ours = bytes.fromhex((bundle / SIGNATURE).read_text().split()[-1])
    (tmp_path / "ours").write_bytes(ours)
    verifying = [*pkeyutl, "-verify", "-pubin", "-inkey", "public.pem", "-sigfile", "ours"]
    subprocess.run(verifying, cwd=tmp_path, check=True, capture_output=True)


def test_an_unsigned_bundle(bundle: Path) -> None:
    refused(bundle, "is not signed, expected a signature by a trusted key")


def test_another_key(bundle: Path) -> None:
    sign(bundle, MALLORY)
    theirs, ours = (fingerprint(k.public_key().public_bytes_raw()) for k in (MALLORY, ALICE))
    refused(bundle, f"is by the key {theirs}, trusted are {ours}; do not use")


def test_the_name_of_a_trusted_key_over_another_signature(bundle: Path) -> None:
    manifest = (bundle / "manifest.json").read_bytes()
    forged = MALLORY.sign(b"vitrine bundle manifest 1\n" + manifest)
    text = text_of(ALICE.public_key().public_bytes_raw(), forged)
    (bundle / SIGNATURE).write_bytes(text)
    refused(bundle, r"manifest\.json is not what the key .* signed")


def test_every_changed_byte_of_a_signed_bundle(bundle: Path) -> None:
    """Of manifest and signature one bit in each byte: refused without being parsed."""
    sign(bundle, ALICE)
    for name in ("manifest.json", SIGNATURE):
        data = (bundle / name).read_bytes()
        for index in range(len(data)):
            changed = bytearray(data)
            changed[index] ^= 1 << index % 8
            (bundle / name).write_bytes(changed)
            refused(bundle, "manifest.sig is|is not what the key")
        (bundle / name).write_bytes(data)
    assert open_bundle(bundle, trusted_keys=[public_pem(ALICE)])


def test_the_signature_is_checked_before_the_manifest_is_parsed(bundle: Path) -> None:
    sign(bundle, ALICE)
    (bundle / "manifest.json").write_text("no JSON")
    refused(bundle, "is not what the key .* signed")


def test_an_equal_manifest_in_other_bytes(bundle: Path) -> None:
    sign(bundle, ALICE)
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert open_bundle(bundle)
    refused(bundle, "is not what the key .* signed")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: b"", id="empty"),
        pytest.param(lambda text: text[:-1], id="no last line break"),
        pytest.param(lambda text: text + b"\n", id="one more line"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="Windows line breaks"),
        pytest.param(lambda text: text.replace(b"signature 1", b"signature 2"), id="version"),
        pytest.param(lambda text: text.replace(b"ed25519", b"none"), id="algorithm"),
        pytest.param(lambda text: text[:100].upper() + text[100:], id="upper case"),
        pytest.param(lambda text: text + text, id="twice"),
        pytest.param(lambda text: b"\xff" * 226, id="not text"),
    ],
)
def test_signatures_of_another_form(bundle: Path, change: object) -> None:
    sign(bundle, ALICE)
    assert callable(change)
    (bundle / SIGNATURE).write_bytes(change((bundle / SIGNATURE).read_bytes()))
    refused(bundle, r"manifest\.sig is no signature of Vitrine's form")


def test_a_signature_without_end(bundle: Path) -> None:
    with (bundle / SIGNATURE).open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no space
    refused(bundle, "has more than 1024 bytes")


def test_a_signature_that_is_a_link(bundle: Path) -> None:
    sign(bundle, ALICE)
    (bundle / SIGNATURE).rename(bundle.parent / SIGNATURE)
    (bundle / SIGNATURE).symlink_to(bundle.parent / SIGNATURE)
    refused(bundle, "is not a regular file")


def private_pem(key: Ed25519PrivateKey) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return key.private_bytes(*form, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param(b"", "is no public key", id="empty"),
        pytest.param(b"\x00" * 20_000, "is no public key", id="no PEM"),
        pytest.param(private_pem(ALICE), "is a private key, which devices", id="private"),
        pytest.param(public_pem(X25519PrivateKey.generate()), "of another kind", id="X25519"),
        pytest.param("gone.pem", "gone.pem is no public key", id="missing"),
        pytest.param("/dev/zero", "is no public key .more than 16384 bytes", id="endless"),
    ],
)
def test_keys_that_are_none(bundle: Path, key: bytes | str, message: str) -> None:
    sign(bundle, ALICE)
    refused(bundle, message, [key])


def test_misuse_of_trusted_keys(bundle: Path) -> None:
    with pytest.raises(ValueError, match="trusted_keys is empty"):
        open_bundle(bundle, trusted_keys=[])
    for wrong in ("alice.pem", b"pem", Path("alice.pem"), {"alice.pem"}):
        with pytest.raises(TypeError, match="give a list"):
            open_bundle(bundle, trusted_keys=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a trusted key is a int"):
        open_bundle(bundle, trusted_keys=[3])  # type: ignore[list-item]


def test_without_cryptography(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    refused(bundle, r"need the package cryptography .*; run `pip install -e", [b"pem"])
    assert open_bundle(bundle)
