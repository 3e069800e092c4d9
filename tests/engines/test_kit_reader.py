"""What is no kit.json at all; wrong fields of one are in tests/cli/test_kit_refusals.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.kit_reader import read_kit
from runtime.errors import EngineError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param('{"schema": 2, "schema": 1}', "the key 'schema' is there twice", id="twice"),
        pytest.param('{"schema": NaN}', "NaN is not a JSON number", id="nan"),
        pytest.param('{"schema": 1e999}', "beyond what a float holds", id="infinite"),
        pytest.param('{"schema": ' + "[" * 40 + "]" * 40 + "}", "nested more than", id="deep"),
        pytest.param("", "Expecting value", id="empty"),
    ],
)
def test_json_of_more_than_one_meaning_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "kit.json").write_text(text)
    with pytest.raises(EngineError, match=rf"kit\.json is no kit \(.*{found}.*copied whole$"):
        read_kit(tmp_path)
