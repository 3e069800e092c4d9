from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.browser import Browser
from tests.examples.red_square import write_detector

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.append(str(EXAMPLES))  # where a script finds the modules beside it


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of red squares."""
    return write_detector(tmp_path_factory.mktemp("bundles") / "red_square-fp32-cpu")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
