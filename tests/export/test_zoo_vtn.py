"""VTN: the paper's parameters, Longformer as `transformers` has it, and the exported graphs."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import foreign_names as names
import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import randomise
from torch import Tensor, nn
from transformers import LongformerConfig, LongformerModel

from export.samples import Sample
from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import example_inputs, onnx_from_module
from export.weights import Reference, load_reference
from export.zoo import find_family
from export.zoo.vtn import Vtn
from export.zoo.vtn_config import VtnConfig
from export.zoo.vtn_longformer import BandMix, FusedBand
from runtime.clips import Clips
from runtime.preprocess import Preprocess
from runtime.tensors import Tensors

onnxruntime = pytest.importorskip("onnxruntime")

FAMILY = find_family("vtn")
CONFIG = VtnConfig(
    num_labels=7,
    num_frames=6,
    frame_step=3,  # positions 0, 3, 6, 9 and, as there are ten, 2 and 5
    image_size=16,
    patch_size=8,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    temporal_layers=3,
    temporal_heads=2,
    temporal_intermediate_size=48,
    attention_window=4,
    max_positions=12,
    head_size=24,
)
CLIPS = Clips(Preprocess(size=16), length=6)
# float32 sums in another order: a few units in the last place for each of some ten layers, on
# logits of order 1. An error in any weight or position shows above 1e-2.
TOLERANCE = 2e-5


def tiny(seed: int = 0) -> Vtn:
    module = Vtn(CONFIG).eval()
    randomise(module, seed)
    return module


def test_full_size_model_has_the_papers_parameters() -> None:
    record = find_model("vtn_b", load_models())
    with torch.device("meta"):
        module = FAMILY.reference.build(record.config)
    found = sum(parameter.numel() for parameter in module.parameters())
    assert found == 113_502_352
    assert round(found / 1e6) == 114  # table 1 of the paper, in millions
    assert len(set(record.labels)) == record.config["num_labels"]


def longformer() -> LongformerModel:
    settings = LongformerConfig(
        vocab_size=3,
        pad_token_id=1,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        attention_window=[4, 4, 4],
        max_position_embeddings=12,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
    )
    module = LongformerModel(settings, add_pooling_layer=False).eval()
    randomise(module, 1)
    return module


def authors_state(theirs: LongformerModel, ours: Vtn) -> dict[str, Tensor]:
    """A state dict as the authors' module has it, with all of the temporal encoder `theirs`."""
    own = ours.state_dict()
    vit = {key.removeprefix("spatial."): value for key, value in own.items() if "spatial." in key}
    found = {f"backbone.{k}": v for k, v in names.renamed(vit, names.VIT_TIMM, "qkv.").items()}
    for name, tensor in theirs.state_dict().items():
        if "word_embeddings" not in name:
            found[f"temporal_encoder.{name}"] = tensor
    found["temporal_encoder.embeddings.position_ids"] = torch.arange(12)[None]
    found["cls_token"] = own["temporal.class_token"]
    for number, name in ((0, "head_norm"), (1, "head_expand"), (4, "classifier")):
        for kind in ("weight", "bias"):
            found[f"mlp_head.{number}.{kind}"] = own[f"temporal.{name}.{kind}"]
    return found


