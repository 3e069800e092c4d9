"""NNCF's post-training quantisation of the OpenVINO model, TRANSFORMER preset (`pip install nncf`).

Every function returns the OpenVINO XML file that it wrote.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
from nncf.quantization.advanced_parameters import (
    AdvancedQuantizationParameters,
    AdvancedSmoothQuantParameters,
)

from export.answers import Arrays

nncf.set_log_level(logging.ERROR)


def quantised(
    float_model: Path, images: Sequence[Arrays], out: Path, *, smooth: bool = True
) -> Path:
    """With NNCF's defaults, or without its SmoothQuant."""
    off = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    model = nncf.quantize(
        ov.Core().read_model(float_model), _dataset(images), subset_size=len(images),
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=None if smooth
        else AdvancedQuantizationParameters(smooth_quant_alphas=off),
    )  # fmt: skip
    return _saved(model, out)


def accuracy_controlled(
    float_model: Path, images: Sequence[Arrays], validation: int, max_drop: float, out: Path
) -> Path:
    """Puts layers back to float until top-1 agreement has dropped by less than `max_drop`.

    Agreement with the float model, on the last `validation` of the calibration images: other
    images are not for choosing.
    """
    core = ov.Core()
    compiled = core.compile_model(core.read_model(float_model), "CPU")
    targets = [
        {"inputs": dict(image), "class": int(compiled(dict(image))["logits"].argmax())}
        for image in images[-validation:]
    ]

    def agreement(model: Any, items: Iterable[Any]) -> tuple[float, list[float]]:
        same = [float(model(i["inputs"])["logits"].argmax() == i["class"]) for i in items]
        return float(np.mean(same)), same

    model = nncf.quantize_with_accuracy_control(
        core.read_model(float_model), _dataset(images), nncf.Dataset(targets, _inputs), agreement,
        max_drop=max_drop, subset_size=len(images), model_type=nncf.ModelType.TRANSFORMER,
    )  # fmt: skip
    return _saved(model, out)


def _inputs(item: Any) -> Any:
    return item["inputs"]


def _dataset(images: Sequence[Arrays]) -> nncf.Dataset:
    return nncf.Dataset([dict(image) for image in images])


def _saved(model: ov.Model, out: Path) -> Path:
    ov.save_model(model, out, compress_to_fp16=False)
    return out
