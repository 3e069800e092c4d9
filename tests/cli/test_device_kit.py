"""`vitrine build --target DEVICE` and `vitrine finish`, with ONNX Runtime in TensorRT's place.

A stand-in "plan" is the graph itself and its "engine" ONNX Runtime, so everything around TensorRT
is the real thing: the kit and its hashes, probes, latency, choice and bundle.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import device_check, finish, trials
from engines.tensorrt import Plan, PlanOrder
from engines.trt.installation import Installed
from runtime import Engine, EngineError
from runtime.backends import open_session
from runtime.manifest import EngineInfo
from tests.cli.conftest import Outcome, run

ROOT = Path(__file__).resolve().parents[2]
onnxruntime = pytest.importorskip("onnxruntime")
ORIN = Installed("10.3.0", "12.6", "540.4.0", "Orin", "8.7", jetson=True)


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tiny ViT, INT8, with few images."""
    folder = tmp_path_factory.mktemp("kit")
    render = [sys.executable, "-m", "shapes.render", str(folder / "images")]
    options = ["--task", "classification", "--images", "40", "--seed", "3"]
    subprocess.run([*render, *options], check=True, cwd=ROOT)
    outcome = run(
        "build", "--model", "vit_tiny_shapes", "--precision", "int8", "--target", "orin-jp6",
        "--calibration", folder / "images", "--images", "16", "--max-batch", "4",
        "--out", folder, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return Path(outcome.json["bundle"])


@dataclass
class Device:
    """What stands in for a Jetson, and what it was asked to build."""

    here: Installed = ORIN
    orders: list[PlanOrder] = field(default_factory=list)
    broken: str = ""  # part of the file name of a graph whose engine computes something else
    fastest: str = ""  # likewise; every other engine waits

    def build_plan(self, order: PlanOrder, say: Callable[[str], None]) -> Plan:
        self.orders.append(order)
        shutil.copyfile(order.onnx, order.plan)
        return Plan(
            order.plan, self.here.tensorrt, self.here.device, self.here.compute_capability,
            1.0, order.plan.stat().st_size, {"int8": 1}, ["a note"], 12,
        )  # fmt: skip

    def open_session(
        self, backend: str, model: Path, *, plugins: tuple[Path, ...], built_for: EngineInfo
    ) -> Any:
        assert built_for.backend == backend
        assert built_for.version == (self.here.tensorrt or onnxruntime.__version__)
        assert bool(plugins) == ("plugin" in model.name)
        # ONNX Runtime does not know the plugins; the primitive form computes the same.
        session = open_session(
            "onnxruntime", model.with_stem(model.stem.replace("plugin", "primitives"))
        )
        if self.broken and self.broken in model.name:
            right = session.run
            session.run = lambda inputs: {k: -v for k, v in right(inputs).items()}  # type: ignore[method-assign]
        if self.fastest and self.fastest not in model.name:
            quick = session.run
            session.run = lambda inputs: (time.sleep(0.03), quick(inputs))[1]  # type: ignore[method-assign]
        return session


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    found = Device()

    def compile_library(archive: Path, library: Path, *_: object) -> Path:
        raise EngineError("nvcc is not installed; run `sudo apt install cuda-nvcc`")

    monkeypatch.setattr(device_check, "installed", lambda: found.here)
    monkeypatch.setattr(finish, "build_plan", found.build_plan)
    monkeypatch.setattr(trials, "open_session", found.open_session)
    monkeypatch.setattr(finish, "compile_from_archive", compile_library)
    return found


def finished(kit: Path, out: Path, *more: str) -> Outcome:
    return run("finish", kit, "--out", out, "--keep-slower", "--json", *more)


def test_a_kit_holds_everything_but_an_engine_and_hashes_it(kit: Path) -> None:
    record = json.loads((kit / "kit.json").read_text())
    assert set(record["manifest"]["files"]) == {f.name for f in kit.iterdir()} - {"kit.json"}
    assert {f.name for f in kit.glob("*.onnx")} == {
        "int8-primitives.onnx", "int8-plugin.onnx", "fp16-primitives.onnx",
    }  # fmt: skip
    assert {"golden.npz", "plugins.zip", "precision_map.yaml", "drift.json", "report.html"} <= set(
        record["manifest"]["files"]
    )
    assert [graph["wanted"] for graph in record["graphs"]] == [True, True, False]


def test_a_kit_is_no_bundle(kit: Path) -> None:
    with pytest.raises(EngineError, match=r"device kit, not yet a bundle.*vitrine finish"):
        Engine.load(kit)


def test_finishing_makes_a_bundle_of_the_fastest_engine_that_is_right(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    outcome = finished(kit, tmp_path)
    assert outcome.code == 0, outcome.err
    record = outcome.json
    assert [c["name"] for c in record["candidates"]] == [
        "int8 on tensorrt (primitives)",
        "int8 on tensorrt (plugin)",
        "fp16 on tensorrt (primitives)",
    ]
    assert "nvcc is not installed" in record["candidates"][1]["obstacle"]
    assert set(record["candidates"][0]["latency_ms"]) == {"1", "4"}
    bundle = Path(record["bundle"])
    assert bundle == tmp_path / "vit_tiny_shapes-int8-orin-jp6"
    assert {f.name for f in bundle.iterdir()} == {
        "manifest.json", "model.onnx", "model.plan", "golden.npz", "drift.json", "report.html",
        "precision_map.yaml",
    }  # fmt: skip
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["engine"] == {
        "backend": "tensorrt", "version": "10.3.0", "device": "Orin", "compute_capability": "8.7",
        "platform": f"{platform.system()}-{platform.machine()}", "options": [],
    }  # fmt: skip
    assert manifest["latency"]["plan"]["notes"] == ["a note"]
    fused = "12 layers are fused attention, by their kernels' names"
    assert record["notes"] == ["a note", fused]
    assert (bundle / "model.onnx").read_bytes() == (kit / "int8-primitives.onnx").read_bytes()


def test_an_engine_with_plugins_keeps_their_library(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compile_library(archive: Path, library: Path, capability: str, *_: object) -> Path:
        asked.append((archive.name, capability))
        library.write_bytes(b"compiled")
        return library

    monkeypatch.setattr(finish, "compile_from_archive", compile_library)
    device.fastest = "plugin"
    outcome = finished(kit, tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.json["kept"].startswith("int8 on tensorrt (plugin)")
    assert asked == [("plugins.zip", "8.7")]
    bundle = Path(outcome.json["bundle"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {"model.plan", "libvitrine_plugins.so"} <= set(manifest["files"])
    assert not list(bundle.glob("*-*.plan"))
    assert (bundle / "model.onnx").read_bytes() == (kit / "int8-plugin.onnx").read_bytes()


def test_the_device_is_asked_for_what_the_graphs_say(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    assert finished(kit, tmp_path, "--workspace", "512", "--optimisation-level", "5").code == 0
    int8, fp16 = device.orders
    assert int8.workspace == 512 << 20
    assert int8.optimisation_level == 5
    assert [p.shapes["pixel_values"][2][0] for p in int8.profiles] == [1, 4]
    assert set(int8.precision_map.values()) <= {"int8", "fp16", "fp32"}
    linears = {name for name, kind in int8.precision_map.items() if kind == "int8"}
    assert "vit.layers.0.mlp.fc1" in linears
    assert set(fp16.precision_map.values()) <= {"fp16", "fp32"}


def test_without_tensorrt_onnx_runtimes_gpu_providers_will_do(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.here = replace(ORIN, tensorrt="", problems=("TensorRT is not installed; install it",))
    monkeypatch.setattr(device_check, "onnxruntime_on_gpu", lambda: True)
    outcome = finished(kit, tmp_path)
    assert outcome.code == 0, outcome.err
    assert [c["name"] for c in outcome.json["candidates"]] == [
        f"{precision} on {backend} (primitives)"
        for precision in ("int8", "fp16")
        for backend in ("onnxruntime-tensorrt", "onnxruntime-cuda")
    ]
    bundle = Path(outcome.json["bundle"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["engine"]["backend"].startswith("onnxruntime-")
    assert manifest["engine"]["version"] == onnxruntime.__version__
    assert "model.plan" not in manifest["files"]
    assert not device.orders


def test_an_engine_that_fails_its_probes_is_not_kept(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    device.broken = "int8-primitives"
    outcome = finished(kit, tmp_path)
    assert outcome.code == 2
    assert re.search(
        r"int8 on tensorrt \(primitives\): golden probe \d+ gives cosine -", outcome.err
    )
    assert not list(tmp_path.glob("*/manifest.json"))


def test_int8_that_is_slower_than_float_is_refused(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "faster_float", lambda kept, candidates: "it takes 2 ms")
    outcome = run("finish", kit, "--out", tmp_path, "--json")
    assert outcome.code == 1
    assert outcome.json["refused"] == "it takes 2 ms"
    assert outcome.json["bundle"].endswith(".rejected")


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


def test_another_precision_of_the_kit_has_its_own_evidence(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    # As of a build with --precision auto, whose FP16 may be kept too.
    copy = tmp_path / "auto.kit"
    shutil.copytree(kit, copy)
    record = json.loads((copy / "kit.json").read_text())
    record["name"] = "vit_tiny_shapes-auto-orin-jp6"
    record["graphs"][2]["wanted"] = True
    drift = {**record["evidence"]["int8"]["drift"], "verdict": "inconclusive"}
    record["evidence"]["fp16"] = {"drift": drift, "min_cosine": 0.25}
    (copy / "kit.json").write_text(json.dumps(record))
    device.fastest = "fp16"
    outcome = finished(copy, tmp_path)
    assert outcome.code == 0, outcome.err
    bundle = Path(outcome.json["bundle"])
    assert bundle.name == "vit_tiny_shapes-auto-orin-jp6"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (manifest["precision"], manifest["golden"]["min_cosine"]) == ("fp16", 0.25)
    assert manifest["drift"] == json.loads((bundle / "drift.json").read_text()) == drift
    assert not (bundle / "precision_map.yaml").exists()  # the int8 graph's


@pytest.mark.slow
def test_a_precision_that_auto_leaves_out_is_said(kit: Path, tmp_path: Path) -> None:
    outcome = run(
        "build", "--model", "vit_tiny_shapes", "--precision", "auto", "--target", "h100",
        "--calibration", kit.parent / "images", "--images", "8", "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "no int8 in the kit: 8 calibration images cannot show" in outcome.err
    record = json.loads((tmp_path / "vit_tiny_shapes-auto-h100.kit" / "kit.json").read_text())
    assert {graph["precision"] for graph in record["graphs"]} == {"fp16"}
    assert set(record["evidence"]) == {"fp16"}
    assert record["manifest"]["drift"] == record["evidence"]["fp16"]["drift"]


def test_the_archive_is_the_sources_and_equal_every_time(kit: Path, tmp_path: Path) -> None:
    from engines.plugin_archive import archive_sources

    archive_sources(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (kit / "plugins.zip").read_bytes()


def test_golden_probes_of_a_kit_are_more_than_an_engines(kit: Path) -> None:
    with np.load(kit / "golden.npz") as probes:
        assert sum(name.startswith("image") for name in probes.files) == 16
