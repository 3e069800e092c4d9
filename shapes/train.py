"""Trains a tiny model of models.yaml on rendered shapes: `python -m shapes.train MODEL`.

Writes the weights (safetensors), and beside them what they cost and how well they do (JSON).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from export.zoo import find_family
from runtime.preparation import Preparation, read_preparation
from shapes.training import (
    autoregressor,
    classifier,
    clip_classifier,
    contrastive,
    detection_batches,
    instancer,
    painter,
    pose,
    restorer,
    segmenter,
    track_batches,
)
from shapes.training.loop import Recipe, fit
from shapes.training.trainer import Task, Trainer, Training

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "shapes" / "checkpoints"
HELD_OUT_SEED = 1_000_003  # of the evaluation set; a training seed must differ

TRAINERS: dict[str, Trainer] = {
    "vit": classifier.TRAINER,
    "swin": classifier.TRAINER,
    "detr": detection_batches.TRAINER,
    "resnet": classifier.TRAINER,
    "vit_hybrid": classifier.TRAINER,
    "transpose": pose.TRAINER,
    "setr": segmenter.TRAINER,
    "ipt": restorer.TRAINER,
    "clip": contrastive.TRAINER,
    "istr": instancer.TRAINER,
    "imagegpt": autoregressor.TRAINER,
    "trackformer": track_batches.TRAINER,
    "vtn": clip_classifier.TRAINER,
    "dalle": painter.TRAINER,
}
"""By family."""
RECIPES = {
    "vit_tiny_shapes": Recipe(images=20_000, steps=4000, batch=32, rate=1e-3, decay=0.05),
    "swin_tiny_shapes": Recipe(images=20_000, steps=3000, batch=32, rate=1e-3, decay=0.05),
    "detr_tiny_shapes": Recipe(images=12_000, steps=4500, batch=32, rate=1e-3, decay=1e-4),
    "resnet_tiny_shapes": Recipe(images=20_000, steps=4000, batch=32, rate=2e-3, decay=0.05),
    "vit_hybrid_tiny_shapes": Recipe(images=20_000, steps=2000, batch=32, rate=1e-3, decay=0.05),
    "transpose_tiny_shapes": Recipe(images=8_000, steps=1600, batch=32, rate=1e-3, decay=1e-4),
    "setr_naive_tiny_shapes": Recipe(
        images=10_000, steps=1800, batch=16, rate=8e-4, decay=0.05, warmup=50
    ),
    "setr_pup_tiny_shapes": Recipe(
        images=6000, steps=400, batch=16, rate=4e-4, decay=0.05, warmup=30
    ),
    "setr_mla_tiny_shapes": Recipe(
        images=6000, steps=400, batch=16, rate=4e-4, decay=0.05, warmup=30
    ),
    "ipt_denoise30_tiny_shapes": Recipe(
        images=3000, steps=10_000, batch=8, rate=2e-3, decay=1e-4, warmup=100
    ),
    "istr_tiny_shapes": Recipe(images=4000, steps=600, batch=32, rate=6e-4, decay=1e-4, warmup=30),
    "clip_tiny_shapes": Recipe(
        images=12_000, steps=1200, batch=64, rate=1e-3, decay=0.05, warmup=100
    ),
    "imagegpt_tiny_shapes": Recipe(
        images=8000, steps=5000, batch=16, rate=2e-3, decay=0.05, warmup=100
    ),
    "trackformer_tiny_shapes": Recipe(
        images=3000, steps=4000, batch=16, rate=5e-4, decay=1e-4, warmup=50
    ),
    "vtn_tiny_shapes": Recipe(
        images=12_000, steps=6000, batch=16, rate=1e-3, decay=0.05, warmup=100
    ),
    "dalle_tiny_shapes": Recipe(
        images=16_000, steps=4000, batch=32, rate=2e-3, decay=0.05, warmup=50
    ),
}
_SAVE_EVERY = 500  # steps, so that an interrupted run leaves something usable


def main() -> int:
    """Parses the command line, trains, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shapes.train", description=__doc__)
    parser.add_argument("model", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, help="default: shapes/checkpoints/MODEL.safetensors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", type=Path, metavar="FILE", help="weights to start from")
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--rate", type=float, help="peak learning rate, default: the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.seed == HELD_OUT_SEED:
        parser.error(f"--seed {HELD_OUT_SEED} is the held-out set; give another")
    torch.set_num_threads(arguments.threads)
    out = arguments.out or CHECKPOINTS / f"{arguments.model}.safetensors"
    recipe = RECIPES[arguments.model]
    steps, rate = arguments.steps or recipe.steps, arguments.rate or recipe.rate
    recipe = replace(recipe, steps=steps, rate=rate)
    figures = train(arguments.model, out, arguments.seed, recipe, arguments.resume)
    print(json.dumps(figures, indent=2))
    return 0


