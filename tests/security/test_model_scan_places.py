"""Where an ONNX file may keep its tensors, and how deep its functions may call each other."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.security.scanned import model, refused, scan


def external(**entries: str) -> onnx.ModelProto:
    made = model()
    tensor = made.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return made


def test_external_data_in_a_listed_file(tmp_path: Path) -> None:
    made = external(location="weights.bin", offset="92", length="8", checksum="x")
    scan(tmp_path / "model.onnx", made, {"weights.bin": 100})
    scan(tmp_path / "model.onnx", external(location="weights.bin"), {"weights.bin": 100})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param({}, "lies in ''", id="none"),
        pytest.param({"location": "other.bin"}, "lies in 'other.bin', which", id="not listed"),
        pytest.param({"location": "../weights.bin"}, "which the manifest does not", id="parent"),
        pytest.param({"location": "/etc/passwd"}, "which the manifest does not", id="absolute"),
        pytest.param({"location": "./weights.bin"}, "which the manifest does not", id="dot"),
        pytest.param({"location": "weights.bin\0"}, "which the manifest does not", id="NUL"),
        # How ONNX Runtime marks the address of memory in its own process.
        pytest.param({"location": "*/_ORT_MEM_ADDR_/*"}, "does not list", id="memory"),
        pytest.param({"location": "w" * 300}, "a name has 300 bytes", id="long"),
        pytest.param({"location": "weights.bin", "offset": "-1"}, "offset b'-1'", id="negative"),
        pytest.param({"location": "weights.bin", "length": "1e9"}, "length b'1e9'", id="float"),
        pytest.param(
            {"location": "weights.bin", "offset": "93", "length": "8"}, "ends beyond", id="beyond"
        ),
        pytest.param({"location": "weights.bin", "offset": "9" * 40}, "ends beyond", id="huge"),
        pytest.param({"location": "weights.bin", "basepath": "/"}, "entry b'basepath'", id="base"),
    ],
)
def test_external_data_elsewhere(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    refused(tmp_path / "model.onnx", external(**entries), message)


def test_external_data_said_twice(tmp_path: Path) -> None:
    made = external(location="weights.bin")
    made.graph.initializer[-1].external_data.add(key="location", value="/etc/passwd")
    refused(tmp_path / "model.onnx", made, "entry b'location', or has it twice")


def chain(length: int, width: int = 1, closed: bool = False) -> onnx.ModelProto:
    """A graph that calls function 0, of which each calls the next one `width` times."""
    made = model()
    names = [f"f{n}" for n in range(length)]
    for at, name in enumerate(names):
        called = names[(at + 1) % length] if closed or at + 1 < length else "Identity"
        domain = "" if called == "Identity" else "own"
        node = helper.make_node(called, ["x"], ["y"], domain=domain)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
        made.functions.append(
            helper.make_function("own", name, ["x"], ["y"], [node] * width, opsets)
        )
    made.graph.node.append(helper.make_node("f0", ["logits"], ["again"], domain="own"))
    return made


def test_functions_that_call_functions(tmp_path: Path) -> None:
    scan(tmp_path / "model.onnx", chain(8))
    scan(tmp_path / "model.onnx", chain(4, width=15))
    path = tmp_path / "model.onnx"
    refused(path, chain(9), "call each other more than 8 deep")
    refused(path, chain(2000), "call each other more than 8 deep")
    refused(path, chain(1, closed=True), "call each other more than 8 deep")
    refused(path, chain(3, closed=True), "call each other more than 8 deep")
    refused(path, chain(6, width=15), "expand to more than 131072 nodes")
    uncalled = chain(30)
    uncalled.graph.node.pop()
    refused(path, uncalled, "call each other more than 8 deep")
    twice = chain(1)
    twice.functions.append(twice.functions[0])
    refused(path, twice, "function b'f0' is there twice")


def test_a_standard_operator_that_calls_itself_by_its_other_name(tmp_path: Path) -> None:
    made = chain(1)
    made.functions[0].domain, made.functions[0].name = "ai.onnx", "Identity"
    refused(tmp_path / "model.onnx", made, "call each other more than 8 deep")
