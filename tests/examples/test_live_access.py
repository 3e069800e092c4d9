"""Who may use the live page's server, spoken to without a browser's good manners."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import shutil
import socket
import struct
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import numpy as np
import pytest
from drawing import COLOURS
from live_access import Access, is_local

from tests.examples.live_site import Site, parts, pictures
from tests.examples.red_square import WIDTH, Camera

TOKEN = "a secret of twenty-six chars"


@pytest.fixture(scope="module")
def open_site(bundle: Path) -> Iterator[Site]:
    """Without a token."""
    with Site(bundle, {"gate": Camera()}) as site:
        yield site


@pytest.fixture(scope="module")
def site(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With `TOKEN`."""
    copy = tmp_path_factory.mktemp("own") / bundle.name
    shutil.copytree(bundle, copy)
    with Site(copy, {"gate": Camera()}, token=TOKEN) as site:
        yield site


def ask(
    site: Site, path: str = "/", method: str = "GET", body: str = "", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers by lower-case name, and text; `Host` is free to choose."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=40)
    try:
        if body:
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("[::1]:{port}", 200),
        ("cameras.example:{port}", 403),
        ("127.0.0.1.cameras.example", 403),
        ("192.168.1.4:{port}", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_a_foreign_name_for_this_computer_is_refused(
    open_site: Site, host: str, status: int
) -> None:
    assert ask(open_site, Host=host.format(port=open_site.port))[0] == status


@pytest.mark.parametrize("path", ["/", "/watch", "/stream/gate", "/reload"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_the_page_of_another_site_is_refused(open_site: Site, path: str, origin: str) -> None:
    assert ask(open_site, path, Origin=origin)[0] == 403


def test_its_own_page_is_answered_with_strict_headers(open_site: Site) -> None:
    status, headers, text = ask(open_site, Origin=open_site.address)
    assert status == 200 and "<title>Vitrine</title>" in text
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["server"] == "Vitrine"  # and not of which version anything is
    assert re.findall(r"""(?:src|href)=["']?([^"' >]+)""", text) == ["data:,"]  # all is inline


def test_without_a_token_nobody_reloads(open_site: Site) -> None:
    status, _, text = ask(open_site, "/reload", "POST")
    assert status == 403 and "VITRINE_TOKEN" in text


@pytest.mark.parametrize("path", ["/", "/watch", "/stream/gate", "/metrics", "/nowhere"])
@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ü" * 20])
def test_without_the_right_token_there_is_nothing(site: Site, path: str, given: str) -> None:
    query = "?" + urlencode({"token": given})
    assert ask(site, path + query)[0] == 401
    bearer = {"Authorization": f"Bearer {given}".encode().decode("latin-1")}
    status, headers, text = ask(site, path, **bearer)
    assert status == 401 and "gate" not in text
    assert headers["x-content-type-options"] == "nosniff"
    assert ask(site, path, Cookie=f"vitrine={given.encode().decode('latin-1')}")[0] == 401


def test_the_token_opens_in_a_header_and_in_an_address(site: Site) -> None:
    assert ask(site, Authorization=f"Bearer {TOKEN}")[0] == 200
    query = urlencode({"token": TOKEN})
    assert next(pictures(f"{site.address}/stream/gate?{query}")).size == (480, 360)


@pytest.mark.parametrize("way", ["address", "form"])
def test_a_browser_gets_a_cookie_that_does_not_tell_the_token(site: Site, way: str) -> None:
    form = urlencode({"token": TOKEN})
    if way == "address":
        status, headers, _ = ask(site, f"/?{form}")
    else:
        status, headers, _ = ask(site, "/sign-in", "POST", form, Origin=site.address)
    assert (status, headers["location"]) == (303, "/")  # the token leaves the address bar
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(attributes)
    assert TOKEN not in cookie
    assert ask(site, Cookie=cookie)[0] == 200


def test_signing_in_with_a_wrong_token_asks_again(site: Site) -> None:
    form = urlencode({"token": "wrong"})
    status, headers, text = ask(site, "/sign-in", "POST", form, Origin=site.address)
    assert status == 401 and "set-cookie" not in headers
    assert "not its token" in text and 'type="password"' in text
    assert ask(site, "/sign-in", "POST", urlencode({"token": TOKEN}), Origin="null")[0] == 403


def test_with_the_token_a_bundle_is_reloaded_or_refused(site: Site) -> None:
    def reload() -> tuple[int, str]:
        status, _, text = ask(site, "/reload", "POST", Authorization=f"Bearer {TOKEN}")
        return status, text

    assert reload()[0] == 200
    model = site.engine.manifest  # of the bundle that stays in use
    folder = site.bundle
    whole = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text("{")
    try:
        status, text = reload()
        assert status == 409 and "manifest.json" in text
        assert site.engine.manifest == model
    finally:
        (folder / "manifest.json").write_text(whole)
    assert reload()[0] == 200


def test_an_unknown_source_is_not_found(open_site: Site) -> None:
    assert ask(open_site, "/stream/yard")[0] == 404


def test_others_need_a_token_that_cannot_be_guessed() -> None:
    with pytest.raises(ValueError, match="VITRINE_TOKEN"):
        Access("0.0.0.0", None)
    with pytest.raises(ValueError, match="16 or more"):
        Access("127.0.0.1", "short")
    Access("0.0.0.0", TOKEN)
    Access("::1", None)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.7", False), ("box.local", False), ("", False)],
)  # fmt: skip
def test_only_loopback_is_local(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_a_browser_gets_a_picture_when_it_asks_and_no_other(open_site: Site) -> None:
    async def watch() -> list[Any]:
        heard: list[Any] = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{open_site.address}/watch") as page,
        ):
            asked = 0
            while heard.count("report") < 4:  # a report comes each second, a frame 25 times
                message = await page.receive(timeout=40)
                if message.type is aiohttp.WSMsgType.TEXT:
                    heard.append("report")
                    names = [source["name"] for source in json.loads(message.data)["sources"]]
                    assert names == ["gate"]
                    if asked < 2:
                        asked += 1
                        await page.send_str("0")
                        await page.send_str("77")  # no such source
                else:
                    index, length = struct.unpack_from(">HI", message.data)
                    caption, picture = message.data[6 : 6 + length], message.data[6 + length :]
                    heard.append((index, caption.decode(), picture[:2]))
        return heard

    heard = asyncio.run(watch())
    assert [what for what in heard if what != "report"] == [(0, "square", b"\xff\xd8")] * 2


def test_a_reader_that_does_not_read_slows_nobody_and_misses_pictures(bundle: Path) -> None:
    camera = Camera(10, 60)
    with Site(bundle, {"gate": camera}) as site, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(40)
        slow.connect(("127.0.0.1", site.port))
        slow.sendall(b"GET /stream/gate HTTP/1.0\r\nHost: localhost\r\n\r\n")
        stream = pictures(f"{site.address}/stream/gate")
        for _ in range(40):  # of 20 kB each: far more than is kept for a slow reader
            next(stream)
        camera.place = (90, 60)
        while left_of_box(next(stream)) < 80:
            pass
        late = slow.makefile("rb")
        while late.readline() != b"\r\n":
            pass  # the answer's headers
        old = sum(1 for _ in takewhile(lambda picture: left_of_box(picture) < 80, parts(late)))
        assert 0 < old < 20


def left_of_box(picture: Any) -> float:
    """In pixels of the frame."""
    there = (abs(np.asarray(picture).astype(int) - COLOURS[0]) < 30).all(axis=2)
    return float(np.nonzero(there)[1].min()) * WIDTH / picture.width
