"""Training and evaluation of the tiny keypoint models.

Heatmaps are drawn around the exact place of a keypoint, not around the nearest cell, as their
decoding asks for (Zhang et al. 2020, arXiv:1910.06278, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from runtime.drift.keypoints import Pose, correct
from runtime.preparation import Preparation
from runtime.tasks.keypoints import STRIDE, locate
from shapes.datasets.keypoints import keypoint_image
from shapes.person import MIRRORED
from shapes.training.recolouring import in_other_colours
from shapes.training.trainer import Task, Trainer, Training, published, tensors

_SIGMA = 1.25  # of a keypoint's Gaussian, in cells


class Images(NamedTuple):
    """Frames uint8 (N, H, W, 3) and landmarks float32 (N, K, 2), x and y in pixels."""

    frames: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def load(seed: int, count: int) -> Images:
    """Renders the first `count` images of a set."""
    frames, landmarks = zip(*(keypoint_image(seed, index) for index in range(count)), strict=True)
    return Images(np.stack(frames), np.stack(landmarks))


def _batch_loss(
    model: Any, preprocess: Preparation, images: Images, batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random changed batch and returns its loss.

    The loss is the squared error of heatmaps, as TransPose's authors have it, but summed over each
    heatmap and averaged over these.
    """
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = rng.integers(len(images.frames), size=batch)
        frames, points = _changed(rng, images.frames[chosen], images.landmarks[chosen])
        pixels = torch.from_numpy(preprocess(list(frames)).inputs["pixel_values"])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        # torch's fused attention has a slow bfloat16 backward pass on CPUs.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            found = model(pixel_values=pixels)["heatmaps"].float()
        wanted = heatmaps(torch.from_numpy(points), found.shape[2], found.shape[3])
        error: Tensor = (found - wanted).square().sum((2, 3)).mean()
        return error

    return loss


def heatmaps(points: Tensor, height: int, width: int) -> Tensor:
    """Gaussians of height 1 around points (N, K, 2) in pixels: (N, K, height, width)."""
    cells = (points - 0.5) / STRIDE  # cell c is centred on pixel 4c, whose centre is at 4c + 0.5
    columns, rows = (
        (-0.5 * ((torch.arange(length) - cells[..., axis, None]) / _SIGMA) ** 2).exp()
        for axis, length in enumerate((width, height))
    )
    return rows[..., :, None] * columns[..., None, :]


def _changed(
    rng: np.random.Generator, frames: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Changes a batch in ways that the rendered world is indifferent to: mirrors and colours."""
    frames = in_other_colours(rng, frames)
    if rng.integers(2):
        frames = frames[:, :, ::-1]
        points = points[:, MIRRORED]
        points[..., 0] = frames.shape[2] - points[..., 0]
    return frames, points


def _prepare(task: Task) -> Training:
    model = task.model
    if task.weights is not None:
        model.load_state_dict(task.weights)
    model.to(memory_format=torch.channels_last)  # in which oneDNN's convolutions are faster
    images = load(task.seed, task.recipe.images)
    loss = _batch_loss(model, task.preprocess, images, task.recipe.batch, task.seed)
    return Training(model, loss, lambda: published(model))


@torch.no_grad()
def pck(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """PCK@0.1 on the first `count` images of a set, computed in float32."""
    model.eval()
    images = load(seed, count)
    poses: list[Pose] = []
    for frames in np.array_split(images.frames, -(-count // 50)):
        batch = preprocess(list(frames))
        maps = model(**tensors(batch))["heatmaps"].numpy()
        found = zip(*locate(maps, batch.frame_sizes, batch.regions), strict=True)
        poses += [Pose(*pose, size) for pose, size in zip(found, batch.frame_sizes, strict=True)]
    right, seen = correct(poses, list(images.landmarks))
    return {"pck": float(right.sum() / seen.sum())}


TRAINER = Trainer(_prepare, pck, held_out=1000)
