"""Calibrations kept on disk, so that a rebuild with the same images measures nothing again.

An entry is a folder named after the SHA-256 of everything that the measurement depends on: the
float graph to the last weight, the linears, the images, their preprocessing, the settings, and
the sampling constants and FORMAT of this code. So no entry is ever stale; what changed has another
name. An entry holds `graph.onnx`, `statistics.npz` and `sha256.json`, their hashes. It is written
under a temporary name and renamed, and one that is damaged or foreign is measured anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from calibration import ranges
from calibration.activations import Batches
from calibration.calibrate import Calibrated, Settings, calibrate
from calibration.stored_statistics import statistics_from_bytes, statistics_to_bytes

FORMAT = 1
"""Counted up when what `calibrate` computes changes, or the form in which it is stored."""

_GRAPH, _STATISTICS, _HASHES = "graph.onnx", "statistics.npz", "sha256.json"


def calibrate_cached(
    folder: Path,
    identity: Mapping[str, Any],
    model: ir.Model,
    names: Collection[str],
    batches: Batches,
    settings: Settings,
) -> Calibrated:
    """`calibrate`, or what it returned for the same arguments before.

    Args:
        folder: Of the cache; made when missing.
        identity: What the batches are: digest of the images, preprocessing parameters. Anything
            that JSON can hold; two that differ never share an entry.
        model: See `calibrate`, as are the following.
        names: Linears that may become int8.
        batches: Not read when an entry is found.
        settings: Of which `threads` is ignored in finding an entry.

    Raises:
        ValueError: As `calibrate`.
        TypeError: An identity that JSON cannot hold.
    """
    entry = folder / cache_key(identity, model, names, settings)
    found = _read(entry)
    if found is None:
        found = calibrate(model, names, batches, settings)
        _write(entry, found)
    return found


def cache_key(
    identity: Mapping[str, Any], model: ir.Model, names: Collection[str], settings: Settings
) -> str:
    """SHA-256, hexadecimal, of everything that a calibration depends on."""
    chosen = dataclasses.asdict(settings)
    del chosen["threads"]
    about = {
        "format": FORMAT,
        "sampling": [ranges.SAMPLED_IMAGES, ranges.SAMPLED_ROWS],
        "identity": dict(identity),
        "names": sorted(names),
        "settings": chosen,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(_serialised(model))
    return digest.hexdigest()


def _serialised(model: ir.Model) -> bytes:
    """Every node and weight, the same bytes each time (protobuf orders maps only when asked)."""
    return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


def _write(entry: Path, calibrated: Calibrated) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    files = {
        _GRAPH: _serialised(calibrated.graph),
        _STATISTICS: statistics_to_bytes(calibrated),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[_HASHES] = json.dumps(hashes).encode()
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".writing-") as name:
        made = Path(name) / "entry"
        made.mkdir()
        for file, content in files.items():
            (made / file).write_bytes(content)
        shutil.rmtree(entry, ignore_errors=True)
        try:
            made.rename(entry)
        except OSError:
            if not entry.is_dir():  # otherwise another process was first, with the same content
                raise


def _read(entry: Path) -> Calibrated | None:
    """The entry, or None when there is none that is whole."""
    try:
        hashes = json.loads((entry / _HASHES).read_bytes())
        files = {name: (entry / name).read_bytes() for name in (_GRAPH, _STATISTICS)}
    except (OSError, ValueError):
        return None
    if hashes != {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}:
        return None
    graph = ir.from_proto(onnx.load_model_from_string(files[_GRAPH]))
    return statistics_from_bytes(graph, files[_STATISTICS])
