"""A model that no ONNX file can hold is refused, if it can be before its weights are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import export.pipeline
import export.sizes
from export.request import Request
from export.sizes import check_graph, check_sizes
from export.spec import ModelSpec, SpecError, find_model, load_models

MODELS = load_models()
TOO_LARGE = {
    # 1,362,914,304 weights of four bytes (tests/export/test_zoo_imagegpt.py).
    "imagegpt_l": r"the weights of imagegpt_l take 5\.1 GiB .* choose a smaller member",
    # 12,292,833,024 of the transformer and 97,616,006 of the dVAE (tests/export/test_zoo_dalle.py).
    "dalle_12b": r"the weights of dalle_12b take 46\.2 GiB .* 2 GiB",
    "dalle_12b.step": r"the weights of dalle_12b\.step take 46\.2 GiB",
}


@pytest.mark.parametrize(("name", "message"), TOO_LARGE.items(), ids=TOO_LARGE.keys())
def test_what_is_too_large_is_one_line_before_any_weight(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> None:
        pytest.fail("weights were made")

    monkeypatch.setattr(export.pipeline, "load_reference", load)
    with pytest.raises(SpecError, match=f"^{message}"):
        export.pipeline.build(Request(find_model(name, MODELS), "int8", out=tmp_path), print)


@pytest.mark.parametrize(
    "spec", [s for name, s in MODELS.items() if name not in TOO_LARGE], ids=lambda spec: spec.name
)
def test_every_other_model_fits(spec: ModelSpec) -> None:
    check_sizes(spec)


def test_a_part_may_fit_where_the_whole_does_not() -> None:
    check_sizes(find_model("dalle_12b.decoder", MODELS))


def test_what_a_module_has_and_a_graph_does_not_is_left_to_the_graph() -> None:
    whole = find_model("dalle_12b", MODELS)
    # 2.5 GiB of weights, of which the graph has 1.8 (tests/export/test_full_size_models.py).
    check_sizes(whole.model_copy(update={"config": {**whole.config, "layers": 2}}))


def test_a_graphs_own_bytes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = ir.Value(name="w", const_value=ir.tensor(np.zeros((3, 5), np.float32)))
    graph = ir.Model(ir.Graph((), (), nodes=(), initializers=(weight,)), ir_version=10)
    monkeypatch.setattr(export.sizes, "LARGEST_MODEL", 60)
    check_graph("m", graph)
    monkeypatch.setattr(export.sizes, "LARGEST_MODEL", 59)
    with pytest.raises(SpecError, match=r"^the weights of m take 0\.0 GiB .* at most 2 GiB"):
        check_graph("m", graph)


def test_a_build_looks_at_its_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.sizes, "LARGEST_MODEL", 1_000_000)
    request = Request(find_model("resnet_tiny_shapes", MODELS), "fp32", images=2, out=tmp_path)
    with pytest.raises(SpecError, match=r"^the weights of resnet_tiny_shapes take"):
        export.pipeline.build(request, print)
    assert not list(tmp_path.glob("resnet*"))
