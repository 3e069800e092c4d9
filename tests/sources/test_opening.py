"""What `open_source` makes of files, addresses, cameras, iterables and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.errors import EngineError
from runtime.sources import Item, Source, open_source
from tests.sources.listening import Heard, read_all, reading

pytest.importorskip("cv2", reason="needs opencv-python-headless")


def image(path: Path, value: int, size: tuple[int, int] = (6, 4)) -> Path:
    Image.new("RGB", size, (value, 0, 0)).save(path)
    return path


def values(items: Any) -> list[int | str]:
    """The red of each frame's first pixel, or the type of an error."""
    return [
        type(item).__name__ if isinstance(item, EngineError) else int(item[0, 0, 0])
        for item in items
    ]


ADDRESSES = {
    "rtsp": ("rtsp://me:hunter2@cam/live", "rtsp://***@cam/live", True),
    "http camera": ("http://cam/video.cgi?pwd=hunter2", "http://cam/video.cgi?pwd=***", True),
    "capitals": ("RTSP://cam/live", "RTSP://cam/live", True),
    "playlist": ("https://cam/live.m3u8", "https://cam/live.m3u8", True),
    "http file": ("https://host/clip.MP4?x=1", "https://host/clip.MP4?x=1", False),
    "address of a file": ("file:///srv/clip.mkv", "file:///srv/clip.mkv", False),
    "index": (0, "camera 0", True),
    "index as text": ("2", "camera 2", True),
    "device": ("/dev/video3", "/dev/video3", True),
    "device by name": (Path("/dev/v4l/by-id/usb-cam"), "/dev/v4l/by-id/usb-cam", True),
}


@pytest.mark.parametrize(("what", "name", "live"), ADDRESSES.values(), ids=ADDRESSES)
def test_cameras_and_addresses(what: Any, name: str, live: bool) -> None:
    source = open_source(what)
    assert (source.name, source.live, source.reconnect, source.pixels) == (name, live, live, "BGR")
    assert "hunter2" not in repr(source)


def test_the_name_and_whether_it_is_live_are_the_applications_to_say() -> None:
    source = open_source("rtsp://cam/live", name="door", live=False)
    assert (source.name, source.live, source.reconnect) == ("door", False, True)
    again = open_source(source, name="gate")
    assert (again.name, again.live, again.connect) == ("gate", False, source.connect)
    assert open_source(source) == source


def test_an_iterable_is_read_once_in_order() -> None:
    frames = [np.full((4, 6, 3), value, np.uint8) for value in range(3)]
    source = open_source(frames)
    assert (source.name, source.live, source.reconnect, source.pixels) == (
        "list", False, False, "RGB",
    )  # fmt: skip
    assert values(source.connect()) == [0, 1, 2]
    assert read_all(open_source(iter(frames))).ids == [0, 1, 2]


def test_an_array_of_frames_is_an_iterable() -> None:
    assert read_all(open_source(np.zeros((3, 4, 6), np.uint8), pixels="GREY")).ids == [0, 1, 2]


def test_an_iterable_that_raises_ends() -> None:
    def frames() -> Any:
        yield np.zeros((4, 6, 3), np.uint8)
        raise OSError("unplugged")

    assert read_all(open_source(frames())).kinds == ["connected", "lost", "ended"]


def test_a_callable_is_called_again_when_its_frames_end_or_raise() -> None:
    calls: list[int] = []

    def grab() -> list[Item]:
        calls.append(len(calls))
        if len(calls) == 2:
            raise OSError("unplugged")
        return [np.zeros((4, 6, 3), np.uint8)]

    source = open_source(grab)
    assert (source.name, source.live, source.reconnect) == ("grab", True, True)
    heard = Heard()
    with reading(source, heard):
        heard.wait_for(lambda: len(heard.frames) >= 3)
    assert heard.ids[:3] == [0, 1, 2]
    assert heard.kinds[:5] == ["connected", "lost", "lost", "connected", "lost"]


