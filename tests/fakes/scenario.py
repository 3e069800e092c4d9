"""What a fake TensorRT shall answer in a child process, and what it was asked there.

The scenario is a JSON file that FAKE_TENSORRT names; what was asked is written beside it.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tests.fakes.tensorrt_common import ErrorCodeTRT, ILogger, _report

_Made = TypeVar("_Made")


@cache
def _scenario() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(Path(os.environ["FAKE_TENSORRT"]).read_text())
    return record


_asked: dict[str, Any] = {"libraries": [], "flags": [], "cleared": [], "profiles": []}


def _write_asked() -> None:
    Path(os.environ["FAKE_TENSORRT"]).with_suffix(".asked").write_text(json.dumps(_asked))


def _make(kind: type[_Made], **fields: Any) -> _Made:
    """An object of a class that NVIDIA's API gives no constructor."""
    made = object.__new__(kind)
    vars(made).update(fields)
    return made


def _log(owner: Any, when: str) -> None:
    """Logs what the scenario says of a moment, as {"when": [[severity, message], …]}.

    What has the name of an `ErrorCodeTRT` in place of a severity is an error of `owner`.
    """
    assert owner._logger._initialised, "the base class was not initialised"
    for kind, message in _scenario().get("log", {}).get(when, []):
        if kind in ErrorCodeTRT.__members__:
            _report(owner, kind, message)
        else:
            owner._logger.log(ILogger.Severity[kind], message)
