"""A build that is given a cache calibrates once for the same model and images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from exported_models import Exported

from export.answers import SingleImages
from export.samples import Sample
from export.spec import find_model, load_models
from export.typed import typed_graph
from runtime import Preprocess

SPEC = find_model("vit_tiny_shapes", load_models())


def pictures(count: int = 3, seed: int = 0, mean: float = 0.5) -> SingleImages:
    frames = np.random.default_rng(seed).integers(0, 255, (count, 32, 32, 3)).astype(np.uint8)
    samples = [Sample(str(i), lambda i=i: frames[i]) for i in range(count)]  # type: ignore[misc]
    return SingleImages(samples, Preprocess("exact", 32, mean=(mean,) * 3, std=(0.5,) * 3))


def test_a_second_build_measures_nothing_and_gives_the_same_bytes(
    export_tiny: Callable[[str], Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portable = export_tiny("vit").model
    first = typed_graph("int8", portable, SPEC, pictures(), cache=tmp_path)
    monkeypatch.setattr("calibration.range_cache.calibrate", None)  # calling it would raise
    again = typed_graph("int8", portable, SPEC, pictures(), cache=tmp_path)
    bytes_of = [ir.to_proto(typed.model).SerializeToString(True) for typed in (first, again)]
    assert bytes_of[0] == bytes_of[1]


@pytest.mark.parametrize(
    "other",
    [pictures(seed=1), pictures(count=2), pictures(mean=0.4)],
    ids=["pixels", "number", "preprocessing"],
)
def test_other_inputs_have_another_digest(other: SingleImages) -> None:
    assert other.digest() != pictures().digest()
    assert pictures().digest() == pictures().digest()
