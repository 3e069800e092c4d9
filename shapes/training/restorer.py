"""Training and evaluation of the tiny image processing transformer: all its tasks by turns.

From random weights, heads and tails are trained alone first, which takes a quarter of the time a
step: every layer between them begins as nothing but its residual connection, so that the body
returns what it is given. Training that is resumed trains all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.ipt import SCALES, Ipt
from export.zoo.ipt_layers import Attention
from runtime.drift.restoration import psnr
from runtime.preparation import Preparation
from runtime.resampling import resized
from runtime.tiles import stitch
from shapes.datasets.restoration import clean_scene, degraded, pair
from shapes.training.recolouring import in_other_colours
from shapes.training.trainer import Task, Trainer, Training, tensors

Frame = NDArray[np.uint8]
Restore = Callable[[Tensor, str], Tensor]
"""As `Ipt.restore`."""


def batch_loss(
    model: Ipt, restore: Restore, scenes: Sequence[Frame], batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a task and a batch of tiles, and returns the mean L1 loss.

    Each batch is of one task, as in section 3.2 of the paper. A task is drawn in proportion to
    the cube of its scale: enlarging takes longest to learn.
    """
    rng = np.random.default_rng(seed)
    side, tasks = model.config.image_size, model.config.tasks
    shares = np.array([SCALES[task] ** 3 for task in tasks])

    def loss() -> Tensor:
        task = str(rng.choice(tasks, p=shares / shares.sum()))
        pairs = [_tiles(rng, task, scenes[i], side) for i in rng.integers(len(scenes), size=batch)]
        seen, clean = (_tensor(frames) for frames in zip(*pairs, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            found = restore(seen.contiguous(memory_format=torch.channels_last), task)
        return functional.l1_loss(found.float(), clean)

    return loss


def without_body(model: Ipt) -> Restore:
    """`Ipt.restore` with a body that returns what it is given, in front of its residual connection.

    The body is made such: whatever is added to its tokens begins as zero.
    """
    layers = [*model.encoder, *model.decoder]
    added: list[Tensor] = [model.position_embedding, *model.linear_encoding.parameters()]
    added += [parameter for layer in layers for parameter in layer.mlp[-1].parameters()]
    added += model.mlp_head[-1].parameters()
    for module in model.modules():
        if isinstance(module, Attention):
            added.append(module.o_proj.weight)
    for parameter in added:
        nn.init.zeros_(parameter)

    def restore(tiles: Tensor, task: str) -> Tensor:
        index, white = model.config.tasks.index(task), model.config.pixel_range
        maps = model.heads[index]((tiles - model.mean) * white)
        restored: Tensor = model.tails[index](2 * maps) / white + model.mean
        return restored

    return restore


def _tiles(rng: np.random.Generator, task: str, scene: Frame, side: int) -> tuple[Frame, Frame]:
    """A random part of a scene in random colours, degraded (side, side, 3), and clean."""
    scale = SCALES[task]
    top, left = (rng.integers(length // scale - side + 1) * scale for length in scene.shape[:2])
    clean = in_other_colours(rng, scene[top : top + side * scale, left : left + side * scale])
    clean = np.rot90(clean, int(rng.integers(4)))[:, :: 1 - 2 * int(rng.integers(2))]
    clean = np.ascontiguousarray(clean)
    return degraded(task, clean, rng), clean


def _tensor(frames: Sequence[Frame]) -> Tensor:
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def _scene(seed: int, index: int, side: int) -> Frame:
    """A clean scene, mirrored at its edges where it is smaller than the largest clean tile."""
    scene = clean_scene(seed, index)
    rest = [(0, max(side - length, 0)) for length in scene.shape[:2]]
    return np.pad(scene, [*rest, (0, 0)], mode="reflect")


def _prepare(task: Task) -> Training:
    model: Ipt = task.model
    # oneDNN's convolutions are faster so; torch's annotations do not know the argument.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    restore: Restore = model.restore
    if task.weights is None:
        restore = without_body(model)
    else:
        model.load_state_dict(task.weights)
    side = model.config.image_size * max(SCALES[name] for name in model.config.tasks)
    scenes = [_scene(task.seed, index, side) for index in range(task.recipe.images)]
    loss = batch_loss(model, restore, scenes, task.recipe.batch, task.seed)
    return Training(model, loss, model.state_dict)


@torch.no_grad()
def gains(model: Ipt, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """By how many dB each task raises the mean PSNR of the first `count` images of its set.

    A frame to be enlarged is compared with its bicubic enlargement, others with what was seen.
    """
    model.eval()
    found = {}
    for task in model.config.tasks:
        before, after = [], []
        for index in range(count):
            frame, clean = pair(task, seed, index)
            batch = preprocess([frame])
            tiles = model.restore(tensors(batch)["pixel_values"], task).numpy()
            before.append(psnr(clean, _enlarged(frame, SCALES[task])))
            after.append(psnr(clean, 255 * stitch(tiles, batch.regions)))
        found[f"{task}_gain_db"] = float(np.mean(after) - np.mean(before))
    return found


def _enlarged(frame: Frame, scale: int) -> Frame:
    height, width = frame.shape[:2]
    return resized(
        frame, (scale * height, scale * width), (0, 0, scale * height, scale * width), "bicubic"
    )


TRAINER = Trainer(_prepare, gains, held_out=100)
