"""CLIP with a ViT: the published parameters, both towers, both graphs, and the authors' names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import openai_clip
import pytest
import torch
from safe_forms import safe
from safetensors.torch import save_file
from small_graphs import run
from tiny_models import randomise
from torch import nn
from torch.nn import functional
from transformers import CLIPModel

from export.processor_config import preprocess_from
from export.samples import Sample
from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import Reference, load_reference
from export.zoo import find_family
from export.zoo.clip_towers import text_samples
from runtime import Preprocess

SYMBOLS, LENGTH, DIMENSIONS = 40, 9, 16
TEXT = {
    "vocab_size": SYMBOLS,
    "max_position_embeddings": LENGTH,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "eos_token_id": SYMBOLS - 1,
}
VISION = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 192,
}
CONFIG = {"projection_dim": DIMENSIONS, "text_config": TEXT, "vision_config": VISION}
FAMILY = find_family("clip")
# Embeddings have length 1, so that their numbers are below it: float32 sums in another order
# through three layers. A wrong weight or bias of these random ones shows above 1e-2.
TOLERANCE = 2e-5
# One start, some words, one end, and whatever; ends at several places, the last one too.
TOKENS = torch.tensor(
    [
        [38, 5, 6, 39, 0, 0, 0, 0, 0],
        [38, 39, 0, 0, 0, 0, 0, 0, 0],
        [38, 1, 2, 3, 4, 5, 6, 7, 39],
    ]
)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    built = FAMILY.reference.build(CONFIG).eval()
    randomise(built, 0)
    with torch.no_grad():
        built.logit_scale.fill_(1.5)
    return built


@pytest.fixture(scope="module")
def graphs(module: nn.Module) -> dict[str, ir.Model]:
    images = {"pixel_values": torch.zeros(2, 3, 32, 32)}
    return {
        "image": onnx_from_module(module, FAMILY, images),
        "text": onnx_from_module(module, FAMILY.of_part("text"), {"input_ids": TOKENS[:2]}),
    }


@pytest.mark.parametrize(
    ("model", "parameters"), [("clip_vit_b_32", 151_277_313), ("clip_vit_b_16", 149_620_737)]
)
def test_full_size_models_have_the_authors_parameters(model: str, parameters: int) -> None:
    record = find_model(model, load_models())
    with torch.device("meta"):
        built = FAMILY.reference.build(record.config)
    assert sum(parameter.numel() for parameter in built.parameters()) == parameters


@torch.no_grad()
@pytest.mark.parametrize("end", [2, SYMBOLS - 1], ids=["published", "corrected"])
def test_towers_are_those_of_transformers(module: Any, end: int) -> None:
    """Whichever number the configuration has for the end: published ones hold a wrong one."""
    config = {**CONFIG, "text_config": {**TEXT, "eos_token_id": end}}
    theirs: CLIPModel = FAMILY.reference.build(config).eval()
    theirs.load_state_dict(module.state_dict())
    pixels = torch.randn(3, 3, 32, 32)
    expected = theirs(input_ids=TOKENS, pixel_values=pixels)
    images = FAMILY.main(module)(pixel_values=pixels)["embeds"]
    texts = FAMILY.parts["text"].module(module)(input_ids=TOKENS)
    torch.testing.assert_close(images, expected.image_embeds, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(texts["embeds"], expected.text_embeds, atol=TOLERANCE, rtol=0)
    logits = texts["scale"] * texts["embeds"] @ images.T
    # Products of 16 such numbers, four and a half times.
    torch.testing.assert_close(logits, expected.logits_per_text, atol=5e-4, rtol=0)
    assert expected.text_embeds.std(0).mean() > 0.05


@torch.no_grad()
def test_nothing_behind_the_end_is_read(module: nn.Module) -> None:
    other = TOKENS.clone()
    other[0, 4:], other[1, 2:] = 17, 23
    tower = FAMILY.parts["text"].module(module)
    # The same sums of the same numbers, but for the order that another batch may be given.
    torch.testing.assert_close(
        tower(input_ids=other)["embeds"], tower(input_ids=TOKENS)["embeds"], atol=1e-6, rtol=0
    )


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
def test_graphs_equal_pytorch(module: nn.Module, graphs: dict[str, ir.Model], batch: int) -> None:
    pixels = torch.randn(batch, 3, 32, 32)
    (found,) = run(graphs["image"], {"pixel_values": pixels.numpy()})
    expected = FAMILY.main(module)(pixel_values=pixels)["embeds"]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    embeds, scale = run(graphs["text"], {"input_ids": TOKENS[:batch].numpy()})
    texts = FAMILY.parts["text"].module(module)(input_ids=TOKENS[:batch])
    np.testing.assert_allclose(embeds, texts["embeds"], atol=TOLERANCE, rtol=0)
    # exp(1.5) in float32, to a unit in the last place.
    np.testing.assert_allclose(scale, np.full((batch, 1), np.exp(1.5)), rtol=3e-7)


@pytest.mark.parametrize(("name", "layers"), [("image", 3), ("text", 2)])
def test_attention_is_one_operator_and_patches_are_a_product(
    graphs: dict[str, ir.Model], name: str, layers: int
) -> None:
    operators = Counter(node.op_type for node in graphs[name].graph)
    assert operators["FusedAttention"] == layers
    assert operators["Softmax"] == operators["Conv"] == 0


@pytest.mark.parametrize("name", ["image", "text"])
def test_graphs_are_what_tensorrt_takes(graphs: dict[str, ir.Model], name: str) -> None:
    safe(graphs[name], gone="FusedAttention")


@torch.no_grad()
def test_openais_names_are_understood(tmp_path: Path) -> None:
    state = openai_clip.random_state(
        openai_clip.vit_shapes(32, 8, 48, 3, DIMENSIONS)
        | openai_clip.text_shapes(SYMBOLS, LENGTH, 32, 2, DIMENSIONS)
    )
    save_file(state, tmp_path / "openai.safetensors")
    record = find_model("clip_vit_b_32", load_models()).model_copy(update={"config": CONFIG})
    reference = load_reference(record, str(tmp_path / "openai.safetensors"))
    assert reference.source["naming"] == "OpenAI"
    pixels = torch.randn(2, 3, 32, 32)
    images = FAMILY.main(reference.module)(pixel_values=pixels)["embeds"]
    torch.testing.assert_close(
        images, openai_clip.vit(state, pixels, heads=3), atol=TOLERANCE, rtol=0
    )
    texts = FAMILY.parts["text"].module(reference.module)(input_ids=TOKENS)
    torch.testing.assert_close(
        texts["embeds"], openai_clip.text(state, TOKENS, heads=2), atol=TOLERANCE, rtol=0
    )
    torch.testing.assert_close(texts["scale"][0, 0], state["logit_scale"].exp())


def test_weights_of_a_hub_are_read(module: nn.Module, tmp_path: Path) -> None:
    """Older files also hold the numbers of positions, which are no weights."""
    state = dict(module.state_dict())
    for tower in ("text_model", "vision_model"):
        state[f"{tower}.embeddings.position_ids"] = torch.arange(9)[None]
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "m.safetensors"
    )
    record = find_model("clip_vit_b_32", load_models()).model_copy(update={"config": CONFIG})
    found = load_reference(record, str(tmp_path / "m.safetensors")).module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    "size",
    [
        {"size": 224, "crop_size": 224},
        {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}},
    ],
    ids=["first", "later"],
)
def test_a_hubs_preprocessing_is_the_records(size: dict[str, Any]) -> None:
    """A number is the shorter side of an image, not a square, of which the middle is cut out."""
    default = find_model("clip_vit_b_32", load_models()).preprocess
    assert isinstance(default, Preprocess)
    published = {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_resize": True,
        "do_center_crop": True,
        "do_normalize": True,
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        **size,
    }
    assert preprocess_from(published, default) == default


def test_texts_are_classes_in_several_prompts(module: nn.Module) -> None:
    record: ModelSpec = find_model("clip_tiny_shapes", load_models())
    reference = Reference(module, record.preprocess, ("cat", "dog"))
    first, again, other = (
        [
            one.read()
            for one in text_samples(reference, [Sample(f"{seed}/{n}", str) for n in range(64)])
        ]
        for seed in (0, 0, 1)
    )
    assert first == again != other
    assert {text.split("a ", 1)[-1] for text in first} != {"cat", "dog"}
    assert all(("cat" in text) != ("dog" in text) for text in first)
    assert len(set(first)) > 8


@torch.no_grad()
def test_a_zero_vector_does_not_happen(module: nn.Module) -> None:
    """Random pixels, none and white give finite embeddings of length 1."""
    for pixels in (torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 2.0)):
        embeds = FAMILY.main(module)(pixel_values=pixels)["embeds"]
        torch.testing.assert_close(functional.normalize(embeds), embeds)
