"""The set of clips: exact motions, and a single frame that says nothing of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import kstest

from runtime.preparation import read_preparation
from runtime.tasks import find_task
from shapes import train
from shapes.datasets import DATASETS
from shapes.datasets.clips import LENGTH, MOTIONS, SIDE, Clip, clip, trajectory
from shapes.training import clip_classifier
from shapes.training.trainer import tensors

CHANCE = 1 / len(MOTIONS)
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [clip(5, index) for index in range(400)]


def apart(left: Array, right: Array) -> Array:
    """From right to left on a circle of circumference 1, in -1/2..1/2."""
    return np.asarray((left - right + 0.5) % 1 - 0.5)


def test_clips_are_of_every_motion(clips: list[Clip]) -> None:
    assert {(c.frames.shape, c.frames.dtype) for c in clips} == {
        ((LENGTH, SIDE, SIDE, 3), np.dtype(np.uint8))
    }
    assert {c.label for c in clips} == set(range(len(MOTIONS)))


def test_a_clip_does_not_depend_on_the_others(clips: list[Clip]) -> None:
    again = clip(5, 399)
    np.testing.assert_array_equal(again.frames, clips[399].frames)
    assert again.label == clips[399].label
    assert not np.array_equal(clip(6, 399).frames, again.frames)


def test_backwards_is_the_opposite_motion_with_the_same_frames() -> None:
    rng = np.random.default_rng(0)
    for label, motion in enumerate(MOTIONS):
        start, step = rng.uniform(size=4), rng.uniform(0.04, 0.14)
        forwards = trajectory(label, start, step)
        backwards = trajectory(label ^ 1, forwards[-1], step)
        # Sums of eight float64 numbers below 1.
        np.testing.assert_allclose(apart(backwards[::-1], forwards), 0, atol=1e-14)
        assert {motion, MOTIONS[label ^ 1]} in (
            {"right", "left"},
            {"down", "up"},
            {"clockwise", "anticlockwise"},
            {"approaching", "receding"},
        )


@pytest.mark.parametrize("label", range(len(MOTIONS)), ids=MOTIONS)
def test_masks_move_as_the_label_says(clips: list[Clip], label: int) -> None:
    """Measured on the pixels: the way of the mask by correlation on the torus, and its area."""
    right_down_grown = []
    for found in clips:
        if found.label != label:
            continue
        for before, after in zip(found.masks[:-1], found.masks[1:], strict=True):
            spectrum = np.fft.fft2(after) * np.fft.fft2(before).conj()
            peak = np.unravel_index(np.fft.ifft2(spectrum).real.argmax(), before.shape)
            down, right = ((np.array(peak) + SIDE // 2) % SIDE - SIDE // 2) / SIDE
            right_down_grown.append([right, down, np.log(after.sum() / before.sum())])
    right, down, grown = np.median(right_down_grown, axis=0)
    moved = {"right": right, "left": -right, "down": down, "up": -down}
    moved |= {"approaching": grown, "receding": -grown}
    # Steps are 0.06 to 0.14 of the side, 0.1 in the middle; a tenth of the range of radii is at
    # least 5 % of a radius, and 10 % of an area.
    for motion, way in moved.items():
        if motion == MOTIONS[label]:
            assert way > (0.1 if motion in ("approaching", "receding") else 0.06)
        elif motion != MOTIONS[label ^ 1]:
            assert abs(way) < 0.05


@pytest.mark.parametrize("label", [4, 5], ids=MOTIONS[4:6])
def test_orbits_bend_as_the_label_says(clips: list[Clip], label: int) -> None:
    """Clockwise on the screen, where y goes down, each way is right of the one before."""
    bends = []
    for found in clips:
        if found.label == label:
            x, y = apart(found.places[1:, :2], found.places[:-1, :2]).T
            bends.append(x[:-1] * y[1:] - y[:-1] * x[1:])
    assert (np.array(bends) * (1 - 2 * (label % 2)) > 0).all()


def test_figures_are_where_they_are_said_to_be(clips: list[Clip]) -> None:
    """The centroid of the mask, by circular means on the torus; of what is round, exactly there."""
    phases = np.exp(2j * np.pi * (np.arange(SIDE) + 0.5) / SIDE)
    away = []
    for found in clips:
        for mask, place in zip(found.masks, found.places, strict=True):
            means = [np.angle((mask.sum(axis=axis) * phases).sum()) for axis in (0, 1)]
            away.append(np.abs(apart(np.array(means) / (2 * np.pi), place[:2])).max())
    # Outlines turn about the middle of their circle, from which an arrow's centroid is 3 pixels
    # away at most.
    assert np.median(away) < 1 / SIDE
    assert np.quantile(away, 0.99) < 4 / SIDE


@pytest.mark.parametrize("frame", [0, LENGTH - 1])
def test_states_of_a_frame_are_uniform_in_every_class(frame: int) -> None:
    """So that all classes have one distribution of frames."""
    rng = np.random.default_rng(1)
    for label in range(len(MOTIONS)):
        states = [
            trajectory(label, rng.uniform(size=4), rng.uniform(0.06, 0.14))[frame]
            for _ in range(500)
        ]
        for circle in np.array(states).T:
            assert kstest(circle, "uniform").pvalue > 1e-3  # of 64, with a fixed seed


def test_places_of_a_frame_are_uniform_in_every_class(clips: list[Clip]) -> None:
    """Of rendered clips too."""
    for label in range(len(MOTIONS)):
        for circle in np.array([c.places[LENGTH // 2] for c in clips if c.label == label]).T:
            assert kstest(circle, "uniform").pvalue > 1e-3  # of 24, with a fixed seed


def nearest(train_on: Array, labels: NDArray[np.int64], asked: Array) -> NDArray[np.int64]:
    distances = (asked**2).sum(1)[:, None] - 2 * asked @ train_on.T + (train_on**2).sum(1)
    return labels[distances.argmin(axis=1)]


def test_a_frame_says_nothing_and_their_order_says_much() -> None:
    """A nearest neighbour, given the exact places: at chance on a frame, good on differences."""
    clips = [clip(8, index) for index in range(900)]
    labels = np.array([c.label for c in clips])
    places = np.array([c.places for c in clips])
    middle = LENGTH // 2
    angles = 2 * np.pi * places[:, middle]
    one = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    order = apart(places[:, 1:], places[:, :-1]).reshape(900, -1)
    pixels = np.array([c.frames[middle] for c in clips]).reshape(900, -1) / 255.0
    known, asked = np.s_[:600], np.s_[600:]

    def accuracy(features: Array) -> float:
        found = nearest(features[known], labels[known], features[asked])
        return float((found == labels[asked]).mean())

    four_deviations = 4 * (CHANCE * (1 - CHANCE) / 300) ** 0.5
    assert abs(accuracy(one) - CHANCE) < four_deviations
    assert abs(accuracy(pixels) - CHANCE) < four_deviations
    assert accuracy(order) > 0.9


def test_changed_clips_are_what_they_are_called() -> None:
    before = clip_classifier.load(5, 8)
    after = clip_classifier.changed(np.random.default_rng(0), before)
    for index in range(8):
        assert after.labels[index] == before.labels[index] ^ (index % 2 == 0)
        turned = slice(None, None, -1 if index % 2 == 0 else 1)
        np.testing.assert_array_equal(after.masks[index], before.masks[index][turned])
        np.testing.assert_array_equal(after.places[index], before.places[index][turned])
        # Of colours, what neither an exchange of channels nor an inversion changes.
        spread = np.sort(before.frames[index][turned].std(axis=(1, 2)), axis=-1)
        np.testing.assert_allclose(np.sort(after.frames[index].std(axis=(1, 2)), axis=-1), spread)


def test_labels_are_read_as_they_are_written(tmp_path: Path) -> None:
    truths = {f"{index:06d}": DATASETS["clips"].image(3, index).truth for index in range(5)}
    DATASETS["clips"].write(tmp_path, truths)
    assert find_task("classification").read_truths(tmp_path) == truths


@torch.no_grad()
def test_the_trained_model_goes_by_the_order() -> None:
    """One frame again and again leaves it at chance; a clip backwards is the opposite to it."""
    record = train.read_record("vtn_tiny_shapes")
    model = train.build(record).eval()
    model.load_state_dict(load_file(train.CHECKPOINTS / "vtn_tiny_shapes.safetensors"))
    preprocess = read_preparation(record["preprocess"])
    motions = clip_classifier.load(9, 300)

    def accuracy(frames: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        logits = model(**tensors(preprocess(list(frames))))["logits"]
        return float((logits.argmax(1).numpy() == labels).mean())

    four_deviations = 4 * (CHANCE * (1 - CHANCE) / 300) ** 0.5
    still = motions.frames[:, 3:4].repeat(LENGTH, axis=1)
    assert accuracy(still, motions.labels) < CHANCE + four_deviations
    assert accuracy(motions.frames, motions.labels) > 0.8
    assert accuracy(motions.frames[:, ::-1], motions.labels ^ 1) > 0.8
    assert accuracy(motions.frames[:, ::-1], motions.labels) < CHANCE + four_deviations
