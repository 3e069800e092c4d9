"""The images of a build: a repeatable split, and nothing undecodable in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.samples import Split, split
from export.spec import Calibration
from runtime import EngineError
from runtime.tasks import find_task
from runtime.tasks.detection import TrueBoxes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of noise, of which the third is a truncated JPEG."""
    random = np.random.default_rng(0)
    for i in range(12):
        pixels = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.jpg")
    whole = (tmp_path / "02.jpg").read_bytes()
    (tmp_path / "02.jpg").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def names(chosen: Split) -> tuple[list[str], list[str]]:
    return [s.name for s in chosen.calibration], [s.name for s in chosen.held_out]


def choose(
    folder: Path,
    images: int = 4,
    seed: int = 0,
    held_out: int = 256,
    task: str = "classification",
) -> Split:
    return split(Calibration(held_out=held_out), folder, images, seed, task)


def test_the_same_seed_gives_the_same_split(folder: Path) -> None:
    first, again, other = choose(folder), choose(folder), choose(folder, seed=1)
    assert names(first) == names(again)
    assert first.digest == again.digest
    assert names(first) != names(other)
    assert first.digest != other.digest


def test_held_out_images_are_others(folder: Path) -> None:
    chosen = choose(folder)
    calibration, held_out = names(chosen)
    assert chosen.disjoint
    assert len(calibration) == 4
    assert len(held_out) == 7
    assert not set(calibration) & set(held_out)
    assert set(calibration) | set(held_out) == {f"{i:02}.jpg" for i in range(12)} - {"02.jpg"}


def test_held_out_images_are_bounded(folder: Path) -> None:
    assert len(choose(folder, held_out=3).held_out) == 3


def test_a_corrupt_image_is_skipped_and_named(folder: Path) -> None:
    chosen = choose(folder)
    assert list(chosen.skipped) == ["02.jpg"]
    assert "02.jpg is not a readable image" in chosen.skipped["02.jpg"]


def test_too_few_images_serve_both_ends_and_it_shows(folder: Path) -> None:
    chosen = choose(folder, images=128)
    assert not chosen.disjoint
    assert names(chosen)[0] == names(chosen)[1]
    assert len(chosen.calibration) == 11


def test_the_digest_sees_pixels(folder: Path) -> None:
    before = choose(folder, images=11)
    Image.new("RGB", (30, 20)).save(folder / "05.jpg")
    assert choose(folder, images=11).digest != before.digest


def test_images_are_decoded_when_read(folder: Path) -> None:
    sample = choose(folder).calibration[0]
    frame = sample.read()
    assert (frame.shape, frame.dtype) == ((20, 30, 3), np.uint8)
    (folder / sample.name).unlink()
    with pytest.raises(EngineError, match=sample.name):
        sample.read()


def test_labels_are_read_from_csv(folder: Path) -> None:
    rows = ["file,label,name", *(f"{i:02}.jpg,{i * 10},x" for i in range(11))]
    (folder / "labels.csv").write_text("\n".join(rows))
    chosen = choose(folder)
    found = {s.name: s.label for s in [*chosen.calibration, *chosen.held_out]}
    assert found.pop("11.jpg") is None
    assert found == {f"{i:02}.jpg": i * 10 for i in range(11) if i != 2}


def test_boxes_are_read_from_json(folder: Path) -> None:
    records = [
        {"file": "00.jpg", "boxes": [[1, 2, 3, 4, 7], [0, 0, 9.5, 9, 1]]},
        {"file": "01.jpg", "boxes": []},
    ]
    (folder / "boxes.json").write_text(json.dumps(records))
    found = {s.name: s.label for s in choose(folder, images=11, task="detection").calibration}
    truth = found["00.jpg"]
    assert isinstance(truth, TrueBoxes)
    np.testing.assert_array_equal(truth.boxes, [[1, 2, 3, 4], [0, 0, 9.5, 9]])
    assert truth.indices.tolist() == [7, 1]
    assert truth.scores.tolist() == [1, 1]
    empty = found["01.jpg"]
    assert isinstance(empty, TrueBoxes)
    assert empty.boxes.shape == (0, 4)
    assert found["03.jpg"] is None


@pytest.mark.parametrize(
    "text", ["{", '{"a": 1}', "[1]", '[{"file": "a"}]', '[{"file": "a", "boxes": [[1, 2]]}]']
)
def test_a_damaged_boxes_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(EngineError, match=r"boxes\.json.* does not hold boxes.*expected") as caught:
        find_task("detection").read_truths(tmp_path)
    assert "\n" not in str(caught.value)


def test_labels_of_another_task_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text('{"somebody": "else"}')
    assert find_task("classification").read_truths(tmp_path) == {}
    (tmp_path / "labels.csv").write_text("file,index\na.png,3\n")
    assert find_task("classification").read_truths(tmp_path) == {"a.png": 3}
    with pytest.raises(EngineError, match=r"boxes\.json"):
        find_task("detection").read_truths(tmp_path)


def test_a_folder_of_nothing_but_damage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(EngineError, match="none of the 1 images"):
        choose(tmp_path)


def test_no_folder_and_nothing_to_render_is_refused() -> None:
    with pytest.raises(EngineError, match="pass --calibration DIR"):
        split(Calibration(), None, 4, 0, "classification")


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_rendered_images_repeat_and_do_not_overlap(task: str) -> None:
    settings = Calibration(rendered=task, held_out=3)
    first, again, other = (split(settings, None, 3, seed, task) for seed in (0, 0, 1))
    assert first.disjoint
    assert first.digest == again.digest != other.digest
    pixels = {s.read().tobytes() for s in [*first.calibration, *first.held_out]}
    assert len(pixels) == 6
    assert all(s.label is not None for s in first.held_out)
