"""Drift of pixels: each metric by hand, and candidates that are broken."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.drift.measure import measure
from runtime.drift.pixels import MOST_NATS, PixelAnswer, estimate

IMAGES, PIXELS, WIDTH = 24, 40, 6


def answers(seed: int = 0, completed: int = 8) -> list[PixelAnswer]:
    rng = np.random.default_rng(seed)
    return [
        PixelAnswer(
            rng.integers(0, 9, PIXELS),
            float(rng.uniform(1, 2)),
            rng.normal(size=WIDTH).astype(np.float32),
            rng.integers(0, 9, completed),
        )
        for _ in range(IMAGES)
    ]


def values(reference: list[PixelAnswer], candidate: list[PixelAnswer]) -> dict[str, float]:
    return {k: value for k, (value, _) in estimate(reference, candidate, None, 0).items()}


def test_equal_answers_have_no_drift() -> None:
    found = estimate(answers(), answers(), None, 0)
    assert {name: value for name, (value, _) in found.items()} == {
        "token_agreement": 1.0,
        "nll_difference": 0.0,
        "feature_cosine": 1.0,
        "completion_agreement": 1.0,
    }
    assert all(low == high == value for value, (low, high) in found.values())


def test_each_metric_is_a_mean_over_images() -> None:
    reference = answers()
    candidate = list(reference)
    first, second = reference[:2]
    candidate[0] = PixelAnswer(
        np.where(np.arange(PIXELS) < 10, first.tokens + 1, first.tokens),
        first.nats - 0.48,  # more probable is a difference too
        -first.features,
        np.where(np.arange(8) < 4, first.completion + 1, first.completion),
    )
    candidate[1] = second._replace(nats=second.nats + 0.24)
    found = values(reference, candidate)
    assert found["token_agreement"] == pytest.approx(1 - 0.25 / IMAGES)
    assert found["completion_agreement"] == pytest.approx(1 - 0.5 / IMAGES)
    assert found["nll_difference"] == pytest.approx(0.72 / IMAGES)
    assert found["feature_cosine"] == pytest.approx(1 - 2 / IMAGES)


def test_a_candidate_that_is_not_finite_is_drift() -> None:
    reference = answers()
    candidate = [
        answer._replace(
            tokens=np.full(PIXELS, -1), nats=np.nan, features=np.full(WIDTH, np.inf, np.float32)
        )
        for answer in reference
    ]
    report = measure(
        "pixels", reference, candidate,
        limits={"token_agreement": 0.9, "nll_difference": 0.1, "feature_cosine": 0.9},
    )  # fmt: skip
    found = {m.name: (m.value, m.verdict) for m in report.measurements}
    assert found["token_agreement"] == (0.0, "fail")
    assert found["feature_cosine"] == (0.0, "fail")
    assert found["nll_difference"][1] == "fail"
    assert found["nll_difference"][0] == pytest.approx(MOST_NATS, rel=0.03)
    assert found["completion_agreement"] == (1.0, "info")


def test_a_reference_that_is_not_finite_is_refused() -> None:
    broken = answers()
    broken[3] = broken[3]._replace(nats=np.nan)
    with pytest.raises(ValueError, match=r"likelihoods of 1 images \(first: 3\).*PyTorch model"):
        estimate(broken, answers(), None, 0)


def test_without_completions_they_are_not_measured() -> None:
    found = estimate(answers(completed=0), answers(completed=0), None, 0)
    assert "completion_agreement" not in found
    report = measure("pixels", answers(completed=0), answers(completed=0), labels=[1] * IMAGES,
                     limits={"completion_agreement": 0.5})  # fmt: skip
    assert report.unmeasured == ("completion_agreement",)


def test_few_images_leave_it_open() -> None:
    found = estimate(answers()[:3], answers()[:3], None, 0)
    assert found["token_agreement"] == (1.0, (0.0, 1.0))
