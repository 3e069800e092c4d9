"""The live page as a person sees it, in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from tests.examples.browser import Browser
from tests.examples.live_site import Site, pictures
from tests.examples.red_square import HEIGHT, SIDE, WIDTH, Camera

# The bounds of what has the colour of a box in a picture, in pixels of its frame.
_BOX = """
const image = document.querySelectorAll("img")[arguments[0]];
if (!image?.naturalWidth) return null;
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
const context = canvas.getContext("2d");
context.drawImage(image, 0, 0);
const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
for (let i = 0; i < data.length; i += 4) {
  const [red, green, blue] = data.slice(i, i + 3);
  if (Math.abs(red - 230) < 30 && Math.abs(green - 159) < 30 && blue < 60) {
    const x = (i / 4) % canvas.width, y = Math.floor(i / 4 / canvas.width);
    [left, top] = [Math.min(left, x), Math.min(top, y)];
    [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
  }
}
const [x, y] = [arguments[1] / canvas.width, arguments[2] / canvas.height];
return [left * x, top * y, right * x, bottom * y];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def wait_for_box(browser: Browser, card: int, camera: Camera) -> None:
    """Until the box in a card's picture is where the camera shows the square.

    A cell of the detector is 2.5 pixels and JPEG blurs by one; the label that stands on the box
    adds up to 12 at its top.
    """
    left, top = camera.place
    sides = np.array([left, top, left + SIDE, top + SIDE])

    def there(box: list[float] | None) -> bool:
        if box is None:
            return False
        off = np.array(box) - sides
        return bool(-15.5 <= off[1] <= 3.5 and (abs(off[[0, 2, 3]]) <= 3.5).all())

    browser.wait(_BOX, card, WIDTH, HEIGHT, until=there)


def part(browser: Browser, query: str) -> str:
    """The text of an element."""
    return str(browser.run("return document.querySelector(arguments[0]).textContent", query))


def wait_for_text(browser: Browser, query: str, text: str) -> None:
    browser.wait(
        "return document.querySelector(arguments[0]).textContent.includes(arguments[1])",
        query,
        text,
    )


def test_pictures_move_and_have_boxes_at_the_objects(browser: Browser, bundle: Path) -> None:
    gate, yard = Camera(20, 30), Camera(100, 60)
    with Site(bundle, {"gate": gate, "yard": yard}) as site:
        browser.open(site.address)
        wait_for_box(browser, 0, gate)
        wait_for_box(browser, 1, yard)
        for place in ((110, 15), (5, 75)):
            gate.place = place
            wait_for_box(browser, 0, gate)
        wait_for_box(browser, 1, yard)


def test_numbers_move_and_the_verdict_is_there(browser: Browser, bundle: Path) -> None:
    with Site(bundle, {"gate": Camera()}) as site:
        browser.open(site.address)
        # The camera sends 25 frames a second; a busy machine may show fewer of them.
        browser.wait("return parseFloat(document.querySelector('.rate')?.textContent) > 2")
        earlier = part(browser, ".latency")
        assert all(float(number) > 0 for number in earlier.removesuffix(" ms").split(", "))
        browser.wait(
            "return document.querySelector('.latency').textContent !== arguments[0]", earlier
        )
        assert part(browser, ".found") == "square"
        assert part(browser, ".dropped").isdecimal() and part(browser, ".corrupt") == "0"
        assert "red_square in fp32 on onnxruntime" in part(browser, "#engine")
        assert "1 of 1 live" in part(browser, "#engine")
        assert "✓ Verified" in part(browser, "#verdict") and "1.00000" in part(browser, "#verdict")


def test_a_caption_is_of_its_picture(browser: Browser, bundle: Path) -> None:
    gate = Camera()
    with Site(bundle, {"gate": gate}) as site:
        browser.open(site.address)
        wait_for_text(browser, "body", "1 of 1 live")
        browser.run("report = () => {}")  # the words come with pictures alone
        for place, caption in (((WIDTH, 30), "nothing found"), ((20, 30), "square")):
            gate.place = place
            wait_for_text(browser, ".found", caption)
            alt = browser.run("return document.querySelector('img').alt")
            assert alt == f"gate: {caption}"


@pytest.mark.parametrize("locale", ["en-US", "de-DE", "es-MX"])
def test_times_stay_on_a_line_and_in_their_column(
    browser: Browser, bundle: Path, locale: str
) -> None:
    try:
        browser.command("Emulation.setLocaleOverride", locale=locale)
        with Site(bundle, {"gate": Camera()}) as site:
            browser.open(site.address)
            wait_for_text(browser, "#log", "gate is connected")
            # A late hour, which is the widest.
            used, wide, lines = browser.run(
                "const time = document.querySelector('#log time');"
                "time.textContent = clock(new Date(2026, 10, 21, 22, 48, 58) / 1000);"
                "const range = document.createRange();"
                "range.selectNodeContents(time);"
                "return [range.getBoundingClientRect().width, time.clientWidth,"
                " range.getClientRects().length]"
            )
            assert lines == 1 and 0 < used <= wide
    finally:
        browser.command("Emulation.setLocaleOverride")


def test_it_says_when_a_camera_is_lost_and_when_it_is_back(browser: Browser, bundle: Path) -> None:
    gate, yard = Camera(20, 30), Camera(100, 60)
    with Site(bundle, {"gate": gate, "yard": yard}) as site:
        browser.open(site.address)
        wait_for_box(browser, 0, gate)
        gate.cut()
        wait_for_text(browser, "#alerts", "gate is lost since")
        assert "the cable is out" in part(browser, "#alerts")
        assert part(browser, "#source-0 .state") == "✕ Lost"
        assert "gate is lost" in part(browser, "#source-0 .veil")
        assert "gate is lost: the cable is out" in part(browser, "#said")  # to a screen reader
        assert browser.run("return document.title") == "1 lost · Vitrine"
        yard.place = (10, 10)
        wait_for_box(browser, 1, yard)  # the other one goes on

        gate.place = (60, 70)
        gate.repair()
        wait_for_text(browser, "#said", "gate is back")
        browser.wait("return document.querySelector('#alerts').textContent === ''")
        browser.wait("return document.querySelector('#source-0 .state').textContent === '● Live'")
        wait_for_box(browser, 0, gate)
        assert browser.run("return document.title") == "Vitrine"
        assert "gate is lost" in part(browser, "#log") and "gate is back" in part(browser, "#log")


def test_more_cameras_than_a_browser_opens_connections(browser: Browser, bundle: Path) -> None:
    cameras = {f"camera {n}": Camera(10 * n, 60) for n in range(9)}
    with Site(bundle, cameras) as site:
        browser.open(site.address)
        for index, camera in enumerate(cameras.values()):
            browser.wait(
                "const card = document.getElementById(`source-${arguments[0]}`);"
                "card?.scrollIntoView(); return card !== null",
                index,
            )
            wait_for_box(browser, index, camera)


def test_names_are_shown_as_they_are(browser: Browser, bundle: Path) -> None:
    name = "<img src=x onerror=alert(1)>/50% gate?"
    camera = Camera()
    with Site(bundle, {name: camera}) as site:
        browser.open(site.address)
        wait_for_box(browser, 0, camera)
        assert part(browser, "h2") == name
        link = browser.run("return document.querySelector('a.picture').href")
        assert next(pictures(link)).size == (480, 360)  # the camera alone


def test_failed_probes_are_said(
    browser: Browser, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Site(bundle, {"gate": Camera()}) as site:
        browser.open(site.address)
        wait_for_text(browser, "#verdict", "✓ Verified")
        # As if the device had begun to compute something else.
        right = site.engine.session.run
        monkeypatch.setattr(
            site.engine.session, "run", lambda inputs: {k: -v for k, v in right(inputs).items()}
        )
        with pytest.raises(EngineError):
            site.engine.verify()
        wait_for_text(browser, "#verdict", "✕ Golden probes failed")
        wait_for_text(browser, "#alerts", "No frame is looked at any more: golden probe")


def test_it_says_when_the_server_is_gone_and_takes_up_with_the_next(
    browser: Browser, bundle: Path
) -> None:
    with Site(bundle, {"gate": Camera()}) as site:
        browser.open(site.address)
        browser.wait("return document.querySelector('.card') !== null")
        site.stop_serving()
        wait_for_text(browser, "#alerts", "no answer from Vitrine since")
    yard = Camera()
    with Site(bundle, {"yard": yard}, port=site.port):
        browser.wait("return document.querySelector('h2').textContent === 'yard'")
        wait_for_box(browser, 0, yard)
        assert part(browser, "#alerts") == ""


# The least contrast of the texts that are shown, as WCAG 2.1 computes it (1.4.3).
_CONTRAST = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[0-9.]+/g).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  const {backgroundColor} = getComputedStyle(element);
  return backgroundColor.startsWith("rgba") ? ground(element.parentElement) : backgroundColor;
};
return Math.min(...[...document.querySelectorAll("body *")]
  .filter(({childNodes}) => [...childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .filter((element) => element.offsetParent && !element.matches("noscript"))
  .map((element) => {
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_on_a_phone_and_named_for_screen_readers(
    browser: Browser, bundle: Path, scheme: str
) -> None:
    gate, lost = Camera(), Camera()
    lost.cut()
    scheme_is = {"name": "prefers-color-scheme", "value": scheme}
    long_name = "a camera with a long name at the north gate of the upper yard"
    try:
        browser.command("Emulation.setEmulatedMedia", features=[scheme_is])
        browser.command(
            "Emulation.setDeviceMetricsOverride",
            width=360, height=740, deviceScaleFactor=2, mobile=True,
        )  # fmt: skip
        with Site(bundle, {long_name: gate, "lost": lost}) as site:
            browser.open(site.address)
            wait_for_box(browser, 0, gate)
            wait_for_text(browser, "#alerts", "lost is lost since")
            assert browser.run("return document.documentElement.scrollWidth") <= 360
            assert browser.run(_CONTRAST) >= 4.5
            named = accessible(browser)
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")
        browser.command("Emulation.setEmulatedMedia", features=[])
    assert (f"{long_name}: square") in named["image"]
    assert all(named["image"]) and all(named["link"])
    assert named["heading"][0] == "Vitrine" and long_name in named["heading"]
    assert "status" in named and "main" in named


def accessible(browser: Browser) -> dict[str, list[Any]]:
    """Names by role of what Chromium tells a screen reader."""
    browser.command("Accessibility.enable")
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    found: dict[str, list[Any]] = {}
    for node in nodes:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            found.setdefault(node["role"]["value"], []).append(name)
    return found


def test_the_page_runs_no_script_but_its_own(browser: Browser, bundle: Path) -> None:
    with Site(bundle, {"gate": Camera()}) as site:
        browser.open(site.address)
        inject = (
            "const script = document.createElement('script');"
            "script.textContent = 'window.foreign = true';"
            "document.head.append(script); return window.foreign ?? false"
        )
        assert browser.run(inject) is False


def test_a_box_is_not_seen_where_there_is_none(browser: Browser, bundle: Path) -> None:
    # What the other tests rely on: the colour of a box is nowhere else in a picture.
    empty = np.full((HEIGHT, WIDTH, 3), 75, np.uint8)
    with Site(bundle, {"gate": [empty]}) as site:
        browser.open(site.address)
        assert browser.wait(_BOX, 0, WIDTH, HEIGHT)[2] < 0  # no right edge
