"""iGPT's graphs, of all pixels and of one more, against each other and PyTorch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from imagegpt_models import (
    COLOURS,
    FAMILY,
    HEADS,
    LAYERS,
    PIXELS,
    SIDE,
    TOLERANCE,
    VARIANTS,
    WIDTH,
    model,
    pixels,
)

from export.samples import Sample
from export.to_onnx import onnx_from_module
from export.weights import Reference
from export.zoo.imagegpt import ImageGpt, ImageGptStep
from runtime.colours import Colours
from runtime.generation import GREEDY, continued
from runtime.tensors import Tensors

onnxruntime = pytest.importorskip("onnxruntime")


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_pixel_after_another_gives_what_all_at_once_give(variant: str) -> None:
    module, tokens = model(variant), pixels(3)
    step = ImageGptStep(module)
    whole = module(tokens)
    cache = torch.randn_like(whole["cache"])  # what is not yet there must not matter
    before = torch.full((3, 1), COLOURS)
    for place in range(PIXELS):
        outputs = step(before, torch.full((3,), place), cache)
        torch.testing.assert_close(
            outputs["logits"], whole["logits"][:, place], atol=TOLERANCE, rtol=1e-5
        )
        cache[:, :, :, place], before = outputs["news"], tokens[:, place : place + 1]
    torch.testing.assert_close(cache, whole["cache"], atol=TOLERANCE, rtol=1e-5)


@pytest.fixture(scope="module")
def graphs() -> tuple[ImageGpt, dict[str, ir.Model]]:
    """Both graphs of a model."""
    module = model("published")
    with torch.no_grad():
        cache = module(pixels(2))["cache"]
    inputs = {
        "whole": (FAMILY, {"input_ids": pixels(2)}),
        "step": (
            FAMILY.of_part("step"),
            {"input_ids": pixels(2)[:, :1], "position": torch.tensor([3, 5]), "cache": cache},
        ),
    }
    return module, {k: onnx_from_module(module, *given) for k, given in inputs.items()}


def session(graph: ir.Model) -> Any:
    return onnxruntime.InferenceSession(
        ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(opened: Any, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(None, feed), strict=True))


def test_the_graphs_have_fixed_axes_but_the_batch(
    graphs: tuple[ImageGpt, dict[str, ir.Model]],
) -> None:
    def shapes(graph: ir.Model) -> dict[str, list[str]]:
        values = (*graph.graph.inputs, *graph.graph.outputs)
        return {value.name: [str(axis) for axis in value.shape] for value in values}

    cache = ["batch", str(2 * LAYERS), str(HEADS), str(PIXELS), str(WIDTH // HEADS)]
    assert shapes(graphs[1]["whole"]) == {
        "input_ids": ["batch", str(PIXELS)],
        "logits": ["batch", str(PIXELS), str(COLOURS)],
        "features": ["batch", str(WIDTH)],
        "cache": cache,
    }
    assert shapes(graphs[1]["step"]) == {
        "input_ids": ["batch", "1"],
        "position": ["batch"],
        "cache": cache,
        "logits": ["batch", str(COLOURS)],
        "news": [*cache[:3], cache[4]],
    }
    for graph in graphs[1].values():
        operators = Counter(node.op_type for node in graph.graph)
        assert operators["FusedAttention"] == LAYERS and operators["Softmax"] == 0


@torch.no_grad()
def test_every_batch_of_both_graphs_equals_pytorch(
    graphs: tuple[ImageGpt, dict[str, ir.Model]],
) -> None:
    module, exported = graphs
    whole, step = (session(exported[name]) for name in ("whole", "step"))
    for batch in (1, 3):
        tokens = pixels(batch, seed=batch)
        expected = module(tokens)
        found = run(whole, {"input_ids": tokens.numpy()})
        for name in FAMILY.outputs:
            np.testing.assert_allclose(found[name], expected[name], atol=TOLERANCE, rtol=1e-5)
        places = torch.arange(batch) * 7 + 1  # another one in each image
        cache = expected["cache"].clone()
        for row, place in enumerate(places):
            cache[row, :, :, place:] = 9.0
        before = tokens.gather(1, places[:, None] - 1)
        feed = {"input_ids": before, "position": places, "cache": cache}
        found = run(step, {name: tensor.numpy() for name, tensor in feed.items()})
        rows = torch.arange(batch)
        for name, wanted in (
            ("logits", expected["logits"][rows, places]),
            ("news", expected["cache"][rows, :, :, places]),
        ):
            np.testing.assert_allclose(found[name], wanted, atol=TOLERANCE, rtol=1e-5)


@torch.no_grad()
def test_a_greedy_completion_is_pytorchs(graphs: tuple[ImageGpt, dict[str, ir.Model]]) -> None:
    """Both graphs in ONNX Runtime, against whole forward passes of PyTorch for every pixel."""
    module, exported = graphs
    whole, step = (session(exported[name]) for name in ("whole", "step"))
    tokens, half = pixels(2), PIXELS // 2
    outputs = run(whole, {"input_ids": tokens.numpy()})
    found = continued(
        lambda inputs: run(step, dict(inputs)), outputs["logits"][:, half], outputs["cache"],
        half, PIXELS - half, GREEDY,
    )  # fmt: skip
    expected = tokens.clone()
    for place in range(half, PIXELS):
        expected[:, place] = module(expected)["logits"][:, place].argmax(-1)
    assert found.tolist() == expected[:, half:].tolist()
    assert found.tolist() != tokens[:, half:].tolist()


@torch.no_grad()
def test_samples_of_the_step_are_places_of_images() -> None:
    module = model()
    colours = Colours(size=SIDE, clusters=[[i * 30] for i in range(COLOURS)])
    frames = [np.full((9, 9, 3), 7 * i, np.uint8) for i in range(6)]
    samples = [Sample(f"{i}.png", lambda f=f: f) for i, f in enumerate(frames)]
    reference = Reference(module, colours, ())
    found = FAMILY.parts["step"].samples(reference, samples)
    shapes = {"input_ids": (1,), "position": (), "cache": (2 * LAYERS, HEADS, PIXELS, 8)}
    inputs = Tensors(shapes=shapes, integers=("input_ids", "position"))
    batch = inputs([sample.read() for sample in found]).inputs
    outputs = ImageGptStep(module)(**{k: torch.from_numpy(v) for k, v in batch.items()})
    tokens = torch.from_numpy(colours(frames).inputs["input_ids"])
    places, rows = batch["position"], torch.arange(6)
    expected = module(tokens)["logits"][rows, places]
    torch.testing.assert_close(outputs["logits"], expected, atol=TOLERANCE, rtol=1e-5)
    assert [sample.label for sample in found] == tokens[rows, places].tolist()
    assert places[0] == 0 and len(set(places.tolist())) == 6
