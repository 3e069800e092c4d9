"""The page: what it says, that it is safe and complete in itself, and how a browser reads it."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.pictures import data_uri
from engines.report import write_report
from engines.report_data import ReportData
from runtime.drift.intervals import Interval
from runtime.drift.verdict import DriftReport, judge

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would take them apart."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def rendered(folder: Path, data: ReportData) -> str:
    write_report(folder / "report.html", data)
    return (folder / "report.html").read_text(encoding="utf-8")


def check_contents(text: str) -> None:
    for expected in (
        "vit_tiny_patch16_224",
        "inconclusive",
        "Too few images to tell",
        "22.9 MB",
        "top1_agreement",
        "0.9817",
        "limit ≥ 0.98",
        "limit ≤ 0.02",
        "would settle it",
        "OpenVINO int8",
        "7.42 ms",
        "faithful: no",
        "not timed",
        "tensorrt is not installed",
        "Kept OpenVINO int8: the fastest",
        "encoder.layer.7.output.dense",
        "Worst:",
        "error above the budget",
        "great white",
        "weights sha256",
    ):
        assert expected in text, expected


def test_the_page_says_everything(tmp_path: Path, classifier: ReportData) -> None:
    page = Page(rendered(tmp_path, classifier))
    assert page.open == []
    check_contents(page.text)
    # One row for each measured layer: the patches and twelve blocks of six, less one kept float.
    rows = [value for name, value in page.attributes if (name, value[:5]) == ("class", "layer")]
    assert sum(value in ("layer", "layer worst") for value in rows) == 72


def test_sensitivities_tell_int8_from_returned_layers(tmp_path: Path, searched: ReportData) -> None:
    page = Page(rendered(tmp_path, searched))
    assert page.open == []
    kinds = [value for name, value in page.attributes if name == "class"]
    # 71 of the linears are int8; one block's output and the head returned to float.
    assert kinds.count("layer effect") == 71 and kinds.count("layer effect returned") == 2
    # Told apart by shape and by a word, not by colour alone.
    assert kinds.count("bar hollow") == 2
    assert "2 layers that the search returned to float" in page.text
    assert "top1_agreement 0.991, bound 0.983" in page.text
    assert "Error by layer" not in page.text


def test_bars_of_sensitivities_are_logarithmic(tmp_path: Path, searched: ReportData) -> None:
    effects = (1e-2, 1e-4, 1e-7, 0.0, math.inf)
    few = tuple(
        dataclasses.replace(layer, effect=effect)
        for layer, effect in zip(searched.layers, effects, strict=False)
    )
    text = rendered(tmp_path, dataclasses.replace(searched, layers=few))
    section = text[text.index("Sensitivity by layer") : text.index("Limits hold")]
    widths = [float(w) for w in re.findall(r'<rect class="bar[^>]* width="([0-9.]+)%"', section)]
    # Two decades of four below the largest are half the width, five are cut off.
    assert widths == [100, 50, 0, 0, 100]
    assert "not finite" in section


@pytest.mark.parametrize("kind", ["classifier", "detector", "hostile", "searched"])
def test_the_page_asks_for_nothing(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    text = rendered(tmp_path, request.getfixturevalue(kind))
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "xlink:href"):
            assert value.startswith(("data:image/jpeg;base64,", "#")), value
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text


def test_names_from_outside_are_text(tmp_path: Path, hostile: ReportData) -> None:
    page = Page(rendered(tmp_path, hostile))
    assert page.open == []
    # Model, precision, target, size, four layer and candidate names, labels, files, provenance.
    assert page.text.count("<script>alert(1)</script>") >= 15


def test_a_template_sign_in_a_name_is_kept(tmp_path: Path, classifier: ReportData) -> None:
    named = dataclasses.replace(classifier, model="$title ${sections} $$")
    assert "$title ${sections} $$" in rendered(tmp_path, named)


def test_detections_are_drawn_on_both_pictures(tmp_path: Path, detector: ReportData) -> None:
    text = rendered(tmp_path, detector)
    page = Page(text)
    assert text.count('class="frame"') == 3
    # The picture is in the page once; the second panel points to it.
    assert text.count("data:image/jpeg") == 1
    assert ("href", "#picture-0") in page.attributes
    # 160 pixels are drawn 480 units wide.
    assert '<rect class="frame" x="30.0" y="60.0" width="180.0" height="210.0"/>' in text
    assert "cat 0.98" in page.text and "2 objects" in page.text and "1 object" in page.text


def test_empty_parts_are_left_out(tmp_path: Path, detector: ReportData) -> None:
    page = Page(rendered(tmp_path, dataclasses.replace(detector, examples=())))
    for title in (
        "Latency",
        "Error by layer",
        "Sensitivity",
        "Examples",
        "Precision map",
        "Provenance",
    ):
        assert title not in page.text
    assert "not measured, the images have no labels" in page.text


def test_numbers_that_are_not_finite_are_named(tmp_path: Path, classifier: ReportData) -> None:
    undefined = judge("ap50_vs_reference", math.nan, Interval(0.0, 1.0), 0.9, 30)
    broken = dataclasses.replace(classifier.layers[0], relative_error=math.nan, cosine=None)
    data = dataclasses.replace(
        classifier,
        drift=DriftReport("detection", (undefined,), 30, 1.0),
        layers=(broken, *classifier.layers[1:]),
    )
    page = Page(rendered(tmp_path, data))
    assert "undefined" in page.text and "no image shows an object" in page.text
    assert f"Worst: {broken.name}, relative error not finite" in page.text
    assert not any("nan" in value for name, value in page.attributes if name in ("x", "width"))


def test_pictures_are_small_jpegs_of_the_image() -> None:
    image = np.zeros((300, 960, 3), np.uint8)
    image[..., 0] = 200
    payload = data_uri(image).removeprefix("data:image/jpeg;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(payload)))
    assert (picture.format, picture.size) == ("JPEG", (480, 150))
    # JPEG of a flat colour: its chroma rounds by a few levels.
    assert np.abs(np.asarray(picture).astype(int) - [200, 0, 0]).max() <= 4


def chromium(folder: Path, *arguments: str) -> str:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(
        [*command, (folder / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return done.stdout


@needs_chromium
def test_a_browser_shows_the_page(tmp_path: Path, classifier: ReportData) -> None:
    rendered(tmp_path, classifier)
    picture = tmp_path / "page.png"
    chromium(tmp_path, f"--screenshot={picture}", "--window-size=1200,2400")
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape == (2400, 1200, 3)
    # The page, the cards, the bars and the verdict at least: a blank page has one colour.
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


@needs_chromium
def test_a_browser_reads_the_text_and_runs_no_script(tmp_path: Path, hostile: ReportData) -> None:
    rendered(tmp_path, hostile)
    document = chromium(tmp_path, "--dump-dom")
    assert "<script" not in document
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in document
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*https?:""", document)


@needs_chromium
def test_a_browser_finds_the_same_contents(tmp_path: Path, classifier: ReportData) -> None:
    rendered(tmp_path, classifier)
    check_contents(Page(chromium(tmp_path, "--dump-dom")).text)
