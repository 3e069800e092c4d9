"""The sections of a report that show a number for each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from engines.charts import bar
from engines.report_data import Layer, Step
from engines.report_parts import section

_DECADES = 4.0
"""What the bars of the sensitivities span, below the largest: a factor of ten thousand."""


def sensitivity(layers: Sequence[Layer], steps: Sequence[Step]) -> str:
    """What each layer costs the outputs alone in int8, and the sets that the search tried."""
    measured = [(item, item.effect) for item in layers if item.effect is not None]
    if not measured:
        return ""
    top = max((effect for _, effect in measured if math.isfinite(effect)), default=0.0)
    prefix = _common_prefix([item.name for item, _ in measured])
    rows = "".join(_effect(item, effect, top, prefix) for item, effect in measured)
    returned = sum(item.precision != "int8" for item, _ in measured)
    lead = (
        f"{len(measured)} layers in the order of the graph; the bar is the squared error of the "
        "outputs, relative to their own square, with that layer alone in int8 (logarithmic: a "
        "tenth of the width is a factor of 2.5), the second number the milliseconds that int8 "
        f"saves there. Hollow bars: {returned} layers that the search returned to float."
    )
    if prefix:
        lead += f" Names begin with <code>{escape(prefix)}</code>"
    return section("Sensitivity by layer", lead, f'<div class="layers">{rows}</div>{_steps(steps)}')


def _effect(item: Layer, effect: float, top: float, prefix: str) -> str:
    share = 1.0 + math.log10(effect / top) / _DECADES if 0 < effect <= top else float(effect > 0)
    shown = f"{effect:.1e}" if math.isfinite(effect) else "not finite"
    is_float = item.precision != "int8"
    kind = "float" if is_float else "int8"
    label = f"{item.name}: {shown} in int8, now {kind}"
    saved = "" if item.saved_ms is None else f"{item.saved_ms:.3f}"
    return (
        f'<div class="layer effect{" returned" if is_float else ""}" title="{escape(item.name)}">'
        f'<span class="name"><bdi>{escape(item.name.removeprefix(prefix))}</bdi></span>'
        f"{bar(share, label, hollow=is_float)}"
        f'<span class="number">{shown}</span>'
        f'<span class="number muted">{saved}</span><span class="kind">{kind}</span></div>'
    )


def _steps(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    rows = "".join(
        f'<tr><td class="number">{step.returned}</td><td>{escape(step.figures)}</td>'
        f"<td>{'yes' if step.holds else 'no'}</td></tr>"
        for step in steps
    )
    return (
        "<div class=scroll><table><thead><tr><th>Layers float</th><th>On calibration images</th>"
        f"<th>Limits hold</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def layer_errors(layers: Sequence[Layer]) -> str:
    """How far the output of each int8 layer is from its float output, errors before it included."""
    measured = [(item, item.relative_error) for item in layers if item.relative_error is not None]
    if not measured:
        return ""
    finite = [error for _, error in measured if math.isfinite(error)]
    top = max(finite, default=0.0) or 1.0
    worst, error = max(measured, key=lambda row: row[1] if math.isfinite(row[1]) else math.inf)
    prefix = _common_prefix([item.name for item, _ in measured])
    rows = "".join(_layer(item, value / top, prefix, item is worst) for item, value in measured)
    lead = (
        f"{len(measured)} quantised layers in the order of the graph; the bar is the relative "
        "error of the layer's output, the second number 1 &minus; cosine."
    )
    if prefix:
        lead += f" Names begin with <code>{escape(prefix)}</code>"
    called = (
        f'<p class="choice">Worst: <code>{escape(worst.name)}</code>, relative error '
        f"{_percent(error)}{_cosine_text(worst)}.</p>"
    )
    return section("Error by layer", lead, f'{called}<div class="layers">{rows}</div>')


def _layer(item: Layer, share: float, prefix: str, worst: bool) -> str:
    error = item.relative_error if item.relative_error is not None else math.nan
    cosine = "" if item.cosine is None else f"{1 - item.cosine:.1e}"
    share = share if math.isfinite(share) else 1.0
    label = f"{item.name}: relative error {_percent(error)}"
    return (
        f'<div class="layer{" worst" if worst else ""}" title="{escape(item.name)}">'
        f'<span class="name"><bdi>{escape(item.name.removeprefix(prefix))}</bdi></span>'
        f"{bar(share, label, marked=worst)}"
        f'<span class="number">{_percent(error)}</span>'
        f'<span class="number muted">{cosine}</span></div>'
    )


def _common_prefix(names: Sequence[str]) -> str:
    """The dotted path that all names share, with its last dot; the last part never belongs."""
    paths = [name.split(".")[:-1] for name in names]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0] + ".")
    return "".join(shared)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if math.isfinite(share) else "not finite"


def _cosine_text(layer: Layer) -> str:
    return "" if layer.cosine is None else f", cosine {layer.cosine:.5f}"
