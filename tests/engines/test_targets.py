"""The table of devices, and whether a machine is the one that a target names."""

from __future__ import annotations

import pytest

from engines.device_check import serves
from engines.targets import TARGETS, TargetError, find_target
from engines.trt.installation import Installed

GPUS = [target for target in TARGETS.values() if target.gpu is not None]


def test_unknown_target_names_the_nearest() -> None:
    with pytest.raises(TargetError, match="h100, h200"):
        find_target("h1000")


# NVIDIA, "CUDA GPUs" (https://developer.nvidia.com/cuda-gpus).
@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("orin-jp6", "8.7"), ("orin-jp7", "8.7"), ("thor-jp7", "11.0"), ("t4", "7.5"),
        ("a10", "8.6"), ("l4", "8.9"), ("a100", "8.0"), ("h100", "9.0"), ("h200", "9.0"),
        ("b200", "10.0"),
    ],
)  # fmt: skip
def test_compute_capabilities_are_nvidias(name: str, capability: str) -> None:
    gpu = find_target(name).gpu
    assert gpu is not None
    assert gpu.compute_capability == capability
    # FP8 came with 8.9: Ada, Hopper, Blackwell.
    assert gpu.fp8 == (tuple(map(int, capability.split("."))) >= (8, 9))


@pytest.mark.parametrize("target", GPUS, ids=lambda target: target.name)
def test_the_opset_is_one_that_the_oldest_parser_reads(target: object) -> None:
    gpu = target.gpu  # type: ignore[attr-defined]
    # onnx-tensorrt, docs/operators.md: up to 24 in release 10.15, up to 20 in 10.1 and after.
    assert gpu.opset == (24 if gpu.tensorrt[0] >= (10, 15) else 20)


@pytest.mark.parametrize("target", GPUS, ids=lambda target: target.name)
def test_onnx_attention_is_tried_only_where_some_version_reads_it(target: object) -> None:
    gpu = target.gpu  # type: ignore[attr-defined]
    assert ("onnx" in gpu.attention) == (gpu.tensorrt[1] > (11, 0))
    assert gpu.attention[0] == "primitives"  # in which drift is measured


def machine(capability: str, tensorrt: str) -> Installed:
    return Installed(tensorrt, "12.6", "540.4.0", "a GPU", capability)


@pytest.mark.parametrize(
    ("name", "here", "said"),
    [
        pytest.param("orin-jp6", machine("8.7", "10.3.0"), "", id="jetpack-6"),
        pytest.param("orin-jp6", machine("8.7", "10.7.0.23"), "", id="upgraded"),
        pytest.param("orin-jp7", machine("8.7", "10.3.0"), "TensorRT is 10.3.0", id="older"),
        pytest.param("b200", machine("10.0", "10.7.0"), "at least 10.8", id="before-blackwell"),
        pytest.param("h100", machine("9.0", "12.0.0"), "less than 12.0", id="unknown"),
        pytest.param("h100", machine("8.0", "10.3.0"), "is 8.0, expected 9.0", id="other-gpu"),
        pytest.param("h100", machine("9.0", ""), "TensorRT is missing", id="none"),
        pytest.param("cpu", machine("9.0", "10.3.0"), "needs no TensorRT", id="cpu"),
    ],
)
def test_a_machine_serves_a_target_or_says_why_not(name: str, here: Installed, said: str) -> None:
    found = serves(here, find_target(name))
    assert said in found
    assert bool(found) == bool(said)
