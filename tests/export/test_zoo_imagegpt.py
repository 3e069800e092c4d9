"""iGPT: the paper's parameters, both graphs against each other and PyTorch, published names."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import ImageGPTConfig, ImageGPTForCausalImageModeling

from export.samples import Sample
from export.spec import find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import Reference
from export.zoo import find_family
from export.zoo.causal import CausalLayer, causal_bias
from export.zoo.imagegpt import ImageGpt, ImageGptStep
from export.zoo.imagegpt_config import ImageGptConfig
from runtime.colours import Colours
from runtime.generation import GREEDY, continued
from runtime.tensors import Tensors

onnxruntime = pytest.importorskip("onnxruntime")

SIDE, COLOURS, LAYERS, HEADS, WIDTH = 4, 7, 2, 2, 16
PIXELS = SIDE * SIDE
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "tiny": {"norm": "layer", "activation": "gelu"},
    "koker": {"norm": "layer", "activation": "gelu", "residual": "normed"},
}
FAMILY = find_family("imagegpt")
# float32 sums in another order: a few units in the last place for each of some ten layers, on
# logits of order 3. A wrong weight, mask or place shows above 1e-1.
TOLERANCE = 2e-5


def model(variant: str = "tiny", seed: int = 0) -> ImageGpt:
    """Random weights that make every term count."""
    torch.manual_seed(seed)
    config = ImageGptConfig(
        image_size=SIDE, clusters=COLOURS, width=WIDTH, layers=LAYERS, heads=HEADS,
        **VARIANTS[variant],
    )  # fmt: skip
    module = ImageGpt(config).eval()
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
        else:
            parameter.data = torch.randn_like(parameter) * 1.5 * parameter.shape[1] ** -0.5
    return module


def pixels(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(COLOURS, (count, PIXELS), generator=generator)


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [
        ("imagegpt_s", 76_682_240, 76),
        ("imagegpt_m", 455_489_536, 455),
        ("imagegpt_l", 1_362_914_304, 1362),
    ],
)
def test_full_size_models_have_the_papers_parameters(
    name: str, parameters: int, millions: int
) -> None:
    record = find_model(name, load_models())
    with torch.device("meta"):
        module = FAMILY.reference.build(record.config)
    found = sum(parameter.numel() for parameter in module.parameters())
    assert found == parameters
    assert found // 10**6 == millions
    # The step's inputs are what the whole graph makes.
    assert isinstance(module, ImageGpt)
    assert isinstance(record.preprocess, Colours)
    assert len(record.preprocess.palette) == module.config.clusters
    step = record.parts["step"].preprocess
    assert isinstance(step, Tensors)
    config = module.config
    assert step.shapes["cache"] == (
        2 * config.layers, config.heads, config.positions, config.width // config.heads
    )  # fmt: skip


def test_labels_of_full_size_tokens_are_the_palette() -> None:
    record = find_model("imagegpt_s", load_models())
    assert isinstance(record.preprocess, Colours)
    colours = np.rint(record.preprocess.palette).astype(int)
    names = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours]
    assert list(record.parts["step"].labels) == names


@torch.no_grad()
@pytest.mark.parametrize("seed", range(2))
def test_it_equals_transformers_with_the_same_weights(seed: int) -> None:
    """Names, layouts, norms, activation and the start token of the models on the hub."""
    torch.manual_seed(seed)
    config = ImageGPTConfig(
        vocab_size=COLOURS + 1, n_positions=PIXELS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS
    )
    theirs = ImageGPTForCausalImageModeling(config).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    convention = next(c for c in FAMILY.conventions if c.marker in theirs.state_dict())
    state = dict(theirs.state_dict())
    state["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)  # as older files have
    ours, wrong = FAMILY.reference.fill(
        {
            "image_size": SIDE,
            "clusters": COLOURS,
            "width": WIDTH,
            "layers": LAYERS,
            "heads": HEADS,
        },
        convention.convert(state),
    )
    assert convention.name == "Hugging Face" and not any(wrong)
    tokens = pixels(3, seed)
    start = torch.full((3, 1), COLOURS)
    expected = theirs(torch.cat([start, tokens[:, :-1]], 1), output_hidden_states=True)
    found = ours.eval()(input_ids=tokens)
    torch.testing.assert_close(found["logits"], expected.logits, atol=TOLERANCE, rtol=1e-5)
    # f of section 2.4, of the middle layer.
    normed = theirs.transformer.h[1].ln_1(expected.hidden_states[1])
    torch.testing.assert_close(found["features"], normed.mean(1), atol=TOLERANCE, rtol=1e-5)
    caches = [(layer.keys, layer.values) for layer in expected.past_key_values.layers]
    theirs_cache = torch.stack([array for pair in caches for array in pair], dim=1)
    torch.testing.assert_close(found["cache"], theirs_cache, atol=TOLERANCE, rtol=1e-5)


@torch.no_grad()
def test_a_layer_is_pytorchs_own_under_a_causal_mask() -> None:
    torch.manual_seed(0)
    layer = CausalLayer(WIDTH, HEADS).eval()
    theirs = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, dropout=0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    own = dict(layer.named_parameters())
    names = {
        "self_attn.out_proj": "attention.output",
        "norm1": "norm_before",
        "norm2": "norm_after",
        "linear1": "expand",
        "linear2": "contract",
    }
    state = {f"{a}.{k}": own[f"{b}.{k}"] for a, b in names.items() for k in ("weight", "bias")}
    for kind in ("weight", "bias"):
        parts = [own[f"attention.{name}.{kind}"] for name in ("query", "key", "value")]
        state[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
    theirs.load_state_dict(state)
    tokens = torch.randn(2, 9, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(9)
    found, new = layer(tokens, causal_bias(9))
    torch.testing.assert_close(found, theirs(tokens, mask), atol=TOLERANCE, rtol=0)
    # Continued from the first five: the same, token by token.
    more, _ = layer(tokens[:, 5:6], torch.zeros(1), new[:, :, :, :5])
    torch.testing.assert_close(more, found[:, 5:6], atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_pixel_depends_on_itself_or_on_later_ones(variant: str) -> None:
    module, tokens = model(variant), pixels(1)
    changed = tokens.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % COLOURS
    before, after = module(tokens)["logits"], module(changed)["logits"]
    assert torch.equal(before[:, :10], after[:, :10])
    assert (before[:, 10:] - after[:, 10:]).abs().amax(-1).min() > 1e-3


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "batch"}, r"config.norm is 'batch'; use one of rms, layer"),
        ({"feature_layer": 25}, r"feature_layer is 25; give 0 to 24"),
        ({"heads": 7}, r"width 512 is not a multiple of heads 7"),
    ],
    ids=["norm", "features", "heads"],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageGptConfig(**changes)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, LAYERS], ids=["first", "last"])
def test_features_may_be_of_any_layer(layer: int) -> None:
    config = ImageGptConfig(
        image_size=SIDE, clusters=COLOURS, width=WIDTH, layers=LAYERS, heads=HEADS,
        feature_layer=layer,
    )  # fmt: skip
    module = ImageGpt(config).eval()
    outputs = module(pixels(2))
    if layer == LAYERS:
        # Logits are linear in what the features are the mean of.
        mean = functional.linear(outputs["features"], module.head.weight)
        torch.testing.assert_close(mean, outputs["logits"].mean(1), atol=TOLERANCE, rtol=0)
    else:
        # Means over places commute with the start token's, as nothing is attended to yet.
        assert outputs["features"].shape == (2, WIDTH)
        twice = module(pixels(2).roll(-1, 0))["features"]
        torch.testing.assert_close(twice, outputs["features"].roll(-1, 0), atol=TOLERANCE, rtol=0)