@torch.no_grad()
def test_the_temporal_encoder_is_transformers_longformer(tmp_path: Path) -> None:
    """The authors' weights, in their naming, in the module that they take from `transformers`."""
    theirs, first = longformer(), tiny()
    file = tmp_path / "w.safetensors"
    state = authors_state(theirs, first)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    spec = ModelSpec(
        name="tiny", family="vtn", task="classification", drift={}, labels=list("abcdefg"),
        config=vars(CONFIG), preprocess=CLIPS.to_dict(),
    )  # fmt: skip
    reference = load_reference(spec, str(file))
    assert reference.source["naming"] == "PySlowFast"
    ours = reference.module
    assert isinstance(ours, Vtn)
    states: list[Tensor] = []
    for layer in ours.temporal.layers:
        layer.register_forward_hook(lambda *args: states.append(args[-1]))
    features = torch.randn(2, 6, 32)
    logits = ours.temporal(features)["logits"]

    class_mask = torch.tensor([1] + 6 * [0]).expand(2, -1)
    found = theirs(
        inputs_embeds=torch.cat((ours.temporal.class_token.expand(2, -1, -1), features), dim=1),
        attention_mask=torch.ones(2, 7, dtype=torch.long),
        global_attention_mask=class_mask,
        token_type_ids=class_mask,
        position_ids=torch.tensor([10, 0, 3, 6, 9, 2, 5]).expand(2, -1),
        output_hidden_states=True,
    ).hidden_states[1:]
    for state, expected in zip(states, (*found[:-1], found[-1][:, :1]), strict=True):
        torch.testing.assert_close(state, expected, atol=TOLERANCE, rtol=0)
    head = nn.Sequential(
        ours.temporal.head_norm, ours.temporal.head_expand, nn.GELU(), ours.temporal.classifier
    )
    torch.testing.assert_close(logits, head(found[-1][:, 0]), atol=TOLERANCE, rtol=0)
    assert logits.std() > 0.1

    pixels = torch.randn(3, 3, 16, 16)
    same = ours.spatial(pixels)["features"], first.spatial(pixels)["features"]
    torch.testing.assert_close(*same, atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("window", [2, 4, 10, 14])
def test_a_band_is_dense_attention_without_what_is_far(window: int) -> None:
    band = BandMix(window, 6)
    query, key, value = torch.randn(2, 3, 6, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    scores = query @ key.transpose(-2, -1) * 8**-0.5
    for frame in range(6):
        for token in range(1, 7):
            if abs(frame - (token - 1)) > window // 2:
                scores[..., frame, token] = -torch.inf
    expected = scores.softmax(dim=-1) @ value
    torch.testing.assert_close(band(query, key, value), expected, atol=TOLERANCE, rtol=0)
    fused = FusedBand(band)
    assert (fused.bias is None) == (window >= 10)
    torch.testing.assert_close(fused(query, key, value), expected, atol=TOLERANCE, rtol=0)


Graphs = tuple[Vtn, dict[str, ir.Model]]


@pytest.fixture(scope="module")
def exported() -> Graphs:
    module = tiny()
    features = Tensors({"features": (6, 32)})
    return module, {
        "main": onnx_from_module(module, FAMILY, example_inputs(CLIPS)),
        "frame": onnx_from_module(module, FAMILY.of_part("frame"), example_inputs(CLIPS.frames)),
        "temporal": onnx_from_module(module, FAMILY.of_part("temporal"), example_inputs(features)),
    }


def answer(model: ir.Model, inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return dict(zip((output.name for output in session.get_outputs()), found, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("graph", ["main", "frame", "temporal"])
def test_every_batch_equals_pytorch(exported: Graphs, graph: str) -> None:
    module, models = exported
    name, shape, part = {
        "main": ("pixel_values", (6, 3, 16, 16), module),
        "frame": ("pixel_values", (3, 16, 16), module.spatial),
        "temporal": ("features", (6, 32), module.temporal),
    }[graph]
    for batch in (1, 3):
        inputs = {name: torch.randn(batch, *shape)}
        expected, found = part(**inputs), answer(models[graph], inputs)
        assert found.keys() == expected.keys()
        for key, value in found.items():
            np.testing.assert_allclose(value, expected[key], atol=TOLERANCE, rtol=0)
    assert found[max(found)].std(axis=0).mean() > 0.1  # the clip decides


def test_parts_make_what_the_whole_makes(exported: Graphs) -> None:
    _, models = exported
    clips = torch.randn(2, 6, 3, 16, 16)
    frames = answer(models["frame"], {"pixel_values": clips.flatten(0, 1)})
    features = torch.from_numpy(frames["features"]).reshape(2, 6, 32)
    np.testing.assert_allclose(
        answer(models["temporal"], {"features": features})["logits"],
        answer(models["main"], {"pixel_values": clips})["logits"],
        atol=TOLERANCE,
        rtol=0,
    )
    lengths = np.linalg.norm(frames["embeds"], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)  # float32


def test_attention_is_the_operator(exported: Graphs) -> None:
    """Two in a Longformer layer, but in the last: of that only the class token is read."""
    _, models = exported
    for graph, count in (("main", 2 + 5), ("frame", 2), ("temporal", 5)):
        operators = Counter(node.op_type for node in models[graph].graph)
        assert operators["FusedAttention"] == count
        assert operators["Softmax"] == operators["Conv"] == 0


@torch.no_grad()
def test_parts_are_measured_on_what_the_whole_is_given() -> None:
    reference = Reference(tiny(), CLIPS, tuple("abcdefg"))
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 256, (12, 20, 24, 3), dtype=np.uint8) for _ in range(8)]
    whole = [Sample(f"{i}", lambda clip=clip: clip, i) for i, clip in enumerate(clips)]  # type: ignore[misc]
    frames = FAMILY.parts["frame"].samples(reference, whole)
    for index, (clip, frame) in enumerate(zip(clips, frames, strict=True)):
        np.testing.assert_array_equal(frame.read(), clip[2 * (index % 6) + 1])
    temporal = FAMILY.parts["temporal"].samples(reference, whole)
    assert [sample.label for sample in temporal] == list(range(8))
    features = torch.from_numpy(temporal[3].read()["features"])
    (logits,) = reference.module(torch.from_numpy(CLIPS([clips[3]]).inputs["pixel_values"]))[
        "logits"
    ]
    torch.testing.assert_close(
        reference.module.temporal(features[None])["logits"][0], logits, atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_window": 3}, r"attention_window is 3; give an even number"),
        ({"max_positions": 2}, r"max_positions is 2; give at least 3"),
    ],
    ids=["window", "positions"],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VtnConfig(num_labels=7, **changes)


@pytest.mark.slow
def test_full_size_graph_holds_the_model() -> None:
    record = find_model("vtn_b", load_models())
    module = FAMILY.reference.build(record.config).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = onnx_from_module(module, FAMILY, example_inputs(record.preprocess))
    operators = Counter(node.op_type for node in model.graph)
    assert operators["FusedAttention"] == 12 + 5
    assert [str(axis) for axis in model.graph.outputs[0].shape] == ["batch", "400"]
