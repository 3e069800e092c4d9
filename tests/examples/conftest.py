from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.examples.red_square import write_detector

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.append(str(EXAMPLES))  # where a script finds the modules beside it


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of red squares."""
    return write_detector(tmp_path_factory.mktemp("bundles") / "red_square-fp32-cpu")
