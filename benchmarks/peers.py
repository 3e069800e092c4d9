"""The engines that others would build from the same module, as functions of input arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Mapping[str, np.ndarray]]


def torch_eager(module: nn.Module) -> Run:
    """PyTorch as it is."""

    def run(inputs: Arrays) -> Mapping[str, np.ndarray]:
        with torch.inference_mode():
            result = module(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        return {"logits": result["logits"].numpy()}

    return run


def torch_compiled(module: nn.Module) -> Run:
    """`torch.compile` with its default back end."""
    return torch_eager(torch.compile(module))


def onnxruntime_session(model: Path) -> Run:
    """ONNX Runtime with its default optimisations."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> Mapping[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def openvino_model(model: Any) -> Run:
    """OpenVINO in float32, latency hint: the settings of our own sessions."""
    import openvino as ov

    core = ov.Core()
    graph = core.read_model(model) if isinstance(model, Path) else model
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(graph, "CPU", config)

    def run(inputs: Arrays) -> Mapping[str, np.ndarray]:
        return {"logits": compiled(dict(inputs))[0]}

    return run


def quantize_static(float_model: Path, images: Iterable[Arrays], method: str, out: Path) -> Path:
    """ONNX Runtime's own static quantisation of linears: S8S8 Q/DQ, per-channel weights.

    Args:
        float_model: ONNX, float32.
        images: calibration inputs.
        method: "MinMax", "Percentile" or "Entropy".
        out: where to write.
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

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(float_model), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method),
        # Its default also quantises LayerNormalization, Add and Softmax, after which a ViT-Tiny
        # agrees with PyTorch on no image at all.
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
    )  # fmt: skip
    return out


def nncf_model(float_model: Path, images: Iterable[Arrays]) -> Any:
    """NNCF's post-training quantisation of the OpenVINO model, TRANSFORMER preset of NNCF 3."""
    import nncf
    import openvino as ov

    data = nncf.Dataset([dict(image) for image in images])
    return nncf.quantize(
        ov.Core().read_model(float_model), data, model_type=nncf.ModelType.TRANSFORMER,
        subset_size=data.get_length() or 300,
    )  # fmt: skip
