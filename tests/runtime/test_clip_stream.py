"""A stream of frames against the engine's answers to whole clips."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Engine
from runtime.clip_stream import ClipStream
from runtime.clips import Clips
from runtime.golden import Golden, save_golden
from runtime.manifest import Manifest, TensorInfo
from runtime.model import Model
from runtime.preparation import Preparation
from runtime.tasks import Prediction
from runtime.tensors import Tensors
from tests.runtime.bundles import CLASSIFIER, PLAIN, write_bundle, write_model

LENGTH = 4
# Logits are a sum of the frames' mean colours, with a weight for each place in the clip.
_SUM = """
    weighted = Mul(features, weights)
    logits = ReduceSum<keepdims = 0>(weighted, time)
}"""
_WEIGHTS = "int64[1] time = {1}, float[1, 4, 1] weights = {1.0, -2.0, 4.0, 5.0}> {"
CLIP_GRAPH = f"""<ir_version: 10, opset_import: ["" : 20]>
clip (float[batch, 4, 3, 8, 8] pixel_values) => (float[batch, 3] logits)
<int64[2] pixels = {{3, 4}}, {_WEIGHTS}
    features = ReduceMean<keepdims = 0>(pixel_values, pixels){_SUM}"""
FRAME_GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
frame (float[batch, 3, 8, 8] pixel_values) => (float[batch, 3] features, float[batch, 3] embeds)
<int64[2] pixels = {2, 3}> {
    features = ReduceMean<keepdims = 0>(pixel_values, pixels)
    embeds = LpNormalization<axis = -1, p = 2>(features)
}"""
TEMPORAL_GRAPH = f"""<ir_version: 10, opset_import: ["" : 20]>
temporal (float[batch, 4, 3] features) => (float[batch, 3] logits)
<{_WEIGHTS}{_SUM}"""


def manifest(preprocess: Preparation, task: str, shape: tuple[int, ...], *outputs: str) -> Manifest:
    name = "features" if isinstance(preprocess, Tensors) else "pixel_values"
    return dataclasses.replace(
        CLASSIFIER,
        task=task,
        preprocess=preprocess,
        inputs=(TensorInfo(name, "float32", ("batch", *shape)),),
        outputs=tuple(TensorInfo(output, "float32", ("batch", 3)) for output in outputs),
    )


def write(folder: Path, about: Manifest, text: str) -> str:
    """Writes a bundle whose probes are not run; returns its manifest's sha256."""
    folder.mkdir()
    write_model(folder / "model.onnx", text)
    answer = {output.name: np.zeros(3, np.float32) for output in about.outputs}
    save_golden(folder / "golden.npz", Golden([about.preprocess.example], [answer]))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    file = folder / "manifest.json"
    file.write_text(dataclasses.replace(about, files=files).to_json())
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_clip_bundle(folder: Path) -> Path:
    clips = Clips(PLAIN, LENGTH)
    write(folder, manifest(clips, "classification", (4, 3, 8, 8), "logits"), CLIP_GRAPH)
    frame = manifest(PLAIN, "embeddings", (3, 8, 8), "features", "embeds")
    temporal = manifest(Tensors({"features": (4, 3)}), "classification", (4, 3), "logits")
    record = json.loads((folder / "manifest.json").read_text())
    record["parts"] = {
        "frame": write(folder / "frame", frame, FRAME_GRAPH),
        "temporal": write(folder / "temporal", temporal, TEMPORAL_GRAPH),
    }
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip_bundle(tmp_path_factory.mktemp("clips") / "bundle")


def video(count: int = 11) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 10, 6, 3), dtype=np.uint8)


def probabilities(prediction: Prediction | None) -> dict[str, float]:
    assert prediction is not None
    return {guess["label"]: guess["probability"] for guess in prediction.as_json()["top"]}


