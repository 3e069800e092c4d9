"""Int8 additions of convolutional residual blocks: which summands are read as int8 values.

A residual block returns Relu(branch + skip), and its skip is the last block's result, which the
next Conv reads in int8. Where the addition reads the float tensor instead, a back end has to write
that tensor in float and in int8, and on large feature maps the bytes cost more time than the
multiplications. Reading one int8 tensor in both places lets Conv, addition, ReLU and quantiser be
one int8 kernel, and is TensorRT's advice for placing Q/DQ too.

The first block of a stage adds the outputs of two Convs. One of them is written out and read again
by the other's kernel; that one, taken to be the second summand, becomes int8 as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir


def skips(model: ir.Model, names: Collection[str]) -> list[str]:
    """The skips that need a range of their own: outputs of the named Convs, in graph order."""
    return [str(value.name) for value in projections(model, names)]


def share_quantisers(restored: Mapping[ir.Value, ir.Value]) -> None:
    """Lets additions read the int8 values that there are, of ReLUs and of Convs.

    Args:
        restored: Tensor -> what its DequantizeLinear returns.
    """
    for source, value in restored.items():
        producer = source.producer()
        if producer is not None and producer.op_type in ("Relu", "Conv"):
            for node, index in list(source.uses()):
                if node.op_type == "Add":
                    node.replace_input_with(index, value)


def projections(model: ir.Model, names: Collection[str]) -> list[ir.Value]:
    """See `skips`; the values of this model."""
    found = []
    for node in model.graph:
        if node.op_type != "Add" or not any(n.op_type == "Relu" for n, _ in node.outputs[0].uses()):
            continue
        convs = [_conv(value) for value in node.inputs]
        second = convs[1]
        if convs[0] is not None and second is not None and second.name in names:
            found.append(second.outputs[0])
    return found


def _conv(value: ir.Value | None) -> ir.Node | None:
    """The Conv whose only reader this is."""
    node = None if value is None or len(value.uses()) != 1 else value.producer()
    return node if node is not None and node.op_type == "Conv" else None
