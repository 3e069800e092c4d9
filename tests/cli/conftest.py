"""One build of each tiny family for all command tests, through the command itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from runtime import EngineError

ROOT = Path(__file__).resolve().parents[2]


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
    render = [sys.executable, "-m", "shapes.render", str(folder / "images")]
    options = ["--task", "classification", "--images", "40", "--seed", "3"]
    subprocess.run([*render, *options], check=True, cwd=ROOT)
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
