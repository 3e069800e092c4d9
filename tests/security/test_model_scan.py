"""The scan of an ONNX file against ONNX's own parser and schema."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from runtime import EngineError
from runtime.model_scan import LARGEST_MODEL, scan_model
from runtime.onnx_schema import BYTES, FIXED32, FIXED64, MESSAGES, VARINT
from tests.runtime.bundles import MEAN_COLOUR

LEFT_OUT = {
    ("ModelProto", "training_info"),
    ("ModelProto", "configuration"),
    ("NodeProto", "device_configurations"),
}
WIRES = {
    **dict.fromkeys(
        (
            FieldDescriptor.TYPE_INT32,
            FieldDescriptor.TYPE_INT64,
            FieldDescriptor.TYPE_UINT64,
            FieldDescriptor.TYPE_ENUM,
        ),
        VARINT,
    ),
    FieldDescriptor.TYPE_DOUBLE: FIXED64,
    FieldDescriptor.TYPE_FLOAT: FIXED32,
    FieldDescriptor.TYPE_STRING: BYTES,
    FieldDescriptor.TYPE_BYTES: BYTES,
    FieldDescriptor.TYPE_MESSAGE: BYTES,
}


def short(kind: Descriptor) -> str:
    return kind.full_name.removeprefix("onnx.")


def messages(kind: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    """Every message that can be inside one of this kind, and the kind itself."""
    if kind.full_name in seen:
        return
    seen.add(kind.full_name)
    yield kind
    for field in kind.fields:
        if field.message_type is not None and (short(kind), field.name) not in LEFT_OUT:
            yield from messages(field.message_type, seen)


def test_the_schema_is_that_of_onnx() -> None:
    kinds = list(messages(onnx.ModelProto.DESCRIPTOR, set()))
    assert {short(kind) for kind in kinds} == set(MESSAGES)
    for kind in kinds:
        fields = {f.number: f for f in kind.fields if (short(kind), f.name) not in LEFT_OUT}
        assert MESSAGES[short(kind)].keys() == fields.keys(), kind.full_name
        for number, field in fields.items():
            ours = MESSAGES[short(kind)][number]
            inner = field.message_type and short(field.message_type)
            repeated = field.is_repeated and not field.is_packed
            wire = BYTES if field.is_packed else WIRES[field.type]
            assert ours == (wire, repeated, inner), f"{kind.full_name}.{field.name}"


def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(MEAN_COLOUR)


def scan(path: Path, data: bytes | onnx.ModelProto, files: dict[str, int] | None = None) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    scan_model(path, files or {})


def refused(path: Path, data: bytes | onnx.ModelProto, message: str) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    del data  # may be large, and pytest would show it
    with pytest.raises(EngineError, match=message) as caught:
        scan_model(path, {"weights.bin": 100})
    assert "\n" not in str(caught.value)


class Maker:
    """Random models that hold tensors in every place where ONNX has one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = 0

    def fill(self, message: Message, depth: int) -> None:
        kind = message.DESCRIPTOR
        for field in kind.fields:
            deep = field.message_type is not None
            if (short(kind), field.name) in LEFT_OUT or self.random.random() < 0.5 + 0.03 * depth:
                continue
            if deep and (depth > 14 or self.names > 60):
                continue
            for _ in range(self.random.randint(1, 2) if field.is_repeated else 1):
                self.set(message, field, depth)
        if isinstance(message, onnx.TensorProto):
            message.ClearField("dims")
            message.ClearField("external_data")
            message.data_location = self.random.randint(0, 1)
            if message.data_location or self.random.random() < 0.1:
                self.place(message)
        if isinstance(message, onnx.FunctionProto | onnx.NodeProto):
            self.names += 1
            message.name = f"f{self.names}"
        if isinstance(message, onnx.NodeProto):
            message.op_type = "Identity"  # no call of a function
        if isinstance(message, onnx.OperatorSetIdProto):
            message.version = 20

    def set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None:
            inner = getattr(message, field.name)
            target = inner.add() if field.is_repeated else inner
            target.SetInParent()
            self.fill(target, depth + 1)
            return
        number = self.random.randint(1, 1000)
        value: object = number
        if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            value = "x" * (number % 20)
            value = value.encode() if field.type == FieldDescriptor.TYPE_BYTES else value
        elif field.type == FieldDescriptor.TYPE_ENUM:
            value = self.random.choice(list(field.enum_type.values_by_number))
        elif field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
            value = number / 8
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)

    def place(self, tensor: onnx.TensorProto) -> None:
        self.names += 1
        for key, value in (("location", f"w{self.names}"), ("offset", "4"), ("length", "8")):
            tensor.external_data.add(key=key, value=value)

    def model(self) -> onnx.ModelProto:
        made = onnx.ModelProto()
        self.fill(made, 1)
        made.ir_version = 10
        made.graph.SetInParent()
        made.opset_import.add(version=20)
        for index, function in enumerate(made.functions):
            function.name = f"g{index}"
        return made


def locations(message: Message) -> Iterator[str]:
    """Of all external data anywhere in a message, through ONNX's own classes."""
    if isinstance(message, onnx.TensorProto):
        yield from (entry.value for entry in message.external_data if entry.key == "location")
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                yield from locations(inner)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_every_location_is_found_where_onnx_has_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    path = tmp_path_factory.mktemp("scan") / "model.onnx"
    made = Maker(seed).model()
    data = made.SerializeToString()
    found = set(locations(onnx.ModelProto.FromString(data)))
    scan(path, data, dict.fromkeys(found, 12))
    for name in found:
        with pytest.raises(EngineError, match=f"lies in '{name}', which the manifest does not"):
            scan_model(path, dict.fromkeys(found - {name}, 12))


def test_random_models_have_tensors_everywhere() -> None:
    """Else the test above would not say much."""

    def holders(message: Message) -> Iterator[str]:
        for field, value in message.ListFields():
            if field.message_type is not None:
                for inner in value if field.is_repeated else [value]:
                    if isinstance(inner, onnx.TensorProto) and inner.external_data:
                        yield f"{short(message.DESCRIPTOR)}.{field.name}"
                    yield from holders(inner)

    found = {name for seed in range(150) for name in holders(Maker(seed).model())}
    assert found == {
        "GraphProto.initializer", "SparseTensorProto.values", "SparseTensorProto.indices",
        "AttributeProto.t", "AttributeProto.tensors",
    }  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 40), random=st.randoms(use_true_random=False))
def test_what_the_scan_accepts_onnx_parses_to_the_same_places(
    tmp_path_factory: pytest.TempPathFactory, seed: int, random: random.Random
) -> None:
    path = tmp_path_factory.mktemp("scan") / "model.onnx"
    data = bytearray(Maker(seed).model().SerializeToString())
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data))
        data[at : at + random.randint(0, 2)] = random.randbytes(random.randint(0, 2))
    listed = {f"w{n}": 12 for n in range(1, 200)}
    try:
        scan(path, bytes(data), listed)
    except EngineError:
        return
    try:
        parsed = onnx.ModelProto.FromString(bytes(data))
    except DecodeError as error:
        pytest.fail(f"ONNX does not parse what the scan accepts: {error}")
    assert set(locations(parsed)) <= listed.keys()


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
