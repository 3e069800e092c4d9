"""Is this the device that a target names, with a TensorRT that serves it?"""

from __future__ import annotations

from engines.targets import Target
from engines.trt.installation import Installed, installed
from runtime.backends.tensorrt_machine import release
from runtime.errors import EngineError


def check_device(target: Target) -> Installed:
    """What is here, when it is the device that `target` names; it costs a child process.

    Without TensorRT's Python bindings ONNX Runtime's GPU providers will do.

    Raises:
        EngineError: a GPU, or what builds for it, is missing, or they are others than the target's.
    """
    here = installed()
    without_tensorrt = here.device and not here.tensorrt and onnxruntime_on_gpu()
    problems = () if without_tensorrt else here.problems
    obstacle = problems[0] if problems else serves(here, target)
    if obstacle:
        raise EngineError(f"{target.name} cannot be finished here: {obstacle}")
    return here


def onnxruntime_on_gpu() -> bool:
    """Whether an `onnxruntime` with GPU providers is installed."""
    try:
        import onnxruntime
    except (ImportError, OSError):
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def serves(here: Installed, target: Target) -> str:
    """Why this machine does not build engines for a GPU target; empty when it does."""
    gpu = target.gpu
    if gpu is None:
        return f"{target.device} needs no TensorRT; build with --target {target.name}"
    if here.compute_capability != gpu.compute_capability:
        found = here.compute_capability or "none"
        return f"compute capability is {found}, expected {gpu.compute_capability}"
    oldest, end = gpu.tensorrt
    if not here.tensorrt and onnxruntime_on_gpu():
        return ""
    if not here.tensorrt or not oldest <= release(here.tensorrt) < end:
        return (
            f"TensorRT is {here.tensorrt or 'missing'}, expected at least {_dotted(oldest)} and "
            f"less than {_dotted(end)}; install one of these"
        )
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
