"""Markdown tables, and the statistics in them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

_LIBRARIES = ("torch", "onnxruntime", "openvino", "nncf")
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "amx_int8")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its first column is text, the others are numbers."""
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"found {len(row)} cells in {row}, expected {len(header)}")
    marks = "|---|" + "---:|" * (len(header) - 1)
    return "\n".join([_line(header), marks, *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float], form: str) -> str:
    """Mean, sample standard deviation, smallest and largest; a single value as it is.

    Args:
        values: at least one.
        form: a format such as ".2%".
    """
    if len(values) == 1:
        return format(values[0], form)
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    low, high = min(values), max(values)
    return f"{mean:{form}} ± {deviation:{form}} ({low:{form}} to {high:{form}})"


def paired_ratio(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Their time over ours, round by round: median, tenth and ninetieth percentile."""
    ratios = np.asarray(theirs, np.float64) / np.asarray(ours, np.float64)
    p10, median, p90 = np.percentile(ratios, [10, 50, 90])
    return float(median), float(p10), float(p90)


def machine() -> str:
    """One line: processor, its instructions, cores, load and versions of the libraries."""
    name, flags = platform.machine(), ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        fields = {key.strip(): value.strip() for key, value in found.items()}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    has = [known for known in _INSTRUCTIONS if known in flags.split()]
    versions = []
    for library in _LIBRARIES:
        try:
            versions.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            versions.append(f"no {library}")
    return (
        f"{name}, {os.cpu_count()} cores, {' '.join(has)}; load {os.getloadavg()[0]:.1f}; "
        + ", ".join(versions)
    )
