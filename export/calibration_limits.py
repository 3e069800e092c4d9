"""Do the drift limits hold on the calibration images, as far as these can tell?

The gate on held-out images is another matter and stays as it is: nothing is chosen on those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.agreement import expected_agreement
from export.answers import Run, comparable, truths
from export.parts import torch_runner
from export.samples import Sample
from export.spec import ModelSpec
from export.views import VIEWS, with_views
from export.weights import Reference
from runtime.drift.limits import metric_named
from runtime.drift.measure import measure
from runtime.tasks import Answer

_AGREEMENT = "top1_agreement"


@dataclass(frozen=True)
class Figure:
    """One limited metric on the calibration images.

    Attributes:
        name: of the metric.
        value: its estimate.
        bound: the end of its interval that is compared with the limit.
        limit: of the drift.
        holds: whether the bound keeps it.
    """

    name: str
    value: float
    bound: float
    limit: float
    holds: bool


class Judge:
    """Compares runs of the model with PyTorch on the calibration images, and views of them."""

    def __init__(
        self,
        spec: ModelSpec,
        reference: Reference,
        samples: Sequence[Sample],
        limits: Mapping[str, float],
        confidence: float,
    ) -> None:
        """Runs PyTorch on the images.

        Args:
            spec: of the model.
            reference: the PyTorch model.
            samples: the calibration images.
            limits: metric -> limit, of which those that need labels count where there are labels.
            confidence: with which `top1_agreement` keeps its limit; the others keep theirs with
                their whole 95 % interval, as at the gate.
        """
        self._limits, self._confidence = dict(limits), confidence
        # Only agreement can make use of views: other metrics compare with one truth an image.
        self._views = VIEWS if _AGREEMENT in limits else 1
        self._samples = with_views(samples) if self._views > 1 else list(samples)
        self._labels = truths(samples)
        self._runner = torch_runner(spec, reference)
        self._theirs = self._runner.answers(self._samples)

    def of(self, *runs: Run) -> tuple[Figure, ...]:
        """The limited metrics of a run; of several, which take the images in turn."""
        found: dict[int, Answer] = {}
        for turn, run in enumerate(runs):
            mine = [i for i in range(len(self._samples)) if i // self._views % len(runs) == turn]
            part = [self._samples[i] for i in mine]
            graph = self._runner.graph._replace(run=run)
            found |= zip(mine, replace(self._runner, graph=graph).answers(part), strict=True)
        return self._figures([found[i] for i in range(len(found))])

    def of_the_reference(self) -> tuple[Figure, ...]:
        """The same of PyTorch itself: what so many images can show at best."""
        return self._figures(self._theirs)

    def _figures(self, found: Sequence[Answer]) -> tuple[Figure, ...]:
        labels = self._runner.labels
        theirs = comparable(self._runner.task, self._theirs, labels)
        ours = comparable(self._runner.task, found, labels)
        figures = []
        rest = dict(self._limits)
        if _AGREEMENT in rest:
            limit = rest.pop(_AGREEMENT)
            estimate = expected_agreement(
                np.stack(theirs), np.stack(ours), self._confidence, self._views
            )
            holds = estimate.low >= limit
            figures.append(Figure(_AGREEMENT, estimate.value, estimate.low, limit, holds))
        if rest:
            images = slice(None, None, self._views)
            report = measure(
                self._runner.task, theirs[images], ours[images], labels=self._labels, limits=rest
            )
            figures += [
                Figure(
                    m.name, m.value, m.low if m.at_least else m.high, m.limit, m.verdict == "pass"
                )
                for m in report.measurements
                if m.limit is not None
            ]
        return tuple(figures)


def said(figures: Sequence[Figure]) -> str:
    """Figures for progress lines and messages."""
    texts = []
    for figure in figures:
        sign = "≥" if metric_named(figure.name).at_least else "≤"
        texts.append(
            f"{figure.name} {figure.value:.6g}, bound {figure.bound:.6g}, limit {sign} "
            f"{figure.limit:.6g}"
        )
    return "; ".join(texts)
