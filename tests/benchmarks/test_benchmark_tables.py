"""The statistics and tables that the benchmark pages show."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.groups import group_of
from benchmarks.limits import floors
from benchmarks.tables import markdown, paired_ratio, spread
from benchmarks.timing import fastest, latency_table, measure, opened


def test_spread_shows_mean_sample_deviation_and_extremes() -> None:
    values = [0.95, 0.97, 0.98]
    text = spread(values, ".4f")
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    assert text == f"{mean:.4f} ± {deviation:.4f} (0.9500 to 0.9800)"


def test_spread_of_one_value_claims_no_deviation() -> None:
    assert spread([0.5], ".1%") == "50.0%"


def test_ratios_are_paired_by_round_so_a_common_slowdown_cancels() -> None:
    ours = [1.0, 10.0, 2.0, 5.0]  # the machine slowed down in round two
    assert paired_ratio([3 * t for t in ours], ours) == pytest.approx((3, 3, 3))


def test_ratio_range_is_from_the_tenth_to_the_ninetieth_percentile() -> None:
    # Ratios 1, 2, ..., 11: percentile p lies at 1 + 10 p.
    ratios = [float(n) for n in range(1, 12)]
    assert paired_ratio(ratios, [1.0] * 11) == pytest.approx((6, 2, 10))


def test_a_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match="expected 2"):
        markdown(["a", "b"], [["only one"]])


def test_failed_engines_have_a_row_with_the_reason() -> None:
    def broken() -> Any:
        raise RuntimeError("no kernel for this")

    def fine() -> Any:
        return lambda inputs: inputs

    runs, failed = opened({"ours": fine, "theirs": broken}, {})
    times = measure(runs, {}, rounds=3)
    text = latency_table(times, "ours", failed, "ratio")
    assert list(runs) == ["ours"]
    assert "| theirs | failed |  |  | RuntimeError: no kernel for this |" in text.splitlines()


def test_every_timed_call_follows_an_untimed_one_of_the_same_engine() -> None:
    calls: list[str] = []

    def engine(name: str) -> Any:
        def run(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            calls.append(name)
            return inputs

        return run

    times = measure({"a": engine("a"), "b": engine("b")}, {}, rounds=2)
    assert calls == ["a", "b", *"aabb", *"bbaa"]  # one warm-up each, then two rounds
    assert {name: len(taken) for name, taken in times.items()} == {"a": 2, "b": 2}


def test_the_fastest_is_by_median_among_the_given_names() -> None:
    times = {"ours": [1.0, 1.0, 1.0], "lucky once": [0.1, 9.0, 9.0], "steady": [3.0, 3.0, 3.0]}
    assert fastest(times, ["lucky once", "steady"]) == "steady"


def test_limits_use_the_rate_of_each_kind() -> None:
    limits = floors({"int8 linears": 200, "attention": 30}, {"int8": 1e5, "float": 1e4})
    assert limits == pytest.approx({"int8 linears": 2.0, "attention": 3.0})


@pytest.mark.parametrize(
    ("node", "kernel", "group"),
    [
        ("FullyConnectedQuantizedLegacy", "brgemm_avx512_i8", "int8 linears"),
        ("FullyConnected", "gemm_mlas_f32", "float linears"),
        ("Convolution", "brgconv_avx512_1x1_I8", "int8 convolutions"),
        ("MatMul", "brgemm_avx512_f32", "attention"),
        ("Gather", "ref_any_f32", "layout"),
        ("NeverHeardOf", "unknown_f32", "rest"),
    ],
)
def test_openvino_node_types_fall_into_groups(node: str, kernel: str, group: str) -> None:
    assert group_of(node, kernel) == group
