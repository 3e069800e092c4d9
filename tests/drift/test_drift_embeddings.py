"""Drift of embeddings on sets whose figures are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.drift.embeddings import Embedded, estimate, retrieval_agreement
from runtime.drift.intervals import Interval, wilson
from runtime.drift.measure import measure

Vectors = NDArray[np.float32]


def embedded(vectors: Vectors, logits: Vectors | None = None) -> list[Embedded]:
    rows = [None] * len(vectors) if logits is None else list(logits)
    return [Embedded(*pair) for pair in zip(vectors, rows, strict=True)]


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_equal_answers_do_not_drift() -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    logits = vectors @ vectors[:5].T
    answers = embedded(vectors, logits)
    report = measure("embeddings", answers, answers, labels=logits.argmax(1), limits={})
    values = {one.name: one.value for one in report.measurements}
    # A cosine of float32 numbers with themselves, to rounding.
    assert values.pop("embedding_cosine") == pytest.approx(1.0, abs=1e-6)
    assert values == {
        "retrieval_agreement": 1.0,
        "zero_shot_agreement": 1.0,
        "zero_shot_accuracy_drop": 0.0,
    }


def test_the_cosine_is_that_of_the_turn() -> None:
    reference, candidate = at(0, 90, 180, 270), at(60, 150, 240, 330)
    value, bounds = estimate(embedded(reference), embedded(candidate), None, 0)["embedding_cosine"]
    assert value == pytest.approx(0.5, abs=1e-6)  # of 60 degrees, in float32
    assert bounds == Interval(-1.0, 1.0)  # four items say nothing


def test_a_common_turn_changes_no_neighbour_but_one_moved_item_does() -> None:
    reference = at(0, 10, 100, 115)
    assert retrieval_agreement(reference, at(50, 60, 150, 165)) == (1.0, wilson(4, 4))
    # The second goes over to the third: its own neighbour, the first's (still it), the third's and
    # the fourth's (still the third).
    moved = at(0, 95, 100, 115)
    # 0 -> 95 as before; 95 -> 100 instead of 0; 100 -> 95 instead of 115; 115 -> 100 as before.
    assert retrieval_agreement(reference, moved) == (0.5, wilson(2, 4))


def test_lengths_do_not_matter() -> None:
    reference = at(0, 10, 100, 115)
    lengths = np.array([[1], [5], [0.1], [100]], np.float32)
    assert retrieval_agreement(reference, lengths * reference) == (1.0, wilson(4, 4))


def test_an_item_given_twice_is_no_answer_to_itself() -> None:
    # Either copy's nearest other item is the third, whichever copy the engine rounds nearer.
    reference, candidate = at(0, 0, 30, 90), at(0, 1e-3, 30, 90)
    assert retrieval_agreement(reference, candidate) == (1.0, wilson(4, 4))


def test_of_one_item_or_one_and_the_same_there_is_nothing_to_retrieve() -> None:
    assert retrieval_agreement(at(20), at(20)) is None
    assert retrieval_agreement(at(20, 20, 20), at(20, 20, 20)) is None
    found = estimate(embedded(at(20)), embedded(at(20)), None, 0)
    assert found.keys() == {"embedding_cosine"}


def test_answers_that_are_not_finite_are_drift() -> None:
    reference = at(0, 10, 100, 115)
    candidate = reference.copy()
    candidate[1] = np.nan
    # The second finds nothing, and the first, whose neighbour it was, finds another.
    assert retrieval_agreement(reference, candidate) == (0.5, wilson(2, 4))
    logits = np.eye(4, dtype=np.float32)
    broken = logits.copy()
    broken[1] = np.nan
    found = estimate(embedded(reference, logits), embedded(candidate, broken), np.arange(4), 0)
    assert found["embedding_cosine"][0] == pytest.approx(0.75, abs=1e-6)  # 0 of one in four
    assert found["zero_shot_agreement"][0] == 0.75
    assert found["zero_shot_accuracy_drop"][0] == 0.25


def test_everything_broken_is_drift_too() -> None:
    reference = at(0, 10, 100, 115)
    assert retrieval_agreement(reference, np.full_like(reference, np.inf)) == (0.0, wilson(0, 4))


def test_retrieval_agrees_with_a_search_by_hand() -> None:
    rng = np.random.default_rng(1)
    reference = rng.standard_normal((60, 5)).astype(np.float32)
    candidate = reference + 0.3 * rng.standard_normal((60, 5)).astype(np.float32)

    def nearest(vectors: Vectors, query: int) -> int:
        cosines = {
            other: float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
            for other, b in enumerate(vectors)
            if other != query
            for a in [vectors[query]]
        }
        return max(cosines, key=cosines.__getitem__)

    same = sum(nearest(reference, n) == nearest(candidate, n) for n in range(60))
    assert 0 < same < 60  # or nothing would be counted
    assert retrieval_agreement(reference, candidate) == (same / 60, wilson(same, 60))


def test_zero_shot_figures_are_those_of_the_logits() -> None:
    logits = np.array([[2, 1], [2, 1], [1, 2], [1, 2]], np.float32)
    other = np.array([[2, 1], [1, 2], [1, 2], [2, 1]], np.float32)
    vectors = at(0, 10, 100, 115)
    # Of the two that change, one was right and one was wrong.
    labels = np.array([0, 0, 1, 0])
    found = estimate(embedded(vectors, logits), embedded(vectors, other), labels, 0)
    assert found["zero_shot_agreement"] == (0.5, wilson(2, 4))
    assert found["zero_shot_accuracy_drop"][0] == 0.0


def test_a_reference_that_is_not_finite_is_refused() -> None:
    broken = at(0, 90)
    broken[0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in the reference embeds of 1 images"):
        estimate(embedded(broken), embedded(at(0, 90)), None, 0)


def test_embeddings_of_another_length_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"candidate embeds of shape \(2, 3\), expected .*\(2, 2\)"
    ):
        estimate(embedded(at(0, 90)), embedded(np.ones((2, 3), np.float32)), None, 0)
