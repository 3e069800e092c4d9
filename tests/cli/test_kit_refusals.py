"""What `vitrine finish` refuses: other devices, damaged kits, wrong use; one line each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engines.trt.installation import Installed
from tests.cli.conftest import run
from tests.cli.device import ORIN, Device, finished


@pytest.mark.parametrize(
    ("here", "message"),
    [
        pytest.param(
            Installed(problems=("TensorRT's Python bindings are not installed; install",)),
            "orin-jp6 cannot be finished here: TensorRT's Python bindings", id="no-tensorrt",
        ),
        pytest.param(
            replace(ORIN, compute_capability="9.0"), "capability is 9.0, expected 8.7", id="gpu",
        ),
        pytest.param(
            replace(ORIN, tensorrt="11.4.0"), "TensorRT is 11.4.0, expected at least 10.3",
            id="newer",
        ),
    ],
)  # fmt: skip
def test_another_device_is_refused_in_one_line(
    kit: Path, device: Device, tmp_path: Path, here: Installed, message: str
) -> None:
    device.here = here
    outcome = finished(kit, tmp_path)
    assert (outcome.code, len(outcome.err.strip().splitlines())) == (2, 1)
    assert message in outcome.err


def _changed(path: str, value: object) -> Callable[[Path], None]:
    """Sets one value of kit.json, given as keys and indices with dots between them."""

    def change(kit: Path) -> None:
        record = json.loads((kit / "kit.json").read_text())
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        inner = record
        for key in parents:
            inner = inner[key]
        inner[last] = value
        (kit / "kit.json").write_text(json.dumps(record))

    return change


def _written(text: str) -> Callable[[Path], None]:
    return lambda kit: (kit / "kit.json").write_text(text) and None


def _swap_graph(kit: Path) -> None:
    with (kit / "int8-primitives.onnx").open("ab") as file:
        file.write(b"more")


def _unlist(name: str) -> Callable[[Path], None]:
    def unlist(kit: Path) -> None:
        record = json.loads((kit / "kit.json").read_text())
        del record["manifest"]["files"][name]
        (kit / "kit.json").write_text(json.dumps(record))

    return unlist


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda kit: (kit / "kit.json").unlink(), "holds no kit.json", id="no-kit"),
        pytest.param(_written('{"schema": 1, "manifest":'), "is no kit", id="cut"),
        pytest.param(_written("[]"), "expected an object", id="list"),
        pytest.param(_written("[" * 100_000), "is no kit", id="deep"),
        pytest.param(_swap_graph, "int8-primitives.onnx has sha256", id="graph"),
        pytest.param(_changed("schema", 2), "found schema 2", id="schema"),
        pytest.param(_changed("name", "../../elsewhere"), "a plain file name", id="name"),
        pytest.param(_changed("graphs.0.file", "../elsewhere.onnx"), "a plain file", id="path"),
        pytest.param(_changed("graphs.0.file", None), "a plain file name", id="file-type"),
        pytest.param(_changed("graphs.0.form", ["plugin"]), "expected one of", id="form"),
        pytest.param(_changed("graphs.0.precision", "int4"), "expected one of", id="precision"),
        pytest.param(_changed("graphs.0.wanted", 1), "true or false", id="wanted"),
        pytest.param(_changed("graphs.0.nodes", ["other"]), "of the precision map", id="nodes"),
        pytest.param(_changed("graphs.0.precision_map", {"n": {}}), "a type and why", id="map"),
        pytest.param(_changed("graphs.0.tensorrt", "10.3"), "is no kit", id="version"),
        pytest.param(_changed("graphs", []), "a list that is not empty", id="no-graphs"),
        pytest.param(_changed("profiles", [None]), "expected an object", id="profile"),
        pytest.param(_changed("profiles", [{}]), "shapes of ['pixel_values']", id="no-shapes"),
        pytest.param(_changed("batches", [5]), "found 5, expected 1 to 4", id="large-batch"),
        pytest.param(_changed("batches", [1e400]), "is no kit", id="infinite-batch"),
        pytest.param(_changed("evidence", {}), "evidence of ['int8']", id="no-evidence"),
        pytest.param(
            _changed("graphs.0.form", "quantised"),
            "evidence of ['int8-quantised']",
            id="no-evidence-of-int8-attention",
        ),
        pytest.param(_changed("manifest.model", 3), "model is 3", id="manifest"),
        pytest.param(_unlist("golden.npz"), "a sha256 of ['golden.npz']", id="no-probes"),
        pytest.param(_unlist("plugins.zip"), "a sha256 of ['plugins.zip']", id="no-sources"),
    ],
)
def test_a_damaged_kit_is_refused_in_one_line(
    kit: Path, device: Device, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    copy = tmp_path / "copy.kit"
    shutil.copytree(kit, copy)
    damage(copy)
    outcome = finished(copy, tmp_path)
    assert (outcome.code, len(outcome.err.strip().splitlines())) == (2, 1)
    assert message in outcome.err
    assert not device.orders


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--option", "strip"), "found --option strip, expected one of", id="strip"),
        pytest.param(("--option", "magic"), "found --option magic, expected one of", id="unknown"),
        pytest.param(("--out", "{kit}"), "is inside the kit", id="into-the-kit"),
        pytest.param(("--out", "{kit}/kit.json/x"), "is inside the kit", id="below-the-kit"),
        pytest.param(("--out", "/proc/nowhere"), "cannot be written", id="unwritable"),
    ],
)
def test_wrong_use_of_finish(
    kit: Path, device: Device, arguments: tuple[str, ...], message: str
) -> None:
    given = [argument.format(kit=kit) for argument in arguments]
    outcome = run("finish", kit, *given)
    assert (outcome.code, len(outcome.err.strip().splitlines())) == (2, 1)
    assert message in outcome.err
    assert not device.orders


def test_a_bundle_is_finished_already(kit: Path, device: Device, tmp_path: Path) -> None:
    bundle = Path(finished(kit, tmp_path).json["bundle"])
    outcome = finished(bundle, tmp_path / "again")
    assert outcome.code == 2
    assert "is a bundle already" in outcome.err
