from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest

from runtime import Engine, EngineError
from runtime.bundle import file_sha256, open_bundle
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
    [
        *("../secret", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "C:x", "a\0b", " a", "a\n"),
        *("manifest.json", "manifest.sig", "kit.json", "Manifest.JSON", "MODEL.onnx"),
        *(".hidden", "-option", "\u00fc", "\u202egpj.exe", "x" * 202),
    ],
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


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_pipe_does_not_block(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    refused(bundle, "not a regular file")


def test_a_folder_for_a_file(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").mkdir()
    refused(bundle, "not a regular file")


def test_a_socket_for_a_file(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle / "model.onnx").unlink()
    monkeypatch.chdir(bundle)  # the name of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("model.onnx")
        refused(bundle, "not a regular file")


def test_further_hard_links_are_no_harm(bundle: Path) -> None:
    os.link(bundle / "model.onnx", bundle.parent / "backup")
    with Engine.load(bundle) as engine:
        assert engine.manifest.model == CLASSIFIER.model


def test_a_folder_may_be_linked(bundle: Path) -> None:
    (bundle.parent / "current").symlink_to(bundle)
    assert open_bundle(bundle.parent / "current").manifest.model == CLASSIFIER.model


def test_more_files_than_any_bundle_has(bundle: Path) -> None:
    edit(bundle, files={f"file{n}": "0" * 64 for n in range(257)})
    refused(bundle, "lists 257 files, expected at most 256")


def test_files_larger_than_any_bundle_has(bundle: Path) -> None:
    for name in ("model.onnx", "golden.npz"):
        with (bundle / name).open("wb") as file:
            file.truncate(5 << 30)  # sparse: takes no space, but would take time to hash
    refused(bundle, "files of 10737418240 bytes, expected at most 8589934592")


def test_the_model_is_looked_through_before_a_back_end_sees_it(bundle: Path) -> None:
    path = bundle / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\xf8\x07\x00")
    edit(bundle, files=files(bundle) | {"model.onnx": file_sha256(path)})
    refused(bundle, r"model\.onnx is no model as Vitrine writes them .unknown field 127")


def test_external_data_in_a_file_of_the_bundle(bundle: Path) -> None:
    path = bundle / "model.onnx"
    model = onnx.load(path)
    model.graph.node[0].output[0] = "mean"
    model.graph.node.append(onnx.helper.make_node("Add", ["mean", "zeros"], ["logits"]))
    zeros = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "zeros")
    model.graph.initializer.append(zeros)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    listed = {"model.onnx": file_sha256(path)}
    edit(bundle, files=files(bundle) | listed)
    refused(bundle, "external data lies in 'weights.bin', which the manifest does not list")
    listed["weights.bin"] = file_sha256(bundle / "weights.bin")
    edit(bundle, files=files(bundle) | listed)
    with Engine.load(bundle) as engine:  # which runs the golden probes
        assert engine.manifest.files["weights.bin"] == listed["weights.bin"]


def test_a_signature_that_nobody_asked_for_is_not_looked_at(bundle: Path) -> None:
    (bundle / "manifest.sig").write_text("no signature")
    opened = open_bundle(bundle)
    with pytest.raises(EngineError, match=r"manifest\.sig is no signature"):
        opened.signer()


def test_no_bundle(bundle: Path, tmp_path: Path) -> None:
    refused(tmp_path / "gone", "is not a folder; give the folder of a built bundle")
    (bundle / "manifest.json").unlink()
    refused(bundle, r"manifest\.json is missing")
    report = bundle.rename(bundle.with_name("swin_t-int8-cpu.rejected"))
    refused(report, "is a build that was refused, its report.html says why")


def test_manifests_that_are_not_text(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"\xff\xfe\x00")
    refused(bundle, "cannot be read")
    with (bundle / "manifest.json").open("wb") as file:
        file.truncate((4 << 20) + 1)  # sparse: takes no space
    refused(bundle, "has more than 4194304 bytes")


def test_truncated_manifest(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text[:300])
    refused(bundle, "not JSON")


def test_newer_schema(bundle: Path) -> None:
    edit(bundle, schema=2, surprise="of a later version")
    refused(bundle, "schema 2, this runtime reads up to 1; update Vitrine")
