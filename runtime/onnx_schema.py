"""The messages of an ONNX file as far as a bundle's model may use them.

From onnx.proto of ONNX 1.23 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), left out:
training, and the placement of nodes on several devices. What is left out is refused.
"""

from __future__ import annotations

from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of the protobuf encoding


class Field(NamedTuple):
    """How one field of a message is written.

    Attributes:
        wire: its wire type.
        repeated: whether it may occur more than once.
        message: the name of the message in it, if it holds one.
    """

    wire: int
    repeated: bool = False
    message: str | None = None


def _one(message: str) -> Field:
    return Field(BYTES, message=message)


def _many(message: str) -> Field:
    return Field(BYTES, repeated=True, message=message)


_INT, _INTS = Field(VARINT), Field(VARINT, repeated=True)
_FLOAT, _FLOATS = Field(FIXED32), Field(FIXED32, repeated=True)
_TEXT, _TEXTS = Field(BYTES), Field(BYTES, repeated=True)
_PACKED = Field(BYTES)  # many numbers in one field

MESSAGES: dict[str, dict[int, Field]] = {
    "ModelProto": {
        **dict.fromkeys((1, 5), _INT),
        **dict.fromkeys((2, 3, 4, 6), _TEXT),
        7: _one("GraphProto"),
        8: _many("OperatorSetIdProto"),
        14: _many("StringStringEntryProto"),
        25: _many("FunctionProto"),
    },
    "OperatorSetIdProto": {1: _TEXT, 2: _INT},
    "StringStringEntryProto": {1: _TEXT, 2: _TEXT},
    "GraphProto": {
        1: _many("NodeProto"),
        **dict.fromkeys((2, 10), _TEXT),
        5: _many("TensorProto"),
        **dict.fromkeys((11, 12, 13), _many("ValueInfoProto")),
        14: _many("TensorAnnotation"),
        15: _many("SparseTensorProto"),
        16: _many("StringStringEntryProto"),
    },
    "FunctionProto": {
        **dict.fromkeys((1, 8, 10, 13), _TEXT),
        **dict.fromkeys((4, 5, 6), _TEXTS),
        7: _many("NodeProto"),
        9: _many("OperatorSetIdProto"),
        11: _many("AttributeProto"),
        12: _many("ValueInfoProto"),
        14: _many("StringStringEntryProto"),
    },
    "NodeProto": {
        **dict.fromkeys((1, 2), _TEXTS),
        **dict.fromkeys((3, 4, 6, 7, 8), _TEXT),
        5: _many("AttributeProto"),
        9: _many("StringStringEntryProto"),
    },
    "AttributeProto": {
        **dict.fromkeys((1, 4, 13, 21), _TEXT),
        2: _FLOAT,
        **dict.fromkeys((3, 20), _INT),
        5: _one("TensorProto"),
        6: _one("GraphProto"),
        7: _FLOATS,
        8: _INTS,
        9: _TEXTS,
        10: _many("TensorProto"),
        11: _many("GraphProto"),
        14: _one("TypeProto"),
        15: _many("TypeProto"),
        22: _one("SparseTensorProto"),
        23: _many("SparseTensorProto"),
    },
    "TensorProto": {
        1: _INTS,
        **dict.fromkeys((2, 14), _INT),
        3: _one("TensorProto.Segment"),
        **dict.fromkeys((4, 5, 7, 10, 11), _PACKED),
        6: _TEXTS,
        **dict.fromkeys((8, 9, 12), _TEXT),
        **dict.fromkeys((13, 16), _many("StringStringEntryProto")),
    },
    "TensorProto.Segment": {1: _INT, 2: _INT},
    "SparseTensorProto": {1: _one("TensorProto"), 2: _one("TensorProto"), 3: _INTS},
    "TensorAnnotation": {1: _TEXT, 2: _many("StringStringEntryProto")},
    "ValueInfoProto": {
        **dict.fromkeys((1, 3), _TEXT),
        2: _one("TypeProto"),
        4: _many("StringStringEntryProto"),
    },
    "TypeProto": {
        1: _one("TypeProto.Tensor"),
        4: _one("TypeProto.Sequence"),
        5: _one("TypeProto.Map"),
        6: _TEXT,
        7: _one("TypeProto.Opaque"),
        8: _one("TypeProto.SparseTensor"),
        9: _one("TypeProto.Optional"),
    },
    "TypeProto.Tensor": {1: _INT, 2: _one("TensorShapeProto")},
    "TypeProto.SparseTensor": {1: _INT, 2: _one("TensorShapeProto")},
    "TypeProto.Sequence": {1: _one("TypeProto")},
    "TypeProto.Optional": {1: _one("TypeProto")},
    "TypeProto.Map": {1: _INT, 2: _one("TypeProto")},
    "TypeProto.Opaque": {1: _TEXT, 2: _TEXT},
    "TensorShapeProto": {1: _many("TensorShapeProto.Dimension")},
    "TensorShapeProto.Dimension": {1: _INT, 2: _TEXT, 3: _TEXT},
}
"""By the name of a message in onnx.proto and a field's number in it."""
