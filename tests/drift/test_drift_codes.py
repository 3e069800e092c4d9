"""Drift of codes: each metric by hand, and candidates that are broken."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.drift.codes import CodeAnswer, estimate

ITEMS, CODES = 24, 10


def answers(seed: int = 0) -> list[CodeAnswer]:
    rng = np.random.default_rng(seed)
    return [
        CodeAnswer(rng.integers(0, 9, CODES), rng.normal(size=9).astype(np.float32))
        for _ in range(ITEMS)
    ]


def values(reference: list[CodeAnswer], candidate: list[CodeAnswer]) -> dict[str, float]:
    return {k: value for k, (value, _) in estimate(reference, candidate, None, 0).items()}


def test_equal_answers_have_no_drift() -> None:
    found = estimate(answers(), answers(), None, 0)
    assert found == {"code_agreement": (1.0, (1.0, 1.0)), "logit_cosine": (1.0, (1.0, 1.0))}


def test_each_metric_is_a_mean_over_items() -> None:
    reference = answers()
    candidate = list(reference)
    first, second = reference[:2]
    candidate[0] = first._replace(codes=np.where(np.arange(CODES) < 4, -1, first.codes))
    candidate[1] = second._replace(logits=-second.logits)
    found = values(reference, candidate)
    assert found["code_agreement"] == pytest.approx(1 - 0.4 / ITEMS)
    assert found["logit_cosine"] == pytest.approx(1 - 2 / ITEMS)


def test_a_candidate_that_is_not_finite_is_drift() -> None:
    reference = answers()
    broken = np.full(9, np.nan, np.float32)
    candidate = [answer._replace(logits=broken) for answer in reference]
    assert values(reference, candidate) == {"code_agreement": 0.0, "logit_cosine": 0.0}


def test_a_reference_that_is_not_finite_is_refused() -> None:
    broken = answers()
    broken[3] = broken[3]._replace(logits=np.full(9, np.inf, np.float32))
    with pytest.raises(ValueError, match=r"reference logits of 1 images \(first: 3\)"):
        estimate(broken, answers(), None, 0)


def test_few_items_leave_it_open() -> None:
    found = estimate(answers()[:3], answers()[:3], None, 0)
    assert found["code_agreement"] == (1.0, (0.0, 1.0))
