"""Captioned figures: what is said of them is seen, and the contrastive loss takes it so."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from runtime.bpe import Bpe
from shapes import merges, train
from shapes.datasets import DATASETS, captions
from shapes.datasets.captions import CAPTIONED_CLASSES, COLOURS, Facts, captioned_image
from shapes.figures import NAMES
from shapes.render import write
from shapes.training import contrastive
from shapes.training.loop import Recipe

ROOT = Path(__file__).resolve().parents[2]
CORNERS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 1),
    "green": (0, 1, 0),
    "cyan": (0, 1, 1),
    "red": (1, 0, 0),
    "magenta": (1, 0, 1),
    "yellow": (1, 1, 0),
    "white": (1, 1, 1),
}


def test_an_image_depends_on_its_seed_and_index_alone() -> None:
    one, again, other = captioned_image(3, 5), captioned_image(3, 5), captioned_image(3, 6)
    np.testing.assert_array_equal(one.frame, again.frame)
    assert one.facts == again.facts
    assert (one.frame != other.frame).any()


def seen_colour(pixels: np.ndarray) -> str:
    """The corner of the colour cube nearest to the mean."""
    mean = pixels.mean(axis=0) / 255
    return min(CORNERS, key=lambda name: float(np.abs(mean - CORNERS[name]).sum()))


def test_figures_and_backgrounds_have_the_colours_that_are_named() -> None:
    sizes: dict[str, list[float]] = {"small": [], "large": []}
    for index in range(120):
        frame, facts, mask = captioned_image(0, index)
        assert facts.background is not None and facts.size is not None
        assert seen_colour(frame[mask]) == COLOURS[facts.colour]
        assert seen_colour(frame[~mask]) == COLOURS[facts.background]
        extent = max(np.ptp(axis) for axis in np.nonzero(mask))
        sizes[facts.size].append(extent)
    # Twice a radius of at most 0.30 and at least 0.36 of 64 pixels; outlines are narrower than the
    # circle around them, at least in one direction, by a third at most.
    assert max(sizes["small"]) <= 39 and min(sizes["large"]) >= 30
    assert np.mean(sizes["large"]) > 1.3 * np.mean(sizes["small"])


def test_changed_frames_have_the_colours_that_they_are_given() -> None:
    rng = np.random.default_rng(0)
    images = [captioned_image(1, index) for index in range(8)]
    frames, facts = np.stack([one.frame for one in images]), [one.facts for one in images]
    mirrored = 0
    for _ in range(20):
        changed, renamed = contrastive.changed(rng, frames, facts)
        flips = [
            next(
                flip
                for flip in (1, -1)
                if seen_colour(new[one.mask[:, ::flip]]) == COLOURS[fact.colour]
            )
            for one, new, fact in zip(images, changed, renamed, strict=True)
        ]  # a StopIteration would be a colour that is in neither place
        mirrored += flips.count(-1)
        for one, fact in zip(facts, renamed, strict=True):
            assert (fact.shape, fact.size) == (one.shape, one.size)
            assert fact.background is not None and fact.background != fact.colour
    assert mirrored > 0


def test_captions_say_what_is_true_and_no_two_things_alike() -> None:
    every = list(captions.every_caption())
    assert len(set(every)) == len(every)
    rng = np.random.default_rng(0)
    facts = Facts(NAMES.index("t_shape"), COLOURS.index("red"), "small", COLOURS.index("blue"))
    seen = {captions.caption(rng, captions.said(rng, facts)) for _ in range(400)}
    assert "a photo of a small red t shape on a blue background" in seen
    assert "the red t shape" in seen
    assert seen <= set(every)
    assert len(seen) == 7 * 4  # openings, and what of size and background is said


def test_classes_are_colour_times_shape(tmp_path: Path) -> None:
    assert len(CAPTIONED_CLASSES) == 96
    labels = (ROOT / "export" / "labels" / "shapes_captions.txt").read_text().splitlines()
    assert tuple(labels) == CAPTIONED_CLASSES
    write(tmp_path, DATASETS["captions"], 0, 3)
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    facts = captioned_image(0, 2).facts
    name = f"{COLOURS[facts.colour]} {NAMES[facts.shape].replace('_', ' ')}"
    assert lines[3].split(",") == ["000002.png", str(CAPTIONED_CLASSES.index(name)), name]


def test_the_committed_merges_are_learned_from_captions() -> None:
    """Each word of a caption is then one symbol."""
    pairs = merges.learned(captions.every_caption())
    contents = (ROOT / contrastive.MERGES).read_text()
    assert contents.splitlines() == ["#version: 0.2", *(" ".join(pair) for pair in pairs)]
    tokenizer = Bpe(contents.encode())
    for caption in captions.every_caption():
        assert len(tokenizer.encode(caption)) == len(caption.split())


def test_merges_join_the_most_frequent_pair_first() -> None:
    # "ab" three times, "bc" twice at the ends of words; then "ab c".
    assert merges.learned(["abc abc", "ab"]) == [("a", "b"), ("ab", "c</w>"), ("a", "b</w>")]


def test_a_text_fits_every_image_of_which_it_is_true() -> None:
    facts = [Facts(0, 1, "small", 2), Facts(0, 1, "large", 2), Facts(0, 3, "small", 1)]
    told = [Facts(0, 1), Facts(0, 1, "large"), Facts(0, 3, None, 1), Facts(0, 1, None, 2)]
    expected = [[1, 0, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0]]
    assert contrastive.fitting(facts, told).astype(int).tolist() == expected


def test_the_loss_leaves_out_what_is_no_negative() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 1.0]])
    fits = torch.eye(3, dtype=torch.bool)
    fits[0, 1] = True  # the second text is true of the first image too

    def entropy(rows: list[list[float]]) -> float:
        """Mean over rows; the first of each is the pair's own."""
        losses = [math.log(sum(math.exp(x) for x in row)) - row[0] for row in rows]
        return sum(losses) / len(losses)

    by_image = entropy([[2.0, 0.0], [3.0, 1.0, 0.5], [1.0, 0.0, 0.5]])
    by_text = entropy([[2.0, 1.0, 0.0], [3.0, 0.5], [1.0, 0.0, 0.5]])
    found = contrastive.contrastive_loss(logits, fits)
    assert float(found) == pytest.approx((by_image + by_text) / 2, rel=1e-6)  # float32


def test_an_image_tower_begins_as_the_classifier() -> None:
    """Before training it tells shapes apart as that does, but for a norm that a ViT lacks."""
    weights = train.CHECKPOINTS / "vit_tiny_shapes.safetensors"
    recipe = Recipe(images=64, steps=1, batch=4, rate=1e-3, decay=0.0)
    record = train.read_record("clip_tiny_shapes")
    training = train.prepare(record, recipe, 0, weights)
    tower = training.module.image.vision_model.eval()
    vit = train.build(train.read_record("vit_tiny_shapes")).eval()
    vit.load_state_dict(load_file(weights))
    images = [captioned_image(9, index) for index in range(100)]
    pixels = torch.stack([torch.from_numpy(one.frame.copy()) for one in images]).permute(0, 3, 1, 2)
    with torch.no_grad():
        inputs = (pixels.float() / 255 - 0.5) / 0.25
        # The classifier's head reads the tower's class token, which has no further layer.
        classes = vit.classifier(tower(pixel_values=inputs).pooler_output).argmax(1).numpy()
    shapes = np.array([one.facts.shape for one in images])
    # Chance is 1 in 12, three standard deviations of 100 images 0.08.
    assert (classes == shapes).mean() > 0.3
