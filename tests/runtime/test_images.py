from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import EngineError
from runtime.images import ImageSet, read_image, read_labels

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=-1)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def test_colour_png(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    frame = read_image(tmp_path / "a.png")
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, COLOURS)


def test_grey(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), grey(RAMP))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_the_high_byte(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 256 + 7).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), grey(RAMP))


def test_transparency_is_dropped(tmp_path: Path) -> None:
    alpha = np.full((3, 4, 1), 3, np.uint8)
    Image.fromarray(np.concatenate([COLOURS, alpha], axis=-1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLOURS)


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP // 20).convert("P")
    image.putpalette(np.repeat(np.arange(12, dtype=np.uint8) * 20, 3).tobytes())
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.mode == "P"
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), grey(RAMP))


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp"), [[[1, 2, 3]]])


# What a viewer does with the stored rows for each orientation, per the EXIF standard.
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        pytest.param(1, COLOURS, id="as stored"),
        pytest.param(3, COLOURS[::-1, ::-1], id="half a turn"),
        pytest.param(6, np.rot90(COLOURS, -1), id="clockwise"),
        pytest.param(8, np.rot90(COLOURS, 1), id="anticlockwise"),
    ],
)
def test_exif_orientation(tmp_path: Path, orientation: int, upright: np.ndarray) -> None:
    image = Image.fromarray(COLOURS)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).resize((64, 64)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:700])
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("cut.jpg", "text.png", "float.tif", "absent.png"):
        with pytest.raises(EngineError, match=rf"{name} is not a readable image .*; replace"):
            read_image(tmp_path / name)


def test_image_set_is_sorted_and_skips_what_does_not_decode(tmp_path: Path) -> None:
    for name, shade in (("b.png", 2), ("A.JPG", 1), ("c.webp", 3)):
        Image.new("RGB", (2, 2), (shade,) * 3).save(tmp_path / name)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 not more")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    images = ImageSet(tmp_path)
    assert len(images) == 4
    for _ in range(2):  # iterating again gives the same
        assert [name for name, _ in images] == ["A.JPG", "b.png", "c.webp"]
        assert list(images.skipped) == ["bad.jpg"]
    assert "bad.jpg is not a readable image" in images.skipped["bad.jpg"]


def test_image_set_without_a_readable_image(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    with pytest.raises(EngineError, match=r"none of the 1 images .* could be decoded"):
        list(ImageSet(tmp_path))


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="holds no image; put files there"):
        ImageSet(tmp_path)
    with pytest.raises(EngineError, match="gone is not a folder; give a folder"):
        ImageSet(tmp_path / "gone")


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('file,class_index,name\na.jpg,3,"shark, white"\n\nb.jpg,0,tench\n')
    assert read_labels(path) == {"a.jpg": 3, "b.jpg": 0}
    path.write_text("file,label\na.jpg,shark\n")
    with pytest.raises(EngineError, match=r"line 2: found 'a\.jpg,shark'; write"):
        read_labels(path)
    with pytest.raises(EngineError, match="not a readable CSV"):
        read_labels(tmp_path / "absent.csv")
