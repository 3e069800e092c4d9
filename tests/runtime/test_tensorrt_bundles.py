"""Bundles with a plan, through the public engine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Engine, EngineError
from runtime.backends.tensorrt_machine import this_platform
from runtime.manifest import EngineInfo
from tests.fakes import tensorrt_runtime
from tests.fakes.cuda_machine import Machine
from tests.fakes.tensorrt_runtime import _calls, _plan
from tests.runtime.bundles import CLASSIFIER, solid, write_bundle
from tests.runtime.plan_bundles import ORIN, PLAN, write_plan_bundle


def refused(folder: Path, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        Engine.load(folder)
    assert "\n" not in str(caught.value)


class OnDevice:
    """A float32 batch in the fake device's memory, as pycuda or CuPy would hand it in."""

    def __init__(self, machine: Machine, values: Any, offset: int = 0) -> None:
        self._machine = machine
        self._block = machine.allocate(values.nbytes + offset)
        machine.memory[self._block][offset:] = values.tobytes()
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self._block + offset, False),
            "version": 3,
            "stream": None,
        }

    def free(self) -> None:
        del self._machine.memory[self._block]


def test_golden_probes_and_predictions(machine: Machine, tmp_path: Path) -> None:
    with Engine.load(write_plan_bundle(tmp_path / "orin")) as engine:
        frames = [solid(255, 0, 0), solid(0, 0, 255, 9, 4)] * 5
        labels = [prediction.top[0].label for prediction in engine(frames)]
    assert labels == ["red", "blue"] * 5


@pytest.mark.parametrize(
    "offset", [pytest.param(0, id="in place"), pytest.param(4, id="unaligned")]
)
def test_a_batch_on_the_device(machine: Machine, tmp_path: Path, offset: int) -> None:
    values = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    with Engine.load(write_plan_bundle(tmp_path / "orin")) as engine:
        wanted = engine.infer(values)["logits"]
        batch = OnDevice(machine, values, offset)
        for _ in range(4):  # plainly, captured and replayed
            machine.calls.clear()
            found = engine.infer(batch)["logits"]
            np.testing.assert_array_equal(found, wanted)
            # One copy brings the answer; another one aligns the input.
            assert machine.calls.count("cudaMemcpyAsync") == (2 if offset else 1)
        batch.free()


def test_a_graph_never_reads_where_an_earlier_batch_was(machine: Machine, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with Engine.load(write_plan_bundle(tmp_path / "orin")) as engine:
        for _ in range(12):
            values = rng.random((2, 3, 8, 8), np.float32)
            batch = OnDevice(machine, values)
            for _ in range(3):
                found = engine.infer(batch)["logits"]
                # As the fake computes it.
                np.testing.assert_array_equal(found, values.mean((2, 3)))
            batch.free()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        pytest.param(
            np.zeros((1, 3, 8, 8), np.float64), TypeError, "pixel_values is float64", id="dtype"
        ),
        pytest.param(np.zeros((1, 3, 8, 7), np.float32), ValueError, "has shape", id="shape"),
    ],
)
def test_wrong_batches_on_the_device(
    machine: Machine, tmp_path: Path, values: Any, error: type[Exception], message: str
) -> None:
    with Engine.load(write_plan_bundle(tmp_path / "orin")) as engine:
        batch = OnDevice(machine, values)
        with pytest.raises(error, match=message):
            engine.infer(batch)
        batch.free()


def test_closing_with_a_wait_still_pending(machine: Machine, tmp_path: Path) -> None:
    with Engine.load(write_plan_bundle(tmp_path / "orin")) as engine:
        batch = OnDevice(machine, np.zeros((1, 3, 8, 7), np.float32))
        batch.__cuda_array_interface__["stream"] = 1
        with pytest.raises(ValueError, match="has shape"):
            engine.infer(batch)
        batch.free()


