"""The graph that a peer starts from: PyTorch's own export of the module, none of our changes."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.answers import Arrays
from export.to_onnx import OPSET, NamedOutputs


def stock_export(module: nn.Module, outputs: Sequence[str], inputs: Arrays, out: Path) -> Path:
    """`torch.onnx.export` with its defaults and a dynamic batch.

    Attention is the reference's eager form: DETR's backbone and Swin with a dynamic batch have no
    other, and on ViT-B NNCF is faster on it than on scaled_dot_product_attention's.

    Args:
        module: a `transformers` reference; left as it is.
        outputs: names of what it returns.
        inputs: one batch of at least two images, whose height and width the graph keeps.
        out: where to write.
    """
    model: Any = copy.deepcopy(module)
    model.set_attn_implementation("eager")
    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            NamedOutputs(model, tuple(outputs)).eval(), (),
            dynamo=True, opset_version=OPSET, verbose=False,
            kwargs={name: torch.from_numpy(array) for name, array in inputs.items()},
            input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes={name: {0: batch} for name in inputs},
        )  # fmt: skip
    assert program is not None
    program.save(out)
    return out
