"""ONNX files of a form that the scan refuses, or of a size."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from runtime import EngineError
from runtime.model_scan import LARGEST_MODEL, scan_model
from tests.security.scanned import model, refused, scan


def nested(levels: int) -> onnx.ModelProto:
    made = model()
    graph = made.graph
    for _ in range(levels):
        node = graph.node.add(op_type="If")
        graph = node.attribute.add(name="then_branch").g
        graph.SetInParent()
    return made


def group(levels: int) -> bytes:
    """Messages in an unknown field of wire type 3, which some parsers follow recursively."""
    return b"\xfb\x01" * levels + b"\xfc\x01" * levels


def with_part(part: bytes) -> bytes:
    return model().SerializeToString() + part


def shaped(*lengths: int) -> onnx.ModelProto:
    made = model()
    made.graph.initializer.add(
        name="w", data_type=TensorProto.FLOAT, dims=lengths, raw_data=bytes(8)
    )
    return made


def lacking(name: str) -> onnx.ModelProto:
    made = model()
    made.ClearField(name)
    return made


def axis(length: int) -> onnx.ModelProto:
    made = model()
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = length
    return made


def opset(version: int) -> onnx.ModelProto:
    made = model()
    made.opset_import[0].version = version
    return made


def training() -> onnx.ModelProto:
    made = model()
    made.training_info.add()
    return made


def with_operator(name: str) -> onnx.ModelProto:
    made = nested(1)
    made.graph.node[-1].attribute[0].g.node.add(op_type=name)
    return made


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: b"", "it has 0 bytes", id="empty"),
        pytest.param(lambda: b"no model", "no model as Vitrine writes them", id="garbage"),
        pytest.param(lambda: b"<?xml version='1.0'?><net/>", "wire type 4", id="OpenVINO IR"),
        pytest.param(lambda: b"\x18\x00\x00\x00ORTM" * 9, "no model", id="ORT format"),
        pytest.param(lambda: lacking("graph"), "a graph or operator sets are missing", id="graph"),
        pytest.param(lambda: lacking("opset_import"), "are missing", id="opsets"),
        pytest.param(lambda: model().SerializeToString()[:-1], "of which", id="truncated"),
        pytest.param(lambda: with_part(b"\x08"), "an integer has no end", id="half an integer"),
        pytest.param(lambda: with_part(b"\x08\x0a"), "field 1 is twice", id="twice"),
        pytest.param(lambda: with_part(b"\x28" + b"\xff" * 9 + b"\x02"), "64 bits", id="65 bits"),
        pytest.param(lambda: with_part(b"\x28" + b"\x80" * 10 + b"\0"), "no end", id="77 bits"),
        pytest.param(lambda: with_part(b"\x02\x00"), "number 0", id="field 0"),
        pytest.param(lambda: with_part(b"\xf8\x07\x00"), "unknown field 127", id="unknown"),
        pytest.param(lambda: with_part(b"\x0a\x01a"), "unknown field 1 of wire", id="wire type"),
        pytest.param(lambda: with_part(b"\x3a" + b"\xff" * 4 + b"\x0f"), "of which", id="length"),
        pytest.param(lambda: with_part(group(100_000)), "wire type 3", id="groups"),
        pytest.param(training, "unknown field 20", id="training"),
        pytest.param(lambda: with_operator("EPContext"), "would open a file", id="EPContext"),
        pytest.param(lambda: with_operator("Loop"), "Loop need not end", id="Loop"),
        pytest.param(lambda: opset(0), "operators has the version 0", id="opset 0"),
        pytest.param(lambda: opset(1 << 31), "the version 2147483648", id="opset 2^31"),
        pytest.param(lambda: opset(-1), "the version 18446744073709551615", id="opset -1"),
        pytest.param(lambda: nested(5), "more than 16 messages", id="nested"),
        pytest.param(lambda: shaped(1 << 62), r"the shape \(4611", id="long axis"),
        pytest.param(lambda: shaped(-1), "the shape .18446744073709551615", id="negative axis"),
        pytest.param(lambda: shaped(1 << 20, 1 << 20), "in .. bytes", id="large tensor"),
        pytest.param(lambda: shaped(*[1] * 17), "the shape", id="many axes"),
        pytest.param(lambda: axis(1 << 31), "an axis has the length 2147483648", id="input"),
        pytest.param(lambda: with_part(b"\x72\x00" * (1 << 19)), "524288 parts", id="parts"),
    ],
)
def test_models_of_another_form(
    make: Callable[[], bytes | onnx.ModelProto], message: str, tmp_path: Path
) -> None:
    refused(tmp_path / "model.onnx", make(), message)


def test_a_model_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(LARGEST_MODEL + 1)  # sparse: takes no space
    with pytest.raises(EngineError, match="it has 2147483648 bytes"):
        scan_model(path, {})


def test_a_model_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(LARGEST_MODEL)
    with pytest.raises(EngineError, match=re.escape("a field has the number 0")):
        scan_model(path, {})


def test_nested_subgraphs_that_are_few(tmp_path: Path) -> None:
    scan(tmp_path / "model.onnx", nested(4))
