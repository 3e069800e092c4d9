"""The instance set: masks are the figures'; the loss of a set of instances, and its score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from export.zoo.istr_stage import Predictions
from export.zoo.mask_embedding import MaskEmbedding
from runtime import Preprocess
from runtime.tasks.instances import read_instances
from shapes import render, train
from shapes.datasets import DATASETS
from shapes.datasets.instances import instance_image, truth_of
from shapes.figures import DETECTION_NAMES
from shapes.scene import Cast
from shapes.training import instancer
from shapes.training.instance_loss import Targets, set_loss
from shapes.training.loop import Recipe

SIDE = 28


@pytest.fixture(scope="module")
def casts() -> list[Cast]:
    return [instance_image(5, index) for index in range(120)]


def test_frames_show_one_to_three_figures_of_every_class(casts: list[Cast]) -> None:
    assert {cast.frame.shape for cast in casts} == {(64, 64, 3)}
    assert {len(cast.masks) for cast in casts} == {1, 2, 3}
    assert all(cast.masks.shape == (len(cast.labels), 64, 64) for cast in casts)
    seen = np.unique(np.concatenate([cast.labels for cast in casts]))
    assert seen.tolist() == list(range(len(DETECTION_NAMES)))


def test_no_pixel_is_of_two_figures_and_none_is_small(casts: list[Cast]) -> None:
    for cast in casts:
        assert cast.masks.sum(axis=0).max() == 1
        # The thinnest, a crescent of 19 pixels, covers some 60; a quarter may be hidden.
        assert cast.masks.sum(axis=(1, 2)).min() > 40


def test_an_image_does_not_depend_on_the_others(casts: list[Cast]) -> None:
    again = instance_image(5, 119)
    assert np.array_equal(again.frame, casts[119].frame)
    assert np.array_equal(again.masks, casts[119].masks)
    assert not np.array_equal(instance_image(6, 119).frame, again.frame)


def test_figures_differ_from_what_surrounds_them(casts: list[Cast]) -> None:
    rows, columns = np.mgrid[:64, :64].reshape(2, -1)
    plane = np.stack([rows, columns, np.ones(64 * 64)], axis=1)
    for cast in casts[:40]:
        figures = cast.masks.any(axis=0).ravel()
        values = cast.frame.reshape(-1, 3) / 255
        fit, *_ = np.linalg.lstsq(plane[~figures], values[~figures], rcond=None)
        away = np.linalg.norm(values - plane @ fit, axis=1)
        # As of the segmentation set: noise is 0.1 at most, figures are 0.45 away and more.
        assert np.quantile(away[~figures], 0.9) < 0.3 < np.median(away[figures])


def test_what_is_written_is_read_as_the_truth(tmp_path: Path) -> None:
    dataset = DATASETS["instances"]
    render.write(tmp_path, dataset, 3, 4)
    truths = read_instances(tmp_path)
    assert sorted(truths) == [f"{index:06d}.png" for index in range(4)]
    for index in range(4):
        found, wanted = truths[f"{index:06d}.png"], dataset.image(3, index).truth
        assert found.indices.tolist() == wanted.indices.tolist()
        np.testing.assert_array_equal(found.boxes, wanted.boxes)
        for one, other in zip(found.masks, wanted.masks, strict=True):
            np.testing.assert_array_equal(one.on((64, 64)), other.on((64, 64)))


def test_a_sample_holds_each_mask_within_its_box(casts: list[Cast]) -> None:
    for cast in casts[:20]:
        sample = instancer.sample_of(cast, SIDE)
        for box, small, mask in zip(sample.boxes, sample.masks, cast.masks, strict=True):
            left, top, right, bottom = (box * 64).round().astype(int)
            assert mask[top:bottom, left:right].sum() == mask.sum()
            share = mask[top:bottom, left:right].mean()
            # A figure's edge is some 80 of 400 pixels, each of which may round either way.
            assert small.mean() == pytest.approx(share, abs=0.06)


@pytest.fixture(scope="module")
def embedding(casts: list[Cast]) -> MaskEmbedding:
    masks = [instancer.sample_of(cast, SIDE).masks for cast in casts]
    embedding = MaskEmbedding(SIDE, 24)
    embedding.fit(torch.from_numpy(np.concatenate(masks)))
    return embedding


def perfect(targets: Targets, embedding: MaskEmbedding, order: list[int]) -> Predictions:
    """What a model that knows the truth would find, at queries in this order."""
    logits = functional.one_hot(targets.labels, 8).float() * 40 - 20
    logits[:, min(targets.counts) :] = -20
    found = Predictions(logits, targets.boxes, embedding.encode(targets.masks))
    return Predictions(*(part[:, order] for part in found))


def test_the_loss_of_the_truth_is_small_whatever_its_order(
    casts: list[Cast], embedding: MaskEmbedding
) -> None:
    three = [cast for cast in casts if len(cast.masks) == 3][:4]
    targets = instancer.targets_of([instancer.sample_of(cast, SIDE) for cast in three])
    losses = [
        set_loss([perfect(targets, embedding, order)], embedding, targets).item()
        for order in ([0, 1, 2], [2, 0, 1])
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    # What is left is what 24 components do not hold of a mask: twice a dice loss.
    assert losses[0] < 0.5
    found = perfect(targets, embedding, [0, 1, 2])
    twice = set_loss([found, found], embedding, targets).item()
    assert twice == pytest.approx(2 * losses[0], rel=1e-5)
    for worse in (
        found._replace(boxes=found.boxes + 0.1),
        found._replace(logits=-found.logits),
        found._replace(embeddings=-found.embeddings),
    ):
        assert set_loss([worse], embedding, targets).item() > losses[0] + 1


def test_masks_decide_which_query_gets_which_of_two_like_boxes(
    casts: list[Cast], embedding: MaskEmbedding
) -> None:
    sample = instancer.sample_of(next(cast for cast in casts if len(cast.masks) == 2), SIDE)
    sample = sample._replace(
        boxes=np.repeat(sample.boxes[:1], 2, axis=0), labels=np.repeat(sample.labels[:1], 2)
    )
    targets = instancer.targets_of([sample])
    found = perfect(targets, embedding, [1, 0])
    assert set_loss([found], embedding, targets).item() < 0.5
    unmatched = replace(targets, masks=targets.masks.flip(1))
    assert set_loss([found], embedding, unmatched).item() < 0.5


def test_training_begins_with_the_detectors_backbone_and_the_sets_own_masks(
    tmp_path: Path,
) -> None:
    detector = train.CHECKPOINTS / "detr_tiny_shapes.safetensors"
    recipe = Recipe(images=4, steps=1, batch=2, rate=1e-3, decay=0.0)
    training = train.prepare(train.read_record("istr_tiny_shapes"), recipe, 0, detector)
    weights, theirs = training.weights(), load_file(detector)
    copied = [name for name in weights if name.startswith("backbone.")]
    assert len(copied) == sum(name.startswith("model.backbone.") for name in theirs)
    for name in copied:
        assert torch.equal(weights[name], theirs[name.replace("backbone", "model.backbone.model")])
    assert weights["mask_embedding.mean"].abs().max() > 1  # 0 before it is fitted
    loss = training.loss()
    loss.backward()
    assert loss.isfinite()
    gradients = dict(training.module.named_parameters())
    assert gradients["boxes"].grad is not None
    assert gradients["mask_embedding.components"].grad is None
    packed = {name: value.contiguous() for name, value in weights.items()}
    save_file(packed, tmp_path / "w.safetensors")
    resumed = train.prepare(
        train.read_record("istr_tiny_shapes"), recipe, 1, tmp_path / "w.safetensors"
    ).weights()
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)


@pytest.mark.parametrize("known", ["boxes and masks", "boxes"])
def test_the_score_is_that_of_the_answers(known: str) -> None:
    casts = [instance_image(9, index) for index in range(12)]

    class Oracle(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = torch.full((12, 3, 8), -9.0)
            boxes, masks = torch.zeros(12, 3, 4), torch.full((12, 3, 64, 64), -1.0)
            for row, cast in enumerate(casts):
                for query, box in enumerate(truth_of(cast).boxes):
                    left, top, right, bottom = box.astype(int)
                    logits[row, query, cast.labels[query]] = 9
                    boxes[row, query] = torch.from_numpy(box) / 64
                    mask = torch.from_numpy(cast.masks[query, top:bottom, left:right]).float()
                    masks[row, query] = functional.interpolate(mask[None, None], (64, 64))[0, 0]
            if known == "boxes":
                masks[:] = 0
            return {"logits": logits, "boxes": boxes, "masks": masks - 0.5}

    preprocess = Preprocess.from_dict(train.read_record("istr_tiny_shapes")["preprocess"])
    found = instancer.mask_ap50(Oracle(), preprocess, 9, 12)
    assert found["box_ap50"] == found["box_ap"] == 1
    assert found["mask_ap50"] == (1 if known == "boxes and masks" else 0)
