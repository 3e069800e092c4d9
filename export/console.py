"""How commands speak: progress on a terminal, one line for a mistake, JSON when asked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

DONE, REFUSED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
_errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Gives a function that names the stage at work.

    On a terminal each stage is a bar with the time it took; elsewhere a line on standard error.
    """
    if not _errors.is_terminal:
        yield lambda text: _errors.print(text)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_errors) as bars:

        def say(text: str) -> None:
            for task in bars.task_ids:
                bars.update(task, total=1, completed=1)
            bars.add_task(text, total=None)

        yield say
        for task in bars.task_ids:
            bars.update(task, total=1, completed=1)


@contextmanager
def user_errors(as_json: bool = False) -> Iterator[None]:
    """Turns a mistake into one line on standard error and exit code 2.

    `VITRINE_DEBUG=1` shows the traceback instead. A golden probe that fails and a
    refused precision are not mistakes but the gate's no: exit code 1.
    """
    from engines.refusal import RefusedError
    from runtime.errors import EngineError, GoldenProbeError

    try:
        yield
    except KeyboardInterrupt:
        _errors.print("interrupted")
        sys.exit(INTERRUPTED)
    except (ValueError, TypeError, EngineError, OSError) as error:
        if os.environ.get("VITRINE_DEBUG") == "1":
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        if as_json:
            print_json({"error": text})
        _errors.print(f"vitrine: {text}")
        sys.exit(REFUSED if isinstance(error, GoldenProbeError | RefusedError) else MISTAKE)
    except ImportError as error:
        if os.environ.get("VITRINE_DEBUG") == "1":
            raise
        text = (
            f"{error.name or error} is not installed; building needs `pip install -e '.[build]'`, "
            "and `vitrine doctor` says what else is missing"
        )
        if as_json:
            print_json({"error": text})
        _errors.print(f"vitrine: {text}")
        sys.exit(MISTAKE)


def note(text: str) -> None:
    """One line for the user on standard error."""
    _errors.print(text)


def print_json(record: dict[str, Any]) -> None:
    """The one JSON object of a `--json` run, on standard output."""
    print(json.dumps(record, indent=2, sort_keys=True))
