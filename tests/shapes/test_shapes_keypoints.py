"""The posed figure: its landmarks are where it is painted, seen, and told left from right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.tasks.keypoints import locate, read_points
from shapes import paint
from shapes.datasets import DATASETS, keypoints
from shapes.datasets.keypoints import FRAME, keypoint_image
from shapes.person import LANDMARKS, MIRRORED, Person, posed
from shapes.render import write
from shapes.training import pose

SEEDS = range(40)


def person(seed: int) -> Person:
    return posed(np.random.default_rng(seed), *FRAME)


def covered(outlines: Any, point: Any) -> bool:
    """Whether the pixel of a point (x, y) is covered by one of the outlines, by half or more."""
    row, column = int(point[1]), int(point[0])
    return any(paint.coverage(outline, *FRAME)[row, column] >= 0.5 for outline in outlines)


def leftward(points: Any) -> dict[str, float]:
    """How far hands and feet lie to the person's own left of the line from hips to head."""
    at = dict(zip(LANDMARKS, np.asarray(points, np.float64), strict=True))
    (up_x, up_y) = at["head"] - at["hips"]
    found = {}
    for name in ("left_hand", "right_hand", "left_foot", "right_foot"):
        x, y = at[name] - at["hips"]
        # A person who faces us has the left on our right.
        found[name] = (up_x * y - up_y * x) / np.hypot(up_x, up_y)
    return found


def test_an_image_depends_on_its_seed_and_index_alone() -> None:
    one, again, other = keypoint_image(3, 5), keypoint_image(3, 5), keypoint_image(3, 6)
    np.testing.assert_array_equal(one.frame, again.frame)
    np.testing.assert_array_equal(one.landmarks, again.landmarks)
    assert (one.frame != other.frame).any()
    assert one.frame.shape == (*FRAME, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_landmarks_lie_on_their_limbs_and_in_the_frame(seed: int) -> None:
    found = person(seed)
    at = dict(zip(LANDMARKS, found.landmarks, strict=True))
    assert (found.landmarks > 0).all()
    assert (found.landmarks < FRAME[::-1]).all()
    assert covered([found.head], at["head"])
    assert covered([found.trunk], at["hips"])
    for name in ("left_hand", "right_hand"):
        assert covered(found.arms, at[name])
    for name in ("left_foot", "right_foot"):
        assert covered(found.legs, at[name])


def test_left_and_right_are_the_persons_own() -> None:
    for seed in range(300):
        sides = leftward(person(seed).landmarks)
        # In pixels; feet may stand a little across the middle, but not across each other.
        assert sides["left_hand"] > 5, seed
        assert sides["right_hand"] < -5, seed
        assert sides["left_foot"] - sides["right_foot"] > 1.5, seed


def test_nothing_hides_a_landmark(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[Any] = []
    real = keypoints._paint

    def recorded(rng: Any, canvas: Any, outlines: Any, colors: Any) -> None:
        painted.append(outlines)
        real(rng, canvas, outlines, colors)

    monkeypatch.setattr(keypoints, "_paint", recorded)
    in_front = 0
    for index in range(40):
        painted.clear()
        landmarks = keypoint_image(0, index).landmarks
        # Arms and head are the five outlines painted last of the person.
        last = max(place for place, outlines in enumerate(painted) if len(outlines) == 5)
        for outlines in painted[last + 1 :]:
            in_front += 1
            assert not any(covered(outlines, point) for point in landmarks)
    assert in_front > 10  # or nothing was tested


def test_truths_are_read_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path, DATASETS["keypoints"], 0, 3)
    points = read_points(tmp_path)
    assert list(points) == ["000000.png", "000001.png", "000002.png"]
    # Written to a thousandth of a pixel.
    np.testing.assert_allclose(points["000002.png"], keypoint_image(0, 2).landmarks, atol=6e-4)


def test_heatmaps_are_read_back_as_the_points_they_were_drawn_at() -> None:
    images = pose.load(0, 20)
    maps = pose.heatmaps(torch.from_numpy(images.landmarks), FRAME[0] // 4, FRAME[1] // 4)
    found, scores = locate(maps.numpy(), [FRAME] * 20, [(0.0, 0.0, 1.0, 1.0)] * 20)
    # A summit beyond the centre of the last cell is cut off there, up to half a cell of 4 pixels.
    limit = np.array(FRAME[::-1]) - 3.5
    np.testing.assert_allclose(found, np.minimum(images.landmarks, limit), atol=0.01)
    # The highest cell is at most 0.5 cells off in each direction: exp(-0.25 / 1.25²) = 0.85.
    assert scores.min() > 0.85


def test_changed_batches_keep_landmarks_in_place_and_sides_apart() -> None:
    rng = np.random.default_rng(0)
    points = np.stack([person(seed).landmarks for seed in range(4)]).astype(np.float32)
    frames = np.zeros((4, *FRAME, 3), np.uint8)
    for frame, landmarks in zip(frames, points, strict=True):
        for place, (x, y) in enumerate(landmarks):
            frame[int(y), int(x)] = 40 * (place + 1)  # each landmark in a grey of its own
    mirrored = 0
    for _ in range(12):
        changed, moved = pose._changed(rng, frames, points)
        mirrored += int((moved[:, 0] != points[:, 0]).any())
        inverted = changed[0].max() == 255
        for frame, landmarks in zip(changed, moved, strict=True):
            sides = leftward(landmarks)
            assert sides["left_hand"] > 0 > sides["right_hand"]
            assert sides["left_foot"] > sides["right_foot"]
            greys = (255 - frame if inverted else frame)[..., 0]
            for place, (x, y) in enumerate(landmarks):
                # Whatever is called the left hand now was the right one in a mirrored frame.
                before = MIRRORED[place] if (moved[:, 0] != points[:, 0]).any() else place
                assert greys[int(y), int(x)] == 40 * (before + 1)
    assert 0 < mirrored < 12
