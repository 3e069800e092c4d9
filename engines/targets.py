"""The devices that a build can name, and what builds for each."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


class TargetError(ValueError):
    """A target that is unknown or that this release cannot build for, in one line."""


@dataclass(frozen=True)
class Target:
    """A device.

    Attributes:
        name: as `--target` takes it.
        backends: runtime back ends that can serve it, in the order they are tried.
        device: what it is, for people.
        coarse_backends: others that can serve INT8, whose own rounding is small beside INT8's.
    """

    name: str
    backends: tuple[str, ...]
    device: str
    coarse_backends: tuple[str, ...] = ()

    def backends_for(self, precision: str) -> tuple[str, ...]:
        """The back ends that a graph of that precision is tried in."""
        return self.backends + (self.coarse_backends if precision == "int8" else ())


TARGETS = {
    target.name: target
    for target in (
        Target("cpu", ("openvino", "onnxruntime"), "x86-64 or Arm CPU", ("openvino-bf16",)),
        Target("orin-jp6", (), "Jetson Orin, JetPack 6"),
        Target("orin-jp7", (), "Jetson Orin, JetPack 7"),
        Target("thor-jp7", (), "Jetson Thor, JetPack 7"),
        Target("t4", (), "NVIDIA T4"),
        Target("a10", (), "NVIDIA A10"),
        Target("l4", (), "NVIDIA L4"),
        Target("a100", (), "NVIDIA A100"),
        Target("h100", (), "NVIDIA H100"),
        Target("h200", (), "NVIDIA H200"),
        Target("b200", (), "NVIDIA B200"),
    )
}


def find_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        TargetError: no such target, or none of this release's builders serves it.
    """
    if name not in TARGETS:
        near = difflib.get_close_matches(name, TARGETS, n=3, cutoff=0.3) or list(TARGETS)
        raise TargetError(f"unknown target {name!r}; expected one of {', '.join(near)}")
    target = TARGETS[name]
    if not target.backends:
        raise TargetError(
            f"target {name} ({target.device}) needs the TensorRT builder, which this release does "
            "not have yet; build with --target cpu, whose model.onnx is the same typed graph"
        )
    return target
