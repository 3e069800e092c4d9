"""`vitrine finish` and what it asks of TensorRT: orders, and failures of the real child process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engines import device_check, finish
from engines.targets import TARGETS
from export.finish import finish_here
from runtime.errors import EngineError
from tests.cli.conftest import run
from tests.cli.device import Device, finished
from tests.fakes.builder_machine import Machine


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        pytest.param(
            {"build": "none", "log": {"build": [["FAILED_ALLOCATION", "no 512 MiB"]]}},
            "Orin ran out of memory during the build, with a workspace of 2048 MiB (no 512 MiB)",
            id="memory-of-the-device",
        ),
        pytest.param(
            {"build": "SIGKILL"},
            'the TensorRT process was killed during "TensorRT: Building", most likely for want',
            id="memory-of-the-host",
        ),
        pytest.param({"starts": False}, "TensorRT 10.3.0 cannot start (", id="wrong-CUDA"),
        pytest.param(
            {"version": "8.6.2"}, "orin-jp6 cannot be finished here: TensorRT 8.6.2", id="too-old"
        ),
        pytest.param(
            {"device": ["NVIDIA A10", 8, 6]}, "compute capability is 8.6, expected 8.7", id="GPU"
        ),
    ],
)
def test_a_build_that_fails_is_one_line_and_exit_code_2(
    kit: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scenario: dict[str, Any],
    message: str,
) -> None:
    (tmp_path / "machine").mkdir()
    shapes = json.loads((kit / "kit.json").read_text())["profiles"][0]["pixel_values"]
    inputs = {"pixel_values": [-1, *shapes[0][1:]]}
    Machine(tmp_path / "machine", monkeypatch, **{"inputs": inputs, **scenario})
    monkeypatch.setattr(finish, "compile_from_archive", lambda *given: given[1].touch() or given[1])
    outcome = run("finish", kit, "--out", tmp_path / "out")
    said = [line for line in outcome.err.splitlines() if line.startswith("vitrine: ")]
    assert (outcome.code, len(said)) == (2, 1)
    assert said[0].count(message) == 1  # not once for each form of attention
    assert outcome.err.splitlines()[-1] == said[0]
    assert not list(tmp_path.glob("out/[!.]*"))


def test_ctrl_c_leaves_the_older_bundle_and_nothing_else(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = Path(finished(kit, tmp_path).json["bundle"]) / "manifest.json"
    before = older.read_bytes()

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(finish, "build_plan", interrupted)
    outcome = run("finish", kit, "--out", tmp_path)
    assert (outcome.code, outcome.err.splitlines()[-1]) == (130, "interrupted")
    assert older.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [older.parent.name]


def test_options_and_the_targets_workspace_reach_the_build_and_the_manifest(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    outcome = finished(kit, tmp_path, "--option", "version-compatible", "--option", "refit")
    assert outcome.code == 0, outcome.err
    gpu = TARGETS["orin-jp6"].gpu
    assert gpu is not None
    for order in device.orders:
        assert order.options == {"version-compatible", "refit"}
        assert order.workspace == gpu.workspace
        assert order.timing_cache == tmp_path / ".timing-cache"
    manifest = json.loads((Path(outcome.json["bundle"]) / "manifest.json").read_text())
    assert manifest["engine"]["options"] == ["refit", "version-compatible"]


def test_a_form_that_this_tensorrt_does_not_read_is_left_out(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    newer = tmp_path / "newer.kit"
    shutil.copytree(kit, newer)
    record = json.loads((newer / "kit.json").read_text())
    record["graphs"][1] |= {"form": "onnx", "tensorrt": [10, 14]}
    (newer / "kit.json").write_text(json.dumps(record))
    outcome = finished(newer, tmp_path)
    assert outcome.code == 0, outcome.err
    obstacles = {c["name"]: c["obstacle"] for c in outcome.json["candidates"]}
    assert obstacles["int8 on tensorrt (onnx)"] == "needs TensorRT 10.14, found 10.3.0"
    assert [order.onnx.name for order in device.orders] == [
        "int8-primitives.onnx", "fp16-primitives.onnx",
    ]  # fmt: skip


def test_plugins_are_compiled_with_the_headers_that_were_given(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path | None] = []

    def compile_library(*arguments: Any) -> NoReturn:
        given.append(arguments[3])
        raise EngineError("no")

    monkeypatch.setattr(finish, "compile_from_archive", compile_library)
    assert finished(kit, tmp_path, "--tensorrt-headers", str(tmp_path)).code == 0
    assert given == [tmp_path]


def test_a_kit_that_is_built_on_its_device_is_finished_and_the_device_asked_once(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(device_check, "installed", lambda: asked.append(1) or device.here)
    here = tmp_path / kit.name
    here.symlink_to(kit)
    found = finish_here(here, "orin-jp6", keep_slower=True, say=lambda _: None)
    assert found is not None
    assert found.bundle == tmp_path / "vit_tiny_shapes-int8-orin-jp6"
    assert len(asked) == 1
    assert finish_here(here, "h100", keep_slower=True, say=lambda _: None) is None
