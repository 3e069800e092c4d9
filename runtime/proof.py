"""That a bundle has passed its golden probes on this device is noted beside it.

The note is of one machine's own making and spares time at later loads; it holds for one manifest
(hence for every file of the bundle), back end, device and driver. Any doubt means probing again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import platform
import time
from pathlib import Path
from typing import Any

from runtime.backends import Session
from runtime.bundle import Bundle
from runtime.cuda_device import current_device
from runtime.errors import EngineError, one_line

_log = logging.getLogger("vitrine.engine")
_MOST_NOTES = 32  # devices that one copy of a bundle is likely to meet
_LARGEST = 1 << 16  # bytes of a note file; 32 notes take a tenth
_HIGHEST = 1 + 1e-6  # a cosine in float64 may exceed 1 by rounding
_GPU = ("tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt")
_DRIVERS = ("/proc/driver/nvidia/version", "/etc/nv_tegra_release")  # desktop and Jetson


@dataclasses.dataclass(frozen=True)
class Proof:
    """The golden probes, passed.

    Attributes:
        cosine: the lowest over probes and outputs.
        backend: that ran them.
        time: when, in seconds since the epoch.
    """

    cosine: float
    backend: str
    time: float


def remembered(bundle: Bundle, session: Session) -> Proof | None:
    """The proof that was noted for this bundle, back end, device and driver, if there is one."""
    key = _key(bundle, session)
    if key is None:
        return None
    note = _notes(bundle).get(key)
    try:
        proof = Proof(float(note["cosine"]), session.name, float(note["time"])) if note else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    # A limit that the note does not reach was not passed; a note of the future is of a wrong clock.
    limit = bundle.manifest.golden.min_cosine
    credible = proof and limit <= proof.cosine <= _HIGHEST and proof.time <= time.time()
    return proof if credible else None


def remember(bundle: Bundle, session: Session, proof: Proof) -> None:
    """Note `proof` beside the bundle; where that cannot be written, probes run again next time."""
    _note(bundle, session, {"cosine": proof.cosine, "time": proof.time})


def forget(bundle: Bundle, session: Session) -> None:
    """Strike the note: what has failed since is probed again at the next load."""
    _note(bundle, session, None)


def _note(bundle: Bundle, session: Session, note: dict[str, float] | None) -> None:
    key = _key(bundle, session)
    notes = _notes(bundle)
    if key is None or (note is None and key not in notes):
        return
    notes.pop(key, None)
    if note is not None:
        notes[key] = note
    text = json.dumps(dict(list(notes.items())[-_MOST_NOTES:]), indent=1)
    path = _path(bundle)
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed
        with temporary.open("x", encoding="utf-8") as file:  # through no link
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        _log.info("the passed probes are not noted: %s", one_line(error))


def _path(bundle: Bundle) -> Path:
    folder = bundle.path.resolve()
    return folder.with_name(f".{folder.name}.proved.json")


def _notes(bundle: Bundle) -> dict[str, Any]:
    try:
        path = _path(bundle)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            return {}
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _key(bundle: Bundle, session: Session) -> str | None:
    """What a proof holds for, as one hash; None where the device cannot be told."""
    device = _gpu() if session.name in _GPU else _cpu()
    if device is None:
        return None
    manifest = hashlib.sha256(bundle.manifest_bytes)
    facts = [manifest.hexdigest(), session.name, session.version, platform.platform(), *device]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _gpu() -> list[str] | None:
    try:
        device = current_device()
    except EngineError:  # onnxruntime-gpu runs without cuda-bindings, by which a device is known
        return None
    return [device.name, device.compute_capability, *map(_text, _DRIVERS)]


def _cpu() -> list[str]:
    lines = _text("/proc/cpuinfo").splitlines()
    kinds = ("model name", "flags", "Features", "CPU part", "microcode")
    return sorted({line for line in lines if line.startswith(kinds)}) or [platform.processor()]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
