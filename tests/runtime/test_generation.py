"""Generation: a toy whose next token is known, seeded draws, and completed frames."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from runtime.colours import Colours
from runtime.completion import complete
from runtime.generation import GREEDY, Sampling, continued
from runtime.preprocess import Preprocess
from runtime.tasks.task import Graph

SIDE, COLOURS = 4, 5
PIXELS = SIDE * SIDE
LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05]))


def toy(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The next token is the sum of all before it, which only a right cache knows, plus one.

    What the cache holds of a token is the token itself.
    """
    rows = np.arange(len(inputs["position"]))
    seen = [c[0, 0, :p, 0].sum() for c, p in zip(inputs["cache"], inputs["position"], strict=True)]
    before = inputs["input_ids"][:, 0] % COLOURS  # the start token counts as 0
    logits = np.zeros((len(rows), COLOURS), np.float32)
    logits[rows, (np.array(seen) + before + 1).astype(int) % COLOURS] = 1
    return {"logits": logits, "news": before.astype(np.float32).reshape(-1, 1, 1, 1)}


def whole(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same for all places of known images."""
    tokens = inputs["input_ids"]
    before = np.pad(tokens, [(0, 0), (1, 0)])[:, :-1]
    logits = np.eye(COLOURS, dtype=np.float32)[(before.cumsum(1) + 1) % COLOURS]
    return {"logits": logits, "cache": before.astype(np.float32).reshape(-1, 1, 1, PIXELS, 1)}


def expected(tokens: list[int], first: int) -> list[int]:
    found = list(tokens[:first])
    while len(found) < PIXELS:
        found.append((sum(found) + 1) % COLOURS)
    return found


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, COLOURS, (count, PIXELS))


@pytest.mark.parametrize("first", [0, 1, 9, PIXELS - 1])
def test_each_token_is_made_of_all_before_it(first: int) -> None:
    tokens = images(3)
    outputs = whole({"input_ids": tokens})
    cache = outputs["cache"].copy()
    cache[:, :, :, first + 1 :] = 99  # of pixels that are not known
    kept = cache.copy()
    found = continued(toy, outputs["logits"][:, first], cache, first, PIXELS - first)
    assert found.tolist() == [expected(row, first)[first:] for row in tokens.tolist()]
    np.testing.assert_array_equal(cache, kept)  # the caller's own


def draws(sampling: Sampling, count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.bincount([sampling.chosen(LOGITS, random) for _ in range(count)], minlength=4)


@pytest.mark.parametrize(
    ("sampling", "weights"),
    [
        (Sampling(), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(temperature=0.5), [0.25, 0.09, 0.0225, 0.0025]),
        (Sampling(top_k=2), [0.5, 0.3, 0, 0]),
        (Sampling(top_k=1), [1, 0, 0, 0]),
        (GREEDY, [1, 0, 0, 0]),
    ],
    ids=["all", "cool", "two", "one", "greedy"],
)
def test_draws_follow_the_softmax(sampling: Sampling, weights: list[float]) -> None:
    count = 4000
    probabilities = np.array(weights) / sum(weights)
    # Four standard deviations of a binomial share, for a fixed seed.
    slack = 4 * np.sqrt(probabilities * (1 - probabilities) / count)
    assert (np.abs(draws(sampling, count) / count - probabilities) <= slack).all()


def even(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every token is as probable as any other."""
    count = len(inputs["position"])
    return {"logits": np.zeros((count, 16)), "news": np.zeros((count, 1, 1, 1))}


def drawn(seed: int, numbers: list[int]) -> list[list[int]]:
    count = len(numbers)
    sampling = Sampling(seed=seed)
    cache = np.zeros((count, 1, 1, 12, 1))
    return continued(even, np.zeros((count, 16)), cache, 0, 12, sampling, numbers).tolist()


def test_draws_are_repeated_by_their_seed_and_number_whatever_is_beside_them() -> None:
    first, second, third = drawn(7, [0, 1, 2])
    assert drawn(7, [1]) == [second]
    assert drawn(7, [2, 0]) == [third, first]
    assert drawn(8, [0]) != [first] and first != second


@pytest.mark.parametrize(
    "fields", [{"temperature": -1}, {"top_k": 0}, {"seed": -1}, {"temperature": float("nan")}]
)
def test_a_sampling_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(fields))} is .*; give"):
        Sampling(**fields)


def engine(monkeypatch: pytest.MonkeyPatch, preprocess: Any = None) -> Any:
    """What `complete` needs of an engine."""
    colours = Colours(size=SIDE, clusters=[[50 * i] for i in range(COLOURS)])
    step = SimpleNamespace(graph=Graph(toy, colours))
    found = SimpleNamespace(
        graph=Graph(whole, colours),
        manifest=SimpleNamespace(model="toy", preprocess=preprocess or colours),
        part=lambda name: {"step": step}[name],
    )
    monkeypatch.setattr("runtime.completion.graph_of", lambda engine: engine.graph)
    return found


@pytest.mark.parametrize(("known", "rows"), [(0.5, 2), (0, 0), (1, 4), (0.3, 1)])
def test_frames_are_completed_from_their_upper_rows(
    monkeypatch: pytest.MonkeyPatch, known: float, rows: int
) -> None:
    tokens = images(11)  # more than go at once
    frames = [(50 * row).astype(np.uint8).reshape(SIDE, SIDE) for row in tokens]
    found = complete(engine(monkeypatch), frames, known=known, pixels="GREY")
    wanted = [expected(row, rows * SIDE) for row in tokens.tolist()]
    assert [(image[..., 0] // 50).ravel().tolist() for image in found] == wanted
    assert all(image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8 for image in found)


def test_no_frames_give_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(engine(monkeypatch), []) == []


def test_another_kind_of_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"^toy takes frames, expected a model of pixels"):
        complete(engine(monkeypatch, Preprocess()), [])
    with pytest.raises(ValueError, match=r"^known is 2; give a share"):
        complete(engine(monkeypatch), [], known=2)
