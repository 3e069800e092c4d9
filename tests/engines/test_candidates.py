"""Candidates are refused when they compute something else, and the fastest of the rest is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.candidates import Candidate, NoFaithfulEngineError, Probe, choose, measure_all
from engines.faithfulness import compare
from engines.latency import Latency
from runtime.backends import open_session
from runtime.tasks import find_task
from tests.engines.conv_graph import save_patch_graph

DECISIONS = find_task("classification").decisions


def probe(path: Path) -> Probe:
    rng = np.random.default_rng(1)
    images = [
        {"pixel_values": rng.normal(size=(1, 3, 32, 32)).astype(np.float32)} for _ in range(16)
    ]
    session = open_session("onnxruntime", path, faithful=True)
    reference = [{"logits": session.run(image)["logits"][0]} for image in images]
    session.close()
    return Probe(images, reference, [images[0]], DECISIONS)


def measured(path: Path) -> dict[str, Candidate]:
    found = measure_all(
        {"int8": path},
        {"int8": ("openvino", "onnxruntime")},
        ("int8",),
        probe(path),
        lambda _: None,
    )
    return {candidate.backend: candidate for candidate in found}


def test_a_back_end_that_misreads_the_graph_is_refused(tmp_path: Path) -> None:
    """OpenVINO 2026.4 on a quantised Conv output: cosine below 0 where 1 is right."""
    path = tmp_path / "graph.onnx"
    save_patch_graph(path, quantise_conv_output=True)
    found = measured(path)
    assert "cosine" in found["openvino"].obstacle
    assert not found["onnxruntime"].obstacle
    kept, _ = choose(list(found.values()))
    assert kept.backend == "onnxruntime"


def test_our_placement_is_read_alike_by_both(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    save_patch_graph(path, quantise_conv_output=False)
    found = measured(path)
    for candidate in found.values():
        assert not candidate.obstacle
        assert candidate.faithfulness is not None
        # float32 sums in another order, through one quantisation that may flip a rounding
        assert candidate.faithfulness.cosine > 0.999


def test_a_graph_that_does_not_load_is_an_obstacle_not_a_crash(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    save_patch_graph(good, quantise_conv_output=False)
    bad.write_bytes(good.read_bytes())
    ready = probe(good)
    found = measure_all({"int8": bad}, {"int8": ("nonesuch",)}, ("int8",), ready, lambda _: None)
    assert "nonesuch" in found[0].obstacle
    with pytest.raises(NoFaithfulEngineError, match="nonesuch"):
        choose(found)


def test_a_back_end_that_this_processor_lacks_is_an_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "graph.onnx"
    save_patch_graph(path, quantise_conv_output=False)
    monkeypatch.setattr("openvino.Core.get_property", lambda *_: ["FP32", "INT8"])
    backends = {"int8": ("openvino-bf16",)}
    (found,) = measure_all({"int8": path}, backends, ("int8",), probe(path), lambda _: None)
    assert found.obstacle == "is openvino on this processor"
    assert not found.latency


def candidate(precision: str, ms: float, wanted: bool = True, obstacle: str = "") -> Candidate:
    times = {
        1: Latency(1, ms, ms, ms, (ms,) * 5),
        8: Latency(8, 8 * ms, 8 * ms, 8 * ms, (8 * ms,) * 5),
    }
    return Candidate(precision, "openvino", wanted, "1", None, times, obstacle)


def test_the_fastest_wanted_and_faithful_is_kept() -> None:
    slow, fast = candidate("int8", 2.0), candidate("fp32", 1.0, wanted=False)
    broken = candidate("int8", 0.1, obstacle="cosine 0.8")
    kept, why = choose([slow, fast, broken])
    assert kept is slow
    assert "SLOWER than fp32" in why


def test_auto_keeps_float_when_int8_does_not_pay() -> None:
    kept, why = choose([candidate("int8", 2.0), candidate("fp32", 1.0)])
    assert kept.precision == "fp32"
    assert "2.00 times as fast as int8" in why


def test_time_per_image_is_the_geometric_mean_over_batches() -> None:
    times = {1: Latency(1, 4.0, 4, 4, ()), 8: Latency(8, 8.0, 8, 8, ())}
    # 4 ms an image at batch 1 and 1 ms at batch 8
    assert Candidate("int8", "x", True, latency=times).milliseconds == pytest.approx(2.0)


def rows(*best: int) -> list[dict[str, np.ndarray]]:
    return [{"logits": np.eye(4, dtype=np.float32)[index] + 0.1} for index in best]


# Of coins, from binomial tables: (lost, won) -> P(so many heads or more).
TAILS = {(4, 0): 1 / 16, (6, 0): 1 / 64, (8, 2): 56 / 1024, (60, 40): 0.0284440, (2000, 1000): 0.0}


@pytest.mark.parametrize(("lost", "won"), TAILS, ids=str)
def test_what_is_lost_by_chance_follows_mcnemar(lost: int, won: int) -> None:
    truth = rows(*[0] * (lost + won + 5))
    written = rows(*[0] * lost, *[1] * won, *[0] * 5)
    ours = rows(*[1] * lost, *[0] * won, *[0] * 5)
    found = compare(ours, written, truth, DECISIONS)
    assert found.agreement == (won + 5) / len(truth)
    assert found.semantics_agreement == (lost + 5) / len(truth)
    assert found.chance == pytest.approx(TAILS[lost, won], abs=1e-7)  # digits of the table


# The same direction but for the winner: cosine stays above 0.99.
BASE = {"logits": np.array([1.001, 1.0, 0.5, 0.5], np.float32)}
NEAR = {"logits": np.array([1.0, 1.001, 0.5, 0.5], np.float32)}


def test_four_unlucky_decisions_are_no_obstacle() -> None:
    for lost, refused in ((4, False), (5, False), (6, True)):
        ours = [NEAR] * lost + [BASE] * 40
        found = compare(ours, [BASE] * len(ours), rows(*[0] * len(ours)), DECISIONS)
        assert bool(found.obstacle) is refused


def test_losing_agreement_beyond_chance_is_an_obstacle() -> None:
    n = 100
    truth = rows(*[0] * n)
    found = compare([NEAR] * n, [BASE] * n, truth, DECISIONS)
    assert found.cosine > 0.999
    # All hundred are lost, which chance does once in 2^100 times.
    assert "agrees with PyTorch" in found.obstacle


def test_nan_is_never_faithful() -> None:
    broken = [{"logits": np.full(4, np.nan, np.float32)}]
    assert "cosine" in compare(broken, rows(0), rows(0), DECISIONS).obstacle
