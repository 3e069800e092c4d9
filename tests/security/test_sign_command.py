from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from typer.testing import CliRunner

from export.cli import app
from runtime.bundle import open_bundle
from runtime.signature import SIGNATURE, fingerprint
from tests.security.keys import ALICE, MALLORY, public_pem


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def private_pem(key: Any, passphrase: str = "") -> bytes:
    encrypted: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encrypted = serialization.BestAvailableEncryption(passphrase.encode())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    pem: bytes = key.private_bytes(*form, encrypted)
    return pem


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder of alice.pem, alice.pub, mallory.pem and mallory.pub."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name, key in {"alice": ALICE, "mallory": MALLORY}.items():
        (folder / f"{name}.pem").write_bytes(private_pem(key))
        (folder / f"{name}.pub").write_bytes(public_pem(key))
    return folder


def name_of(key: Ed25519PrivateKey) -> str:
    return fingerprint(key.public_key().public_bytes_raw())


def test_sign_then_verify(bundle: Path, keys: Path) -> None:
    before = {path.name for path in bundle.iterdir()}
    signed = run("sign", bundle, "--key", keys / "alice.pem", "--json")
    assert signed.exit_code == 0, signed.stderr
    assert json.loads(signed.stdout)["key"] == name_of(ALICE)
    assert {path.name for path in bundle.iterdir()} == before | {SIGNATURE}
    assert open_bundle(bundle, trusted_keys=[keys / "alice.pub"])

    checked = run("verify", bundle, "--key", keys / "alice.pub", "--json")
    assert (checked.exit_code, json.loads(checked.stdout)) == (
        0,
        {"bundle": str(bundle), "files": 2, "verdict": "good", "key": name_of(ALICE),
         "trusted": True},
    )  # fmt: skip
    seen = run("verify", bundle)
    assert (seen.exit_code, "which --key would check" in seen.stdout) == (0, True)


def test_an_unsigned_bundle(bundle: Path, keys: Path) -> None:
    seen = run("verify", bundle)
    assert (seen.exit_code, seen.stdout.splitlines()[-1]) == (0, "not signed")
    refused = run("verify", bundle, "--key", keys / "alice.pub")
    assert (refused.exit_code, "is not signed" in refused.stderr) == (1, True)


def test_signing_again_replaces(bundle: Path, keys: Path) -> None:
    assert run("sign", bundle, "--key", keys / "mallory.pem").exit_code == 0
    other = bundle.parent / "kept"
    os.link(bundle / SIGNATURE, other)  # as a backup may have
    mallory = other.read_bytes()
    assert run("sign", bundle, "--key", keys / "alice.pem").exit_code == 0
    assert open_bundle(bundle, trusted_keys=[keys / "alice.pub"])
    assert other.read_bytes() == mallory


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", SIGNATURE])
def test_verify_says_no_to_one_changed_bit(bundle: Path, keys: Path, name: str) -> None:
    run("sign", bundle, "--key", keys / "alice.pem")
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    for with_key in ([], ["--key", keys / "alice.pub"]):
        refused = run("verify", bundle, *with_key, "--json")
        assert refused.exit_code == 1
        assert json.loads(refused.stdout)["verdict"] == "refused"
        assert len(refused.stderr.splitlines()) == 1


def test_a_damaged_bundle_is_not_signed(bundle: Path, keys: Path) -> None:
    (bundle / "golden.npz").write_bytes(b"else")
    refused = run("sign", bundle, "--key", keys / "alice.pem")
    assert (refused.exit_code, "golden.npz has sha256" in refused.stderr) == (2, True)
    assert not (bundle / SIGNATURE).exists()


def test_another_signer(bundle: Path, keys: Path) -> None:
    run("sign", bundle, "--key", keys / "mallory.pem")
    refused = run("verify", bundle, "--key", keys / "alice.pub")
    assert (refused.exit_code, f"is by the key {name_of(MALLORY)}" in refused.stderr) == (1, True)


