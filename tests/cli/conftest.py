"""One build of each tiny family for all command tests, through the command itself.

Builds of this process share what PyTorch's exporter makes of each model; `exports.clear()` makes
the next one export again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from export.zoo.family import Family
from runtime import EngineError
from shapes.datasets import DATASETS
from shapes.render import write


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str | Path) -> Outcome:
    """Runs `vitrine ARGUMENTS` in this process."""
    from export.cli import app

    result: Result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session", autouse=True)
def exports() -> Iterator[dict[tuple[object, ...], ir.Model]]:
    """Portable graphs, by what they were made from."""
    from export import graph_build

    export, kept = graph_build.onnx_from_module, {}

    def once(
        reference: torch.nn.Module, family: Family, inputs: Mapping[str, torch.Tensor]
    ) -> ir.Model:
        weights = b"".join(tensor.numpy().tobytes() for tensor in reference.state_dict().values())
        shapes = tuple((name, tensor.shape) for name, tensor in inputs.items())
        key = (str(family), str(reference), weights, shapes)
        if key not in kept:
            kept[key] = export(reference, family, inputs)
        return kept[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_build, "onnx_from_module", once)
        yield kept


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """`vitrine build` of the demo's model, INT8, with few images; its JSON."""
    out = tmp_path_factory.mktemp("built")
    outcome = run(
        "build", "--model", "swin_tiny_shapes", "--precision", "int8", "--images", "32",
        "--keep-slower", "--out", out, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="session")
def bundle(built: Outcome) -> Path:
    """The folder that `built` wrote."""
    return Path(built.json["bundle"])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A readable image."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tiny ViT, INT8, with few images."""
    folder = tmp_path_factory.mktemp("kit")
    (folder / "images").mkdir()
    write(folder / "images", DATASETS["classification"], 3, 40)
    outcome = run(
        "build", "--model", "vit_tiny_shapes", "--precision", "int8", "--target", "orin-jp6",
        "--calibration", folder / "images", "--images", "16", "--max-batch", "4",
        "--out", folder, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return Path(outcome.json["bundle"])


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Jetson that `vitrine finish` runs on; see `tests.cli.device.Device`."""
    from engines import device_check, finish, trials
    from tests.cli.device import Device

    found = Device()

    def compile_library(archive: Path, library: Path, *_: object) -> Path:
        raise EngineError("nvcc is not installed; run `sudo apt install cuda-nvcc`")

    monkeypatch.setattr(device_check, "installed", lambda: found.here)
    monkeypatch.setattr(finish, "build_plan", found.build_plan)
    monkeypatch.setattr(trials, "open_session", found.open_session)
    monkeypatch.setattr(finish, "compile_from_archive", compile_library)
    return found
