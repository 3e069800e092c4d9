"""The agreement that few images foretell: closed form, variance and coverage."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from calibration.agreement import exchanged, expected_agreement

RATE, SIGMA = 0.5, 0.12


def truth() -> float:
    """P(m + d > 0) of an exponential margin and a normal error.

    By parts: P(d < -m) = 1/2 - exp(rate^2 sigma^2 / 2) Phi(-rate sigma).
    """
    tail = math.exp((RATE * SIGMA) ** 2 / 2) * NormalDist().cdf(-RATE * SIGMA)
    return 0.5 + tail


def draw(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return generator.exponential(1 / RATE, (n, 1)), generator.normal(0.0, SIGMA, (n, 1))


def test_many_images_give_the_closed_form() -> None:
    margins, errors = draw(np.random.default_rng(0), 3000)
    assert 0.97 < truth() < 0.99
    # The standard error is below that of 3000 counts, 0.0028.
    assert exchanged(margins, errors, 0.95).value == pytest.approx(truth(), abs=3 * 0.0028)


def test_unbiased_less_noisy_than_counting_and_covered() -> None:
    generator = np.random.default_rng(1)
    draws = [draw(generator, 150) for _ in range(200)]
    found = [exchanged(margins, errors, 0.9) for margins, errors in draws]
    values = np.array([each.value for each in found])
    counted = np.array([(margins + errors > 0).mean() for margins, errors in draws])
    # Four standard errors of the mean of 200.
    assert abs(values.mean() - truth()) < 4 * values.std() / math.sqrt(200)
    # A standard deviation from 200 draws is known to 5 %; measured: 0.56 of the counts'.
    assert values.std() < 0.7 * counted.std()
    # Of 200 bounds at 90 %, four standard deviations (2.1 % each) fewer may be below the truth.
    assert np.mean([each.low <= truth() for each in found]) > 0.9 - 4 * 0.021


def test_views_that_repeat_an_image_tell_nothing_new() -> None:
    margins, errors = draw(np.random.default_rng(3), 150)
    once = exchanged(margins, errors, 0.9)
    assert exchanged(np.repeat(margins, 4, 1), np.repeat(errors, 4, 1), 0.9) == once


def test_views_that_differ_narrow_the_interval_and_stay_covered() -> None:
    generator, found, alone = np.random.default_rng(4), [], []
    for _ in range(100):
        # Half of a view's margin is its image's: correlation 1/2 between the views of an image.
        margins = np.where(
            generator.random((60, 4)) < math.sqrt(0.5),
            generator.exponential(1 / RATE, (60, 1)),
            generator.exponential(1 / RATE, (60, 4)),
        )
        errors = generator.normal(0.0, SIGMA, (60, 4))
        found.append(exchanged(margins, errors, 0.9))
        alone.append(exchanged(margins[:, :1], errors[:, :1], 0.9))
    # Four views of correlation 1/2 have 0.79 of the standard deviation of one.
    narrower = np.std([each.value for each in found]) / np.std([each.value for each in alone])
    assert narrower < 0.95
    # As above, of 100 bounds: 3 % each.
    assert np.mean([each.low <= truth() for each in found]) > 0.9 - 4 * 0.03


def test_higher_confidence_asks_for_more() -> None:
    margins, errors = draw(np.random.default_rng(2), 150)
    lows = [exchanged(margins, errors, c).low for c in (0.5, 0.8, 0.95, 0.99)]
    assert lows == sorted(lows, reverse=True)


def test_images_far_from_a_change_do_not_claim_certainty() -> None:
    found = exchanged(np.full((200, 1), 9.0), np.zeros((200, 1)), 0.95)
    assert found.value == 1.0
    # One more image of which a quarter changes, drawn three times of 201 in one resample of twenty
    # (a Poisson count of mean 1).
    assert found.low == pytest.approx(1 - 3 * 0.25 / 201, abs=1e-4)


def test_few_images_say_nothing() -> None:
    assert exchanged(np.full((19, 1), 9.0), np.zeros((19, 1)), 0.95).low == 0.0


def test_logits_become_margins_and_errors() -> None:
    reference = np.tile(np.array([[3.0, 1.0, 0.0]], np.float32), (40, 1))
    candidate = reference.copy()
    candidate[:10] = [0.0, 1.0, 5.0]  # margin 2 becomes -5
    candidate[10:12] = np.nan
    # Margins are all 2, and 28 of 40 errors are zero: 28 of 40 pairs agree, whatever the margin.
    assert expected_agreement(reference, candidate, 0.95).value == pytest.approx(28 / 40)


@pytest.mark.parametrize("confidence", [0.4, 1.0])
def test_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="found confidence"):
        exchanged(np.ones((30, 1)), np.zeros((30, 1)), confidence)
