"""On what a search judges int8: on what the gate measures, not on what sets ranges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import export.typed_graphs
from engines.refusal import RefusedError
from export.answers import Arrays, torch_run
from export.calibration_limits import Judge
from export.pipeline import build
from export.request import Request
from export.samples import Sample
from export.spec import ModelSpec, find_model, load_models
from export.weights import load_reference

TRACKER = find_model("trackformer_tiny_shapes", load_models())
CLIPS = 6


def test_a_search_sees_what_a_tracker_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = torch_run(load_reference(TRACKER).module, TRACKER.exported.outputs)
    found: dict[str, Any] = {}

    def forgetful(inputs: Arrays) -> Arrays:
        return run({**inputs, "track_mask": np.zeros_like(inputs["track_mask"])})

    def search(
        portable: ir.Model, spec: ModelSpec, samples: Sequence[Sample], preprocess: Any,
        judge: Judge, *rest: Any,
    ) -> None:  # fmt: skip
        found["frames"] = [
            np.ndim(item["frame"] if isinstance(item, dict) else item)
            for item in (sample.read() for sample in samples)
        ]
        found["as it is"], found["forgetful"] = (judge.of(r)[0].value for r in (run, forgetful))
        raise RefusedError("enough was seen")

    monkeypatch.setattr(export.typed_graphs, "search", search)
    limits = {"idf1_vs_reference": 0.0}  # so few clips can show no more
    with pytest.raises(RefusedError, match="enough was seen"):
        build(Request(TRACKER, "int8", images=CLIPS, max_drift=limits, out=tmp_path), print)
    assert found["frames"] == [3] * CLIPS  # (H, W, 3): ranges are of single frames
    assert found["as it is"] == 1.0
    # Every figure of a clip of ten frames has a new identity in each, of which one is right.
    assert found["forgetful"] < 0.5
