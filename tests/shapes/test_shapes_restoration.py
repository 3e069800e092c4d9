"""Degraded frames: each degradation against its own definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.images import ImageSet
from runtime.tasks.restoration import read_clean
from shapes import DATASETS, render
from shapes.datasets.restoration import KINDS, clean_scene, degraded, pair

GREY = np.full((240, 240, 3), 128, np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("sigma", [30, 50])
def test_noise_has_its_standard_deviation(sigma: int) -> None:
    noise = degraded(f"denoise{sigma}", GREY, rng()).astype(float) - 128
    # Of 172,800 values; those beyond 127 levels (one in 90 at sigma 50) are cut off.
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < 0.5


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_small_frame_is_pillows_bicubic_one(factor: int) -> None:
    clean = clean_scene(0, 0)[:60, :84]
    expected = Image.fromarray(clean).resize((84 // factor, 60 // factor), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(degraded(f"x{factor}", clean, rng()), expected)


def test_rain_only_brightens_and_leaves_most_of_the_frame() -> None:
    rain = degraded("derain", GREY, rng()).astype(int) - 128
    assert rain.min() == 0 and 50 <= rain.max() < 130
    assert 0.05 < (rain > 0).mean() < 0.4
    # Streaks are steep: brightness goes on downwards rather than sideways.
    wet = rain[..., 0] > 0
    assert (wet[1:] & wet[:-1]).sum() > 1.5 * (wet[:, 1:] & wet[:, :-1]).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_functions_of_seed_and_index_and_fit_each_other(kind: str) -> None:
    frame, clean = pair(kind, 5, 3)
    again = pair(kind, 5, 3)
    assert np.array_equal(frame, again.frame) and np.array_equal(clean, again.truth)
    factor = int(kind[1:]) if kind.startswith("x") else 1
    assert clean.shape == (frame.shape[0] * factor, frame.shape[1] * factor, 3)
    height, width = clean.shape[:2]
    np.testing.assert_array_equal(clean, clean_scene(5, 3)[:height, :width])
    assert not np.array_equal(pair(kind, 6, 3).truth[:48, :48], clean[:48, :48])


def test_a_clean_scene_has_no_noise_of_a_sensor() -> None:
    """Most pixels equal a neighbour in plain areas; with noise hardly any pair of pixels would."""
    scenes = [clean_scene(0, index) for index in range(8)]
    equal = [(scene[:, 1:] == scene[:, :-1]).all(axis=2).mean() for scene in scenes]
    assert max(equal) > 0.5


def test_a_rendered_folder_is_read_again(tmp_path: Path) -> None:
    render.write(tmp_path, DATASETS["restoration_x2"], 0, 3)
    truths, files = read_clean(tmp_path), dict(ImageSet(tmp_path))
    assert list(files) == sorted(truths) == ["000000.png", "000001.png", "000002.png"]
    for index, name in enumerate(files):
        frame, clean = pair("x2", 0, index)
        np.testing.assert_array_equal(files[name], frame)
        np.testing.assert_array_equal(truths[name], clean)