def read_record(name: str) -> dict[str, Any]:
    """Returns the record of a model in models.yaml.

    Raises:
        ValueError: if there is none.
    """
    records = yaml.safe_load((ROOT / "models.yaml").read_text())["models"]
    if name not in records:
        raise ValueError(f"models.yaml has no {name!r}; add a record of that name")
    record: dict[str, Any] = records[name]
    return record


def build(record: dict[str, Any]) -> torch.nn.Module:
    """Builds the randomly initialised reference module of a record."""
    model = find_family(record["family"]).reference.build(record["config"])
    if isinstance(model, PreTrainedModel):
        # torch's fused attention has a slow bfloat16 backward pass on CPUs.
        model.set_attn_implementation("eager")
    return model


def prepare(
    record: dict[str, Any], recipe: Recipe, seed: int, resume: Path | None = None
) -> Training:
    """Builds the module of a record, random or with stored weights, and renders its images."""
    torch.manual_seed(seed)
    model, preprocess = build(record), _preparation(record)
    weights = load_file(resume) if resume else None
    return TRAINERS[record["family"]].prepare(Task(model, preprocess, recipe, seed, weights))


def train(
    name: str, out: Path, seed: int, recipe: Recipe, resume: Path | None = None
) -> dict[str, Any]:
    """Trains a model, writes OUT and OUT's JSON, and returns the figures written there."""
    wall, cpu = time.perf_counter(), time.process_time()
    training = prepare(read_record(name), recipe, seed, resume)
    fit(training.module, training.loss, recipe, _Progress(recipe, training.weights, out))
    _save(training.weights(), out)
    figures = {
        "model": name,
        "command": f"python -m shapes.train {name} --seed {seed}"
        + (f" --resume {resume.name if resume.is_absolute() else resume}" if resume else ""),
        "threads": torch.get_num_threads(),
        "wall_minutes": round((time.perf_counter() - wall) / 60, 1),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 1),
        **evaluate(name, out),
    }
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def evaluate(
    name: str, weights: Path, images: int | None = None, seed: int = HELD_OUT_SEED
) -> dict[str, Any]:
    """Measures stored weights on held-out renders.

    Args:
        name: model of models.yaml.
        weights: safetensors file.
        images: how many to render; by default as many as the published figures were measured on.
        seed: the set of renders.

    Returns:
        The family's figures, the number of images and of parameters.
    """
    record = read_record(name)
    preprocess = _preparation(record)
    model = build(record)
    model.load_state_dict(load_file(weights))
    trainer = TRAINERS[record["family"]]
    images = images or trainer.held_out
    parameters = sum(parameter.numel() for parameter in model.parameters())
    score = trainer.score(model, preprocess, seed, images)
    return {"parameters": parameters, "held_out_images": images, **score}


def _preparation(record: dict[str, Any]) -> Preparation:
    return read_preparation(record["preprocess"]).opened(ROOT.joinpath)


class _Progress:
    """Prints a smoothed loss and saves the weights every so often."""

    def __init__(
        self, recipe: Recipe, weights: Callable[[], dict[str, torch.Tensor]], out: Path
    ) -> None:
        self._steps, self._weights, self._out = recipe.steps, weights, out
        self._start, self._smooth = time.perf_counter(), 0.0

    def __call__(self, step: int, value: float) -> None:
        self._smooth += max(1 / step, 0.02) * (value - self._smooth)
        if step % 100 == 0:
            seconds = time.perf_counter() - self._start
            print(f"step {step}/{self._steps} loss {self._smooth:.3f} {seconds:.0f} s", flush=True)
        if step % _SAVE_EVERY == 0:
            _save(self._weights(), self._out)


def _save(weights: dict[str, torch.Tensor], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in weights.items()}, temporary)
    temporary.replace(out)


if __name__ == "__main__":
    raise SystemExit(main())
