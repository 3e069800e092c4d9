"""Models that no back end may be asked to run, and models changed at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import TensorProto, helper

from tests.security.mutants import Mutant, of_file

Edit = Callable[[onnx.ModelProto], object]


def edited(edit: Edit) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        model = onnx.ModelProto.FromString(data)
        edit(model)
        return model.SerializeToString()

    return change


def outside(location: str, **entries: str) -> Edit:
    """The first initializer's data is said to lie elsewhere."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        for name in ("raw_data", "int64_data", "float_data"):
            tensor.ClearField(name)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)

    return edit


def hidden_outside(model: onnx.ModelProto) -> None:
    """The same in an attribute of a node in a subgraph of a function that nothing calls."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], b"\0" * 4, raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    inner = helper.make_node("Constant", [], ["c"], value=tensor)
    graph = helper.make_graph([inner], "g", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=graph)
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], [node], opsets))


def chained(length: int, width: int = 1) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
        for at in range(length):
            last = at + 1 == length
            node = helper.make_node(
                "Identity" if last else f"f{at + 1}", ["x"], ["y"], domain="" if last else "own"
            )
            model.functions.append(
                helper.make_function("own", f"f{at}", ["x"], ["y"], [node] * width, opsets)
            )
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.graph.node.append(helper.make_node("f0", ["logits"], ["z"], domain="own"))

    return edit


def nested(levels: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        graph = model.graph
        for _ in range(levels):
            node = graph.node.add(op_type="If", input=["c"], output=["d"])
            node.attribute.add(name="else_branch", type=onnx.AttributeProto.GRAPH).g.SetInParent()
            attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
            attribute.g.SetInParent()
            graph = attribute.g

    return edit


def operator(name: str, domain: str = "") -> Edit:
    """The node that gives the first output is of another kind."""

    def edit(model: onnx.ModelProto) -> None:
        (node,) = (n for n in model.graph.node if model.graph.output[0].name in n.output)
        node.op_type, node.domain = name, domain

    return edit


def set_dims(*lengths: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(lengths)

    return edit


def input_axis(length: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = length

    return edit


def constant_of(length: int) -> Edit:
    """A constant of so many numbers, which the output depends on."""

    def edit(model: onnx.ModelProto) -> None:
        shape = helper.make_tensor("huge_shape", TensorProto.INT64, [1], [length])
        model.graph.initializer.append(shape)
        for node in model.graph.node:
            for at, name in enumerate(node.output):
                node.output[at] = "before" if name == "logits" else name
            for at, name in enumerate(node.input):
                node.input[at] = "before" if name == "logits" else name
        model.graph.node.extend(
            [
                helper.make_node("ConstantOfShape", ["huge_shape"], ["huge"]),
                helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
                helper.make_node("Add", ["before", "sum"], ["logits"]),
            ]
        )

    return edit


EDITS: dict[str, Edit] = {
    "data in the parent folder": outside("../secret"),
    "data in /etc/passwd": outside("/etc/passwd"),
    "data in a file that is not listed": outside("unlisted.bin"),
    "data in memory": outside("*/_ORT_MEM_ADDR_/*", offset="4096", length="16"),
    "data in a device": outside("/dev/zero", offset="0", length="16"),
    "data beyond the end": outside("golden.npz", offset="99999999999", length="16"),
    "data at a negative offset": outside("golden.npz", offset="-16", length="16"),
    "data in a hidden place": hidden_outside,
    "a chain of 50 functions": chained(50),
    "a chain of 2000 functions": chained(2000),
    "functions that grow exponentially": chained(8, width=20),
    "50 nested subgraphs": nested(50),
    "10 nested subgraphs": nested(10),
    "an initializer of 2^62": set_dims(1 << 62),
    "an initializer of -1": set_dims(-1),
    "an initializer of 2^64": set_dims(1 << 31, 1 << 31, 4),
    "an initializer larger than its data": set_dims(1 << 20),
    "an initializer of 1000 axes": set_dims(*[1] * 1000),
    "an initializer smaller than its data": set_dims(1),
    "an initializer of no known type": lambda m: setattr(m.graph.initializer[0], "data_type", 99),
    "an input of 2^62": input_axis(1 << 62),
    "a constant of 2^45 numbers": constant_of(1 << 45),
    "a constant of 2^62 numbers": constant_of(1 << 62),
    "a loop": operator("Loop"),
    "a context of another compiler": operator("EPContext", "com.microsoft"),
    "an unknown operator": operator("Exec"),
    "an operator of an unknown domain": operator("Exec", "os.system"),
    "no opset": lambda m: m.ClearField("opset_import"),
    "opset 0": lambda m: setattr(m.opset_import[0], "version", 0),
    "opset 9999": lambda m: setattr(m.opset_import[0], "version", 9999),
    "opset -1": lambda m: setattr(m.opset_import[0], "version", -1),
    "no graph": lambda m: m.ClearField("graph"),
    "an empty graph": lambda m: m.graph.Clear(),
    "no nodes": lambda m: m.graph.ClearField("node"),
    "no outputs": lambda m: m.graph.ClearField("output"),
    "no initializers": lambda m: m.graph.ClearField("initializer"),
    "a cycle": lambda m: m.graph.node[0].input.__setitem__(0, m.graph.node[0].output[0]),
    "a missing input": lambda m: m.graph.node[0].input.__setitem__(0, "nowhere"),
    "another type of input": lambda m: setattr(
        m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING
    ),
    "training": lambda m: m.training_info.add(),
}


def model_mutants(model: bytes, rng: random.Random, cuts: int) -> Iterator[Mutant]:
    """Models that are wrong for certain."""
    for name, edit in EDITS.items():
        yield Mutant(f"model with {name}", of_file("model.onnx", edited(edit)))
    for at in sorted(rng.sample(range(len(model) - 1), cuts)):
        yield Mutant(f"model cut at {at}", of_file("model.onnx", lambda b, at=at: b[:at]))
    for n in range(cuts):
        noise = rng.randbytes(rng.randint(1, 4000))
        yield Mutant(f"model of noise {n}", of_file("model.onnx", lambda _, b=noise: b))
    for name, data in {
        "groups": model + b"\xfb\x01" * 50_000,
        "OpenVINO's XML": b'<?xml version="1.0"?><net name="x" version="11"></net>',
        "half a million parts": model + b"\x72\x00" * (1 << 19),
        "itself twice": model + model,
        "a length beyond the end": model + b"\x3a\xff\xff\xff\xff\x07",
    }.items():
        yield Mutant(f"model of {name}", of_file("model.onnx", lambda _, b=data: b))


def random_model_mutants(model: bytes, rng: random.Random, count: int) -> Iterator[Mutant]:
    """One to three changes at random: of bytes, or of what a well-formed model says."""
    for n in range(count):
        changed = bytearray(model)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(model))] = rng.randrange(256)
        change = of_file("model.onnx", lambda _, b=bytes(changed): b)
        yield Mutant(f"model with random bytes {n}", change, certain=False)
        parsed = onnx.ModelProto.FromString(model)
        for _ in range(rng.randint(1, 3)):
            disturb(parsed, rng)
        data = parsed.SerializeToString()
        change = of_file("model.onnx", lambda _, b=data: b)
        yield Mutant(f"model with random fields {n}", change, certain=False)


NUMBERS = [0, 1, -1, 2, 3, 7, 127, 1 << 20, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63)]
TEXTS = [
    "",
    "x",
    "logits",
    "pixel_values",
    "axes",
    "Relu",
    "If",
    "Reshape",
    "\ud7ff" * 9,
    "a" * 200,
]


def disturb(message: Message, rng: random.Random) -> None:
    """Change one field somewhere in a message to another value of its type."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = rng.choice(fields)
        if field.message_type is None:
            break
        if field.is_repeated and rng.random() < 0.1:
            at = rng.randrange(len(value))
            if rng.random() < 0.5:
                del value[at]
            else:
                value.add().CopyFrom(value[at])
            return
        message = rng.choice(value) if field.is_repeated else value
    new = other(field, rng)
    if field.is_repeated:
        value[rng.randrange(len(value))] = new
    else:
        setattr(message, field.name, new)


def other(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.randint(0, 40))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice(list(field.enum_type.values_by_number))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice([0.0, -1.0, 1e38, float("nan")])
    if field.type == FieldDescriptor.TYPE_UINT64:
        return abs(rng.choice(NUMBERS[:-1]))
    numbers = [n for n in NUMBERS if abs(n) <= 1 << 31] if "32" in str(field.type) else NUMBERS
    bits = 31 if field.type == FieldDescriptor.TYPE_INT32 else 63
    return rng.choice([n for n in numbers if -(1 << bits) <= n < 1 << bits])
