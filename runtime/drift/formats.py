"""A drift report for other programs: JUnit XML, GitHub's job summary, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from xml.etree import ElementTree

from runtime.drift.limits import metric_named
from runtime.drift.verdict import DriftReport, Measurement, required_images

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKS = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "⚠️ inconclusive", "info": "info"}


def to_junit(
    report: DriftReport, *, name: str = "drift", properties: Mapping[str, str] | None = None
) -> str:
    """JUnit XML with a test case for each metric.

    A failed and an inconclusive metric are both failures: neither may ship. A metric whose limit
    could not be tried, for want of labels, is skipped.

    Args:
        report: what was measured.
        name: of the test suite, and the class of its cases.
        properties: model, precision, target and the like, for the suite.
    """
    failed = [item for item in report.measurements if item.verdict in ("fail", "inconclusive")]
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(name),
        tests=str(len(report.measurements) + len(report.unmeasured)),
        failures=str(len(failed)),
        errors="0",
        skipped=str(len(report.unmeasured)),
        time=f"{report.seconds:.3f}",
    )
    listed = ElementTree.SubElement(suite, "properties")
    given = dict(properties or {}) | {
        "task": report.task,
        "images": str(report.images),
        "verdict": report.verdict,
    }
    for key, value in given.items():
        ElementTree.SubElement(listed, "property", name=_clean(key), value=_clean(value))
    for item in report.measurements:
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(name), name=item.name)
        if item in failed:
            message = explain(item)
            failure = ElementTree.SubElement(case, "failure", type=item.verdict, message=message)
            failure.text = message
        else:
            ElementTree.SubElement(case, "system-out").text = explain(item)
    for key in report.unmeasured:
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(name), name=key)
        ElementTree.SubElement(case, "skipped", message="the images have no labels")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def to_markdown(report: DriftReport, *, title: str = "Drift") -> str:
    """A heading with the verdict and a table of the metrics, for GitHub's job summary."""
    lines = [
        f"### {_cell(title)}: {_MARKS[report.verdict]}",
        "",
        "| Metric | Value | 95 % interval | Limit | Verdict |",
        "|---|---:|---:|---:|---|",
    ]
    for item in report.measurements:
        limit = "none" if item.limit is None else f"{'≥' if item.at_least else '≤'} {item.limit:g}"
        interval = f"{item.low:.4f} … {item.high:.4f}"
        lines.append(
            f"| {metric_named(item.name).title} (`{item.name}`) | {_number(item.value)} "
            f"| {interval} | {limit} | {_MARKS[item.verdict]} |"
        )
    lines += ["", f"{report.images} images, {report.seconds:.1f} s."]
    lines += [
        f"- {explain(item)}"
        for item in report.measurements
        if item.verdict in ("fail", "inconclusive")
    ]
    lines += [f"- {key}: not measured, the images have no labels" for key in report.unmeasured]
    return "\n".join(lines) + "\n"


def to_json(report: DriftReport) -> str:
    """The report as strict JSON text (an undefined value is null)."""
    return json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"


def explain(measurement: Measurement) -> str:
    """One line for people: what was found, the limit, the interval, and what would settle it."""
    found = (
        f"{measurement.name}: found {_number(measurement.value)} (95 % interval "
        f"{measurement.low:.4f} to {measurement.high:.4f}, {measurement.n} images)"
    )
    if measurement.limit is None:
        return found + ", no limit"
    bound = "at least" if measurement.at_least else "at most"
    found += f", expected {bound} {measurement.limit:g}"
    if measurement.verdict != "inconclusive":
        return found
    if math.isnan(measurement.value):
        return found + "; inconclusive: no image shows an object to compare"
    needed = required_images(measurement)
    if needed is None:
        return found + "; inconclusive: the value is the limit, and no number of images settles it"
    return found + f"; inconclusive: about {needed} images would settle it"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)


def _cell(text: str) -> str:
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(text.split()))