@pytest.mark.parametrize("stride", [1, 3, 5])
def test_a_stream_says_what_the_engine_says_of_each_window(bundle: Path, stride: int) -> None:
    frames = video()
    with Engine.load(bundle, verify=False) as engine:
        stream = ClipStream(engine, stride)
        answers = [stream.push(frame) for frame in frames]
        ends = range(LENGTH, len(frames) + 1, stride)
        assert [index + 1 for index, answer in enumerate(answers) if answer] == list(ends)
        for end in ends:
            (expected,) = engine([frames[end - LENGTH : end]])
            # The same float32 sums, of a few numbers below 10, in another order.
            assert probabilities(answers[end - 1]) == pytest.approx(
                probabilities(expected), abs=1e-5
            )
        reversed_ = engine([frames[LENGTH - 1 :: -1]])[0]
        assert probabilities(reversed_) != pytest.approx(probabilities(answers[3]), abs=1e-2)


def test_frames_may_have_another_layout(bundle: Path) -> None:
    frames = video()[:LENGTH]
    with Engine.load(bundle, verify=False) as engine:
        stream = ClipStream(engine)
        found = [stream.push(frame[..., ::-1].copy(), pixels="BGR") for frame in frames][-1]
        assert probabilities(found) == pytest.approx(probabilities(engine([frames])[0]), abs=1e-5)


def test_what_is_no_frame_leaves_the_stream_as_it_was(bundle: Path) -> None:
    frames = video()[:LENGTH]
    with Engine.load(bundle, verify=False) as engine:
        stream = ClipStream(engine)
        assert [stream.push(frame) for frame in frames[:3]] == [None] * 3
        with pytest.raises(TypeError, match="float64"):
            stream.push(frames[3].astype(np.float64))
        found = probabilities(stream.push(frames[3]))
        assert found == pytest.approx(probabilities(engine([frames])[0]), abs=1e-5)


def test_clearing_begins_another_video(bundle: Path) -> None:
    frames = video()
    with Engine.load(bundle, verify=False) as engine:
        stream = ClipStream(engine, stride=2)
        for frame in frames[:5]:
            stream.push(frame)
        stream.clear()
        answers = [stream.push(frame) for frame in frames[5:10]]
        assert [bool(answer) for answer in answers] == [False] * 3 + [True, False]


def test_features_of_two_models_do_not_go_together(bundle: Path, tmp_path: Path) -> None:
    frames = video()
    other = write_clip_bundle(tmp_path / "other")
    with Engine.load(bundle, verify=False) as engine:
        stream = ClipStream(engine)
        assert [stream.push(frame) for frame in frames[:3]] == [None] * 3
        engine.reload(other)
        answers = [stream.push(frame) for frame in frames[3:7]]
        assert [bool(answer) for answer in answers] == [False] * 3 + [True]
        expected = probabilities(engine([frames[3:7]])[0])
        assert probabilities(answers[-1]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("part", ["frame", "temporal"])
def test_a_reload_in_the_midst_of_a_frame_loses_none(
    bundle: Path, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes the parts of the old bundle between being given away and being used."""
    frames, other = video(), write_clip_bundle(tmp_path / "other")
    with Engine.load(bundle, verify=False) as engine:
        stream = ClipStream(engine)
        assert [stream.push(frame) for frame in frames[:3]] == [None] * 3
        victim, hold = engine.part(part), Engine.hold

        def reloading(self: Engine) -> Model:
            if self is victim and not reloaded:
                reloaded.append(True)
                engine.reload(other)
            return hold(self)

        reloaded: list[bool] = []
        monkeypatch.setattr(Engine, "hold", reloading)
        answers = [stream.push(frame) for frame in frames[3:7]]
        assert reloaded and [bool(answer) for answer in answers] == [False] * 3 + [True]
        expected = probabilities(engine([frames[3:7]])[0])
        assert probabilities(answers[-1]) == pytest.approx(expected, abs=1e-5)


def test_misuse_is_refused_in_one_line(bundle: Path, tmp_path: Path) -> None:
    with Engine.load(bundle, verify=False) as engine:
        for stride in (0, 1.5, True):
            with pytest.raises(ValueError, match=r"stride is .*; give an integer of at least 1"):
                ClipStream(engine, stride)  # type: ignore[arg-type]
    with (
        Engine.load(write_bundle(tmp_path / "frames")) as engine,
        pytest.raises(ValueError, match="takes frames, expected clips; give one"),
    ):
        ClipStream(engine)