def test_a_closed_engine(machine: Machine, tmp_path: Path) -> None:
    engine = Engine.load(write_plan_bundle(tmp_path / "orin"))
    engine.close()
    batch = OnDevice(machine, np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(ValueError, match="the engine is closed"):
        engine.infer(batch)
    batch.free()


def test_other_back_ends_take_numpy_arrays_only(machine: Machine, bundle: Path) -> None:
    batch = OnDevice(machine, np.zeros((1, 3, 8, 8), np.float32))
    with (
        Engine.load(bundle) as engine,
        pytest.raises(
            TypeError, match="OnDevice; give a numpy array, the back end onnxruntime takes no other"
        ),
    ):
        engine.infer(batch)
    batch.free()


def test_more_frames_than_the_engine_takes_at_once(machine: Machine, tmp_path: Path) -> None:
    small = [[[1, 3, 8, 8]] * 3, [[1, 3, 8, 8], [3, 3, 8, 8], [3, 3, 8, 8]]]
    plan = _plan("mean_colour", {"pixel_values": ["FLOAT", small]}, {"logits": "FLOAT"})
    with Engine.load(write_plan_bundle(tmp_path / "small", plan=plan), max_batch=8) as engine:
        frames = [solid(255, 0, 0), solid(0, 0, 255)] * 4
        labels = [prediction.top[0].label for prediction in engine(frames)]
        assert labels == [engine(frames[:1])[0].top[0].label, labels[1]] * 4


def test_a_batch_outside_every_profile(machine: Machine, tmp_path: Path) -> None:
    with Engine.load(write_plan_bundle(tmp_path / "orin"), max_batch=16) as engine:
        with pytest.raises(EngineError, match=r"found pixel_values \(9, 3, 8, 8\), .* admit"):
            engine.infer(np.zeros((9, 3, 8, 8), np.float32))
        assert engine.infer(np.zeros((8, 3, 8, 8), np.float32))["logits"].shape[0] == 8


@pytest.mark.parametrize(
    ("built_for", "message"),
    [
        pytest.param(
            dataclasses.replace(ORIN, version="10.13.2"),
            r"for TensorRT 10\.13\.2, compute capability 8\.7 \(Orin\); found TensorRT 10\.3\.0",
            id="version",
        ),
        pytest.param(
            EngineInfo("tensorrt", "10.3.0", "Thor", "11.0"),
            r"capability 11\.0 \(Thor\); found TensorRT 10\.3\.0, 8\.7 \(Orin\) on .*: build the",
            id="device",
        ),
        pytest.param(
            dataclasses.replace(ORIN, platform="Windows-AMD64"),
            r"\(Orin\) on Windows-AMD64; found .* on Linux-",
            id="platform",
        ),
        pytest.param(
            dataclasses.replace(ORIN, version="10.13.2", options=("version-compatible",)),
            r"for TensorRT 10\.13\.2",
            id="version-compatible is not for older versions",
        ),
        pytest.param(
            dataclasses.replace(ORIN, compute_capability="8.0", options=("version-compatible",)),
            r"capability 8\.0",
            id="version-compatible is not hardware-compatible",
        ),
    ],
)
def test_a_plan_for_another_machine_is_not_deserialised(
    machine: Machine, tmp_path: Path, built_for: EngineInfo, message: str
) -> None:
    refused(write_plan_bundle(tmp_path / "other", built_for), message)
    assert _calls == []


@pytest.mark.parametrize(
    "built_for",
    [
        pytest.param(dataclasses.replace(ORIN, platform=this_platform()), id="this platform"),
        pytest.param(
            dataclasses.replace(ORIN, version="10.2.0", options=("version-compatible",)),
            id="version-compatible",
        ),
        pytest.param(
            dataclasses.replace(ORIN, compute_capability="9.0", options=("hardware-compatible",)),
            id="hardware-compatible",
        ),
    ],
)
def test_a_plan_for_this_machine_too(
    machine: Machine, tmp_path: Path, built_for: EngineInfo
) -> None:
    record = json.loads(PLAN.removeprefix(b"toy plan "))
    portable = "version-compatible" in built_for.options
    plan = b"toy plan " + json.dumps(record | {"host_code": portable}).encode()
    Engine.load(write_plan_bundle(tmp_path / "portable", built_for, plan)).close()


def test_hardware_compatible_begins_with_ampere(machine: Machine, tmp_path: Path) -> None:
    machine.properties.major, machine.properties.minor = 7, 5
    built_for = dataclasses.replace(ORIN, options=("hardware-compatible",))
    refused(write_plan_bundle(tmp_path / "turing", built_for), r"found TensorRT 10\.3\.0, 7\.5")


def test_host_code_is_not_allowed_unasked(machine: Machine, tmp_path: Path) -> None:
    record = json.loads(PLAN.removeprefix(b"toy plan "))
    plan = b"toy plan " + json.dumps(record | {"host_code": True}).encode()
    refused(write_plan_bundle(tmp_path / "orin", ORIN, plan), "engine_host_code_allowed is not set")


@pytest.mark.parametrize("version", ["10.3.0.26", "10.3.0.post12.dev1"])
def test_what_follows_the_patch_is_no_other_version(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(tensorrt_runtime, "__version__", version)
    Engine.load(write_plan_bundle(tmp_path / "orin")).close()


@pytest.mark.parametrize("version", ["8.6.2", "10.2.9", "12.0.0"])
def test_tensorrt_too_old_or_too_new(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(tensorrt_runtime, "__version__", version)
    engine = dataclasses.replace(ORIN, version=version)
    refused(
        write_plan_bundle(tmp_path / "old", engine),
        f"found TensorRT {version}, this runtime knows 10.3",
    )


def test_a_changed_plan_is_not_deserialised(machine: Machine, tmp_path: Path) -> None:
    folder = write_plan_bundle(tmp_path / "orin")
    (folder / "model.plan").write_bytes(PLAN + b" ")
    refused(folder, r"model\.plan has sha256")
    (folder / "model.plan").unlink()
    refused(folder, r"model\.plan is missing")
    assert _calls == []


def test_a_listed_plugin_library_is_looked_at_first(machine: Machine, tmp_path: Path) -> None:
    folder = write_plan_bundle(tmp_path / "orin", **{"libvitrine_plugins.so": b"no library"})
    refused(folder, r"libvitrine_plugins\.so is no Linux library")
    assert _calls == []


def test_a_bundle_without_plan(machine: Machine, tmp_path: Path) -> None:
    engine = dataclasses.replace(CLASSIFIER, engine=ORIN)
    refused(write_bundle(tmp_path / "half", engine), r"lists no model\.plan")


def test_a_device_kit(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    (folder / "kit.json").write_text("{}")
    refused(folder, "kit is a device kit, not yet a bundle; on its device, `vitrine finish ")
