"""The task `embeddings`: what engines return, and zero-shot logits of two graphs together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.batch import WHOLE, Batch
from runtime.tasks import find_task
from runtime.tasks.embeddings import PROMPT, Embedding
from runtime.tasks.task import Answer, Graph, Outputs
from runtime.texts import Texts

TASK = find_task("embeddings")
FOLDER = Path(__file__).resolve().parents[2] / "shapes" / "checkpoints"
BATCH = Batch({}, [(4, 4)] * 2, [WHOLE] * 2, [1, 1])
IMAGES = np.array([[1, 0, 0], [0, 0.6, 0.8]], np.float32)


def texts() -> Texts:
    return Texts("merges.txt", 16).opened(FOLDER.joinpath)


class TextTower:
    """Embeds the prompt of the n-th label along axis n, at a scale of 10; counts its texts."""

    def __init__(self, labels: list[str]) -> None:
        rows = texts()([PROMPT.format(label) for label in labels]).inputs["input_ids"]
        self.known = {tuple(row): n for n, row in enumerate(rows.tolist())}
        self.counts: list[int] = []

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        rows = inputs["input_ids"].tolist()
        self.counts.append(len(rows))
        embeds = np.eye(3, dtype=np.float32)[[self.known[tuple(row)] % 3 for row in rows]]
        return {"embeds": embeds, "scale": np.full((len(rows), 1), 10, np.float32)}


def test_an_image_is_its_vector() -> None:
    found = TASK.predict({"embeds": IMAGES.astype(np.float16)}, BATCH, (), 0.5)
    assert len(found) == 2
    for one, expected in zip(found, IMAGES.astype(np.float16), strict=True):
        assert isinstance(one, Embedding)
        assert one.vector.dtype == np.float32
        np.testing.assert_array_equal(one.vector, expected)
        assert one.scale is None
        assert one.entries() == []
        assert one.picture() is None
        assert json.loads(json.dumps(one.as_json())) == {"embedding": expected.tolist()}


def test_a_text_also_has_the_scale_of_its_model() -> None:
    outputs = {"embeds": IMAGES, "scale": np.array([[4.5], [4.5]], np.float32)}
    found = TASK.predict(outputs, BATCH, (), 0.5)
    assert [one.as_json()["scale"] for one in found] == [4.5, 4.5]


def test_logits_are_scaled_cosines_to_a_prompt_of_each_label() -> None:
    labels = ["red circle", "blue star", "green t shape"]
    assert TASK.whole is not None
    tower = TextTower(labels)
    found = TASK.whole({"text": Graph(tower, texts())}, labels)({"embeds": IMAGES}, BATCH)
    # Products with the axes: exact but for float32.
    np.testing.assert_allclose(found["logits"], [[10, 0, 0], [0, 6, 8]], rtol=1e-6)
    assert found["embeds"] is IMAGES
    assert tower.counts == [3]


def test_many_labels_are_embedded_eight_at_a_time() -> None:
    labels = [f"red circle {n}" for n in range(19)]
    assert TASK.whole is not None
    tower = TextTower(labels)
    found = TASK.whole({"text": Graph(tower, texts())}, labels)({"embeds": IMAGES}, BATCH)
    assert found["logits"].shape == (2, 19)
    assert tower.counts == [8, 8, 3]
    np.testing.assert_allclose(found["logits"][0, :4], [10, 0, 0, 10], rtol=1e-6)


@pytest.mark.parametrize("labels", [[], ["cat"]], ids=["no-labels", "no-text-tower"])
def test_without_labels_or_text_tower_there_are_no_logits(labels: list[str]) -> None:
    assert TASK.whole is not None
    parts = {} if labels else {"text": Graph(TextTower(["cat"]), texts())}
    outputs: Outputs = {"embeds": IMAGES}
    assert TASK.whole(parts, labels)(outputs, BATCH) == outputs


def test_what_drift_compares_has_logits_where_there_are_some() -> None:
    answer = Answer({"embeds": IMAGES[:1]}, (4, 4), [WHOLE])
    found = TASK.comparable(answer, ())
    np.testing.assert_array_equal(found.embeds, IMAGES[0])
    assert found.logits is None
    logits = np.array([[1, 2]], np.float32)
    answer = Answer({"embeds": IMAGES[:1], "logits": logits}, (4, 4), [WHOLE])
    np.testing.assert_array_equal(TASK.comparable(answer, ("a", "b")).logits, [1, 2])


def test_decisions_are_sides_of_the_axes() -> None:
    outputs = {"embeds": np.array([0.1, -0.2, 0.0, 0.9], np.float32)}
    found = TASK.decisions(outputs)
    assert found.dtype == np.int64
    assert found.tolist() == [1, 0, 0, 1]


def test_truths_are_class_indices(tmp_path: Path) -> None:
    assert TASK.read_truths(tmp_path) == {}
    (tmp_path / "labels.csv").write_text("file,label\na.png,3\nb.png,0\n")
    assert TASK.read_truths(tmp_path) == {"a.png": 3, "b.png": 0}
