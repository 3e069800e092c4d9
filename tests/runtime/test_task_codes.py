"""The task of codes: what of which graph's logits, and all codes of a text one after another."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.batch import WHOLE, Batch
from runtime.generation import Sampling
from runtime.tasks import Answer
from runtime.tasks.codes import TASK, Codes, codes_after
from runtime.tasks.task import Graph
from runtime.tensors import Tensors

LENGTH, K, N = 3, 8, 5
STEP = Tensors({"input_ids": (1,)}, ("input_ids",))


def next_code(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The code after the one given, and the place where it was told to be."""
    logits = np.eye(K)[(inputs["input_ids"][:, 0] + 1) % K] * 9
    logits[:, 0] += inputs["position"] == LENGTH  # breaks nothing but a wrong first place
    news = np.broadcast_to(inputs["position"][:, None, None, None], (len(logits), 2, 1, 1))
    return {"logits": logits, "news": news}


def of_texts(count: int) -> tuple[Batch, dict[str, np.ndarray]]:
    batch = Batch(
        {"input_ids": np.zeros((count, LENGTH), np.int64)}, [(0, 0)] * count, [WHOLE] * count,
        [1] * count,
    )  # fmt: skip
    cache = np.zeros((count, 2, 1, LENGTH + N - 1, 1), np.float32)
    return batch, {"logits": np.eye(K)[[2, 5][:count]] * 9, "cache": cache}


def test_a_text_is_followed_by_as_many_codes_as_the_cache_has_room_for() -> None:
    batch, outputs = of_texts(2)
    assert TASK.whole is not None
    made = TASK.whole({"step": Graph(next_code, STEP)}, ())(outputs, batch)
    assert made["codes"].tolist() == [[2, 3, 4, 5, 6], [5, 6, 7, 0, 1]]
    assert set(made) == {"logits", "codes"}
    answer = TASK.comparable(
        Answer({name: value[1:] for name, value in made.items()}, (0, 0), [WHOLE]), ()
    )
    assert answer.codes.tolist() == [5, 6, 7, 0, 1]
    assert answer.logits.tolist() == outputs["logits"][1].tolist()


def test_the_first_code_of_a_text_is_said_with_its_probability() -> None:
    batch, outputs = of_texts(2)
    _, second = TASK.predict(outputs, batch, (), 0.5)
    (entry,) = second.entries()
    # One logit of 9 among eight, the others 0.
    assert entry.label == "code 5" and entry.score == pytest.approx(1 / (1 + 7 * np.exp(-9)))
    (broken, _) = TASK.predict({"logits": np.full((2, K), np.nan)}, batch, (), 0.5)
    assert broken.entries()[0].score == 0


def test_places_begin_after_the_text_and_end_with_the_cache() -> None:
    batch, outputs = of_texts(1)
    places = []

    def step(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        places.append(int(inputs["position"][0]))
        return next_code(inputs)

    codes_after(batch.inputs["input_ids"], outputs, Graph(step, STEP))
    assert places == [LENGTH, LENGTH + 1, LENGTH + 2, LENGTH + 3]


def test_draws_are_each_sequences_own() -> None:
    batch, outputs = of_texts(2)
    flat = {**outputs, "logits": np.zeros((2, K))}
    step = Graph(lambda inputs: {**next_code(inputs), "logits": np.zeros((2, K))}, STEP)
    tokens = batch.inputs["input_ids"]
    found = codes_after(tokens, flat, step, Sampling(seed=3), [4, 7])
    again = codes_after(tokens, flat, step, Sampling(seed=3), [7, 4])
    np.testing.assert_array_equal(found, again[::-1])
    assert (found[0] != found[1]).any()


def test_a_frame_has_codes_in_raster_order() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, K, 3, 4)).astype(np.float32)
    batch = Batch({"pixel_values": logits}, [(9, 9)] * 2, [WHOLE] * 2, [1, 1])
    first, second = TASK.predict({"logits": logits}, batch, (), 0.5)
    assert isinstance(second, Codes) and second.codes.shape == (3, 4)
    assert second.codes[2, 1] == logits[1, :, 2, 1].argmax()
    powers = np.exp(logits[0].astype(float))
    score = pytest.approx((powers.max(0) / powers.sum(0)).mean(), rel=1e-6)  # of float32
    found = json.loads(json.dumps(first.as_json()))
    assert found == {"codes": logits[0].argmax(0).tolist(), "score": score}
    assert first.entries() == [("12 codes", score, None)] and first.picture() is None
    assert TASK.whole is not None
    made = TASK.whole({}, ())({"logits": logits}, batch)
    assert made["codes"].tolist() == logits.argmax(1).reshape(2, 12).tolist()
    np.testing.assert_array_equal(TASK.decisions({"logits": logits[0]}), made["codes"][0])
