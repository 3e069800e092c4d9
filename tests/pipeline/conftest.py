from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import Engine
from tests.runtime.bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "mean_colour-fp32-cpu")


@pytest.fixture
def engine(bundle: Path) -> Iterator[Engine]:
    with Engine.load(bundle, threads=1) as engine:
        yield engine
