"""TransPose: the paper's sizes, torch's own attention, and the graph against the module."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from tiny_models import example_images, randomise
from torch import nn

from export.spec import load_models
from export.to_onnx import onnx_from_module
from export.zoo import find_family
from export.zoo.deconvolution import SubPixelDeconvolution
from export.zoo.transpose import TransPose, TransPoseConfig
from export.zoo.transpose_encoder import EncoderLayer, sine_positions
from runtime.batch import Batch
from runtime.tasks import find_task
from runtime.tasks.keypoints import Keypoints

onnxruntime = pytest.importorskip("onnxruntime")

SIZE = (64, 48)
TINY = TransPoseConfig(
    image_size=SIZE,
    num_labels=5,
    stem_width=8,
    depths=(1, 2),
    width=32,
    feedforward=48,
    heads=2,
    layers=2,
)
FAMILY = find_family("transpose")


def tiny_module() -> TransPose:
    module = TransPose(TINY).eval()
    randomise(module, 0)
    return module


def pixels(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize(
    ("record", "millions", "exactly"),
    # Rounded in table 1 of the paper; exact ones are the sum over the authors' configuration
    # (lib/models/transpose_r.py of github.com/yangsenius/TransPose), fixed positions included.
    [("transpose_r_a3", 5.2, 5_195_345), ("transpose_r_a4", 6.0, 5_985_105)],
)
def test_published_members_have_the_papers_parameters(
    record: str, millions: float, exactly: int
) -> None:
    spec = load_models()[record]
    module = FAMILY.reference.build(spec.config)
    count = sum(parameter.numel() for parameter in module.parameters())
    assert count == exactly
    assert round(count / 1e6, 1) == millions
    assert spec.preprocess.image_size == (256, 192)
    assert len(spec.labels) == 17
    with torch.no_grad():
        outputs = module.eval()(pixel_values=torch.zeros(1, 3, 256, 192))
    assert outputs["heatmaps"].shape == (1, 17, 64, 48)


def test_positions_are_detrs() -> None:
    from transformers.models.detr.modeling_detr import DetrSinePositionEmbedding

    rows, columns, width = 5, 7, 16
    detr = DetrSinePositionEmbedding(width // 2, normalize=True)
    mask = torch.ones(1, rows, columns)
    expected = detr(shape=(1, width, rows, columns), device="cpu", dtype=torch.float32, mask=mask)
    found = sine_positions(rows, columns, width)
    # Angles of up to 2π in float32, multiplied in another order.
    torch.testing.assert_close(found, expected[0].flatten(1).T, atol=2e-6, rtol=0)


@torch.no_grad()
def torchs_layer(layer: EncoderLayer) -> nn.TransformerEncoderLayer:
    """torch's own encoder layer with the weights of ours."""
    theirs = nn.TransformerEncoderLayer(
        TINY.width, TINY.heads, TINY.feedforward, 0.0, batch_first=True
    ).eval()
    attention = layer.attention
    stacked = [attention.q_proj, attention.k_proj, attention.v_proj]
    theirs.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in stacked]))
    theirs.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in stacked]))
    theirs.self_attn.out_proj.load_state_dict(attention.o_proj.state_dict())
    for name in ("linear1", "linear2", "norm1", "norm2"):
        getattr(theirs, name).load_state_dict(getattr(layer, name).state_dict())
    return theirs


def test_an_encoder_layer_is_torchs_own() -> None:
    layer, position = tiny_module().encoder[0], tiny_module().position
    theirs = torchs_layer(layer)
    with torch.no_grad():
        tokens = torch.randn(2, 48, TINY.width, generator=torch.Generator().manual_seed(0))
        placed = tokens + position
        mixed, _ = theirs.self_attn(placed, placed, tokens)
        expected = theirs.norm1(tokens + mixed)
        expected = theirs.norm2(expected + theirs.linear2(theirs.linear1(expected).relu()))
        found, _, _ = layer(tokens, position)
    # float32 sums in another order, of values of order 1.
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 6)], ids=str)
def test_a_deconvolution_is_a_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    deconvolution = nn.ConvTranspose2d(5, 7, 4, 2, 1)
    features = torch.randn(2, 5, *size)
    found = SubPixelDeconvolution(deconvolution)(features)
    # Twenty products of order 1, summed in another order.
    torch.testing.assert_close(found, deconvolution(features), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "other",
    [nn.ConvTranspose2d(5, 7, 4, 2, 1, bias=False), nn.ConvTranspose2d(5, 7, 2, 2)],
    ids=["no-bias", "kernel-2"],
)
def test_another_deconvolution_is_refused(other: nn.ConvTranspose2d) -> None:
    with pytest.raises(ValueError, match="expected 4, 2 and 1, and a bias"):
        SubPixelDeconvolution(other)


