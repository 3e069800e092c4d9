"""Reports of a made-up classifier and a made-up detector."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from engines.report_data import EngineRow, Example, Layer, ReportData, Step
from runtime.drift.intervals import Interval, wilson
from runtime.drift.verdict import DriftReport, judge
from runtime.tasks import Entry

LINEARS = (
    "attention.attention.query",
    "attention.attention.key",
    "attention.attention.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
CANDIDATES = (
    EngineRow("OpenVINO int8", (7.31, 7.42, 8.05), True, True),
    EngineRow("ONNX Runtime int8", (11.6, 11.9, 13.4), True),
    EngineRow("OpenVINO fp32", (14.5, 14.8, 16.9), True),
    EngineRow("ONNX Runtime fp16", (9.0, 9.1, 9.6), False, note="cosine 0.913 to its own graph"),
    EngineRow("TensorRT int8", None, None, note="tensorrt is not installed"),
)
PROVENANCE = (
    ("weights sha256", "9f2c1e7ab44d0c5f3b1d1e9a5cf0aa3d6c7be0f4bb8d1c9a30e57f1f2f4d8c11"),
    ("torch", "2.13.0"),
    ("onnxruntime", "1.31.0"),
    ("calibration", "128 images, mse, digest 5d0c4f1a92be77"),
    ("seed", "0"),
)


def layers() -> tuple[Layer, ...]:
    """The linears of a ViT-Ti, of which the head and one more stay float."""
    generator = np.random.default_rng(0)
    found = [
        Layer("vit.embeddings.patch_embeddings.projection", "Conv", "int8", "", 0.011, 0.99994)
    ]
    for block in range(12):
        for linear in LINEARS:
            name = f"vit.encoder.layer.{block}.{linear}"
            error = float(generator.lognormal(-4.3, 0.6))
            if block == 11 and linear == "output.dense":
                found.append(Layer(name, "MatMul", "fp32", "error above the budget"))
            else:
                found.append(Layer(name, "MatMul", "int8", "", error, 1 - error**2 / 2))
    return (*found, Layer("classifier", "Gemm", "fp32", "head: kept float by the preset"))


def guesses(seed: int, first: str) -> tuple[Entry, ...]:
    generator = np.random.default_rng(seed)
    scores = np.sort(generator.dirichlet([8, 1, 0.5]))[::-1]
    labels = (first, "Windsor tie", "bow tie, bow-tie, bowtie and something rather long")
    return tuple(Entry(a, float(b)) for a, b in zip(labels, scores, strict=True))


@pytest.fixture
def classifier() -> ReportData:
    """A report with every section, and a verdict of inconclusive."""
    image = np.random.default_rng(1).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    drift = DriftReport(
        "classification",
        (
            judge("top1_agreement", 589 / 600, wilson(589, 600), 0.98, 600),
            judge("logit_cosine", 0.99931, Interval(0.99925, 0.99936), 0.999, 600),
            judge("top1_accuracy_drop", 0.0017, Interval(-0.0065, 0.0096), 0.02, 600),
        ),
        600,
        12.0,
    )
    return ReportData(
        model="vit_tiny_patch16_224",
        precision="int8",
        target="cpu",
        drift=drift,
        sizes=(("PyTorch weights", 22_900_000), ("Engine", 6_120_000)),
        layers=layers(),
        candidates=CANDIDATES,
        choice="Kept OpenVINO int8: the fastest of the three faithful candidates, 2.0 times "
        "as fast as OpenVINO fp32.",
        examples=(
            Example(
                "0002_n01484850.jpg", image, guesses(0, "great white"), guesses(1, "great white")
            ),
            Example(
                "0005_n01496331.jpg", image, guesses(2, "electric ray"), guesses(3, "stingray")
            ),
        ),
        provenance=PROVENANCE,
    )


@pytest.fixture
def searched(classifier: ReportData) -> ReportData:
    """The classifier's report with a search in place of the errors by layer."""
    generator = np.random.default_rng(2)
    found = tuple(
        dataclasses.replace(
            layer,
            relative_error=None,
            cosine=None,
            effect=float(generator.lognormal(-10.0, 1.5)),
            saved_ms=float(generator.normal(0.3, 0.1)),
        )
        for layer in classifier.layers[1:]
    )
    steps = (
        Step(0, "top1_agreement 0.962, bound 0.948, limit \u2265 0.98", False),
        Step(2, "top1_agreement 0.991, bound 0.983, limit \u2265 0.98", True),
    )
    return dataclasses.replace(classifier, layers=found, steps=steps)


@pytest.fixture
def detector() -> ReportData:
    """A failed report with boxes, and without layers or candidates."""
    image = np.random.default_rng(1).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    drift = DriftReport(
        "detection",
        (
            judge("ap50_vs_reference", 0.71, Interval(0.64, 0.77), 0.9, 64),
            judge("ap_vs_reference", 0.52, Interval(0.46, 0.57), None, 64),
            judge("box_iou", 0.88, Interval(0.86, 0.9), None, 64),
        ),
        64,
        30.0,
        ("ap50_drop",),
    )
    boxes: dict[str, Any] = {
        "reference": (
            Entry("cat", 0.98, (10, 20, 70, 90)),
            Entry("sofa", 0.71, (0, 40, 160, 119)),
        ),
        "engine": (Entry("cat", 0.97, (11, 20, 71, 91)),),
    }
    return ReportData(
        "detr_tiny", "int8", "cpu", drift, examples=(Example("cats.jpg", image, **boxes),)
    )


@pytest.fixture
def hostile(classifier: ReportData) -> ReportData:
    """The classifier's report with a script wherever a name from outside stands."""
    bad = "<script>alert(1)</script>\"'&"
    image = classifier.examples[0].image
    return dataclasses.replace(
        classifier,
        model=bad,
        precision=bad,
        target=bad,
        sizes=((bad, 1),),
        layers=(
            Layer(bad, bad, "int8", "", 0.1, 0.9, 0.1, 0.2),
            Layer(f"a.{bad}.b", bad, "fp32", bad),
        ),
        steps=(Step(0, bad, True),),
        candidates=(dataclasses.replace(CANDIDATES[0], name=bad, note=bad),),
        choice=bad,
        examples=(
            Example(bad, image, (Entry(bad, 0.9),), (Entry(bad, 0.8),)),
            Example(bad, image, (Entry(bad, 0.9, (1, 1, 20, 20)),), ()),
        ),
        provenance=((bad, bad),),
    )
