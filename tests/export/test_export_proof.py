"""Every family: three independent runtimes compute what the original PyTorch module does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from exported_models import Exported
from onnx.reference import ReferenceEvaluator
from tiny_models import TINY, inputs, reference_outputs

onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

Outputs = Mapping[str, np.ndarray]
Run = Callable[[dict[str, np.ndarray]], Outputs]

# float32 sums in another order: a few units in the last place for each of some twenty layers.
# Measured at most 5e-6 on outputs of order 1; an error in any weight or bias shows above 1e-2.
TOLERANCE = 5e-5
BATCHES = [1, 2, 3, 8]


@cache
def onnxruntime_run(exported: Exported) -> Run:
    session = onnxruntime.InferenceSession(
        exported.proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))


@cache
def reference_run(exported: Exported) -> Run:
    evaluator = ReferenceEvaluator(exported.proto)
    return lambda feed: dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))


@cache
def openvino_run(exported: Exported) -> Run:
    # Without the hint this back end may compute in bfloat16.
    core, options = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    model = core.read_model(exported.inlined.SerializeToString())
    compiled = core.compile_model(model, "CPU", options)
    names = [output.any_name for output in compiled.outputs]
    return lambda feed: {name: compiled(feed)[name] for name in names}


RUNTIMES = [
    pytest.param(onnxruntime_run, id="onnxruntime"),
    pytest.param(reference_run, id="onnx-reference"),
    pytest.param(openvino_run, id="openvino"),
]


def assert_equal_to_pytorch(
    exported: Exported, run: Run, batch: int, size: tuple[int, int] | None = None
) -> None:
    tensors = inputs(exported.tiny, batch, size, seed=batch)
    expected = reference_outputs(exported.module, exported.tiny, tensors)
    found = run({name: tensor.numpy() for name, tensor in tensors.items()})
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=TOLERANCE, rtol=0, err_msg=name)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_batch_equals_pytorch(exported: Exported, runtime: Callable[..., Run]) -> None:
    run = runtime(exported)
    for batch in BATCHES:
        assert_equal_to_pytorch(exported, run, batch)


def test_a_batch_that_was_never_traced_runs(exported: Exported) -> None:
    assert_equal_to_pytorch(exported, onnxruntime_run(exported), 5)


def test_the_reference_is_left_as_it_was(exported: Exported) -> None:
    fresh, tensors = exported.tiny.module(), inputs(exported.tiny, 2)
    expected = reference_outputs(fresh, exported.tiny, tensors)
    found = reference_outputs(exported.module, exported.tiny, tensors)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_outputs_depend_on_the_input(exported: Exported) -> None:
    # Otherwise the comparisons above would say little.
    outputs = reference_outputs(exported.module, exported.tiny, inputs(exported.tiny, 3))
    for array in outputs.values():
        assert array.std(axis=0).mean() > 0.02


def test_checker_accepts_the_file(exported: Exported) -> None:
    onnx.checker.check_model(exported.proto, full_check=True)


@pytest.mark.parametrize(
    "size",
    [(64, 96), (96, 64), (65, 64), (71, 93), (33, 40), (128, 47)],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_detr_takes_any_size(
    export_tiny: Callable[[str], Exported], runtime: Callable[..., Run], size: tuple[int, int]
) -> None:
    exported = export_tiny("detr")
    run = runtime(exported)
    for batch in (1, 2):
        assert_equal_to_pytorch(exported, run, batch, size)


def test_detr_answers_for_a_padded_image_as_pytorch_does(
    export_tiny: Callable[[str], Exported],
) -> None:
    exported = export_tiny("detr")
    small = inputs(TINY["detr"], 1, (48, 40), seed=3)
    pixels, mask = torch.zeros(2, 3, 72, 88), torch.zeros(2, 72, 88, dtype=torch.int64)
    pixels[0, :, :48, :40], mask[0, :48, :40] = small["pixel_values"][0], 1
    pixels[1], mask[1] = inputs(TINY["detr"], 1, (72, 88), seed=4)["pixel_values"][0], 1
    batch = {"pixel_values": pixels, "pixel_mask": mask}
    expected = reference_outputs(exported.module, exported.tiny, batch)
    run = onnxruntime_run(exported)
    found = run({name: tensor.numpy() for name, tensor in batch.items()})
    for name, array in expected.items():
        np.testing.assert_allclose(found[name][0], array[0], atol=TOLERANCE, rtol=0)

    # What lies under the mask is not looked at by the encoder, only by the convolutions at the
    # border; without the mask the answer is another one.
    unmasked = {"pixel_values": pixels.numpy(), "pixel_mask": np.ones_like(mask.numpy())}
    assert np.abs(run(unmasked)["logits"][0] - found["logits"][0]).max() > 100 * TOLERANCE
