"""Pixels: likelihoods against PyTorch's cross-entropy, and what a whole answer is made of."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from runtime.colours import Colours
from runtime.tasks import Answer, find_task
from runtime.tasks.pixels import Pixels, nats_of
from runtime.tasks.task import Graph

torch = pytest.importorskip("torch")

SIDE, COUNT, V = 4, 3, 8
N = SIDE * SIDE
TASK = find_task("pixels")
COLOURS = Colours(size=SIDE, levels=2)
FRAMES = list(np.random.default_rng(0).integers(0, 256, (COUNT, 9, 7, 3), dtype=np.uint8))
BATCH = COLOURS(FRAMES)
TOKENS = BATCH.inputs["input_ids"]


def outputs(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "logits": rng.normal(0, 4, (COUNT, N, V)).astype(np.float32),
        "features": rng.normal(size=(COUNT, 5)).astype(np.float32),
        "cache": np.zeros((COUNT, 2, 1, N, 1), np.float32),
    }


def test_nats_are_pytorchs_cross_entropy() -> None:
    logits = outputs()["logits"]
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).mT, torch.from_numpy(TOKENS), reduction="none"
    )
    # float32 sums of eight exponentials: a few units in the last place of values up to 20.
    np.testing.assert_allclose(nats_of(logits, TOKENS), expected.numpy(), atol=1e-5)
    # Float16 logits are read in float32, of any size.
    huge = np.full((1, 1, 3), 60_000, np.float16)
    np.testing.assert_allclose(nats_of(huge, np.zeros((1, 1), int)), math.log(3), rtol=1e-6)


def test_a_prediction_is_in_the_frames_order() -> None:
    found = outputs()
    predictions = TASK.predict(found, BATCH, (), 0.5)
    assert len(predictions) == COUNT
    for index, prediction in enumerate(predictions):
        assert isinstance(prediction, Pixels)
        nats = nats_of(found["logits"][index : index + 1], TOKENS[index : index + 1])[0]
        np.testing.assert_array_equal(prediction.nats, nats.reshape(SIDE, SIDE))
        likely = found["logits"][index].argmax(-1).reshape(SIDE, SIDE)
        np.testing.assert_array_equal(prediction.most_likely, likely)
        (entry,) = prediction.entries()
        assert entry.label == f"{nats.mean():.3f} nats a pixel"
        assert entry.score == pytest.approx(np.exp(-nats.mean()))
        plain = json.loads(json.dumps(prediction.as_json()))
        assert plain["most_likely"] == likely.tolist()
        assert plain["nats_per_pixel"] == pytest.approx(nats.mean())
        np.testing.assert_allclose(plain["features"], found["features"][index])


def test_a_picture_shows_how_probable_each_pixel_was() -> None:
    nats = np.array([[0.0, math.log(2)], [50.0, np.nan]], np.float32)
    prediction = Pixels(nats, np.zeros((2, 2), int), np.zeros(1, np.float32))
    assert prediction.picture().tolist() == [[255, 128], [0, 0]]


def greedy(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The token after the one given."""
    logits = np.eye(V)[(inputs["input_ids"][:, 0] + 1) % V]
    return {"logits": logits, "news": np.zeros((len(logits), 2, 1, 1))}


def test_what_is_compared_is_small_and_has_a_completion() -> None:
    assert TASK.whole is not None
    found = outputs()
    made = TASK.whole({"step": Graph(greedy, COLOURS)}, ())(found, BATCH)
    assert "cache" not in made and "logits" not in made
    start = found["logits"][:, N // 2].argmax(-1)
    expected = (start[:, None] + np.arange(N // 2)) % V
    assert made["completion"].tolist() == expected.tolist()
    answer = TASK.comparable(
        Answer({k: v[1:2] for k, v in made.items()}, (9, 7), BATCH.regions[1:2]), ()
    )
    assert answer.tokens.tolist() == found["logits"][1].argmax(-1).tolist()
    assert answer.nats == pytest.approx(nats_of(found["logits"], TOKENS)[1].mean())
    assert answer.completion.tolist() == expected[1].tolist()
    # A report predicts from the same.
    again, before = (TASK.predict(given, BATCH, (), 0.5)[2].as_json() for given in (made, found))
    assert again == before


def test_without_the_other_graph_nothing_is_completed() -> None:
    assert TASK.whole is not None
    assert TASK.whole({}, ())(outputs(), BATCH)["completion"].shape == (COUNT, 0)


def test_logits_that_are_not_finite_have_no_token() -> None:
    assert TASK.whole is not None
    found = outputs()
    found["logits"][1, 3, 2] = np.nan
    made = TASK.whole({}, ())(found, BATCH)
    assert made["tokens"][1, 3] == -1 and (made["tokens"] >= 0).sum() == COUNT * N - 1
    assert np.isnan(made["nats"][1, 3]) and np.isfinite(made["nats"]).sum() == COUNT * N - 1
