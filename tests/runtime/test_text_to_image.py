"""Images of texts: a toy whose picture is known, seeded draws, candidates and their order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime import text_to_image
from runtime.errors import EngineError
from runtime.generation import GREEDY, Sampling
from runtime.preprocess import Preprocess
from runtime.tasks.embeddings import Embedding
from runtime.tasks.task import Graph
from runtime.tensors import Tensors
from runtime.text_to_image import generate, reconstruct

K, N, LENGTH = 8, 4, 3  # codes, of an image of 2 x 2, tokens of a text


class Letters:
    """Prepares texts of one letter: its number, at all places."""

    def check(self, items: Any, pixels: str) -> None:
        if not all(isinstance(item, str) for item in items):
            raise TypeError("text 0 is no str")

    def __call__(self, items: list[str]) -> Any:
        self.check(items, "RGB")
        rows = np.array([[ord(item) - ord("a")] * LENGTH for item in items], np.int64)
        return SimpleNamespace(inputs={"input_ids": rows})


def whole(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first code is the letter's number."""
    letters = inputs["input_ids"][:, -1]
    cache = np.zeros((len(letters), 2, 1, LENGTH + N - 1, 1), np.float32)
    return {"logits": np.eye(K)[letters] * 4, "cache": cache}


def step(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each code is the one after that before it."""
    assert (inputs["position"] >= LENGTH).all()
    logits = np.eye(K)[(inputs["input_ids"][:, 0] + 1) % K] * 4
    return {"logits": logits, "news": np.zeros((len(logits), 2, 1, 1))}


def decoder(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Code k is the grey level 10 k, and a little beyond of black."""
    levels = inputs["codes"].reshape(-1, 1, 2, 2).repeat(3, axis=1)
    return {"restored": levels * 10 / 255 - 1e-4}


def encoder(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    levels = np.rint(inputs["pixel_values"][:, 0] * 255 / 10).astype(int)
    return {"logits": np.eye(K)[levels].transpose(0, 3, 1, 2)}


def engine(monkeypatch: pytest.MonkeyPatch, task: str = "codes") -> Any:
    """What is needed of an engine."""
    codes = Tensors({"codes": (N,)}, ("codes",))
    cached = Tensors({"cache": (2, 1, LENGTH + N - 1, 1)})
    frames = Preprocess(resize="exact", size=2, mean=(0, 0, 0), std=(1, 1, 1))
    parts = {"step": Graph(step, cached), "decoder": Graph(decoder, codes),
             "encoder": Graph(encoder, frames)}  # fmt: skip
    outputs = [SimpleNamespace(name=name) for name in ("logits", "cache")]
    manifest = SimpleNamespace(
        model="toy", task=task, parts=parts, preprocess=Letters(), outputs=outputs
    )
    monkeypatch.setattr(text_to_image, "graph_of", lambda engine: engine.graph)
    return SimpleNamespace(
        manifest=manifest,
        graph=Graph(whole, codes),
        part=lambda name: SimpleNamespace(graph=parts[name]),
    )


def levels(frame: np.ndarray) -> list[int]:
    assert frame.shape == (2, 2, 3) and frame.dtype == np.uint8
    return [int(value) for value in frame[..., 1].ravel()]


def test_a_text_becomes_the_picture_of_its_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [chr(ord("a") + number % K) for number in range(11)]  # more than go at once
    found = generate(engine(monkeypatch), texts, sampling=GREEDY)
    wanted = [[[10 * ((number + n) % K) for n in range(N)]] for number in range(11)]
    assert [[levels(frame) for frame in frames] for frames in found] == wanted
    assert generate(engine(monkeypatch), []) == []


def test_candidates_are_other_draws_and_are_repeated_by_their_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn(seed: int) -> list[list[list[int]]]:
        sampling = Sampling(temperature=3, seed=seed)
        found = generate(engine(monkeypatch), ["a", "b"], candidates=6, sampling=sampling)
        return [[levels(frame) for frame in frames] for frames in found]

    found = drawn(1)
    assert [len(frames) for frames in found] == [6, 6]
    assert len({tuple(frame) for frame in found[0]}) > 3
    assert drawn(1) == found and drawn(2) != found


def test_candidates_are_put_in_order_by_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for which a text is near to bright frames."""

    def seen(frames: Any) -> list[Embedding]:
        angles = [float(frame.mean()) / 100 for frame in frames]
        return [Embedding(np.array([np.cos(a), np.sin(a)], np.float32)) for a in angles]

    text = Embedding(np.array([0, 1], np.float32))

    class Clip:
        manifest = SimpleNamespace(task="embeddings")

        def part(self, name: str) -> Any:
            assert name == "text"
            return Texts()

        def __call__(self, frames: Any, pixels: str) -> Any:
            return seen(frames)

    class Texts:
        manifest = SimpleNamespace(task="embeddings")

        def __call__(self, texts: Any, pixels: str) -> Any:
            return [text] * len(texts)

    clip: Any = Clip()
    sampling = Sampling(temperature=3)
    ranked = generate(
        engine(monkeypatch), ["a", "c"], candidates=5, rank_by=clip, sampling=sampling
    )
    plain = generate(engine(monkeypatch), ["a", "c"], candidates=5, sampling=sampling)
    for frames, others in zip(ranked, plain, strict=True):
        means = [float(frame.mean()) for frame in frames]
        assert means == sorted((float(frame.mean()) for frame in others), reverse=True)


def test_a_frame_comes_back_as_its_codes_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(0).integers(0, K, (11, 2, 2, 1))
    frames = [(10 * one).astype(np.uint8).repeat(3, axis=2) for one in codes]
    found = reconstruct(engine(monkeypatch), frames)
    for frame, made in zip(frames, found, strict=True):
        np.testing.assert_array_equal(frame, made)


def test_misuse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = engine(monkeypatch)
    with pytest.raises(
        EngineError, match=r"^toy is an engine for pixels with .*; expected codes, with"
    ):
        generate(engine(monkeypatch, "pixels"), ["a"])
    with pytest.raises(ValueError, match=r"^candidates is 0; give"):
        generate(toy, ["a"], candidates=0)
    with pytest.raises(TypeError, match="no str"):
        generate(toy, [3])  # type: ignore[list-item]
    words = SimpleNamespace(part=lambda name: toy)
    with pytest.raises(ValueError, match=r"^found an engine for codes, expected one for embedd"):
        generate(toy, ["a"], rank_by=words)  # type: ignore[arg-type]


@pytest.mark.parametrize("lacking", ["cache", "step", "decoder"])
def test_a_bundle_that_lacks_something_is_refused(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = engine(monkeypatch)
    toy.manifest.parts.pop(lacking, None)
    toy.manifest.outputs = [one for one in toy.manifest.outputs if one.name != lacking]
    with pytest.raises(EngineError, match=r"expected codes, with logits, cache and step, decoder"):
        generate(toy, ["a"])


def test_outputs_of_other_shapes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their lengths would otherwise say how long to work, or fail in whoever saves the image."""
    long, grey = engine(monkeypatch), engine(monkeypatch)
    long.graph = long.graph._replace(
        run=lambda inputs: {**whole(inputs), "cache": np.zeros((1, 0, 0, 10**12, 0))}
    )
    with pytest.raises(EngineError, match=r"found a cache of shape \(0, 0, 1000000000000, 0\)"):
        generate(long, ["a"])
    parts = grey.manifest.parts
    parts["decoder"] = parts["decoder"]._replace(
        run=lambda inputs: {"restored": np.zeros((len(inputs["codes"]), 1, 2, 2))}
    )
    with pytest.raises(EngineError, match=r"draws \(1, 1, 2, 2\), expected \(1, 3, height"):
        generate(grey, ["a"])
