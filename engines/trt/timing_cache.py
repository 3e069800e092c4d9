"""Kernel timings kept between builds: a second build of a like model takes a fraction of the time.

Timings hold for one TensorRT version on one kind of GPU, so each has a file of its own. A file is
a line that says what it is, the sha256 of the rest, and TensorRT's bytes: these are handed to
native code, which need not survive a damaged file.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engines.trt.installation import Installed

if TYPE_CHECKING:
    import tensorrt as trt

_HEAD = b"vitrine timing cache 1\n"
_DIGEST = hashlib.sha256().digest_size


def cache_file(folder: Path, here: Installed) -> Path:
    """The file of this TensorRT version and GPU."""
    device = re.sub(r"[^a-z0-9]+", "-", here.device.lower()).strip("-")
    return folder / f"tensorrt-{here.tensorrt}-{device}-sm{here.compute_capability}.timings"


def use_cache(file: Path, config: trt.IBuilderConfig) -> str:
    """Gives the timings in `file`, or none, to a build.

    Returns:
        Why a file that is there is not used; empty otherwise.
    """
    note = ""
    try:
        timings = _read(file)
    except (OSError, ValueError) as error:
        timings, note = b"", f"kernel timings in {file} are not used ({error}); they are made anew"
    cache = config.create_timing_cache(timings)
    # False: timings of another device are no use here.
    if timings and not (cache is not None and config.set_timing_cache(cache, False)):
        note = f"kernel timings in {file} are of another TensorRT or GPU; they are made anew"
        timings = b""
        cache = config.create_timing_cache(timings)
    if not timings:
        config.set_timing_cache(cache, False)
    return note


def keep_cache(file: Path, config: trt.IBuilderConfig) -> str:
    """Writes what a build has measured, under a temporary name first.

    Returns:
        Why it could not be written, which spoils no build; empty when it was.
    """
    timings = bytes(memoryview(config.get_timing_cache().serialize()))
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(_HEAD + hashlib.sha256(timings).digest() + timings)
        unfinished.replace(file)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        return f"kernel timings could not be kept ({error})"
    return ""


def _read(file: Path) -> bytes:
    """The timings in `file`, empty when there is none; `ValueError` when it is damaged."""
    if not file.exists():
        return b""
    content = file.read_bytes()
    start = len(_HEAD) + _DIGEST
    digest, timings = content[len(_HEAD) : start], content[start:]
    if not content.startswith(_HEAD) or hashlib.sha256(timings).digest() != digest:
        raise ValueError("the file is damaged")
    return timings
