"""How the tiny iGPT is trained and measured: closed forms, and a few steps that help."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.zoo.imagegpt import ImageGpt
from export.zoo.imagegpt_config import ImageGptConfig
from runtime import Preprocess
from runtime.colours import Colours
from runtime.preparation import read_preparation
from shapes import train
from shapes.datasets.classification import classification_image
from shapes.training import autoregressor, palette
from shapes.training.loop import Recipe, fit
from shapes.training.trainer import Task

COLOURS = Colours(size=6, levels=2)


class Constant(nn.Module):
    """The same logits everywhere, the first pixels as features; keeps what it is given."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))
        self.seen: list[Tensor] = []

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        self.seen.append(input_ids)
        logits = self.logits.expand(*input_ids.shape, -1)
        return {"logits": logits, "features": input_ids[:, :4].float()}


def test_the_loss_is_nats_a_pixel_of_mirrored_or_unmirrored_images() -> None:
    model = Constant([0.0, 1.0, 2.0])
    tokens = np.random.default_rng(0).integers(0, 3, (5, 9))
    loss = autoregressor.batch_loss(model, tokens, 2, seed=0)
    rows = tokens.reshape(5, 3, 3)
    known = [*rows.tolist(), *rows[:, :, ::-1].tolist()]
    log_softmax = np.arange(3) - math.log(sum(math.exp(v) for v in range(3)))
    mirrored = set()
    for _ in range(20):
        value = loss()
        chosen = model.seen[-1].numpy()
        # The logits pass through bfloat16, which holds these numbers exactly.
        assert value.item() == pytest.approx(-log_softmax[chosen].mean(), abs=1e-5)
        mirrored |= {known.index(image) >= 5 for image in chosen.reshape(2, 3, 3).tolist()}
    assert mirrored == {True, False}


def test_what_is_read_is_each_images_own() -> None:
    tokens = np.random.default_rng(0).integers(0, 3, (120, 9))  # more than go at once
    found = autoregressor.read(Constant([0.0, 0.0, 0.0]), tokens)
    np.testing.assert_allclose(found.nats, np.full((120, 9), math.log(3)), rtol=1e-6)
    np.testing.assert_array_equal(found.features, tokens[:, :4])


def test_the_unigram_knows_how_frequent_colours_are_and_nothing_else() -> None:
    known = np.array([[0, 0, 0, 1, 1, 2]])
    # Counts 3, 2, 1, 0, each with one more, as none may be impossible.
    expected = -math.log(4 / 10) - math.log(1 / 10)
    assert autoregressor.unigram(known, np.array([[0, 3]]), 4) == pytest.approx(expected / 2)


def test_the_probe_is_linear() -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(600, 3)).astype(np.float32))
    halves = (features @ torch.tensor([1.0, -2.0, 0.5]) > 0.3).long()
    found = autoregressor.probe(features[:400], halves[:400], features[400:])
    assert (found == halves[400:]).float().mean() > 0.97
    # What no line parts is not found: the sign of a product.
    product = (features[:, 0] * features[:, 1] > 0).long()
    found = autoregressor.probe(features[:400], product[:400], features[400:])
    assert (found == product[400:]).float().mean() < 0.65


def test_the_score_compares_with_the_unigram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoregressor, "_PROBE_STEPS", 5)
    known = autoregressor.load(COLOURS, 0, 80).tokens
    counts = np.bincount(known.ravel(), minlength=8) + 1
    model = Constant(np.log(counts / counts.sum()).astype(np.float32).tolist())
    found = autoregressor.score(model, COLOURS, seed=9, count=20)
    assert found["nats"] == pytest.approx(found["unigram_nats"], rel=1e-5)
    assert found["below_unigram"] == pytest.approx(0, abs=1e-5)
    assert 0 <= found["probe_top1"] <= 1


def test_a_few_steps_help() -> None:
    torch.manual_seed(0)
    model = ImageGpt(ImageGptConfig(image_size=6, clusters=8, width=16, layers=1, heads=2))
    recipe = Recipe(images=60, steps=60, batch=8, rate=1e-2, decay=0.01, warmup=5)
    held_out = autoregressor.load(COLOURS, 9, 20).tokens
    before = autoregressor.read(model, held_out).nats.mean()
    training = autoregressor.TRAINER.prepare(Task(model, COLOURS, recipe, 0, None))
    fit(training.module, training.loss, recipe)
    after = autoregressor.read(model, held_out).nats.mean()
    assert before == pytest.approx(math.log(8), rel=0.05)
    # Neighbouring pixels are mostly alike, of which the unigram knows nothing.
    assert after < 0.8 * autoregressor.unigram(held_out, held_out, 8)
    again = autoregressor.TRAINER.prepare(Task(model, COLOURS, recipe, 0, training.weights()))
    assert set(again.weights()) == set(model.state_dict())


def test_k_means_finds_what_lies_together() -> None:
    centres = np.array([[10.0, 20, 30], [200, 40, 90], [120, 220, 10]])
    rng = np.random.default_rng(0)
    colours = np.concatenate([rng.normal(centre, 3, (400, 3)) for centre in centres])
    found = palette.clusters(colours, 3, seed=1)
    order = found[:, 0].argsort()
    expected = np.stack([colours[:400].mean(0), colours[800:].mean(0), colours[400:800].mean(0)])
    np.testing.assert_allclose(found[order], expected, rtol=1e-12)


def test_colours_of_the_record_are_means_of_rendered_pixels() -> None:
    record: Any = train.read_record("imagegpt_tiny_shapes")
    colours = read_preparation(record["preprocess"])
    assert isinstance(colours, Colours)
    frames = [classification_image(3, index).frame for index in range(200)]
    tokens = colours(frames).inputs["input_ids"].ravel()
    resize = Preprocess(resize="exact", size=colours.size)
    pixels = np.concatenate([resize.prepare(frame).images.reshape(-1, 3) for frame in frames])
    means = [pixels[tokens == token].mean(axis=0) for token in range(len(colours.palette))]
    # A round of the algorithm on other images moves them little. Pixels of an image are alike: a
    # cluster's mean is of some 30 images, with a deviation of 25 levels each.
    assert np.abs(np.array(means) - colours.palette).mean() < 5
