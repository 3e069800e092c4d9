"""kit.json, read strictly: what it says names files, folders and amounts of memory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.kit import QUANTISED, SCHEMA, SOURCES, Evidence, Kit, KitGraph
from engines.tensorrt import Profile
from runtime.bundle import KIT, MANIFEST, check_files
from runtime.errors import EngineError, one_line
from runtime.loading import GOLDEN
from runtime.manifest import Manifest
from runtime.strict_json import parse_json

_LARGEST = 64 << 20  # bytes of kit.json
_PLAIN = re.compile(r"\w[\w.+-]{0,200}", re.ASCII)
_PRECISIONS, _FORMS = ("int8", "fp16", "fp32"), ("primitives", "plugin", "onnx", QUANTISED)


def read_kit(folder: Path) -> Kit:
    """Reads kit.json, then checks the sha256 of every file that it lists.

    Raises:
        EngineError: no kit, one of another schema, a field that is wrong, or a file that is not
            the one that was written.
    """
    path = folder / KIT
    remedy = "give the folder that `vitrine build --target DEVICE` made, copied whole"
    if not path.is_file():
        found = "is a bundle already" if (folder / MANIFEST).is_file() else f"holds no {KIT}"
        raise EngineError(f"{folder} {found}; {remedy}")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST} bytes")
        kit = _kit(parse_json(path.read_text(encoding="utf-8")))
    except EngineError as error:
        raise EngineError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise EngineError(f"{path} is no kit ({_reason(error)}); {remedy}") from error
    check_files(folder, kit.manifest.files)
    return kit


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else one_line(error)


def _kit(record: Any) -> Kit:
    _expect(isinstance(record, dict), "an object", record)
    schema = record["schema"]
    if schema != SCHEMA:
        raise EngineError(
            f"found schema {schema!r}, this release reads {SCHEMA}; build the kit and finish it "
            "with one release of Vitrine"
        )
    manifest = Manifest.from_json(json.dumps(record["manifest"]))
    for part in manifest.parts:
        _name(part)
    graphs = [_graph(each) for each in _list(record["graphs"])]
    profiles = [_profile(each, manifest) for each in _list(record["profiles"])]
    most = max(shapes[2][0] for profile in profiles for shapes in profile.shapes.values())
    batches = [_whole(each, 1, most) for each in _list(record["batches"])]
    evidence = {name: _evidence(each) for name, each in _dict(record["evidence"]).items()}
    needed = {GOLDEN, *(graph.file for graph in graphs)}
    needed |= {SOURCES for graph in graphs if graph.form == "plugin"}
    missing = sorted(needed - set(manifest.files))
    _expect(not missing, f"a sha256 of {missing[:1]}", "none")
    unproved = {graph.measured_as for graph in graphs if graph.wanted} - set(evidence)
    _expect(not unproved, f"evidence of {sorted(unproved)}", sorted(evidence))
    return Kit(_name(record["name"]), manifest, graphs, evidence, profiles, batches)


def _graph(record: Any) -> KitGraph:
    given = _dict(record)
    decided = _dict(given["precision_map"])
    for node, entry in decided.items():
        right = isinstance(entry, dict) and set(entry) == {"type", "why"}
        right = right and entry["type"] in _PRECISIONS and isinstance(entry["why"], str)
        _expect(right, f"a type and why of node {node}", entry)
    _expect(given["precision"] in _PRECISIONS, f"one of {_PRECISIONS}", given["precision"])
    _expect(given["form"] in _FORMS, f"one of {_FORMS}", given["form"])
    _expect(isinstance(given["wanted"], bool), "true or false", given["wanted"])
    _expect(isinstance(given["nodes"], list), "a list of nodes", given["nodes"])
    unknown = [node for node in given["nodes"] if not isinstance(node, str) or node not in decided]
    _expect(not unknown, "nodes of the precision map", unknown[:1])
    major, minor = (_whole(part, 0, 1000) for part in given["tensorrt"])
    return KitGraph(
        _name(given["file"]), given["precision"], given["form"], given["wanted"], (major, minor),
        decided, given["nodes"],
    )  # fmt: skip


def _profile(record: Any, manifest: Manifest) -> Profile:
    shapes = {}
    for name, triple in _dict(record).items():
        _expect(isinstance(triple, list) and len(triple) == 3, f"three shapes of {name}", triple)
        least, tuned, most = (tuple(_whole(n, 1, 1 << 20) for n in _list(s)) for s in triple)
        shapes[name] = (least, tuned, most)
    names = {info.name for info in manifest.inputs}
    _expect(set(shapes) == names, f"shapes of {sorted(names)}", sorted(shapes))
    return Profile(shapes)


def _evidence(record: Any) -> Evidence:
    given = _dict(record)
    limit = given["min_cosine"]
    _expect(isinstance(limit, float) and -1.0 <= limit <= 1.0, "a cosine", limit)
    return Evidence(_dict(given["drift"]), limit)


def _name(value: Any) -> str:
    _expect(isinstance(value, str) and _PLAIN.fullmatch(value), "a plain file name", value)
    return str(value)


def _whole(value: Any, least: int, most: int) -> int:
    _expect(type(value) is int and least <= value <= most, f"{least} to {most}", value)
    return int(value)


def _dict(value: Any) -> Mapping[str, Any]:
    _expect(isinstance(value, dict), "an object", value)
    found: Mapping[str, Any] = value
    return found


def _list(value: Any) -> list[Any]:
    _expect(isinstance(value, list) and value, "a list that is not empty", value)
    return list(value)


def _expect(holds: Any, wanted: str, found: Any) -> None:
    if not holds:
        text = repr(found)
        raise ValueError(f"found {text if len(text) <= 80 else text[:79] + '…'}, expected {wanted}")
