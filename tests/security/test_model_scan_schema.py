"""The scan of an ONNX file against ONNX's own parser and schema."""

from __future__ import annotations

import random
from collections.abc import Iterator

import onnx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import EngineError
from runtime.model_scan import scan_model
from runtime.onnx_schema import BYTES, FIXED32, FIXED64, MESSAGES, VARINT
from tests.security.scanned import scan

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
