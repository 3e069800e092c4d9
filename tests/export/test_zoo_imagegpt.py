"""iGPT: the paper's parameters, published names and layers, features."""

from __future__ import annotations

import numpy as np
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
from torch import nn
from torch.nn import functional
from transformers import ImageGPTConfig, ImageGPTForCausalImageModeling

from export.spec import find_model, load_models
from export.zoo.causal import CausalLayer, causal_bias
from export.zoo.imagegpt import ImageGpt
from export.zoo.imagegpt_config import ImageGptConfig
from runtime.colours import Colours
from runtime.tensors import Tensors


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
