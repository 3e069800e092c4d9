"""Kinds of TensorRT engine that trade speed or size for something else, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import EngineError

if TYPE_CHECKING:
    import tensorrt as trt

    from engines.trt.installation import Installed

_FIRST_COMPATIBLE = (8, 0)  # compute capability that AMPERE_PLUS begins with


@dataclass(frozen=True)
class Option:
    """One kind of engine.

    Attributes:
        flag: the `BuilderFlag` that asks for it; empty for the hardware compatibility level.
        cost: what it costs, said in the build's notes.
    """

    flag: str
    cost: str


OPTIONS = {
    "version-compatible": Option(
        "VERSION_COMPATIBLE",
        "version-compatible: also runs on later TensorRT versions; the plan carries a lean runtime "
        "and only that runtime's kernels, so it is larger and can be slower; it holds host code, "
        "so whoever loads it must set engine_host_code_allowed and trust its hash",
    ),
    "hardware-compatible": Option(
        "",
        "hardware-compatible: also runs on other GPUs from compute capability 8.0 on, with the "
        "kernels that all of them have, so it can be slower than an engine for this GPU alone",
    ),
    "refit": Option(
        "REFIT",
        "refit: weights can be exchanged later (OnnxParserRefitter.refit_from_file); constants "
        "are not folded into each other, so the engine can be slower and larger",
    ),
    "strip": Option(
        "STRIP_PLAN",
        "strip: the plan holds no weights and computes nothing until it is refitted from its "
        "model.onnx (OnnxParserRefitter.refit_from_file) after every load, which takes time",
    ),
}


def apply_options(
    options: frozenset[str], config: trt.IBuilderConfig, here: Installed
) -> list[str]:
    """Sets the flags of `options`.

    Returns:
        What they cost, a line each.

    Raises:
        EngineError: this TensorRT or this GPU does not have one of them.
    """
    import tensorrt as trt

    for name in sorted(options):
        flag = OPTIONS[name].flag
        if not flag:
            _allow_other_gpus(config, here)
        elif hasattr(trt.BuilderFlag, flag):
            config.set_flag(getattr(trt.BuilderFlag, flag))
        else:
            raise EngineError(f"TensorRT {here.tensorrt} has no {name} engines; leave it out")
    return [OPTIONS[name].cost for name in sorted(options)]


def _allow_other_gpus(config: trt.IBuilderConfig, here: Installed) -> None:
    import tensorrt as trt

    remedy = "leave hardware-compatible out and build on each kind of GPU"
    if here.jetson:
        raise EngineError(f"{here.device} is a Jetson, whose engines run on no other GPU; {remedy}")
    capability = tuple(int(part) for part in here.compute_capability.split("."))
    if capability < _FIRST_COMPATIBLE:
        raise EngineError(
            f"{here.device} has compute capability {here.compute_capability}, hardware-compatible "
            f"engines begin with 8.0; {remedy}"
        )
    config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
