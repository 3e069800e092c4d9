"""`vitrine bench --layers`: where the time goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import run


def test_the_slowest_layers_are_printed_with_their_shares(bundle: Path) -> None:
    outcome = run("bench", bundle, "--batch", "1", "--batch", "2", "--rounds", "3", "--layers")
    assert outcome.code == 0, outcome.err
    first, second, *rest = outcome.out.splitlines()
    assert first.startswith("batch   1   median") and second.startswith("batch   2   median")
    assert [line.split()[:2] for line in rest if line.startswith("batch")] == [
        ["batch", "1"],
        ["batch", "2"],
    ]
    shares = [float(line.split("%")[0]) for line in rest[1:11]]
    assert shares == sorted(shares, reverse=True)
    assert len(rest) == 2 * 11


def test_all_layers_are_in_the_json(bundle: Path) -> None:
    arguments = ("bench", bundle, "--batch", "1", "--rounds", "3", "--json")
    (row,) = run(*arguments, "--layers").json["layers"]
    layers = row["layers"]
    assert row["batch"] == 1 and len(layers) > 10
    assert sum(layer["ms"] for layer in layers) == pytest.approx(row["total_ms"])
    assert sum(layer["share"] for layer in layers) == pytest.approx(1)
    assert all(layer["name"] for layer in layers)
    assert "layers" not in run(*arguments).json
