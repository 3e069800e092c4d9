"""The segmentation set: every pixel's class is what is painted there; and how SETRs train on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from export.zoo import find_family
from runtime import Preprocess
from runtime.tasks.segmentation import read_masks
from shapes import render, train
from shapes.datasets import DATASETS
from shapes.datasets.segmentation import SEGMENTATION_NAMES, segmentation_image
from shapes.figures import outline
from shapes.scene import Group
from shapes.training import pretrained, segmenter
from shapes.training.loop import Recipe


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    return [segmentation_image(5, index) for index in range(150)]


def diameter(points: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(points[:, None] - points[None], axis=2).max())


def area(points: NDArray[np.float64]) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = points.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def test_frames_show_one_or_two_large_figures_of_every_class(groups: list[Group]) -> None:
    assert {group.frame.shape for group in groups} == {(64, 64, 3)}
    assert {(group.classes.shape, group.classes.dtype) for group in groups} == {
        ((64, 64), np.dtype(np.uint8))
    }
    assert {len(np.unique(group.classes)) for group in groups} == {2, 3}
    seen = np.unique(np.concatenate([group.classes.ravel() for group in groups]))
    assert seen.tolist() == list(range(len(SEGMENTATION_NAMES)))


def test_an_image_does_not_depend_on_the_others(groups: list[Group]) -> None:
    again = segmentation_image(5, 149)
    assert np.array_equal(again.frame, groups[149].frame)
    assert np.array_equal(again.classes, groups[149].classes)
    assert not np.array_equal(segmentation_image(6, 149).frame, again.frame)


def test_the_background_is_what_varies_evenly_and_figures_stand_out(groups: list[Group]) -> None:
    rows, columns = np.mgrid[:64, :64].reshape(2, -1)
    plane = np.stack([rows, columns, np.ones(64 * 64)], axis=1)
    for group in groups[:60]:
        back = group.classes.ravel() == 0
        values = group.frame.reshape(-1, 3) / 255
        fit, *_ = np.linalg.lstsq(plane[back], values[back], rcond=None)
        away = np.linalg.norm(values - plane @ fit, axis=1)
        # Noise of three channels is 0.1 at most; edges are part figure. Figures are 0.45 and more
        # away from both background colours.
        assert np.quantile(away[back], 0.9) < 0.3
        assert np.median(away[~back]) > 0.3


def test_a_pixels_class_is_that_of_the_outline_painted_there(groups: list[Group]) -> None:
    """A figure's area for its diameter tells which it is."""
    found: dict[int, list[float]] = {}
    for group in groups:
        classes = [int(index) for index in np.unique(group.classes) if index]
        if len(classes) == 1:  # one figure, or in one of nine images two of a kind
            points = np.argwhere(group.classes == classes[0]).astype(np.float64)
            ratio = len(points) / (diameter(points) + 1) ** 2  # from edge to edge
            found.setdefault(classes[0], []).append(ratio)
    assert len(found) == 8
    for index, ratios in found.items():
        points = outline(SEGMENTATION_NAMES[index])
        # Pixels round a diameter of some 30 by one: 7 % of its square.
        assert np.median(ratios) == pytest.approx(area(points) / diameter(points) ** 2, rel=0.15)


def test_what_is_written_is_read_as_the_truth(tmp_path: Path) -> None:
    dataset = DATASETS["segmentation"]
    render.write(tmp_path, dataset, 3, 4)
    truths = read_masks(tmp_path)
    assert sorted(truths) == [f"{index:06d}.png" for index in range(4)]
    for index in range(4):
        np.testing.assert_array_equal(truths[f"{index:06d}.png"], dataset.image(3, index).truth)


def test_a_resumed_setr_keeps_the_encoder_of_another_decoder(tmp_path: Path) -> None:
    def training(decoder: str, seed: int, weights: Path | None = None) -> dict[str, torch.Tensor]:
        recipe = Recipe(images=2, steps=1, batch=2, rate=1e-3, decay=0.0)
        record = train.read_record(f"setr_{decoder}_tiny_shapes")
        return train.prepare(record, recipe, seed, weights).weights()

    first = training("naive", 0)
    save_file(first, tmp_path / "w.safetensors")
    second, fresh = training("mla", 1, tmp_path / "w.safetensors"), training("mla", 1)
    shared = [name for name in second if name.startswith(("layers", "patches", "positions"))]
    assert len(shared) > 90
    for name in shared:
        assert torch.equal(second[name], first[name])
    own = [name for name in second if name.startswith("decoder") and name not in first]
    assert own and all(torch.equal(second[name], fresh[name]) for name in own)


def test_the_score_is_that_of_the_maps() -> None:
    """Answers that are the truth have mIoU 1; those of background alone that of one class."""
    images = segmenter.load(9, 6)

    class Oracle(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            wanted = torch.from_numpy(images.classes.astype(np.int64))
            return {"logits": torch.nn.functional.one_hot(wanted, 9).permute(0, 3, 1, 2).float()}

    class Background(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = torch.zeros(len(pixel_values), 9, 16, 16)
            logits[:, 0] = 1
            return {"logits": logits}

    preprocess = Preprocess.from_dict(train.read_record("setr_mla_tiny_shapes")["preprocess"])
    assert segmenter.miou(Oracle(), preprocess, 9, 6) == {"miou": 1.0}
    shown = len(np.unique(images.classes))
    expected = float((images.classes == 0).mean()) / shown
    found = segmenter.miou(Background(), preprocess, 9, 6)["miou"]
    assert found == pytest.approx(expected)


@torch.no_grad()
@pytest.mark.parametrize("side", [8, 4])
def test_a_vit_becomes_the_encoder(side: int) -> None:
    """With patches of half the side, as the ViT sees the image twice as large."""
    record = train.read_record("vit_tiny_shapes")
    vit = train.build(record).eval()
    vit.load_state_dict(load_file(train.CHECKPOINTS / "vit_tiny_shapes.safetensors"))
    changes = {"patch_size": side, "layer_norm_eps": vit.config.layer_norm_eps}
    config = train.read_record("setr_naive_tiny_shapes")["config"] | changes
    setr = find_family("setr").reference.build(config).eval()
    own = setr.state_dict()
    setr.load_state_dict(own | pretrained.encoder_of(vit.state_dict(), own))
    pixels = torch.randn(2, 3, 64, 64)
    # transformers' own modules, without the class token, on enlarged patches.
    scale = 8 // side
    patches = functional.unfold(pixels, side, stride=side).transpose(1, 2)
    patches = functional.interpolate(
        patches.reshape(-1, 3, side, side), (8, 8), mode="bilinear"
    ).reshape(2, -1, 3, 8, 8)
    projection = vit.vit.embeddings.patch_embeddings.projection
    tokens = torch.stack([projection(image).flatten(1) for image in patches])
    places = vit.vit.embeddings.position_embeddings[:, 1:].transpose(1, 2).reshape(1, -1, 8, 8)
    places = functional.interpolate(places, scale_factor=float(scale), mode="bilinear")
    tokens = tokens + places.flatten(2).transpose(1, 2)
    for layer in vit.vit.layers:
        tokens = layer(tokens)
    expected = vit.vit.layernorm(tokens).transpose(1, 2).reshape(2, 128, 64 // side, 64 // side)
    # float32 through six layers, values of order 1.
    torch.testing.assert_close(setr.features(pixels)[0], expected, atol=1e-3, rtol=0)
