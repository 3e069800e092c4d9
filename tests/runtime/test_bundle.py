from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runtime import Engine, EngineError
from runtime.bundle import open_bundle
from tests.runtime.bundles import CLASSIFIER


def edit(bundle: Path, **fields: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def files(bundle: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((bundle / "manifest.json").read_text())["files"]
    return found


def refused(bundle: Path, message: str) -> None:
    """Both ways in refuse it, in one line."""
    for opened in (open_bundle, Engine.load):
        with pytest.raises(EngineError, match=message) as caught:
            opened(bundle)
        assert "\n" not in str(caught.value)


def test_a_good_bundle(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("not listed, hence not used")
    opened = open_bundle(bundle)
    assert opened.manifest.model == CLASSIFIER.model
    assert opened.file("model.onnx") == bundle / "model.onnx"
    with pytest.raises(EngineError, match=r"lists no notes\.txt"):
        opened.file("notes.txt")


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_one_changed_bit(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    refused(bundle, f"{name} has sha256 .*, the manifest says .*; copy the bundle again")


def test_hashes_are_checked_before_anything_is_deserialised(bundle: Path) -> None:
    # Were the model parsed first, the back end's message would be seen instead.
    (bundle / "model.onnx").write_bytes(b"no model")
    (bundle / "golden.npz").unlink()
    refused(bundle, r"golden\.npz is missing")


def test_missing_file(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    refused(bundle, r"model\.onnx is missing; copy the bundle again or rebuild it")


def test_missing_hash(bundle: Path) -> None:
    edit(bundle, files={"golden.npz": files(bundle)["golden.npz"]})
    with pytest.raises(EngineError, match=r"lists no model\.onnx"):
        Engine.load(bundle)


@pytest.mark.parametrize("digest", ["", "0" * 64, "no hash"])
def test_wrong_hash(bundle: Path, digest: str) -> None:
    edit(bundle, files=files(bundle) | {"model.onnx": digest})
    refused(bundle, r"model\.onnx has sha256")


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "manifest.json", "C:x", "a\0b"],
)
def test_names_that_lead_elsewhere(bundle: Path, name: str) -> None:
    (bundle.parent / "secret").write_text("")
    edit(bundle, files=files(bundle) | {name: "0" * 64})
    refused(bundle, "lists a file .*expected a plain file name")


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_links(bundle: Path, name: str) -> None:
    (bundle / name).rename(bundle.parent / name)
    (bundle / name).symlink_to(bundle.parent / name)
    refused(bundle, f"{name} is not a regular file")


def test_a_pipe_does_not_block(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")
    refused(bundle, "not a regular file")


def test_no_bundle(bundle: Path, tmp_path: Path) -> None:
    refused(tmp_path / "gone", "is not a folder; give the folder of a built bundle")
    (bundle / "manifest.json").unlink()
    refused(bundle, r"manifest\.json is missing")


def test_manifests_that_are_not_text(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"\xff\xfe\x00")
    refused(bundle, "cannot be read")
    with (bundle / "manifest.json").open("wb") as file:
        file.truncate((16 << 20) + 1)  # sparse: takes no space
    refused(bundle, "has 16777217 bytes, expected at most 16777216")


def test_truncated_manifest(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text[:300])
    refused(bundle, "not JSON")


def test_newer_schema(bundle: Path) -> None:
    edit(bundle, schema=2, surprise="of a later version")
    refused(bundle, "schema 2, this runtime reads up to 1; update Vitrine")
