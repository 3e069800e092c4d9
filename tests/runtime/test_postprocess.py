from __future__ import annotations

import numpy as np
import pytest

from runtime import EngineError
from runtime.tasks.classification import classify
from runtime.tasks.detection import detect


def test_top_five_by_hand() -> None:
    # log of the wanted probabilities, shifted: softmax ignores the shift.
    wanted = np.array([[0.4, 0.05, 0.2, 0.1, 0.1, 0.15]])
    (found,) = classify(np.log(wanted).astype(np.float32) + 7, "abcdef")
    assert [guess.label for guess in found.top] == ["a", "c", "f", "d", "e"]  # d before e: a tie
    # float32 softmax.
    assert [guess.probability for guess in found.top] == pytest.approx(
        [0.4, 0.2, 0.15, 0.1, 0.1], abs=1e-6
    )
    label, index, _ = found.top[1]
    assert (label, index) == ("c", 2)


def test_fewer_than_five_classes_and_huge_logits() -> None:
    (found,) = classify(np.float32([[1e38, -1e38]]), ["yes", "no"])
    assert [(g.label, g.probability) for g in found.top] == [("yes", 1.0), ("no", 0.0)]


def test_boxes_by_hand() -> None:
    logits = np.log(
        np.float32([[[0.7, 0.2, 0.1], [0.05, 0.05, 0.9], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25]]])
    )
    boxes = np.float32(
        [[[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 1, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]]
    )
    (found,) = detect(logits, boxes, [(50, 200)], ["cat", "dog"])
    assert found.labels == ("dog", "cat")  # the surest first; background and 0.4 left out
    np.testing.assert_array_equal(found.indices, [1, 0])
    # float32 softmax, and products of pixels up to 200.
    np.testing.assert_allclose(found.scores, [0.8, 0.7], atol=1e-6)
    np.testing.assert_allclose(found.boxes, [[0, 40, 20, 50], [50, 12.5, 150, 37.5]], atol=1e-4)
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert len(detect(logits, boxes, [(50, 200)], ["cat", "dog"], 0.4)[0]) == 3


def test_no_object() -> None:
    logits = np.float32([[[0, 0, 9]]])
    (found,) = detect(logits, np.zeros((1, 1, 4), np.float32), [(5, 5)], ["cat", "dog"])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_labels_are_one_per_class() -> None:
    with pytest.raises(EngineError, match="2 labels for 3 classes"):
        classify(np.zeros((1, 3), np.float32), ["a", "b"])
    with pytest.raises(EngineError, match="3 labels for 2 classes"):
        detect(np.zeros((1, 1, 3)), np.zeros((1, 1, 4)), [(1, 1)], ["a", "b", "c"])
