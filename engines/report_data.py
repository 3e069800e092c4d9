"""What a build report shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.drift.verdict import DriftReport
from runtime.tasks import Entry


@dataclass(frozen=True)
class Layer:
    """One linear or convolution layer, in the order of the graph.

    Attributes:
        name: of the ONNX node.
        operator: its type, such as MatMul.
        precision: int8, fp16 or fp32.
        reason: why it was kept float; empty for int8.
        relative_error: of its int8 output, the norm of the error over the norm of the output;
            None where it was not measured.
        cosine: between its int8 and float outputs; None where it was not measured.
        effect: squared error of the model's outputs, relative to their own square, with this layer
            alone in int8; None where no search measured it.
        saved_ms: milliseconds that int8 saves at this layer; None where no search measured it.
    """

    name: str
    operator: str
    precision: str
    reason: str = ""
    relative_error: float | None = None
    cosine: float | None = None
    effect: float | None = None
    saved_ms: float | None = None


@dataclass(frozen=True)
class Step:
    """A set of layers that the precision search tried.

    Attributes:
        returned: how many layers were float.
        figures: the metrics on the calibration images, for people.
        holds: whether they kept the limits.
    """

    returned: int
    figures: str
    holds: bool


@dataclass(frozen=True)
class EngineRow:
    """One candidate engine.

    Attributes:
        name: back end and precision, for people.
        times: 10th percentile, median and 90th percentile of the latency of one image in ms;
            None where it was not timed.
        faithful: whether its outputs are those of the graph it was built from; None where it did
            not run.
        kept: whether it is the bundle's engine; one of the candidates is.
        note: anything to say of it, such as why it did not run.
    """

    name: str
    times: tuple[float, float, float] | None
    faithful: bool | None
    kept: bool = False
    note: str = ""


@dataclass(frozen=True)
class Example:
    """An image, uint8 (H, W, 3) RGB, and what PyTorch and the engine say of it, surest first."""

    name: str
    image: npt.NDArray[np.uint8]
    reference: tuple[Entry, ...]
    engine: tuple[Entry, ...]


@dataclass(frozen=True)
class ReportData:
    """All of a report; empty tuples leave their section out.

    Attributes:
        model: name of the record in models.yaml.
        precision: of the engine that was asked for.
        target: that it was built for.
        drift: what the gate measured.
        sizes: (file or form, bytes), such as ("PyTorch weights", 113_000_000).
        layers: every linear and convolution.
        steps: of the precision search, in order.
        candidates: every engine that was tried.
        choice: a sentence on which candidate was kept, and why.
        examples: a few images.
        provenance: (what, value), such as ("weights sha256", "…").
    """

    model: str
    precision: str
    target: str
    drift: DriftReport
    sizes: tuple[tuple[str, int], ...] = ()
    layers: tuple[Layer, ...] = ()
    candidates: tuple[EngineRow, ...] = ()
    choice: str = ""
    examples: tuple[Example, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    steps: tuple[Step, ...] = ()
