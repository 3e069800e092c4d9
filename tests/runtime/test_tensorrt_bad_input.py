"""What goes wrong on a device, through the command: one line and exit code 2."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import run
from tests.fakes import tensorrt_runtime
from tests.fakes.cuda_machine import Machine
from tests.fakes.cuda_runtime import cudaError_t
from tests.fakes.tensorrt_runtime import _plan, _refused
from tests.runtime.plan_bundles import FRAMES, ORIN, write_plan_bundle

Spoil = Callable[[Path, Machine, pytest.MonkeyPatch], object]
# Of at least 4 images at once, where the command gives one.
LARGE_BATCHES = [[[4, 3, 8, 8], [4, 3, 8, 8], [8, 3, 8, 8]]]
OTHER_PLAN = _plan("mean_colour", {"pixel_values": ["FLOAT", LARGE_BATCHES]}, {"logits": "FLOAT"})
TOO_LARGE = _plan(
    "mean_colour", {"pixel_values": ["FLOAT", FRAMES]}, {"logits": "FLOAT"}, memory=2 << 30
)


def bundle(**changes: object) -> Spoil:
    """A bundle that was built for something else."""
    return lambda folder, *_: write_plan_bundle(folder, dataclasses.replace(ORIN, **changes))


def installed(version: str) -> Spoil:
    """That TensorRT on this machine, for which the bundle was built."""

    def spoil(folder: Path, machine: Machine, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(tensorrt_runtime, "__version__", version)
        write_plan_bundle(folder, dataclasses.replace(ORIN, version=version))

    return spoil


def refusing(call: str) -> Spoil:
    """A TensorRT that refuses a call."""

    def spoil(folder: Path, *_: object) -> None:
        write_plan_bundle(folder)
        _refused.add(call)

    return spoil


def missing(folder: Path, machine: Machine, patch: pytest.MonkeyPatch) -> None:
    write_plan_bundle(folder)
    patch.setitem(sys.modules, "tensorrt", None)


def no_gpu(folder: Path, machine: Machine, patch: pytest.MonkeyPatch) -> None:
    write_plan_bundle(folder)
    machine.failures["cudaGetDevice"] = cudaError_t.cudaErrorNoDevice


def no_plugins(folder: Path, *_: object) -> None:
    write_plan_bundle(folder, **{"libvitrine_plugins.so": b""})
    (folder / "libvitrine_plugins.so").unlink()


def foreign_plugins(folder: Path, *_: object) -> None:
    # An ELF header of no processor that there is.
    header = b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + (0xFFFF).to_bytes(2, "little")
    write_plan_bundle(folder, **{"libvitrine_plugins.so": header + bytes(100)})


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        pytest.param(missing, "tensorrt does not import here", id="TensorRT-missing"),
        pytest.param(installed("8.6.2"), "found TensorRT 8.6.2, this runtime", id="too-old"),
        pytest.param(installed("12.0.0"), "found TensorRT 12.0.0, this runtime", id="too-new"),
        pytest.param(
            refusing("Runtime"), "install one for the CUDA version of the driver", id="wrong-CUDA"
        ),
        pytest.param(no_gpu, "cudaErrorNoDevice", id="no-GPU"),
        pytest.param(
            bundle(version="10.13.2"), "was built for TensorRT 10.13.2", id="plan-of-a-version"
        ),
        pytest.param(
            bundle(compute_capability="11.0", device="Thor"), "capability 11.0 (Thor)",
            id="plan-of-a-GPU",
        ),
        pytest.param(
            bundle(platform="Windows-AMD64"), "(Orin) on Windows-AMD64", id="plan-of-an-OS"
        ),
        pytest.param(no_plugins, "libvitrine_plugins.so is missing", id="plugins-missing"),
        pytest.param(
            foreign_plugins, "was compiled for ELF machine 65535", id="plugins-of-a-processor"
        ),
        pytest.param(
            refusing("deserialize_cuda_engine"), "or build for smaller batches", id="memory-to-load"
        ),
        pytest.param(
            lambda folder, *_: write_plan_bundle(folder, plan=TOO_LARGE),
            "wanted 2048.0 MiB, 1024 of 1024 are free",
            id="memory-to-run",
        ),
        pytest.param(
            lambda folder, *_: write_plan_bundle(folder, plan=OTHER_PLAN),
            "the engine's profiles admit pixel_values (4, 3, 8, 8)..(8, 3, 8, 8)",
            id="outside-every-profile",
        ),
    ],
)  # fmt: skip
def test_one_line_and_exit_code_2(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, line: str
) -> None:
    spoil(tmp_path / "orin", machine, monkeypatch)
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photo)
    outcome = run("run", tmp_path / "orin", photo)
    assert (outcome.code, outcome.out) == (2, "")
    said = outcome.err.splitlines()
    assert len(said) == 1 and re.search(re.escape(line), said[0]), outcome.err
