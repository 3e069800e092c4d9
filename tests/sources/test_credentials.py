"""No way of writing a password into an address survives masking."""

from __future__ import annotations

import pytest

from runtime.sources.credentials import masked

CASES = {
    "user and password": (
        "rtsp://admin:hunter2@10.0.0.7:554/live",
        "rtsp://***@10.0.0.7:554/live",
    ),
    "user only": ("rtsp://hunter2@cam/live", "rtsp://***@cam/live"),
    "an @ in it": ("rtsp://admin:hunter2@hunter2@cam/live", "rtsp://***@cam/live"),
    "a slash in it": ("rtsp://admin:hunter2/hunter2@cam/live", "rtsp://***@cam/live"),
    "a colon and a question mark": ("http://a:hunter2:?#hunter2@cam/", "http://***@cam/"),
    "percent signs": ("rtsp://admin:hunter2%40@cam/live", "rtsp://***@cam/live"),
    "capitals": ("RTSP://admin:hunter2@cam/live", "RTSP://***@cam/live"),
    "a slash forgotten": ("rtsp:/admin:hunter2@cam/live", "***@cam/live"),
    "the scheme forgotten": ("open admin:hunter2@cam/live", "open ***@cam/live"),
    "a port too": (
        "rtsp://cam:554/a and rtsp://x:hunter2@b:554/c",
        "rtsp://cam:554/a and rtsp://***@b:554/c",
    ),
    "two addresses": (
        "rtsp://a:hunter2@one/x, then rtsp://b:hunter2@two/y",
        "rtsp://***@one/x, then rtsp://***@two/y",
    ),
    "in the query": (
        "http://cam/video.cgi?user=admin&pwd=hunter2&channel=1",
        "http://cam/video.cgi?user=***&pwd=***&channel=1",
    ),
    "in the path": (
        "rtsp://cam/user=admin&password=hunter2&channel=1.sdp",
        "rtsp://cam/user=***&password=***&channel=1.sdp",
    ),
    "a token": (
        "https://cam/live.m3u8?access_token=hunter2",
        "https://cam/live.m3u8?access_token=***",
    ),
    "GStreamer's property": (
        'rtspsrc location=rtsp://cam/x user-id=me user-pw="hunter2 hunter2" ! appsink',
        "rtspsrc location=rtsp://cam/x user-id=*** user-pw=*** ! appsink",
    ),
    "GStreamer's location": (
        'rtspsrc location="rtsp://me:hunter2@cam/x" latency=0 ! appsink',
        'rtspsrc location="rtsp://***@cam/x" latency=0 ! appsink',
    ),
}


@pytest.mark.parametrize(("text", "shown"), CASES.values(), ids=CASES)
def test_a_secret_is_masked_and_the_rest_is_kept(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert "hunter2" not in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7:554/live?channel=1",
        "clip.mp4",
        "/srv/someone@example/clip.mp4",
        "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1920 ! appsink",
        "bypass=1 spawn=2 superuser=3",
    ],
)
def test_text_without_a_secret_stays(text: str) -> None:
    assert masked(text) == text
