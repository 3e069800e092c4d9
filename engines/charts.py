"""The charts of a report, as inline SVG.

Lengths are percentages of the width and everything else is in pixels, so that a chart stretches
with the page while its text and lines keep their size. Colours come from the page's style sheet.
"""

from __future__ import annotations

from html import escape

from runtime.drift.verdict import Measurement

_EDGE = 3.0
"""Percent left free at both sides for the ends of marks."""


def interval_chart(measurement: Measurement, bounds: tuple[float, float]) -> str:
    """A metric's value and interval as a bar, over the range that its limit allows.

    Args:
        measurement: with a defined value.
        bounds: every value that the metric can take.
    """
    shown = [measurement.low, measurement.high, measurement.value]
    if measurement.limit is not None:
        shown.append(measurement.limit)
    margin = 0.18 * (max(shown) - min(shown)) or 0.02 * (bounds[1] - bounds[0])
    start = max(bounds[0], min(shown) - margin)
    end = min(bounds[1], max(shown) + margin)

    def at(value: float) -> float:
        return _EDGE + (100 - 2 * _EDGE) * (value - start) / (end - start)

    left, right = at(measurement.low), at(measurement.high)
    parts = ['<rect class="rail" x="0" y="20" width="100%" height="16" rx="4"/>']
    if measurement.limit is not None:
        limit = at(measurement.limit)
        x, width = (limit, 100 - limit) if measurement.at_least else (0.0, limit)
        parts.append(_rect("allowed", x, 20, width, 16, 4))
        parts.append(_line("limit", limit, 14, 42))
        sign = "≥" if measurement.at_least else "≤"
        parts.append(_text("limit-text", limit, 10, f"limit {sign} {measurement.limit:g}"))
    parts.append(_rect(f"interval {measurement.verdict}", left, 24, max(right - left, 0.4), 8, 4))
    value = at(measurement.value)
    parts.append(f'<circle class="value" cx="{value:.2f}%" cy="28" r="5"/>')
    parts.append(_text("axis", 0.0, 54, f"{start:.4g}"))
    parts.append(_text("axis", 100.0, 54, f"{end:.4g}"))
    label = (
        f"{measurement.name}: {measurement.value:.4f}, "
        f"95 % interval {measurement.low:.4f} to {measurement.high:.4f}"
    )
    return _svg("interval-chart", 58, label, parts)


def bar(share: float, label: str, *, marked: bool = False, hollow: bool = False) -> str:
    """One row of a bar chart: a bar of a share of the width, in 0..1; hollow is an outline."""
    kind = "bar" + (" marked" if marked else "") + (" hollow" if hollow else "")
    return _svg(
        "bar-chart", 12, label, [_rect(kind, 0.0, 1, 100 * min(max(share, 0.0), 1.0), 10, 2)]
    )


def whisker_bar(median: float, low: float, high: float, top: float, *, kept: bool) -> str:
    """A bar to the median with a whisker from low to high; `top` is the value at full width."""
    scale = 100.0 / top
    middle, left, right = median * scale, low * scale, high * scale
    label = f"median {median:.3g} ms, 10th to 90th percentile {low:.3g} to {high:.3g} ms"
    parts = [
        _rect("bar kept" if kept else "bar", 0.0, 3, middle, 16, 3),
        f'<line class="whisker" x1="{left:.2f}%" x2="{right:.2f}%" y1="11" y2="11"/>',
        _line("whisker", left, 7, 15),
        _line("whisker", right, 7, 15),
    ]
    return _svg("whisker-chart", 22, label, parts)


def stacked_bar(parts: list[tuple[str, int]]) -> str:
    """Shares of a whole, such as the layers of each precision; the names become CSS classes.

    Args:
        parts: (one of int8, fp16, fp32; count), of which some count is positive.
    """
    total = sum(count for _, count in parts)
    drawn, start = [], 0.0
    for name, count in parts:
        width = 100.0 * count / total
        drawn.append(_rect(f"part {name}", start, 0, width, 14, 0))
        start += width
    label = ", ".join(f"{count} {name}" for name, count in parts)
    return _svg("stacked-chart", 14, label, drawn)


def _svg(kind: str, height: int, label: str, parts: list[str]) -> str:
    return (
        f'<svg class="{kind}" width="100%" height="{height}" role="img" '
        f'aria-label="{escape(label)}"><title>{escape(label)}</title>{"".join(parts)}</svg>'
    )


def _rect(kind: str, x: float, y: int, width: float, height: int, radius: int) -> str:
    return (
        f'<rect class="{escape(kind)}" x="{x:.2f}%" y="{y}" width="{width:.2f}%" '
        f'height="{height}" rx="{radius}"/>'
    )


def _line(kind: str, x: float, top: int, bottom: int) -> str:
    return f'<line class="{kind}" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top}" y2="{bottom}"/>'


def _text(kind: str, x: float, y: int, text: str) -> str:
    """Text that stays inside the chart: towards the middle near either end."""
    anchor = "start" if x < 20 else "end" if x > 80 else "middle"
    return f'<text class="{kind}" x="{x:.2f}%" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
