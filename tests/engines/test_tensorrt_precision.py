"""The precision an engine came out in, read from what its inspector says.

The layers below have the keys and spellings of outputs of TensorRT 10.x that are published, and of
NVIDIA's description of 11's. No engine of ours has been inspected.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from engines.trt.inspection import count_precisions, read_layers
from engines.trt.precision_check import check_precision
from runtime.errors import EngineError

I8_KERNEL = "sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize64x64x64_stage4_tensor16x8x32"
F16_KERNEL = "sm80_xmma_gemm_f16f16_f16f32_f32_nt_n_tilesize128x128x32_stage4"
TF32_KERNEL = "sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize64x128x16_stage4"


def tensor(kind: str, version: int) -> dict[str, Any]:
    """One tensor as 10.x or 11.x describes it."""
    if version == 11:
        return {"Name": "t", "Format": "LINEAR", "Datatype": kind}
    return {"Name": "t", "Format/Datatype": kind}


def layer(
    nodes: str, reads: str = "", writes: str = "", *, version: int = 10, **more: Any
) -> dict[str, Any]:
    """A layer that computes some nodes, all separated by spaces."""
    return {
        "Name": "__myl_Fc_myl0_1",
        "LayerType": "gemm",
        "Inputs": [tensor(kind, version) for kind in reads.split("|") if kind],
        "Outputs": [tensor(kind, version) for kind in writes.split("|") if kind],
        "TacticName": "",
        "Metadata": "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes.split()),
        **more,
    }


def check(wanted: dict[str, str], *layers: dict[str, Any]) -> list[str]:
    return check_precision(read_layers(json.dumps({"Layers": layers})), wanted)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(layer("a", "Int8|Int8", "Half"), id="inputs"),
        pytest.param(layer("a", "Row major Int8 format"), id="inputs-of-10"),
        pytest.param(layer("a", "INT8", "FP16", version=11), id="inputs-of-11"),
        pytest.param(layer("a b c", "Half", TacticName=I8_KERNEL), id="kernel-of-three-linears"),
        pytest.param(layer("a", "Half", Weights={"Type": "Int8", "Count": 9}), id="weights"),
        pytest.param(layer("a", "Int8", LayerType="PluginV3"), id="plugin"),
        pytest.param(
            layer("", "Int8", Name="a + a/gelu [profile 1]", Metadata=""), id="name-of-a-profile"
        ),
    ],
)
def test_int8_products_are_recognised(found: dict[str, Any]) -> None:
    assert check({"a": "int8"}, found) == []


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        pytest.param(
            layer("a", "Half|Half", "Int8", TacticName=F16_KERNEL), "fp16",
            id="only-its-output-is-int8",
        ),
        pytest.param(layer("a", "Half", version=11, TacticName=F16_KERNEL), "fp16", id="of-11"),
        pytest.param(
            layer("a", "Row major linear FP32", TacticName=TF32_KERNEL), "fp32", id="fp32"
        ),
        pytest.param(layer("a", "Half", LayerType="PluginV3"), "fp16", id="plugin"),
        pytest.param(
            layer("a", LayerType="CaskGemmConvolution", TacticName=F16_KERNEL), "fp16", id="kernel"
        ),
    ],
)  # fmt: skip
def test_an_int8_node_in_float_is_refused(found: dict[str, Any], precision: str) -> None:
    with pytest.raises(EngineError) as caught:
        check({"a": "int8"}, found)
    assert str(caught.value) == (
        f"a came out in {precision}, the graph asks for int8; TensorRT did not fuse the Q/DQ "
        "there, so int8 gains nothing: keep those nodes float, or build another precision"
    )


def test_a_fused_kernel_is_refused_on_its_name() -> None:
    with pytest.raises(EngineError, match="q, k, v and 1 more came out in fp16"):
        check(dict.fromkeys("qkvw", "int8"), layer("q k v w", "Half", TacticName=F16_KERNEL))


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([layer("other", "Half")], id="no-layer-carries-it"),
        pytest.param([layer("a", "Half", LayerType="kgen")], id="not-a-product"),
        pytest.param([layer("a")], id="types-not-told"),
        pytest.param([layer("a", "N/A due to dynamic shapes")], id="shapes-not-set"),
        pytest.param([layer("a", "Half", "Half")], id="kernel-without-a-name"),
        pytest.param(
            [layer("a", "Half", "Half", TacticName="__myl_QuaFcMulAdd_0x5a3f")],
            id="kernel-that-quantises-what-it-reads",
        ),
        pytest.param([layer("a b", "Half", TacticName="_gemm_mha_v2")], id="fused-attention"),
        pytest.param([layer("a c", "Half", TacticName=F16_KERNEL)], id="nodes-that-differ"),
        pytest.param(
            [layer("a", LayerType="PluginV3"), layer("a", "Half", TacticName=F16_KERNEL)],
            id="plugin-without-types",
        ),
        pytest.param([layer("a", "Half", LayerType="Myelin")], id="region"),
        pytest.param([layer("a", "Half", Name="{ForeignNode[a...b]}")], id="foreign-node"),
        pytest.param(
            [layer("a", "Half"), layer("a", "Half", LayerType="Myelin")], id="region-beside-product"
        ),
    ],
)
def test_what_cannot_be_told_is_noted(found: list[dict[str, Any]]) -> None:
    wanted = {"a": "int8", "b": "int8", "c": "fp16"}
    assert check(wanted, *found, layer("b", "Int8"), layer("c", "Half")) == [
        "the precision of 1 of 3 nodes cannot be told from the engine's layers (a)"
    ]


@pytest.mark.parametrize("separator", ["\x1e", "\x1f", "", ", "])
def test_nodes_are_told_apart(separator: str) -> None:
    names = ["blocks[0]/fc1", "blocks[1]/fc1", "a b"]
    metadata = separator.join(f"[ONNX Layer: {name}]" for name in names)
    text = json.dumps({"Layers": [layer("", Metadata=metadata)]})
    raw = text.replace(json.dumps(separator)[1:-1], separator)  # a control character as it is
    for each in (text, raw):
        (found,) = read_layers(each)
        assert found.nodes == set(names)


def test_a_name_that_only_begins_alike_is_another_node() -> None:
    assert check({"a/fc1": "int8"}, layer("a/fc1", "Int8"), layer("a/fc10", "Half")) == []
    assert len(check({"a/fc1": "int8"}, layer("a/fc10", "Half"))) == 1


@pytest.mark.parametrize("text", ["", "{}", '{"Layers": ["a", "b"]}', "[]", "not JSON"])
def test_an_inspector_without_layers_is_noted(text: str) -> None:
    (note,) = check_precision(read_layers(text), {"a": "int8"})
    assert "describes no layers" in note


def test_a_graph_that_was_never_lowered_to_fp16_is_refused() -> None:
    with pytest.raises(EngineError, match="a came out in fp32, the graph asks for fp16"):
        check({"a": "fp16"}, layer("a", "Float", "Float", TacticName="ampere_sgemm_128x64_nn"))


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(layer("a", "Half", "Float"), id="reads-half"),
        pytest.param(layer("a", "Float", "Half"), id="a-cast-fused-before"),
        pytest.param(layer("a", "Float", "Float", TacticName=F16_KERNEL), id="casts-on-both-sides"),
    ],
)
def test_fp16_products_are_recognised(found: dict[str, Any]) -> None:
    assert check({"a": "fp16"}, found) == []


def test_fp32_is_what_typing_promises_and_not_checked() -> None:
    assert check({"a": "fp32"}, layer("a", "Half", "Half")) == []
    assert check({"a": "fp32"}) == []


def test_layers_are_counted_by_what_they_read() -> None:
    kinds = [
        "Half|Int8", "Row major linear FP16 format", "Half", "Float",
        "Row major linear BFloat16 format", "Row major linear FP8 format", "Int32",
        "Row major linear UInt8 format", "",
    ]  # fmt: skip
    whole = layer("a", "Float", "Float", Name="{ForeignNode[a...b]}")  # its inside is not told
    layers = read_layers(json.dumps({"Layers": [whole, *(layer("a", kind) for kind in kinds)]}))
    assert count_precisions(layers) == {
        "int8": 1, "fp16": 2, "fp32": 1, "bf16": 1, "fp8": 1, "other": 4
    }  # fmt: skip


def test_kernels_of_volta_in_half_are_not_taken_for_int8() -> None:
    (found,) = read_layers(
        json.dumps({"Layers": [layer("a", "Half", TacticName="volta_s884gemm_fp16_128x64_ldg8")]})
    )
    assert found.reads == {"fp16"}


@pytest.mark.parametrize(
    ("found", "fused"),
    [
        pytest.param({"TacticName": "_gemm_mha_v2_0x1f2e"}, True, id="10.3"),
        pytest.param(
            {"TacticName": "fmha_v2_flash_attention_fp16_64_64_S_64_sm87"}, True, id="flash"
        ),
        pytest.param(
            {"LayerType": "PluginV3", "PluginType": "VitrineFusedAttention"}, True, id="plugin"
        ),
        pytest.param({"TacticName": "sm80_xmma_gemm_f16f16_f16f32_f32_tn_n"}, False, id="gemm"),
        pytest.param({"Name": "/layers.0/attention/o_proj"}, False, id="a-node-of-that-name"),
    ],
)
def test_fused_attention_is_known_by_its_kernel(found: dict[str, Any], fused: bool) -> None:
    (only,) = read_layers(json.dumps({"Layers": [layer("a", "Half", **found)]}))
    assert only.is_attention == fused
