"""What others would build from the same module or float graph: engines, and quantised files.

NNCF is in `nncf_peer.py`, which imports it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from benchmarks.ours import stacked
from calibration.linears import find_linears
from export.answers import Arrays, Run, torch_run
from runtime.backends import open_session

_WORKER = Path(__file__).with_name("modelopt_worker.py")


def torch_compiled(module: nn.Module, outputs: Sequence[str]) -> Run:
    """`torch.compile` with its default back end, compiled anew for every input shape."""
    return torch_run(torch.compile(module, dynamic=False), outputs)  # type: ignore[arg-type]


def engine(backend: str, file: Path) -> Run:
    """A file in a back end, with the settings of our own sessions.

    Args:
        backend: "openvino" (float32, latency hint), "onnxruntime", or "as written": ONNX Runtime
            without graph optimisations.
        file: ONNX, or OpenVINO's XML for "openvino".
    """
    if backend == "as written":
        return open_session("onnxruntime", file, faithful=True).run
    return open_session(backend, file).run


def quantize_static(float_model: Path, images: Sequence[Arrays], out: Path) -> Path:
    """ONNX Runtime's static quantisation of linears: S8S8 Q/DQ, per-channel weights, MinMax.

    Percentile and Entropy keep every activation (over 16 GB for 200 images of a ViT-Tiny). Its
    defaults also quantise LayerNormalization, Add, attention products and what linears return,
    after which a ViT-Tiny agrees with PyTorch on few images or none.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> Any:
            return next(self._images, None)

    kinds = ["Conv", "Gemm", "MatMul"]
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(float_model), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax, op_types_to_quantize=kinds,
        nodes_to_quantize=_linears(prepared),
        extra_options={"OpTypesToExcludeOutputQuantization": kinds},
    )  # fmt: skip
    return out


def modelopt(
    python: Path, float_model: Path, images: Sequence[Arrays], out: Path, *, linears_only: bool
) -> Path:
    """NVIDIA ModelOpt's ONNX quantisation, in an environment of its own.

    Args:
        python: interpreter of an environment that has `nvidia-modelopt[onnx]`.
        float_model: ONNX, float32.
        images: calibration inputs, all of one size.
        out: where to write.
        linears_only: leave everything else float; otherwise ModelOpt chooses.

    Raises:
        RuntimeError: the worker failed; its last line.
    """
    nodes = _linears(float_model) if linears_only else []
    folder = out.with_suffix(".calibration")
    folder.mkdir()
    for name, array in stacked(images).items():
        np.save(folder / f"{name}.npy", array)
    command = [python, _WORKER, float_model, folder, out, *nodes]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    for file in folder.iterdir():
        file.unlink()
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"modelopt failed with exit code {done.returncode}: {last}")
    return out


def _linears(file: Path) -> list[str]:
    """The nodes that our own int8 may take."""
    return [linear.name for linear in find_linears(ir.load(file)) if linear.obstacle() is None]