def test_a_pipe_for_a_signature_does_not_block(bundle: Path) -> None:
    os.mkfifo(bundle / SIGNATURE)
    refused = run("verify", bundle)
    assert (refused.exit_code, "is not a regular file" in refused.stderr) == (1, True)


def test_an_encrypted_key(bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (keys / "alice.pem").write_bytes(private_pem(ALICE, "open sesame"))
    asked = run("sign", bundle, "--key", keys / "alice.pem")
    assert (asked.exit_code, "set VITRINE_KEY_PASSPHRASE" in asked.stderr) == (2, True)
    monkeypatch.setenv("VITRINE_KEY_PASSPHRASE", "open barley")
    wrong = run("sign", bundle, "--key", keys / "alice.pem")
    assert (wrong.exit_code, "has another passphrase" in wrong.stderr) == (2, True)
    monkeypatch.setenv("VITRINE_KEY_PASSPHRASE", "open sesame")
    assert run("sign", bundle, "--key", keys / "alice.pem").exit_code == 0
    assert open_bundle(bundle, trusted_keys=[keys / "alice.pub"])


def test_the_passphrase_is_asked_for_on_a_terminal(
    bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (keys / "alice.pem").write_bytes(private_pem(ALICE, "open sesame"))
    monkeypatch.delenv("VITRINE_KEY_PASSPHRASE", raising=False)
    pid, terminal = pty.fork()
    if pid == 0:
        arguments = ["sign", str(bundle), "--key", str(keys / "alice.pem")]
        os.execv(sys.executable, [sys.executable, "-m", "export.cli", *arguments])
    shown = b""
    while b"Passphrase of" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"open sesame\n")
    while part := read_until_closed(terminal):
        shown += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    assert b"sesame" not in shown
    assert open_bundle(bundle, trusted_keys=[keys / "alice.pub"])


def read_until_closed(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1000)
    except OSError:  # how Linux says that the other side is closed
        return b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["sign", "BUNDLE", "--key", "gone.pem"], "gone.pem", id="no key"),
        pytest.param(["sign", "BUNDLE", "--key", "alice.pub"], "is no private key", id="public"),
        pytest.param(["sign", "BUNDLE", "--key", "rsa.pem"], "of another kind", id="RSA"),
        pytest.param(["sign", "keys", "--key", "alice.pem"], "manifest.json is missing", id="no"),
        pytest.param(["verify", "BUNDLE", "--key", "gone.pub"], "is no public key", id="no pub"),
        pytest.param(["verify", "BUNDLE", "--key", "alice.pem"], "is a private key", id="private"),
        pytest.param(["verify", "gone"], "gone is not a folder", id="no folder"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (keys / "rsa.pem").write_bytes(private_pem(generate_private_key(65537, 2048)))
    monkeypatch.chdir(keys)
    (keys / "keys").mkdir()
    done = run(*(str(bundle) if a == "BUNDLE" else a for a in arguments))
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_written_keeps_its_signature(bundle: Path, keys: Path) -> None:
    run("sign", bundle, "--key", keys / "mallory.pem")
    (bundle / f".{SIGNATURE}.new").mkdir()  # so that the new file cannot be written, even by root
    done = run("sign", bundle, "--key", keys / "alice.pem")
    assert done.exit_code == 2
    assert open_bundle(bundle, trusted_keys=[keys / "mallory.pub"])


def test_signing_follows_no_link(bundle: Path, keys: Path) -> None:
    precious = bundle.parent / "precious"
    precious.write_text("mine")
    for name in (SIGNATURE, f".{SIGNATURE}.new"):
        (bundle / name).symlink_to(precious)
    assert run("sign", bundle, "--key", keys / "alice.pem").exit_code == 0
    assert precious.read_text() == "mine"
    assert open_bundle(bundle, trusted_keys=[keys / "alice.pub"])


def test_signing_needs_no_torch_and_runs_in_a_process(bundle: Path, keys: Path) -> None:
    code = (
        "import sys; from export.cli import app; app(standalone_mode=False); "
        "sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "sign", bundle, "--key", keys / "alice.pem"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
