"""The exported graph itself: versions, axes, names, and nothing that fixes the batch."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable

import onnx_ir as ir
import pytest
import torch
from exported_models import Exported
from tiny_models import TINY
from torch import nn

from export.graph_names import LINEARS
from export.simplify import inline, simplify
from export.spec import load_models
from export.zoo import find_family

TRACED_BATCH = 2  # a number that no other dimension of a baked shape would start with


def all_nodes(model: ir.Model) -> list[ir.Node]:
    """Of the main graph and of every local function."""
    return [*model.graph, *(node for function in model.functions.values() for node in function)]


def linears(model: ir.Model) -> list[ir.Node]:
    """Products with a constant matrix or kernel."""
    return [n for n in model.graph if n.op_type in LINEARS and n.inputs[1].is_initializer()]


def baked_batches(model: ir.Model) -> list[str]:
    """Nodes whose constant target shape begins with the batch that was traced."""
    baked = []
    for node in model.graph:
        if node.op_type not in ("Reshape", "Expand", "Tile", "ConstantOfShape"):
            continue
        shape = node.inputs[0 if node.op_type == "ConstantOfShape" else 1]
        if (
            shape.const_value is not None
            and shape.const_value.numpy().reshape(-1)[0] == TRACED_BATCH
        ):
            baked.append(f"{node.op_type} {node.name}")
    return baked


def rolls(model: ir.Model) -> list[str]:
    """Cyclic shifts: a Concat of two unit-step Slices of one tensor along the same axis."""
    found = []
    for node in model.graph:
        if node.op_type != "Concat" or len(node.inputs) != 2:
            continue
        slices = [value.producer() for value in node.inputs]
        if any(piece is None or piece.op_type != "Slice" for piece in slices):
            continue
        axes = [piece.inputs[3].const_value.numpy().tolist() for piece in slices]
        if slices[0].inputs[0] is slices[1].inputs[0] and axes[0] == axes[1]:
            found.append(str(node.name))
    return found


def test_opset_is_20_and_nothing_newer(exported: Exported) -> None:
    imported = {entry.domain: entry.version for entry in exported.proto.opset_import}
    operator = "WindowAttention" if exported.tiny.family_name == "swin" else "FusedAttention"
    assert imported == {"": 20, "vitrine": 1}
    assert [function.name for function in exported.proto.functions] == [operator]
    for function in exported.proto.functions:
        assert all(o.version <= 20 for o in function.opset_import)
    assert {node.domain for node in all_nodes(exported.model)} == {"", "vitrine"}


def test_axes_are_named(exported: Exported) -> None:
    height, width = exported.tiny.size
    shapes = {v.name: [str(d) for d in v.shape] for v in exported.model.graph.inputs}
    if exported.tiny.family.ragged:
        assert shapes == {
            "pixel_values": ["batch", "3", "height", "width"],
            "pixel_mask": ["batch", "height", "width"],
        }
    else:
        assert shapes == {"pixel_values": ["batch", "3", str(height), str(width)]}
    results = {v.name: [str(d) for d in v.shape] for v in exported.model.graph.outputs}
    if "pred_boxes" in exported.tiny.family.outputs:
        assert results == {"logits": ["batch", "5", "8"], "pred_boxes": ["batch", "5", "4"]}
    else:
        assert results == {"logits": ["batch", "7"]}


def test_no_shape_holds_the_batch(exported: Exported) -> None:
    assert baked_batches(exported.model) == []


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own
def test_a_baked_batch_would_be_found() -> None:
    class Baked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 4, 3).transpose(1, 2)

    assert len(baked_batches(exported_plainly(Baked(), torch.zeros(2, 12)))) == 1


def exported_plainly(module: nn.Module, example: torch.Tensor) -> ir.Model:
    program = torch.onnx.export(
        module.eval(), (example,), dynamo=True, opset_version=20, verbose=False, optimize=True
    )
    return program.model


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_pytorchs_own_roll_would_be_found() -> None:
    class Roll(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.roll(x, (-2, -2), (1, 2))

    assert len(rolls(exported_plainly(Roll(), torch.zeros(1, 8, 8, 3)))) == 2


@pytest.mark.parametrize("name", [name for name in TINY if name.startswith("swin")])
def test_swin_holds_one_window_attention_a_block_and_no_roll(
    export_tiny: Callable[[str], Exported], name: str
) -> None:
    exported = export_tiny(name)
    operators = Counter(node.op_type for node in exported.model.graph)
    assert operators["WindowAttention"] == sum(exported.tiny.config["depths"])
    assert operators["Softmax"] == 0
    assert rolls(exported.model) == []
    assert rolls(simplify(inline(exported.model.clone()))) == []


def test_swin_shifts_every_other_block_but_not_a_single_window(
    export_tiny: Callable[[str], Exported],
) -> None:
    graph = export_tiny("swin").model.graph
    calls = [node for node in graph if node.op_type == "WindowAttention"]
    assert [call.attributes.get_int("shift") for call in calls] == [0, 2, 0, 0]


def test_every_attention_is_one_operator(exported: Exported) -> None:
    operators = Counter(node.op_type for node in exported.model.graph)
    attentions = {"vit": 2, "swin": 4, "detr": 1 + 2 * 2}[exported.tiny.family_name]
    assert operators["FusedAttention"] + operators["WindowAttention"] == attentions
    assert operators["Softmax"] == 0


def test_linears_carry_the_path_of_their_module(exported: Exported) -> None:
    paths = {
        path
        for path, module in exported.module.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    assert {node.name for node in linears(exported.model)} == paths
    for node in linears(exported.model):
        assert node.inputs[1].name == f"{node.name}.weight"


@pytest.mark.parametrize("name", [name for name in load_models() if name.endswith("_shapes")])
def test_what_stays_float_by_name_is_there(name: str) -> None:
    record = load_models()[name]
    family = find_family(record.family)
    module = family.reference.build(record.config).eval()
    family.use_operators(module)
    # The graph's linears are called as their modules are; see above.
    linear = (nn.Linear, nn.Conv2d)
    names = [path for path, inside in module.named_modules() if isinstance(inside, linear)]
    patterns = {kept.pattern for kept in record.keep_float}
    assert {p for p in patterns if not fnmatch.filter(names, p)} == set()


def test_names_are_unique(exported: Exported) -> None:
    counts = Counter(node.name for node in exported.model.graph)
    assert [name for name, count in counts.items() if count > 1] == []


def test_batch_norm_is_folded_into_its_convolution(
    export_tiny: Callable[[str], Exported],
) -> None:
    graph = export_tiny("detr").model.graph
    convolutions = [node for node in graph if node.op_type == "Conv"]
    assert all(len(node.inputs) == 3 for node in convolutions)
    assert "BatchNormalization" not in {node.op_type for node in graph}
    # Each Conv but the input projection feeds a Relu or a residual sum directly.
    for node in convolutions:
        (value,) = node.outputs
        readers = {use.node.op_type for use in value.uses()}
        assert readers <= {"Relu", "Add", "Shape", "Reshape", "Transpose", "Flatten"}, node.name


def test_a_stage_smaller_than_its_window_is_refused() -> None:
    from dataclasses import replace

    from export.to_onnx import onnx_from_module

    config = {**TINY["swin"].config, "image_size": 28, "depths": [2, 2, 2], "num_heads": [1, 2, 4]}
    tiny = replace(TINY["swin"], config=config, size=(28, 28))
    with pytest.raises(ValueError, match=r"^a Swin stage of \(2, 2\) tokens .*window of 4"):
        onnx_from_module(tiny.module(), tiny.family, tiny.inputs)
