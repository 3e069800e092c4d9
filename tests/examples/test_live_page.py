"""The live page as a person sees it, in Chromium."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime import EngineError
from tests.examples.browser import Browser
from tests.examples.live_page import BOX, part, wait_for_box, wait_for_text
from tests.examples.live_site import Site, pictures
from tests.examples.red_square import HEIGHT, WIDTH, Camera


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
        assert browser.wait(BOX, 0, WIDTH, HEIGHT)[2] < 0  # no right edge