@pytest.fixture(scope="module")
def exported() -> tuple[TransPose, ir.Model]:
    module = tiny_module()
    return module, onnx_from_module(module, FAMILY, example_images(*SIZE))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_graph_computes_what_the_module_does(
    exported: tuple[TransPose, ir.Model], batch: int
) -> None:
    module, graph = exported
    session = onnxruntime.InferenceSession(
        ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = pixels(batch)
    found = session.run(None, {"pixel_values": images.numpy()})
    with torch.no_grad():
        expected = module(pixel_values=images)
    assert [output.name for output in session.get_outputs()] == list(expected)
    for (name, array), mine in zip(expected.items(), found, strict=True):
        # float32 sums in another order and folded norms, some twenty layers deep: measured at most
        # 2.5e-5 of the largest value, of which a wrong weight or bias moves 1e-2 and more.
        tolerance = 1e-4 * float(array.abs().max())
        np.testing.assert_allclose(mine, array.numpy(), atol=tolerance, rtol=0, err_msg=name)
        assert array.std() > 0.05, name


@pytest.mark.slow
def test_a_published_member_exports() -> None:
    spec = load_models()["transpose_r_a3"]
    torch.manual_seed(0)
    module = FAMILY.reference.build(spec.config).eval()
    graph = onnx_from_module(module, FAMILY, example_images(*spec.preprocess.image_size))
    session = onnxruntime.InferenceSession(
        ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = torch.randn(2, 3, *spec.preprocess.image_size)
    found = session.run(None, {"pixel_values": images.numpy()})
    with torch.no_grad():
        expected = module(pixel_values=images)
    for (name, array), mine in zip(expected.items(), found, strict=True):
        # As above.
        tolerance = 1e-4 * float(array.abs().max())
        np.testing.assert_allclose(mine, array.numpy(), atol=tolerance, rtol=0, err_msg=name)


def test_the_attention_of_a_keypoint_is_the_modules_own(
    exported: tuple[TransPose, ir.Model],
) -> None:
    module, graph = exported
    images, last = pixels(2), module.encoder[-1]
    seen: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _layer, given: seen.append(given[0]))
    with torch.no_grad():
        heatmaps = module(pixel_values=images)["heatmaps"]
        placed = seen[0] + module.position
        # Averaged over heads: (images, tokens, tokens).
        _, weights = torchs_layer(last).self_attn(placed, placed, seen[0], need_weights=True)
    hook.remove()
    session = onnxruntime.InferenceSession(
        ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"pixel_values": images.numpy()}), strict=True))
    batch = Batch({}, [SIZE] * 2, [(0.0, 0.0, 1.0, 1.0)] * 2, [1, 1])
    found = find_task("keypoints").predict(outputs, batch, "abcde", 0.5)
    for image, prediction in enumerate(found):
        assert isinstance(prediction, Keypoints)
        for index in range(TINY.num_labels):
            row, column = divmod(int(heatmaps[image, index].argmax()), 12)
            expected = weights[image, row // 2 * 6 + column // 2].reshape(8, 6).numpy()
            # A softmax of float32 scores of order 10, each a few units in the last place off.
            np.testing.assert_allclose(prediction.attention(index), expected, rtol=1e-4, atol=1e-6)


def test_the_graph_holds_the_operators_and_nothing_of_norms(
    exported: tuple[TransPose, ir.Model],
) -> None:
    _, graph = exported
    operators = Counter(node.op_type for node in graph.graph)
    assert operators["FusedAttention"] == TINY.layers
    assert operators["Softmax"] == 0
    assert operators["BatchNormalization"] == operators["ConvTranspose"] == 0
    shapes = {value.name: [str(axis) for axis in value.shape] for value in graph.graph.outputs}
    assert shapes == {
        "heatmaps": ["batch", "5", "16", "12"],
        "queries": ["batch", "2", "48", "16"],
        "keys": ["batch", "2", "48", "16"],
    }


def test_the_export_leaves_the_module_as_it_was(exported: tuple[TransPose, ir.Model]) -> None:
    module, _ = exported
    with torch.no_grad():
        before, after = tiny_module()(pixels(2)), module(pixels(2))
    assert torch.equal(before["heatmaps"], after["heatmaps"])


def authors_names(module: TransPose) -> dict[str, Any]:
    """The module's weights under the authors' names, as read from their repository."""
    found: dict[str, Any] = {"pos_embedding": module.position[:, None]}
    stem = module.stem

    def unit(name: str, norm: str, layer: Any) -> None:
        found[f"{name}.weight"] = layer.convolution.weight
        for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            found[f"{norm}.{kind}"] = getattr(layer.normalization, kind)

    unit("conv1", "bn1", stem.embedder.embedder)
    for stage, blocks in enumerate(stem.encoder.stages, 1):
        for index, block in enumerate(blocks.layers):
            place = f"layer{stage}.{index}"
            for number, layer in enumerate(block.layer, 1):
                unit(f"{place}.conv{number}", f"{place}.bn{number}", layer)
            if not isinstance(block.shortcut, nn.Identity):
                unit(f"{place}.downsample.0", f"{place}.downsample.1", block.shortcut)
    found["reduce.weight"] = module.reduce.weight
    for index, layer in enumerate(module.encoder):
        place, attention = f"global_encoder.layers.{index}", layer.attention
        for kind in ("weight", "bias"):
            stacked = [attention.q_proj, attention.k_proj, attention.v_proj]
            found[f"{place}.self_attn.in_proj_{kind}"] = torch.cat(
                [getattr(projection, kind) for projection in stacked]
            )
            found[f"{place}.self_attn.out_proj.{kind}"] = getattr(attention.o_proj, kind)
            for name in ("linear1", "linear2", "norm1", "norm2"):
                found[f"{place}.{name}.{kind}"] = getattr(getattr(layer, name), kind)
    found["deconv_layers.0.weight"] = module.deconvolution.weight
    for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        found[f"deconv_layers.1.{kind}"] = getattr(module.norm, kind)
    found |= {f"final_layer.{kind}": getattr(module.head, kind) for kind in ("weight", "bias")}
    return found


def test_the_authors_tensor_names_are_understood(tmp_path: Any) -> None:
    from export.weights import load_reference

    module = tiny_module()
    file = tmp_path / "tp_r.pth"
    torch.save(authors_names(module), file)
    spec = load_models()["transpose_r_a3"].model_copy(update={"config": dataclasses.asdict(TINY)})
    loaded = load_reference(spec, str(file))
    assert loaded.source["naming"] == "the authors'"
    with torch.no_grad():
        expected, found = module(pixels(2)), loaded.module(pixel_values=pixels(2))
    for name, array in expected.items():
        assert torch.equal(found[name], array), name
