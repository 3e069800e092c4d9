"""TrackFormer: DETR's parameters, DETR's answers without tracks, and the exported graph."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from tiny_models import randomise
from torch import Tensor, nn
from transformers import DetrForObjectDetection

from export.samples import Sample
from export.spec import find_model, load_models
from export.to_onnx import example_inputs, onnx_from_module
from export.weights import Reference, load_reference
from export.zoo import find_family
from export.zoo.trackformer import TrackFormer
from export.zoo.trackformer_samples import with_tracks
from runtime.images import ImageSet
from runtime.preprocess import Preprocess
from runtime.tasks import find_task
from runtime.tasks.task import MAIN, Graph, answers_of
from runtime.tracked import Tracked
from tests.assets import asset

onnxruntime = pytest.importorskip("onnxruntime")

FAMILY = find_family("trackformer")
CONFIG: dict[str, Any] = {
    "num_labels": 3,
    "num_queries": 5,
    "width": 32,
    "layers": [1, 2],
    "heads": 2,
    "feedforward": 48,
    "backbone": {
        "depths": [1, 1],
        "hidden_sizes": [16, 32],
        "embedding_size": 16,
        "layer_type": "bottleneck",
        "out_features": ["stage2"],
    },
}
MOST = 4
PREPROCESS = Tracked(Preprocess(size=32), MOST, 32)
# float32 sums in another order: a few units in the last place for each of some ten layers, on
# values of order 10. An error in any weight, bias or mask shows above 1e-2.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def module() -> TrackFormer:
    built = FAMILY.reference.build(CONFIG).eval()
    randomise(built, 0)
    assert isinstance(built, TrackFormer)
    return built


@pytest.fixture(scope="module")
def exported(module: TrackFormer) -> ir.Model:
    return onnx_from_module(module, FAMILY, example_inputs(PREPROCESS))


def inputs(batch: int, mask: list[int], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": torch.randn(batch, 3, 32, 32, generator=generator),
        "track_queries": torch.randn(batch, MOST, 32, generator=generator),
        "track_mask": torch.tensor([mask] * batch, dtype=torch.float32),
    }


def test_the_full_size_model_has_detrs_parameters() -> None:
    record = find_model("trackformer_r50", load_models())
    assert record.weights is None and len(record.labels) == record.config["num_labels"] == 1
    with torch.device("meta"):
        found = FAMILY.reference.build(record.config)
        theirs = find_family("detr").reference.build(find_model("detr_r50", load_models()).config)
    count, published = (sum(p.numel() for p in m.parameters()) for m in (found, theirs))
    # DETR-R50 has 41.5 million at COCO's 91 classes (and 92 rows of 256 weights and a bias).
    assert published == 41_524_768
    assert count == published - 90 * 257 == 41_501_638


@torch.no_grad()
def test_without_tracks_it_is_detr(module: TrackFormer) -> None:
    detr = DetrForObjectDetection(module.config).eval()
    detr.load_state_dict(module.state_dict())
    tensors = inputs(2, [0] * MOST)
    expected = detr(tensors["pixel_values"], torch.ones(2, 32, 32, dtype=torch.long))
    found = module(**tensors)
    torch.testing.assert_close(found["logits"][:, MOST:], expected.logits, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(
        found["pred_boxes"][:, MOST:], expected.pred_boxes, atol=TOLERANCE, rtol=0
    )
    assert not found["hidden"][:, :MOST].any()


@torch.no_grad()
def test_an_absent_track_changes_nothing(module: TrackFormer) -> None:
    tensors = inputs(1, [1, 0, 1, 0])
    found = module(**tensors)
    alone = module(
        tensors["pixel_values"], tensors["track_queries"][:, [0, 2]], torch.ones(1, 2)
    )  # of the two that are there alone
    rows = [0, 2, *range(MOST, MOST + 5)]
    for name in FAMILY.outputs:
        torch.testing.assert_close(found[name][:, rows], alone[name], atol=TOLERANCE, rtol=0)
    # And a track that is there does: object queries must know what is followed already.
    without = module(**{**tensors, "track_mask": torch.zeros(1, MOST)})
    assert (without["logits"] - found["logits"])[:, MOST:].abs().max() > 0.1


@torch.no_grad()
def test_tracks_have_no_order(module: TrackFormer) -> None:
    tensors, turn = inputs(1, [1] * MOST), [2, 0, 3, 1]
    found = module(**tensors)
    turned = module(**{**tensors, "track_queries": tensors["track_queries"][:, turn]})
    rows = [*turn, *range(MOST, MOST + 5)]
    torch.testing.assert_close(turned["logits"], found["logits"][:, rows], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("mask", [[1, 1, 0, 1], [0, 0, 0, 0]], ids=["tracks", "none"])
def test_the_graph_equals_pytorch(
    module: TrackFormer, exported: ir.Model, batch: int, mask: list[int]
) -> None:
    session = onnxruntime.InferenceSession(
        ir.to_proto(exported).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    tensors = inputs(batch, mask, seed=batch)
    with torch.no_grad():
        expected = module(**tensors)
    found = session.run(list(FAMILY.outputs), {k: v.numpy() for k, v in tensors.items()})
    for name, output in zip(FAMILY.outputs, found, strict=True):
        np.testing.assert_allclose(output, expected[name], atol=TOLERANCE, rtol=0, err_msg=name)


def test_attention_is_one_operator_and_norms_are_folded(exported: ir.Model) -> None:
    operators = Counter(node.op_type for node in exported.graph)
    # One of the encoder's layer, two of each of the decoder's.
    assert operators["FusedAttention"] == 5
    assert operators["Softmax"] == operators["BatchNormalization"] == 0


def test_a_detrs_published_weights_are_read(tmp_path: Path, module: TrackFormer) -> None:
    from safetensors.torch import save_file

    from export.spec import ModelSpec

    spec = ModelSpec(
        name="tiny", family="trackformer", task="tracking", drift={}, labels=list("abc"),
        config=CONFIG, preprocess=PREPROCESS.to_dict(),
    )  # fmt: skip
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    save_file(state, tmp_path / "detr.safetensors")
    found = load_reference(spec, str(tmp_path / "detr.safetensors")).module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def _clips(count: int, length: int) -> list[Sample]:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (count, length, 32, 32, 3), dtype=np.uint8)
    return [Sample(f"clip {i}", lambda clip=clip: clip) for i, clip in enumerate(frames)]


def test_calibration_sees_frames_with_their_tracks(module: TrackFormer) -> None:
    reference = Reference(_sure(module), PREPROCESS, tuple("abc"))
    samples = with_tracks(reference, _clips(5, 3))
    items = [sample.read() for sample in samples]
    # Frames 1, 2, 0, 1 and 2 of three; the first of a clip has no tracks.
    assert [isinstance(item, dict) for item in items] == [True, True, False, True, True]
    clip = _clips(5, 3)[1].read()
    np.testing.assert_array_equal(items[1]["frame"], clip[2])
    batch = PREPROCESS([clip[0]])
    with torch.no_grad():
        first = reference.module(**{k: torch.from_numpy(v) for k, v in batch.inputs.items()})
    assert len(items[0]["track_queries"]) <= MOST and first["hidden"].shape[1] == MOST + 5
    single = with_tracks(reference, [Sample("still", lambda: clip[0])])[0].read()
    known = {tuple(row) for row in first["hidden"][0].numpy().round(4).tolist()}
    assert {tuple(row) for row in single["track_queries"].round(4).tolist()} <= known


def _sure(module: TrackFormer) -> nn.Module:
    """The same, with a bias by which every query is sure of something."""
    built = FAMILY.reference.build(CONFIG).eval()
    built.load_state_dict(module.state_dict())
    with torch.no_grad():
        built.class_labels_classifier.bias[0] += 50
    return built


FRAMES = 4


@pytest.mark.slow
@pytest.mark.assets
def test_a_real_clip_through_the_full_size_model() -> None:
    """The first four frames of the crossing, with random weights: none fails, ids are unique."""
    folder = asset("images/video_crossing")
    record = find_model("trackformer_r50", load_models())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference = load_reference(record, "random")
    frames = [frame for _, frame in zip(range(FRAMES), ImageSet(folder), strict=False)]
    clip = np.stack([frame for _, frame in frames])
    batch = reference.preprocess([clip])
    task = find_task("tracking")

    def run(arrays: Any) -> dict[str, Any]:
        with torch.inference_mode():
            found = [
                reference.module(**{k: torch.from_numpy(v[i : i + 1]) for k, v in arrays.items()})
                for i in range(len(arrays["pixel_values"]))
            ]
        return {name: np.concatenate([one[name].numpy() for one in found]) for name in task.outputs}

    assert task.whole is not None
    graphs = {MAIN: Graph(run, reference.preprocess)}
    outputs = task.whole(graphs, record.labels)(run(batch.inputs), batch)
    (answer,) = answers_of(outputs, batch)
    rows = task.comparable(answer, record.labels)
    assert len(rows) == FRAMES
    for row in rows:
        assert np.isfinite(row.boxes).all() and len(set(row.ids.tolist())) == len(row.ids)
