"""Charts: marks stand where the numbers are, whatever the numbers are."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from engines.charts import bar, interval_chart, stacked_bar, whisker_bar
from runtime.drift.intervals import Interval
from runtime.drift.verdict import judge


def percent(element: ElementTree.Element, name: str) -> float:
    return float((element.get(name) or "").removesuffix("%"))


def marks(svg: str) -> dict[str, ElementTree.Element]:
    return {
        (mark.get("class") or mark.tag).split()[0]: mark for mark in ElementTree.fromstring(svg)
    }


@pytest.mark.parametrize(
    ("name", "limit"), [("top1_agreement", 0.9), ("ap50_drop", 0.02), ("ap50_drop", None)]
)
@pytest.mark.parametrize(
    "interval", [(0.93, 0.97), (0.5, 0.5), (0.0, 1.0), (1.0, 1.0)], ids=lambda row: str(row)
)
def test_an_interval_is_inside_and_in_order(
    name: str, limit: float | None, interval: tuple[float, float]
) -> None:
    value = sum(interval) / 2
    found = marks(interval_chart(judge(name, value, Interval(*interval), limit, 50), (-1.0, 1.0)))
    left = percent(found["interval"], "x")
    right = left + percent(found["interval"], "width")
    # Two decimals are written, and a bar without width is drawn 0.4 % wide.
    assert 0 <= left <= percent(found["value"], "cx") + 0.01 <= right + 0.02 <= 100.02
    if limit is not None:
        position = percent(found["limit"], "x1")
        assert (position < left) == (limit < interval[0])


@pytest.mark.parametrize(("name", "from_left"), [("top1_agreement", False), ("ap50_drop", True)])
def test_the_allowed_side_is_shaded(name: str, from_left: bool) -> None:
    found = marks(interval_chart(judge(name, 0.5, Interval(0.4, 0.6), 0.5, 50), (0.0, 1.0)))
    assert (percent(found["allowed"], "x") == 0) == from_left


def test_bars_are_cut_at_the_edges_of_the_chart() -> None:
    widths = [percent(marks(bar(share, ""))["bar"], "width") for share in (-0.1, 0.25, 1.5)]
    assert widths == [0, 25, 100]


def test_a_whisker_spans_its_percentiles() -> None:
    parts = ElementTree.fromstring(whisker_bar(5.0, 4.0, 8.0, 10.0, kept=True))
    line = parts.find("line")
    assert line is not None
    assert (percent(line, "x1"), percent(line, "x2")) == (40, 80)


def test_stacked_parts_fill_the_width() -> None:
    parts = ElementTree.fromstring(stacked_bar([("int8", 3), ("fp16", 1)])).findall("rect")
    assert [(percent(part, "x"), percent(part, "width")) for part in parts] == [(0, 75), (75, 25)]
