"""Training of the tiny restorer: heads and tails alone, and how gains are measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.zoo.ipt import Config, Ipt
from runtime import Preprocess
from shapes.datasets.restoration import clean_scene
from shapes.training.restorer import batch_loss, gains, without_body

TASKS = ("derain", "x2")
CONFIG = Config(
    "x2", tasks=TASKS, image_size=12, features=4, layers=2, heads=3, mlp_ratio=2, pixel_range=2.0
)
TILES = Preprocess(resize="tiles", size=12, overlap=3, mean=(0, 0, 0), std=(1, 1, 1))


def model() -> Ipt:
    torch.manual_seed(0)
    return Ipt(CONFIG)


@torch.no_grad()
@pytest.mark.parametrize("task", TASKS)
def test_a_body_that_adds_nothing_need_not_be_computed(task: str) -> None:
    module = model()
    tiles = torch.rand(2, 3, 12, 12)
    before = module.restore(tiles, task)
    alone = without_body(module)(tiles, task)
    # The same sums in the same order; twice a float32 number is exact.
    assert torch.equal(alone, module.restore(tiles, task))
    assert (alone - before).abs().max() > 1e-2


def test_losses_are_seeded_fall_and_reach_every_part_but_other_tasks() -> None:
    scenes = [clean_scene(0, index) for index in range(3)]
    module = model()
    again = batch_loss(module, module.restore, scenes, 2, seed=1)
    loss = batch_loss(module, module.restore, scenes, 2, seed=1)
    assert loss().item() == again().item()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    values = []
    for _ in range(60):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.mean(values[-10:]) < 0.7 * np.mean(values[:10])
    untouched = {name for name, found in module.named_parameters() if found.grad is None}
    assert all(name.startswith(("heads.", "tails.")) for name in untouched)


def test_gains_are_against_what_was_seen_and_against_bicubic() -> None:
    """A model that returns the mean colour loses many dB to both."""
    module = model()
    for tail in module.tails:
        torch.nn.init.zeros_(tail[1].weight)
        torch.nn.init.zeros_(tail[1].bias)
    found = gains(module, TILES, seed=0, count=2)
    assert sorted(found) == ["derain_gain_db", "x2_gain_db"]
    assert all(-40 < gain < -3 for gain in found.values())
