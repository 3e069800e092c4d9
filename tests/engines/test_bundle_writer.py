"""Half a bundle is never loadable, and an old one outlives a failed build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.bundle_writer import BuildConflictError, open_writer
from runtime import Preprocess
from runtime.bundle import file_sha256
from runtime.manifest import EngineInfo, GoldenInfo, Manifest, TensorInfo

MANIFEST = Manifest(
    model="m", task="classification", precision="fp32", target="cpu",
    engine=EngineInfo("onnxruntime", "1", "cpu"), files={},
    inputs=(TensorInfo("pixel_values", "float32", ("batch", 3, 4, 4)),),
    outputs=(TensorInfo("logits", "float32", ("batch", 2)),),
    preprocess=Preprocess(size=4), labels=("a", "b"), golden=GoldenInfo(0.9, 1),
)  # fmt: skip


def write(folder: Path, text: str) -> Path:
    with open_writer(folder) as writer:
        writer.path("model.onnx").write_text(text)
        return writer.finish(MANIFEST)


def test_finish_hashes_every_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", "graph")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files == {"model.onnx": file_sha256(folder / "model.onnx")}
    # sha256sum of the five letters
    assert files["model.onnx"].startswith("eef93e1d14482804")


def test_a_failed_build_leaves_the_old_bundle_and_no_debris(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", "old")
    with pytest.raises(RuntimeError), open_writer(folder) as writer:
        writer.path("model.onnx").write_text("new")
        raise RuntimeError
    assert (folder / "model.onnx").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["b"]


def test_a_rejected_build_keeps_its_report_and_the_old_bundle(tmp_path: Path) -> None:
    folder = write(tmp_path / "b", "old")
    with open_writer(folder) as writer:
        writer.path("report.html").write_text("why")
        rejected = writer.reject()
    assert (folder / "model.onnx").read_text() == "old"
    assert sorted(p.name for p in rejected.iterdir()) == ["report.html"]


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with open_writer(tmp_path / "b"):
        second = open_writer(tmp_path / "b")
        with pytest.raises(BuildConflictError, match="another build of b"), second:
            pass
        with open_writer(tmp_path / "c"):
            pass
    with open_writer(tmp_path / "b"):
        pass
