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
IMAGES = 200


def _figures(model: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((train.CHECKPOINTS / f"{model}.json").read_text())
    return figures


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
    metric, goal = ("ap50", 0.80) if "ap50" in figures else ("top1", 0.95)
    assert cells == [
        f"`{model}`",
        f"{figures['parameters']:,}",
        f"{metric} {figures[metric]:.4f}",
        f"{figures['held_out_images']:,}",
        f"{figures['wall_minutes']}",
        f"{figures['cpu_minutes']}",
    ]
    assert figures["command"] in readme
    assert figures[metric] >= goal


@pytest.mark.parametrize("model", MODELS)
def test_checkpoint_reaches_its_figures_on_fresh_images(model: str) -> None:
    figures, found = _figures(model), train.evaluate(model, _weights(model), IMAGES, seed=77)
    metric = "ap50" if "ap50" in figures else "top1"
    stated = figures[metric]
    # Four standard deviations of a binomial share of 200 images. AP is averaged over classes and
    # several boxes an image, so its own deviation is no larger.
    tolerance = 4 * math.sqrt(stated * (1 - stated) / IMAGES)
    assert found[metric] >= stated - tolerance
    assert found["parameters"] == figures["parameters"]
