"""The devices that a build can name, and what builds for each."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

_GIB = 1 << 30


class TargetError(ValueError):
    """A target that is unknown, in one line."""


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU and the software that drives it.

    Attributes:
        compute_capability: such as "8.7".
        tensorrt: (major, minor) of the oldest version that serves the device (on Jetson, the one
            that the JetPack brings), and of the first that does not any more.
        opset: the highest ONNX opset that the oldest version's parser reads.
        fp8: whether its tensor cores multiply FP8.
        attention: forms of attention to measure, see `export.lowering.for_tensorrt`.
        workspace: bytes that a build may use for scratch memory unless told otherwise.
        jetson: whether memory is shared with the CPU and TensorRT comes with JetPack.
    """

    compute_capability: str
    tensorrt: tuple[tuple[int, int], tuple[int, int]]
    opset: int
    fp8: bool
    attention: tuple[str, ...]
    workspace: int
    jetson: bool = False


@dataclass(frozen=True)
class Target:
    """A device.

    Attributes:
        name: as `--target` takes it.
        device: what it is, for people.
        backends: runtime back ends that can serve it, in the order they are tried.
        coarse_backends: others that can serve INT8, whose own rounding is small beside INT8's.
        gpu: None of a CPU.
    """

    name: str
    device: str
    backends: tuple[str, ...] = ("tensorrt",)
    coarse_backends: tuple[str, ...] = ()
    gpu: Gpu | None = None

    def backends_for(self, precision: str) -> tuple[str, ...]:
        """The back ends that a graph of that precision is tried in."""
        return self.backends + (self.coarse_backends if precision == "int8" else ())


# Versions: TensorRT's support matrices and JetPack's release notes; JetPack 6 gets no 11. The
# parser reads opset 20 up to 10.13, and knows ONNX's Attention (opset 23) from 10.14 on. 10.8 is
# the first for Blackwell's data-centre parts.
_UNKNOWN = (12, 0)  # no release of Vitrine has seen it
_SINCE_10_3 = ((10, 3), _UNKNOWN)
_OLD, _NEW = ("primitives", "plugin"), ("primitives", "plugin", "onnx")

TARGETS = {
    target.name: target
    for target in (
        Target(
            "cpu", "x86-64 or Arm CPU", ("openvino", "onnxruntime"), ("openvino-bf16",)
        ),
        Target(
            "orin-jp6", "Jetson Orin, JetPack 6.1 or 6.2",
            gpu=Gpu("8.7", ((10, 3), (11, 0)), 20, False, _OLD, 2 * _GIB, jetson=True),
        ),
        Target(
            "orin-jp7", "Jetson Orin, JetPack 7.2 or later",
            gpu=Gpu("8.7", ((10, 16), _UNKNOWN), 24, False, _NEW, 2 * _GIB, jetson=True),
        ),
        Target(
            "thor-jp7", "Jetson Thor, JetPack 7",
            gpu=Gpu("11.0", ((10, 13), _UNKNOWN), 20, True, _NEW, 4 * _GIB, jetson=True),
        ),
        Target("t4", "NVIDIA T4", gpu=Gpu("7.5", _SINCE_10_3, 20, False, _NEW, 4 * _GIB)),
        Target("a10", "NVIDIA A10", gpu=Gpu("8.6", _SINCE_10_3, 20, False, _NEW, 8 * _GIB)),
        Target("l4", "NVIDIA L4", gpu=Gpu("8.9", _SINCE_10_3, 20, True, _NEW, 8 * _GIB)),
        Target("a100", "NVIDIA A100", gpu=Gpu("8.0", _SINCE_10_3, 20, False, _NEW, 8 * _GIB)),
        Target("h100", "NVIDIA H100", gpu=Gpu("9.0", _SINCE_10_3, 20, True, _NEW, 8 * _GIB)),
        Target("h200", "NVIDIA H200", gpu=Gpu("9.0", _SINCE_10_3, 20, True, _NEW, 8 * _GIB)),
        Target(
            "b200", "NVIDIA B200", gpu=Gpu("10.0", ((10, 8), _UNKNOWN), 20, True, _NEW, 8 * _GIB)
        ),
    )
}  # fmt: skip


def find_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        TargetError: no such target.
    """
    if name not in TARGETS:
        near = difflib.get_close_matches(name, TARGETS, n=3, cutoff=0.3) or list(TARGETS)
        raise TargetError(f"unknown target {name!r}; expected one of {', '.join(near)}")
    return TARGETS[name]
