"""Records, as `models.yaml` would hold them, of the tiny models."""

from __future__ import annotations

from typing import Any

from tiny_models import TINY

from export.spec import ModelSpec

LABELS = tuple("abcdefg")


def spec_of(name: str, **changes: Any) -> ModelSpec:
    tiny = TINY[name]
    record: dict[str, Any] = {
        "name": f"tiny_{name}",
        "family": tiny.family_name,
        "task": "detection" if tiny.family.ragged else "classification",
        "config": {**tiny.config, "num_labels": len(LABELS)},
        "weights": {"hub": "nobody/nothing"},
        "preprocess": {"size": tiny.size[0], "pad": tiny.family.ragged},
        "labels": LABELS,
        "drift": {},
    }
    return ModelSpec(**{**record, **changes})
