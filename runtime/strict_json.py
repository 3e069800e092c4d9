"""JSON of unknown origin: one meaning only, and bounds before it is parsed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

_DEEPEST = 32  # lists and objects inside each other; a manifest has 7
# A text, the end of which may be missing, or a bracket: nothing in it is ever tried twice.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def parse_json(text: str) -> Any:
    """Parse RFC 8259 JSON in which no object has a key twice and every number is finite.

    Nesting is bounded here, since an application may have raised Python's own recursion limit
    beyond what the stack holds.

    Raises:
        ValueError: it is something else, or nested too deep.
    """
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} deep")
    return json.loads(
        text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unambiguous
    )


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is beyond what a float holds")
    return value


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return record
