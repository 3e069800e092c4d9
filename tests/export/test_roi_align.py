"""RoIAlign against ONNX's own definition, level by level; the pyramid; and mask embeddings."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor
from torch.nn import functional

from export.zoo.feature_pyramid import FeaturePyramid
from export.zoo.mask_embedding import MaskEmbedding
from export.zoo.roi_align import PyramidRoIAlign

IMAGE = (64, 96)
CANONICAL = 32


def onnx_roi_align(features: Tensor, boxes: Tensor, size: int, samples: int) -> np.ndarray:
    """ONNX's reference evaluator: (C, H, W) and (N, 4) in 0..1 -> (N, C, size, size)."""
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "images"], ["y"], mode="avg", output_height=size,
        output_width=size, sampling_ratio=samples, spatial_scale=1.0,
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    kinds = {
        "x": (TensorProto.FLOAT, 4),
        "rois": (TensorProto.FLOAT, 2),
        "images": (TensorProto.INT64, 1),
    }
    given = [
        helper.make_tensor_value_info(name, kind, [None] * rank)
        for name, (kind, rank) in kinds.items()
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)]
    graph = helper.make_graph([node], "roi_align", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    onnx.checker.check_model(model)
    height, width = features.shape[1:]
    feed = {
        "x": features[None].numpy(),
        "rois": (boxes * torch.tensor([width, height, width, height])).numpy(),
        "images": np.zeros(len(boxes), np.int64),
    }
    found: np.ndarray = ReferenceEvaluator(model).run(None, feed)[0]
    return found


def level_of(box: Tensor) -> int:
    """Lin et al. 2017, equation 1, with the third level for boxes of `CANONICAL` pixels."""
    width, height = (box[2] - box[0]) * IMAGE[1], (box[3] - box[1]) * IMAGE[0]
    return max(0, min(2, math.floor(2 + math.log2(math.sqrt(width * height) / CANONICAL))))


def corners(*boxes: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(boxes)[None]


@pytest.mark.parametrize("samples", [1, 2])
def test_bins_are_those_of_onnx_on_the_level_of_equation_1(samples: int) -> None:
    generator = torch.Generator().manual_seed(samples)
    sides = [(16, 24), (8, 12), (4, 6)]
    maps = [torch.randn(2, 5, *side, generator=generator) for side in sides]
    low = torch.rand(2, 30, 2, generator=generator) * 1.2 - 0.2
    extent = torch.rand(2, 30, 2, generator=generator) ** 2 * 0.9 + 0.02
    boxes = torch.cat([low, low + extent], dim=-1)
    # Beyond every edge, where whole bins are zero; outside altogether; all of it.
    odd = [(-0.5, -0.5, 0.5, 1.5), (1.5, 1.2, 1.8, 1.4), (0.0, 0.0, 1.0, 1.0)]
    boxes = torch.cat([boxes, corners(*odd).expand(2, -1, -1)], dim=1)
    found = PyramidRoIAlign(3, samples, CANONICAL)(maps, boxes, IMAGE)
    assert found.shape == (66, 9, 5)
    levels = set()
    for index, box in enumerate(boxes.flatten(0, 1)):
        level = level_of(box)
        levels.add(level)
        features = maps[level][index // 33]
        expected = onnx_roi_align(features, box[None], 3, samples)[0].reshape(5, 9).T
        # Means of a few products of order 1.
        np.testing.assert_allclose(found[index], expected, atol=1e-5, rtol=0)
    assert levels == {0, 1, 2}


def test_a_ramp_is_sampled_where_its_bins_lie() -> None:
    """Values that are their own places: a bin's mean is its centre's."""
    ramp = (torch.arange(16) + 0.5).expand(1, 1, 16, 16) / 16
    found = PyramidRoIAlign(4, 2, 1000)([ramp], corners((0.25, 0.1, 0.75, 0.9)), (64, 64))
    expected = [0.25 + 0.5 * (column + 0.5) / 4 for column in range(4)] * 4
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_a_pyramids_level_is_its_stage_and_all_coarser_ones() -> None:
    pyramid = FeaturePyramid((3, 5, 7), 4)
    maps = [
        torch.randn(1, channels, 16 // 2**n, 24 // 2**n) for n, channels in enumerate((3, 5, 7))
    ]
    found = pyramid(maps)
    for level, each in enumerate(found):
        total = torch.zeros(1, 4, *maps[level].shape[2:])
        for deeper in range(level, 3):
            side = pyramid.laterals[deeper](maps[deeper])
            scale = 2 ** (deeper - level)
            total += side.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        expected = pyramid.outputs[level](total)
        # Sums of some tens of values of order 1.
        torch.testing.assert_close(each, expected, atol=1e-5, rtol=0)


def blobs(count: int) -> Tensor:
    """Masks (count, 12, 12) that vary in few ways: rectangles."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 6, (count, 4), generator=generator)
    places = torch.arange(12)
    rows = (places >= edges[:, :1]) & (places < 12 - edges[:, 1:2])
    columns = (places >= edges[:, 2:3]) & (places < 12 - edges[:, 3:])
    return rows[:, :, None] & columns[:, None]


def test_an_embedding_is_the_whitened_principal_components() -> None:
    masks = blobs(400)
    embedding = MaskEmbedding(12, 6)
    embedding.fit(masks)
    values = np.log(np.where(masks.flatten(1), 0.97 / 0.03, 0.03 / 0.97))
    centred = values - values.mean(0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(embedding.variances, singular[:6] ** 2 / 399, rtol=1e-3)
    found = embedding.encode(masks).numpy()
    expected = centred @ vectors[:6].T / np.sqrt(singular[:6] ** 2 / 399)
    # A component's sign is free; float32 against float64, on numbers up to 4.
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=5e-3)
    assert found.std(axis=0) == pytest.approx(np.ones(6), abs=0.01)


def test_a_decoded_mask_is_the_nearest_that_the_components_reach() -> None:
    masks = blobs(400)
    embedding = MaskEmbedding(12, 16)
    embedding.fit(masks)
    codes = embedding.encode(masks)
    logits = embedding(codes)
    assert logits.shape == (400, 12, 12)
    # A projection: what is decoded has the same code.
    again = (logits.flatten(1) - embedding.mean) @ embedding.components.T
    torch.testing.assert_close(again * embedding.variances.rsqrt(), codes, atol=1e-3, rtol=0)
    wrong = ((logits > 0) != masks).float().mean()
    assert wrong < 0.02
    linear = embedding.as_linear()
    torch.testing.assert_close(linear(codes), logits, atol=1e-4, rtol=0)
    assert functional.mse_loss(linear(torch.zeros(16)).flatten(), embedding.mean) == 0
