"""The build report: one page for people, complete in itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from engines.charts import interval_chart, stacked_bar, whisker_bar
from engines.pictures import example_figure
from engines.report_data import EngineRow, Layer, ReportData
from engines.report_layers import layer_errors, sensitivity
from engines.report_parts import section
from runtime.drift.limits import metric_named
from runtime.drift.verdict import DriftReport, Measurement, required_images

_TEMPLATE = Path(__file__).with_name("report_template.html")
_PRECISIONS = ("int8", "fp16", "fp32")
_VERDICTS = {
    "pass": "Within every limit",
    "fail": "Outside a limit",
    "inconclusive": "Too few images to tell",
}


def write_report(path: str | Path, data: ReportData) -> None:
    """Writes report.html: no scripts, no requests, images and styles within.

    Every name, label and note is escaped: labels and file names come from outside.

    Args:
        path: of the file to write.
        data: what it shows.
    """
    sections = [
        _drift(data.drift),
        _latency(data.candidates, data.choice),
        sensitivity(data.layers, data.steps),
        layer_errors(data.layers),
        _examples(data),
        _precision_map(data.layers),
        _provenance(data.provenance),
    ]
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"{data.model} {data.precision} for {data.target}"),
        header=_header(data),
        sections="\n".join(section for section in sections if section),
    )
    Path(path).write_text(page, encoding="utf-8")


def _header(data: ReportData) -> str:
    verdict = data.drift.verdict
    facts = [
        ("Precision", data.precision),
        ("Target", data.target),
        ("Task", data.drift.task),
        ("Images measured", f"{data.drift.images:,}"),
        *((name, _bytes(size)) for name, size in data.sizes),
    ]
    listed = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return (
        f'<div class="title"><div><p class="kicker">Vitrine build report</p>'
        f"<h1>{escape(data.model)}</h1></div>"
        f'<p class="verdict {verdict}"><strong>{verdict}</strong>'
        f'<span>{_VERDICTS[verdict]}</span></p></div><dl class="facts">{listed}</dl>'
    )


def _drift(report: DriftReport) -> str:
    cards = "".join(_metric(item) for item in report.measurements)
    skipped = "".join(
        f'<p class="note unmeasured">{escape(metric_named(name).title)}: not measured, '
        "the images have no labels.</p>"
        for name in report.unmeasured
    )
    lead = (
        "The engine against the PyTorch model on the same images. The bar is the 95 % confidence "
        "interval; it must lie wholly within the shaded range that the limit allows."
    )
    return section("Drift", lead, f'<div class="metrics">{cards}</div>{skipped}')


def _metric(item: Measurement) -> str:
    metric = metric_named(item.name)
    chart = "" if math.isnan(item.value) else interval_chart(item, metric.bounds)
    value = "undefined" if math.isnan(item.value) else f"{item.value:.4f}"
    return (
        f'<article class="metric"><h3>{escape(metric.title)}</h3><code>{escape(item.name)}</code>'
        f'<p class="figure"><b>{value}</b> <span class="pill {item.verdict}">{item.verdict}</span>'
        f'</p>{chart}<p class="note">95 % interval {item.low:.4f} to {item.high:.4f}'
        f"{_advice(item)}</p></article>"
    )


def _advice(item: Measurement) -> str:
    if item.verdict != "inconclusive":
        return ""
    if math.isnan(item.value):
        return "; no image shows an object to compare"
    needed = required_images(item)
    if needed is None:
        return "; the value is the limit, no number of images settles it"
    return f"; {item.n:,} images leave it open, about {needed:,} would settle it"


def _latency(candidates: Sequence[EngineRow], choice: str) -> str:
    if not candidates:
        return ""
    # Room for the longest whisker; without any time there is nothing to scale by.
    top = 1.04 * max((max(item.times) for item in candidates if item.times), default=0.0) or 1.0
    rows = "".join(_candidate(item, top) for item in candidates)
    lead = "One image, median and 10th to 90th percentile. Faithful: the same outputs as the graph."
    reason = f'<p class="choice">{escape(choice)}</p>' if choice else ""
    return section("Latency of the candidates", lead, f'{reason}<div class="rows">{rows}</div>')


def _candidate(item: EngineRow, top: float) -> str:
    kept = '<span class="pill kept">kept</span>' if item.kept else ""
    state = (" kept" if item.kept else "") + ("" if item.faithful else " refused")
    faithful = {True: "yes", False: "no", None: "unknown"}[item.faithful]
    note = f'<p class="note">{escape(item.note)}</p>' if item.note else ""
    chart, number = "", '<span class="muted">not timed</span>'
    if item.times is not None:
        low, median, high = item.times
        chart = whisker_bar(median, low, high, top, kept=item.kept)
        number = f'<b>{median:.2f} ms</b> <span class="muted">{low:.2f} &ndash; {high:.2f}</span>'
    return (
        f'<div class="candidate{state}"><div class="name">{escape(item.name)} {kept}</div>'
        f'<div>{chart}</div><div class="number">{number}</div>'
        f'<div class="faithful {faithful}">faithful: {faithful}</div>{note}</div>'
    )


def _examples(data: ReportData) -> str:
    if not data.examples:
        return ""
    figures = "".join(example_figure(item, index) for index, item in enumerate(data.examples))
    lead = "The same frames through the PyTorch model and through the engine."
    return section("Examples", lead, f'<div class="examples">{figures}</div>')


def _precision_map(layers: Sequence[Layer]) -> str:
    if not layers:
        return ""
    counts = Counter(item.precision for item in layers)
    known = [(name, counts[name]) for name in _PRECISIONS if counts[name]]
    legend = "".join(
        f'<li><i class="{name}"></i>{name} <b>{count}</b></li>' for name, count in known
    )
    reasons = Counter(
        (item.precision, item.reason) for item in layers if item.precision != "int8" and item.reason
    )
    rows = "".join(
        f'<tr><td>{escape(precision)}</td><td class="number">{count}</td><td>{escape(reason)}</td>'
        f"<td>{_names([i.name for i in layers if (i.precision, i.reason) == key])}</td></tr>"
        for key, count in reasons.most_common()
        for precision, reason in [key]
    )
    table = (
        "<div class=scroll><table><thead><tr><th>Type</th><th>Layers</th><th>Why float</th>"
        f"<th>Which</th></tr></thead><tbody>{rows}</tbody></table></div>"
        if rows
        else ""
    )
    lead = f"{len(layers)} linear and convolution layers by the type that they compute in."
    return section(
        "Precision", lead, f'{stacked_bar(known)}<ul class="legend">{legend}</ul>{table}'
    )


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f"<code>{escape(name)}</code>" for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _provenance(rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><th>{escape(key)}</th><td><code>{escape(value)}</code></td></tr>"
        for key, value in rows
    )
    return section("Provenance", "", f'<table class="pairs"><tbody>{cells}</tbody></table>')


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"