def test_a_folder_is_read_by_name_and_broken_files_are_yielded_as_errors(tmp_path: Path) -> None:
    image(tmp_path / "b.png", 2)
    (tmp_path / "c.jpg").write_bytes(b"no image")
    image(tmp_path / "a.png", 1)
    image(tmp_path / "d.bmp", 4)
    (tmp_path / "notes.txt").write_text("no image either")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "e.png").write_bytes(whole[: len(whole) // 2])
    source = open_source(tmp_path)
    assert (source.name, source.live, source.reconnect, source.pixels) == (
        str(tmp_path), False, False, "RGB",
    )  # fmt: skip
    assert values(source.connect()) == [1, 2, "EngineError", 4, "EngineError"]
    heard = read_all(source)
    assert heard.ids == [0, 1, 3]
    assert "c.jpg is not a readable image" in heard.details("corrupt")[0]


def test_a_file_that_vanishes_while_its_folder_is_read_is_one_corrupt_frame(tmp_path: Path) -> None:
    for value in range(3):
        image(tmp_path / f"{value}.png", value)
    items = open_source(tmp_path).connect()
    first = next(items)
    (tmp_path / "1.png").unlink()
    assert values([first, *items]) == [0, "EngineError", 2]


def test_a_folder_without_images_is_lost(tmp_path: Path) -> None:
    heard = read_all(open_source(tmp_path))
    assert heard.kinds == ["lost", "ended"]
    assert "holds no image" in heard.details("lost")[0]


def test_one_image(tmp_path: Path) -> None:
    assert values(open_source(image(tmp_path / "wow!.png", 7)).connect()) == [7]


@pytest.mark.parametrize("pattern", ["frame_%d.png", "frame_%04d.png"])
def test_a_sequence_is_read_by_number(tmp_path: Path, pattern: str) -> None:
    for number in (9, 10, 100, 11):
        image(tmp_path / (pattern % number), number)
    image(tmp_path / "frame_x.png", 255)
    image(tmp_path / "frame_3.png.png", 255)
    source = open_source(str(tmp_path / pattern))
    assert values(source.connect()) == [9, 10, 11, 100]


def test_a_sequence_without_files_is_lost(tmp_path: Path) -> None:
    heard = read_all(open_source(tmp_path / "frame_%d.png"))
    assert heard.kinds == ["lost", "ended"]
    assert "no file matches" in heard.details("lost")[0]


def test_images_of_other_sizes_are_told_and_read(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    image(tmp_path / "b.png", 1, size=(8, 8))
    heard = read_all(open_source(tmp_path))
    assert heard.ids == [0, 1]
    assert heard.details("resized") == ["from 6 x 4 to 8 x 8 at frame 1"]


@pytest.mark.parametrize(
    "what", ["nothing.mp4", "nothing.png", "folder/nothing"], ids=["video", "image", "neither"]
)
def test_a_file_that_is_not_there_is_said_at_once(what: str) -> None:
    with pytest.raises(EngineError, match=f"^{what} does not exist; give a file, a folder"):
        open_source(what)


def test_a_mistyped_address_keeps_its_password_to_itself() -> None:
    with pytest.raises(EngineError) as refused:
        open_source("rtsp:/me:hunter2@cam/live")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(TypeError) as mistaken:
        open_source(b"rtsp://me:hunter2@cam/live")  # type: ignore[arg-type]
    assert "hunter2" not in str(mistaken.value)


MISTAKES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a number with a point": ({"what": 1.5}, TypeError, "a source is 1.5; give a path"),
    "none": ({"what": None}, TypeError, "a source is None"),
    "a truth value": ({"what": True}, TypeError, "a source is True"),
    "bytes": ({"what": b"rtsp://cam"}, TypeError, "a source is b'rtsp"),
    "a negative index": ({"what": -1}, ValueError, "index is -1; it counts from 0"),
    "unknown pixels": ({"what": [], "pixels": "CMYK"}, ValueError, "'CMYK'; use one of RGB"),
    "pixels of a camera": ({"what": 0, "pixels": "RGB"}, ValueError, "camera 0 gives BGR"),
    "an empty text": ({"what": ""}, EngineError, "^a source's text is empty; give a path"),
    "a blank text": ({"what": "  "}, EngineError, "^a source's text is empty"),
    "an unknown scheme": (
        {"what": "rtps://me:hunter2@cam/live"},
        EngineError,
        r"^rtps://\*\*\*@cam/live has the unknown scheme rtps; use one of rtsp, .*, file$",
    ),
    "no time": ({"what": 0, "timeout_s": 0}, ValueError, "timeout_s is 0; give seconds above"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_source(**arguments)


def test_a_source_of_unknown_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="pixels is 'rgb'; use one of RGB, BGR, GREY, NV12"):
        Source("door", lambda: iter([]), live=True, reconnect=True, pixels="rgb")
