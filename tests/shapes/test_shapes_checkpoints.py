"""The committed checkpoints: small, documented, and as good as they say."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from shapes import train

MODELS = sorted(train.RECIPES)
IMAGES, SCENES = 200, 50  # a scene is restored in many tiles
GOALS = {
    "top1": 0.95,
    "clip_top1": 0.90,
    "ap50": 0.80,
    "mask_ap50": 0.70,
    "idf1": 0.80,
    "miou": 0.85,
    "pck": 0.90,
    "zero_shot_top1": 0.90,
    "denoise30_gain_db": 4.0,
    "denoise50_gain_db": 4.0,
    "below_unigram": 0.40,
    "recognised": 0.80,
    "psnr_db": 22.0,
    "x2_gain_db": 2.0,
}
"""The least that a figure of a JSON file must reach."""


def _figures(model: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((train.CHECKPOINTS / f"{model}.json").read_text())
    return figures


def _reached(figures: dict[str, Any]) -> dict[str, float]:
    """The figures that have a goal."""
    return {name: figures[name] for name in GOALS if name in figures}


def _tolerance(name: str, stated: float) -> float:
    """By how much a figure may be lower on `IMAGES` other images."""
    if name == "psnr_db":
        # Of single drawings it has a standard deviation of 4.0 dB: four of the mean of 200.
        return 4 * 4.0 / math.sqrt(IMAGES)
    if name.endswith("_db"):
        # Gains of single scenes have a standard deviation of 1.3 dB: four of the mean of 50.
        return 4 * 1.3 / math.sqrt(SCENES)
    # Four standard deviations of a binomial share. AP, IoU and PCK are of several boxes, classes or
    # points an image, so their own deviation is no larger. A perfect share says nothing of its
    # deviation: one image may be lost.
    return max(4 * math.sqrt(stated * (1 - stated) / IMAGES), 1 / IMAGES)


def _weights(model: str) -> Path:
    return train.CHECKPOINTS / f"{model}.safetensors"


@pytest.mark.parametrize("model", MODELS)
def test_checkpoint_is_at_most_6_mb_and_the_one_of_its_record(model: str) -> None:
    data = _weights(model).read_bytes()
    assert len(data) <= 6_000_000
    record = train.read_record(model)["weights"]
    assert record["file"] == f"shapes/checkpoints/{model}.safetensors"
    assert record["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("model", MODELS)
def test_readme_states_the_figures_of_the_json(model: str) -> None:
    figures = _figures(model)
    readme = (train.CHECKPOINTS / "README.md").read_text()
    row = next(line for line in readme.splitlines() if line.startswith(f"| `{model}`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    reached = _reached(figures)
    assert cells == [
        f"`{model}`",
        f"{figures['parameters']:,}",
        ", ".join(f"{name} {value:.4f}" for name, value in reached.items()),
        f"{figures['held_out_images']:,}",
        f"{figures['wall_minutes']}",
        f"{figures['cpu_minutes']}",
    ]
    assert figures["command"] in readme
    assert reached
    assert all(value >= GOALS[name] for name, value in reached.items())


@pytest.mark.parametrize("model", MODELS)
def test_checkpoint_reaches_its_figures_on_fresh_images(model: str) -> None:
    figures = _figures(model)
    images = IMAGES if figures["held_out_images"] >= IMAGES else SCENES
    found = train.evaluate(model, _weights(model), images, seed=77)
    for name, stated in _reached(figures).items():
        assert found[name] >= stated - _tolerance(name, stated), name
    assert found["parameters"] == figures["parameters"]
