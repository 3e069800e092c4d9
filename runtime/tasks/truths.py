"""Files of truths that hold a record for each image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.errors import EngineError, one_line


def read_records(
    file: Path, what: str, form: str, truth: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """Truths by image file name, from a JSON list of records; empty where there is no file.

    Args:
        file: to read.
        what: it holds, for messages.
        form: of a record, for messages; its `file` is the name.
        truth: makes a truth of a record; raises ValueError, KeyError or TypeError of another form.

    Raises:
        EngineError: the file holds something else.
    """
    if not file.is_file():
        return {}
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        return {str(record["file"]): truth(record) for record in records}
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{file} does not hold {what} ({one_line(error)}); expected a list of {form}"
        ) from error
