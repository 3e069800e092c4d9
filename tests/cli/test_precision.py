"""The precision search, its map file and the refusal of slow INT8, through the command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import export.engine_choice
from engines.candidates import Candidate
from engines.latency import Latency
from tests.cli.conftest import Outcome, run

BUILD = ("build", "--model", "vit_tiny_shapes", "--precision", "int8", "--images", "32")
# Between the all-int8 graph on 32 images (0.99998) and float.
LIMIT = "logit_cosine=0.99999"


@contextmanager
def slow_int8() -> Iterator[None]:
    """INT8 takes 100 times as long as it does, as far as the measurement says."""
    measure = export.engine_choice.measure_all

    def slowed(*arguments: Any) -> list[Candidate]:
        found = measure(*arguments)
        return [replace(c, latency=_slow(c)) if c.precision == "int8" else c for c in found]

    def _slow(candidate: Candidate) -> dict[int, Latency]:
        return {
            batch: replace(
                times, median=100 * times.median, taken=tuple(100 * t for t in times.taken)
            )
            for batch, times in candidate.latency.items()
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export.engine_choice, "measure_all", slowed)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrations of `BUILD`, which are all the same."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Outcome, Path]:
    """An INT8 build whose limit makes some layers return to float, and its bundle."""
    out = tmp_path_factory.mktemp("searched")
    with slow_int8():
        outcome = run(*BUILD, "--max-drift", LIMIT, "--keep-slower", "--cache", cache, "--out", out)
    assert outcome.code == 0, outcome.err
    return outcome, out / "vit_tiny_shapes-int8-cpu"


@pytest.fixture(scope="module")
def found(searched: tuple[Outcome, Path]) -> Path:
    return searched[1]


def precision_map(bundle: Path) -> dict[str, dict[str, str]]:
    return dict(yaml.safe_load((bundle / "precision_map.yaml").read_text())["nodes"])


def test_the_search_returns_some_layers_and_says_why(searched: tuple[Outcome, Path]) -> None:
    outcome, found = searched
    nodes = precision_map(found)
    returned = [e for e in nodes.values() if e["why"].startswith("returned by the search")]
    assert 0 < len(returned) < len(nodes)
    assert all(entry["type"] == "fp32" for entry in returned)
    linears = [e for name, e in nodes.items() if e in returned and not name.endswith("attention")]
    assert linears and all("squared error" in entry["why"] for entry in linears)
    manifest = json.loads((found / "manifest.json").read_text())
    assert manifest["precision_map"] == nodes
    assert "precision_map.yaml" in manifest["files"]
    steps = manifest["calibration"]["search"]["steps"]
    assert steps[0]["returned"] == 0 and not steps[0]["holds"]
    assert min(s["returned"] for s in steps if s["holds"]) == len(linears)
    assert " layers float: top1_agreement " in outcome.err


def test_the_report_shows_the_sensitivities(found: Path) -> None:
    text = (found / "report.html").read_text()
    assert "Sensitivity by layer" in text and "bar hollow" in text


def test_a_map_reproduces_the_graph_byte_for_byte(
    found: Path, tmp_path: Path, exports: dict[Any, Any]
) -> None:
    exports.clear()
    outcome = run(
        *BUILD, "--precision-map", found / "precision_map.yaml", "--keep-slower",
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    again = Path(outcome.json["bundle"])
    hashes = [hashlib.sha256((b / "model.onnx").read_bytes()).hexdigest() for b in (found, again)]
    assert hashes[0] == hashes[1]
    assert precision_map(again) == precision_map(found)


def test_a_mistake_in_a_map_is_one_line(found: Path, tmp_path: Path) -> None:
    text = (found / "precision_map.yaml").read_text()
    path = tmp_path / "map.yaml"
    path.write_text(text.replace("mlp.fc1:", "mlp.fc9:", 1))
    outcome = run(*BUILD, "--precision-map", path, "--out", tmp_path)
    assert outcome.code == 2 and "Traceback" not in outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("vitrine: ")]
    assert f"{path}, line " in line and "did you mean" in line


def test_a_limit_that_only_float_keeps_is_refused(tmp_path: Path, cache: Path) -> None:
    limit = ("--max-drift", "logit_cosine=0.9999999")
    outcome = run(*BUILD, *limit, "--cache", cache, "--out", tmp_path)
    assert outcome.code == 1
    assert "no set of int8 layers keeps the limits" in outcome.err
    assert list(tmp_path.glob("vit*")) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            ("--max-drift", "top1_agreement=0.9", "--images", "8"),
            "8 calibration images cannot show even of PyTorch itself", id="too few images",
        ),
        pytest.param(("--confidence", "1"), "--confidence 1: expected at least 0.5", id="sure"),
        pytest.param(
            ("--precision", "fp16", "--precision-map", "x.yaml"), "expected int8", id="fp16 map"
        ),
        pytest.param(("--precision-map", "absent.yaml"), "absent.yaml", id="no such map"),
    ],
)  # fmt: skip
def test_wrong_use(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    outcome = run(*BUILD, *arguments, "--out", tmp_path)
    assert expected in outcome.err and "Traceback" not in outcome.err
    assert outcome.code == 2


def test_slow_int8_is_refused_with_both_figures(tmp_path: Path, cache: Path) -> None:
    with slow_int8():
        outcome = run(*BUILD, "--cache", cache, "--out", tmp_path)
    assert outcome.code == 1
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("REFUSED")]
    assert line.count(" ms") == 2 and "30 of 30 paired rounds" in line and "--keep-slower" in line
    assert not (tmp_path / "vit_tiny_shapes-int8-cpu").exists()
    rejected = tmp_path / "vit_tiny_shapes-int8-cpu.rejected"
    assert (rejected / "report.html").exists() and not (rejected / "manifest.json").exists()


def test_slow_int8_is_kept_when_asked(searched: tuple[Outcome, Path]) -> None:
    outcome, found = searched
    assert "SLOWER than fp32" in outcome.err
    assert (found / "manifest.json").exists()


def test_auto_keeps_float_when_int8_is_slow(tmp_path: Path) -> None:
    with slow_int8():
        outcome = run(
            "build", "--model", "vit_tiny_shapes", "--precision", "auto", "--images", "40",
            "--max-drift", "top1_agreement=0.9", "--out", tmp_path, "--json",
        )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.json["precision"] in ("fp16", "fp32")
    names = {candidate["name"].split()[0] for candidate in outcome.json["candidates"]}
    assert names == {"int8", "fp16", "fp32"}


def test_auto_without_enough_images_keeps_float(tmp_path: Path) -> None:
    outcome = run(
        "build", "--model", "vit_tiny_shapes", "--precision", "auto", "--images", "8",
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.json["precision"] == "fp32"
    obstacles = {c["name"]: c["obstacle"] for c in outcome.json["candidates"]}
    assert "give more with --images" in obstacles["int8 on any back end"]
