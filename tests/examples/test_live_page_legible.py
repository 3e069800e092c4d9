"""The live page is legible: times, contrast, on a phone, and by a screen reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.examples.browser import Browser
from tests.examples.live_page import wait_for_box, wait_for_text
from tests.examples.live_site import Site
from tests.examples.red_square import Camera


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
