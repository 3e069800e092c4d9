"""CLIP with a ResNet: the published parameters, its towers in the authors' names, its graphs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import openai_clip
import pytest
import torch
from safe_forms import safe
from safetensors.torch import save_file
from small_graphs import run
from torch import Tensor, nn

from export.spec import find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import load_reference
from export.zoo import find_family

SYMBOLS, LENGTH, DIMENSIONS, HEADS = 40, 7, 16, 4
DEPTHS = (2, 1, 1)
CONFIG = {
    "image_size": 48,
    "width": 16,
    "depths": DEPTHS,
    "heads": HEADS,
    "projection_dim": DIMENSIONS,
    "text_config": {
        "vocab_size": SYMBOLS,
        "max_position_embeddings": LENGTH,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 128,
    },
}
FAMILY = find_family("clip_resnet")
TOKENS = torch.tensor([[38, 5, 6, 39, 0, 0, 0], [38, 39, 0, 0, 0, 0, 0]])
# Embeddings have length 1, so that their numbers are below it: float32 sums in another order
# through some ten layers. A wrong weight, bias or statistic shows above 1e-2.
TOLERANCE = 5e-5

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, nn.Module]:
    """Random weights in OpenAI's names, and the module that is loaded with them."""
    state = openai_clip.random_state(
        openai_clip.resnet_shapes(48, 16, DEPTHS, DIMENSIONS)
        | openai_clip.text_shapes(SYMBOLS, LENGTH, 32, 1, DIMENSIONS)
    )
    file = tmp_path_factory.mktemp("weights") / "openai.safetensors"
    save_file(state, file)
    record = find_model("clip_rn50", load_models()).model_copy(update={"config": CONFIG})
    reference = load_reference(record, str(file))
    assert reference.source["naming"] == "OpenAI"
    return state, reference.module


@pytest.fixture(scope="module")
def graph(loaded: tuple[State, nn.Module]) -> ir.Model:
    return onnx_from_module(loaded[1], FAMILY, {"pixel_values": torch.zeros(2, 3, 48, 48)})


def test_rn50_has_the_authors_parameters() -> None:
    record = find_model("clip_rn50", load_models())
    with torch.device("meta"):
        built = FAMILY.reference.build(record.config)
    assert sum(parameter.numel() for parameter in built.parameters()) == 102_007_137


@torch.no_grad()
def test_towers_are_openais(loaded: tuple[State, nn.Module]) -> None:
    state, module = loaded
    pixels = torch.randn(3, 3, 48, 48)
    expected = openai_clip.resnet(state, pixels, HEADS)
    found = FAMILY.main(module)(pixel_values=pixels)["embeds"]
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    # Or the images would hardly matter: a hundred times the tolerance.
    assert expected.std(0).mean() > 5e-3
    texts = FAMILY.parts["text"].module(module)(input_ids=TOKENS)["embeds"]
    torch.testing.assert_close(
        texts, openai_clip.text(state, TOKENS, heads=2), atol=TOLERANCE, rtol=0
    )


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_equals_pytorch(
    loaded: tuple[State, nn.Module], graph: ir.Model, batch: int
) -> None:
    pixels = torch.randn(batch, 3, 48, 48)
    (found,) = run(graph, {"pixel_values": pixels.numpy()})
    expected = FAMILY.main(loaded[1])(pixel_values=pixels)["embeds"]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_pooling_is_one_operator_and_norms_are_folded(graph: ir.Model) -> None:
    operators = Counter(node.op_type for node in graph.graph)
    assert operators["FusedAttention"] == 1
    assert operators["Softmax"] == operators["BatchNormalization"] == 0
    # Three of the stem, three of each of four blocks, and three shortcuts.
    assert operators["Conv"] == 3 + 3 * 4 + 3
    # The stem's and one of each branch of the two blocks with a stride.
    assert operators["AveragePool"] == 1 + 2 * 2
    safe(graph, gone="FusedAttention")


def test_a_block_begins_as_its_shortcut() -> None:
    torch.manual_seed(0)
    block = FAMILY.reference.build(CONFIG).eval().visual.blocks[1]
    maps = torch.rand(1, 64, 4, 4)
    # Without a stride, of positive maps: nothing but themselves.
    assert torch.equal(block(maps), maps)


def test_a_part_of_the_names_is_missed(tmp_path: Path, loaded: tuple[State, nn.Module]) -> None:
    state = dict(loaded[0])
    del state["visual.layer2.0.bn3.bias"]
    save_file(state, tmp_path / "w.safetensors")
    record = find_model("clip_rn50", load_models()).model_copy(update={"config": CONFIG})
    with pytest.raises(ValueError, match=r"1 missing: visual\.blocks\.2\.expand\.norm\.bias"):
        load_reference(record, str(tmp_path / "w.safetensors"))
