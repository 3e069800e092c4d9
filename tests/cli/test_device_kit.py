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
            1.0, order.plan.stat().st_size, {"int8": 1}, ["a note"],
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


def _cut(kit: Path) -> None:
    (kit / "kit.json").write_text('{"schema": 1, "manifest":')


def _swap_graph(kit: Path) -> None:
    with (kit / "int8-primitives.onnx").open("ab") as file:
        file.write(b"more")


def _other_schema(kit: Path) -> None:
    record = json.loads((kit / "kit.json").read_text())
    (kit / "kit.json").write_text(json.dumps({**record, "schema": 2}))


def _unlisted_graph(kit: Path) -> None:
    record = json.loads((kit / "kit.json").read_text())
    record["graphs"][0]["file"] = "../elsewhere.onnx"
    (kit / "kit.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda kit: (kit / "kit.json").unlink(), "holds no kit.json", id="no-kit"),
        pytest.param(_cut, "is no kit", id="cut"),
        pytest.param(_swap_graph, "int8-primitives.onnx has sha256", id="graph"),
        pytest.param(_other_schema, "has schema 2", id="schema"),
        pytest.param(_unlisted_graph, "lists no ../elsewhere.onnx", id="path"),
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


def test_the_archive_is_the_sources_and_equal_every_time(kit: Path, tmp_path: Path) -> None:
    from engines.plugin_archive import archive_sources

    archive_sources(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (kit / "plugins.zip").read_bytes()


def test_golden_probes_of_a_kit_are_more_than_an_engines(kit: Path) -> None:
    with np.load(kit / "golden.npz") as probes:
        assert sum(name.startswith("image") for name in probes.files) == 16
