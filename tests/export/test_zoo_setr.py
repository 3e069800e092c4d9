"""SETR: the paper's parameters, its decoders against their definition, and the exported graph."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from exported_models import logits_equal_to_pytorchs
from safe_forms import safe
from safetensors.torch import save_file
from small_graphs import run
from tiny_models import Tiny, example_images, inputs, randomise
from torch import Tensor, nn
from torch.nn import functional

from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import WeightsError, load_reference
from export.zoo import find_family
from export.zoo.setr import Setr
from export.zoo.setr_config import SetrConfig
from export.zoo.setr_decoders import Mla, Pup

CONFIG = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "decoder_channels": 16,
    "mla_layers": [1, 2, 3, 4],
}
TINY = {
    decoder: Tiny("setr", (32, 32), {**CONFIG, "decoder": decoder})
    for decoder in ("naive", "pup", "mla")
}
SIDES = {"naive": 4, "pup": 16, "mla": 16}  # of the logits: patches, half the image, four a patch
# float32 sums in another order: a few units in the last place for each of some ten layers, on
# logits of order 10. An error in any weight, bias or statistic shows above 1e-1.
TOLERANCE = 1e-4

# The paper's table 2 counts, at 150 classes and 512 pixels, what its code builds besides the
# model: the auxiliary heads of training, in each head a classifier of 512 channels that nothing
# calls, and a class token with its position.
UNUSED = 512 * 150 + 150
TOKEN = 2 * 1024


def classifier(channels: int) -> int:
    return channels * 150 + 150


def norm_unit(channels: int, kernel: int) -> int:
    """Layer norm, a convolution to 256 channels with its bias, batch norm."""
    return 2 * 1024 + channels * kernel**2 * 256 + 256 + 2 * 256


AUXILIARY = {
    "naive": 3 * (norm_unit(1024, 1) + classifier(256) + UNUSED),
    "pup": 4 * (norm_unit(1024, 3) + classifier(256) + UNUSED),
    "mla": 4 * (256 * 150 + UNUSED),  # without biases
}


@pytest.mark.parametrize(
    ("decoder", "parameters", "published"),
    [
        ("naive", 304_448_918, 305.67),
        ("pup", 308_317_846, 318.31),
        ("mla", 310_028_438, 310.57),
    ],
)
def test_full_size_models_have_the_papers_parameters(
    decoder: str, parameters: int, published: float
) -> None:
    record = find_model(f"setr_{decoder}_l", load_models())
    assert record.weights is None and len(set(record.labels)) == record.config["num_labels"]
    with torch.device("meta"):
        module = find_family("setr").reference.build(record.config)
    found = sum(parameter.numel() for parameter in module.parameters())
    assert found == parameters
    assert round((found + AUXILIARY[decoder] + UNUSED + TOKEN) / 1e6, 2) == published


@pytest.fixture(scope="module", params=TINY)
def exported(request: pytest.FixtureRequest) -> tuple[str, nn.Module, ir.Model]:
    tiny = TINY[request.param]
    module = tiny.module()
    return request.param, module, onnx_from_module(module, tiny.family, tiny.inputs)


def test_every_batch_equals_pytorch(exported: tuple[str, nn.Module, ir.Model]) -> None:
    decoder, module, model = exported
    answers = logits_equal_to_pytorchs(
        TINY[decoder], module, model, tolerance=TOLERANCE, varies=0.3
    )
    assert {answer.shape[1:] for answer in answers} == {(7, SIDES[decoder], SIDES[decoder])}


def test_attention_is_one_operator_and_norms_are_folded(
    exported: tuple[str, nn.Module, ir.Model],
) -> None:
    decoder, module, model = exported
    operators = Counter(node.op_type for node in model.graph)
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert operators["FusedAttention"] == 4
    assert operators["Softmax"] == operators["BatchNormalization"] == 0
    assert operators["Resize"] == {"naive": 0, "pup": 2, "mla": 4}[decoder]
    # The patches are a linear layer.
    count = sum(isinstance(m, nn.Conv2d) for m in module.modules()) - 1
    assert len(convolutions) == count
    assert all(len(node.inputs) == 3 for node in convolutions)


def test_enlargements_survive_in_tensorrts_form(
    exported: tuple[str, nn.Module, ir.Model],
) -> None:
    decoder, _, model = exported
    if decoder == "naive":
        assert "Resize" not in {node.op_type for node in model.graph}
        return
    lowered = safe(model, "Resize")
    pixels = inputs(TINY[decoder], 2)["pixel_values"].numpy()
    expected = run(model, {"pixel_values": pixels})[0]
    found = run(lowered, {"pixel_values": pixels})[0]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_a_classifier_of_1_x_1_may_come_before_the_last_enlargement() -> None:
    """The paper's PUP enlarges four times and classifies then; ours leaves the last to others."""
    config = SetrConfig(**{**CONFIG, "decoder": "pup", "num_labels": 7})
    decoder = Pup(config).eval()
    randomise(decoder, 0)
    features = torch.randn(2, 32, 4, 4)
    found = functional.interpolate(decoder([features]), scale_factor=2, mode="bilinear")
    as_written = features
    for unit in decoder.steps:
        as_written = unit(as_written)
        as_written = functional.interpolate(as_written, scale_factor=2, mode="bilinear")
    as_written = decoder.classifier(as_written)
    assert as_written.shape == (2, 7, 32, 32)
    torch.testing.assert_close(found, as_written, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_mla_adds_every_deeper_level() -> None:
    """Figure 1c: the top-down sum of streams, written out."""
    config = SetrConfig(**{**CONFIG, "decoder": "mla", "num_labels": 7})
    decoder = Mla(config).eval()
    randomise(decoder, 0)
    features = [torch.randn(1, 32, 4, 4) for _ in range(4)]
    streams: list[Tensor] = []
    for level in range(4):
        total = sum(decoder.reduce[k](features[k]) for k in range(level, 4))
        fine = decoder.streams[level](total)
        streams.append(functional.interpolate(fine, size=(16, 16), mode="bilinear"))
    expected = decoder.classifier(torch.cat(streams, dim=1))
    torch.testing.assert_close(decoder(features), expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_the_encoder_is_pytorchs_own_transformer() -> None:
    """Each layer against `nn.TransformerEncoderLayer`, norms first, with the same weights."""
    module = TINY["naive"].module()
    assert isinstance(module, Setr)
    theirs = nn.TransformerEncoderLayer(
        32, 2, 48, dropout=0, activation="gelu", layer_norm_eps=1e-6, batch_first=True,
        norm_first=True,
    ).eval()  # fmt: skip
    tokens = torch.randn(2, 16, 32)
    for layer in module.layers:
        own = dict(layer.named_parameters())
        theirs.load_state_dict(
            {
                f"self_attn.in_proj_{kind}": torch.cat(
                    [own[f"attention.{name}.{kind}"] for name in ("query", "key", "value")]
                )
                for kind in ("weight", "bias")
            }
            | {
                f"{there}.{kind}": own[f"{here}.{kind}"]
                for here, there in (
                    ("attention.output", "self_attn.out_proj"),
                    ("norm_before", "norm1"),
                    ("norm_after", "norm2"),
                    ("expand", "linear1"),
                    ("contract", "linear2"),
                )
                for kind in ("weight", "bias")
            }
        )
        torch.testing.assert_close(layer(tokens), theirs(tokens), atol=TOLERANCE, rtol=0)


def test_a_record_without_weights_says_what_to_give(tmp_path: Path) -> None:
    spec = ModelSpec(
        name="tiny", family="setr", task="segmentation", preprocess={"size": 32}, drift={},
        config={**TINY["mla"].config, "num_labels": 7}, labels=list("abcdefg"),
    )  # fmt: skip
    with pytest.raises(WeightsError, match=r"^tiny has no published weights .*--weights random"):
        load_reference(spec)
    state = TINY["mla"].module(seed=1).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "w.safetensors")
    found = load_reference(spec, str(tmp_path / "w.safetensors")).module.state_dict()
    for name, tensor in state.items():
        assert name.endswith("num_batches_tracked") or torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "fcn"}, r"'fcn'; use one of naive, pup, mla"),
        ({"image_size": 30}, r"30 is not a multiple of patch_size 8"),
    ],
    ids=["decoder", "image"],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SetrConfig(**{**CONFIG, "decoder": "naive", "num_labels": 7, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("decoder", TINY)
def test_full_size_graphs_hold_the_model(decoder: str) -> None:
    record = find_model(f"setr_{decoder}_l", load_models())
    family = find_family("setr")
    module = family.reference.build(record.config).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = onnx_from_module(module, family, example_images(512, 512))
    operators = Counter(node.op_type for node in model.graph)
    side = {"naive": 32, "pup": 256, "mla": 128}[decoder]
    assert operators["FusedAttention"] == 24
    assert [str(d) for d in model.graph.outputs[0].shape] == ["batch", "150", str(side), str(side)]
