"""Every full-size model, with random weights, on photographs and a clip: PyTorch's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from export.answers import torch_run
from export.lowering.cpu import lowered
from export.parts import of_part
from export.sizes import check_graph
from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import example_inputs, onnx_from_module
from export.weights import Reference, load_reference
from runtime.images import ImageSet
from runtime.pieces import in_pieces
from runtime.tasks import find_task
from tests.assets import asset

onnxruntime = pytest.importorskip("onnxruntime")

# No ONNX file holds them (export/sizes.py): as wide as they are, with so few layers that one does.
SHORTENED: dict[str, dict[str, Any]] = {"imagegpt_l": {"layers": 12}, "dalle_12b": {"layers": 2}}
GRAPHS = [
    graph
    for name, record in load_models().items()
    for graph in (name, *(f"{name}.{part}" for part in record.parts))
    if "_tiny_shapes" not in graph
]


def frames_of(folder: str, count: int) -> list[Any]:
    files = iter(ImageSet(asset(f"images/{folder}")))
    return [frame for _, (_, frame) in zip(range(count), files, strict=False)]


def items(kind: str, reference: Reference) -> list[Any]:
    """Real ones where they are pictures or clips, an example of what else there is."""
    if kind == "clips":
        return [np.stack(frames_of("video_crossing", 40))]
    if kind == "tensors" and "codes" in reference.preprocess.to_dict()["shapes"]:
        return [{"codes": np.random.default_rng(0).integers(0, 8192, 1024)}]
    if kind in ("texts", "tensors"):
        return [reference.preprocess.example]
    frames = frames_of("coco_detect", 2)
    if reference.preprocess.to_dict().get("resize") == "tiles":
        # A whole one is some 240 tiles, of 0.06 TFLOP each with IPT, which takes many minutes.
        return [frame[:120, :120] for frame in frames]
    return frames


def reference_of(spec: ModelSpec) -> Reference:
    whole = spec.whole
    shorter = {**whole.config, **SHORTENED.get(whole.name, {})}
    whole = load_reference(whole.model_copy(update={"config": shorter}), "random")
    return of_part(spec, whole) if spec.part else whole


@pytest.mark.slow
@pytest.mark.assets
@pytest.mark.parametrize("name", GRAPHS)
def test_real_pictures_give_pytorchs_answers(name: str, tmp_path: Path) -> None:
    spec = find_model(name, load_models())
    reference = reference_of(spec)
    module = spec.exported.main(reference.module)
    inputs = example_inputs(reference.preprocess)
    portable = onnx_from_module(reference.module, spec.exported, inputs)
    check_graph(name, portable)
    graph = lowered(portable)
    ir.save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(arrays: Any) -> dict[str, Any]:
        return dict(zip(names, session.run(None, dict(arrays)), strict=True))

    given = items(reference.preprocess.kind, reference)
    # One at a time, as frames of different sizes are padded to each other otherwise.
    for item in given:
        batch = reference.preprocess([item])
        found = in_pieces(run, batch.inputs, 4)
        expected = in_pieces(torch_run(module, spec.exported.outputs), batch.inputs, 4)
        for output, value in expected.items():
            assert np.isfinite(found[output]).all()
            x, y = (np.ravel(v).astype(np.float64) for v in (found[output], value))
            # Rounding of float32 sums, in another order, through up to 48 layers.
            assert x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) > 0.9999
        labels = reference.labels or [str(n) for n in range(1000)]
        predictions = find_task(spec.task).predict(found, batch, labels, 0.0)
        assert len(predictions) == 1
        json.dumps(predictions[0].as_json())
        predictions[0].entries()
