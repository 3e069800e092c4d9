"""Zero-shot classes and retrieval with an engine that embeds by a rule that is known."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.errors import EngineError
from runtime.tasks.classification import Classification
from runtime.tasks.embeddings import Embedding
from runtime.zero_shot import ZeroShot, retrieve, zero_shot

SCALE = 5.0
PROMPTS = ["a red thing", "a green thing", "a blue thing"]


class Texts:
    """Embeds a text by the colour that it names."""

    def __init__(self) -> None:
        self.manifest = SimpleNamespace(task="embeddings")
        self.calls = 0

    def __call__(self, items: Sequence[str], *, pixels: str = "RGB") -> list[Embedding]:
        self.calls += 1
        axes = [[name in item for name in ("red", "green", "blue")].index(True) for item in items]
        return [Embedding(np.eye(3, dtype=np.float32)[axis], SCALE) for axis in axes]


class Images:
    """Embeds a frame by its mean colour; the text tower is its part."""

    def __init__(self, task: str = "embeddings") -> None:
        self.manifest, self.texts = SimpleNamespace(task=task), Texts()

    def __call__(self, items: Sequence[Any], *, pixels: str = "RGB") -> list[Any]:
        if self.manifest.task != "embeddings":
            return [Classification(()) for _ in items]
        means = [item.reshape(-1, 3).mean(axis=0).astype(np.float32) for item in items]
        means = [mean[::-1] if pixels == "BGR" else mean for mean in means]
        return [Embedding(mean / np.linalg.norm(mean)) for mean in means]

    def part(self, name: str) -> Texts:
        if name != "text":
            raise EngineError(f"no part {name}")
        return self.texts


def frame(*colour: int) -> Any:
    return np.full((4, 5, 3), colour, np.uint8)


def engine(task: str = "embeddings") -> Any:
    return Images(task)


def test_probabilities_are_the_softmax_of_scaled_cosines() -> None:
    found = zero_shot(engine(), [frame(255, 0, 0), frame(0, 60, 80)], PROMPTS)
    logits = SCALE * np.array([[1, 0, 0], [0, 0.6, 0.8]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # float32.
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.argmax(axis=1).tolist() == [0, 2]


def test_prompts_are_embedded_once() -> None:
    images = engine()
    classify = ZeroShot(images, PROMPTS)
    for _ in range(3):
        assert classify([frame(0, 255, 0)]).argmax() == 1
    assert images.texts.calls == 1
    assert classify.prompts == tuple(PROMPTS)


def test_other_layouts_of_pixels_go_to_the_engine() -> None:
    assert ZeroShot(engine(), PROMPTS)([frame(0, 0, 255)], pixels="BGR").argmax() == 0


def test_no_frames_have_no_probabilities() -> None:
    assert zero_shot(engine(), [], PROMPTS).shape == (0, 3)


def test_one_prompt_is_certain() -> None:
    assert zero_shot(engine(), [frame(0, 0, 9)], ["a red thing"]).tolist() == [[1.0]]


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="found no prompts"):
        zero_shot(engine(), [frame(1, 1, 1)], [])
    with pytest.raises(ValueError, match="an engine for classification, expected one for embed"):
        zero_shot(engine("classification"), [frame(1, 1, 1)], PROMPTS)


def test_frames_are_found_for_a_text_and_texts_for_a_frame() -> None:
    images = engine()
    frames = images([frame(0, 255, 0), frame(255, 0, 0), frame(255, 255, 0)])
    texts = images.part("text")(PROMPTS)
    red, _, blue = retrieve(texts, frames)
    assert [match.candidate for match in red] == [1, 2, 0]
    # Cosines of red to red, yellow and green, in float32.
    np.testing.assert_allclose([match.cosine for match in red], [1, 0.5**0.5, 0], atol=1e-6)
    assert [match.candidate for match in blue] == [0, 1, 2]  # alike, in their order
    yellow = retrieve(frames[2:], texts, top=2)
    assert [match.candidate for match in yellow[0]] == [0, 1]


def test_nothing_is_found_among_nothing() -> None:
    texts = engine().part("text")(PROMPTS)
    assert retrieve(texts, []) == [[], [], []]
    assert retrieve([], texts) == []
    with pytest.raises(ValueError, match="top is 0"):
        retrieve(texts, texts, top=0)
