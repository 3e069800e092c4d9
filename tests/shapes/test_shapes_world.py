"""What the rendered world promises: determinism, independence, variety, and no colour shortcut."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import shapes
from shapes.datasets.classification import classification_image
from shapes.datasets.detection import detection_image
from shapes.figures import outline

ROOT = Path(__file__).resolve().parents[2]

_DIGEST = """
import hashlib, shapes
digest = hashlib.sha256()
for frame, label in shapes.classification(7, 20):
    digest.update(frame.tobytes() + bytes([label]))
for image in shapes.detection(7, 10):
    digest.update(image.frame.tobytes() + image.boxes.tobytes() + image.labels.tobytes())
print(digest.hexdigest())
"""


def test_two_processes_render_the_same_bytes() -> None:
    # Hash seeds and thread counts are the usual ways for processes to differ.
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_import_loads_no_torch() -> None:
    code = "import sys, shapes, shapes.render; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_classification_image_does_not_depend_on_the_others() -> None:
    frames, labels = zip(*shapes.classification(3, 12), strict=True)
    frame, label, _ = classification_image(3, 11)
    assert np.array_equal(frame, frames[11])
    assert label == labels[11]


def test_a_detection_image_does_not_depend_on_the_others() -> None:
    image, again = list(shapes.detection(3, 12))[11], detection_image(3, 11)
    assert np.array_equal(image.frame, again.frame)
    assert np.array_equal(image.boxes, again.boxes)
    assert np.array_equal(image.labels, again.labels)


def test_no_two_images_are_alike() -> None:
    frames = [*shapes.classification(0, 100), *shapes.classification(1, 100)]
    assert len({hashlib.sha256(frame.tobytes()).digest() for frame, _ in frames}) == 200


def test_classification_frames_are_64_pixels_and_every_class_occurs() -> None:
    images = list(shapes.classification(0, 300))
    assert {frame.shape for frame, _ in images} == {(64, 64, 3)}
    assert {frame.dtype for frame, _ in images} == {np.dtype(np.uint8)}
    # 300 draws miss one of 12 classes with probability 12 * (11/12)**300 < 1e-10.
    assert {label for _, label in images} == set(range(len(shapes.NAMES)))


def test_detection_scenes_vary_as_promised() -> None:
    images = list(shapes.detection(0, 150))
    sides = np.array([image.frame.shape[:2] for image in images])
    assert sides.max(axis=1).min() >= 96 and sides.max() <= 160
    assert (sides[:, 0] > sides[:, 1]).any() and (sides[:, 0] < sides[:, 1]).any()
    assert {len(image.labels) for image in images} == set(range(1, 7))
    figures = [figure for image in images for figure in image.figures]
    assert {figure.size for figure in figures} == {"small", "medium", "large"}
    assert {figure.label for figure in figures} == set(range(len(shapes.DETECTION_NAMES)))


def test_sizes_do_not_overlap() -> None:
    spans: dict[str, list[float]] = {"small": [], "medium": [], "large": []}
    for image in shapes.detection(1, 60):
        for figure in image.figures:
            # The farthest point of an outline lies on a circle of its diameter around its centre.
            shape = outline(shapes.DETECTION_NAMES[figure.label])
            stretch = np.ptp(figure.points, axis=0) @ np.ptp(figure.points, axis=0)
            spans[figure.size].append(
                float(np.sqrt(stretch / (np.ptp(shape, axis=0) @ np.ptp(shape, axis=0))))
                / min(image.frame.shape[:2])
            )
    small, medium, large = (np.median(spans[size]) for size in ("small", "medium", "large"))
    assert 1.2 * small < medium and 1.2 * medium < large


@pytest.mark.parametrize("name", shapes.NAMES)
def test_outlines_fill_the_unit_circle(name: str) -> None:
    points = outline(name)
    # Rounding of the division by the largest radius.
    assert np.hypot(points[:, 0], points[:, 1]).max() == pytest.approx(1.0, abs=1e-12)


def test_unknown_figure_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'blob'.*circle"):
        outline("blob")


def test_mean_colour_does_not_tell_the_class() -> None:
    pairs = list(shapes.classification(0, 1200))
    colors = np.array([[*frame.mean(axis=(0, 1)), *frame.std(axis=(0, 1))] for frame, _ in pairs])
    labels = np.array([label for _, label in pairs])
    fit, test = slice(0, 600), slice(600, None)
    centroids = np.array(
        [colors[fit][labels[fit] == label].mean(axis=0) for label in range(len(shapes.NAMES))]
    )
    nearest = ((colors[test][:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    # Chance is 1/12; three standard deviations of 600 draws are 0.034. Figures differ in area, so
    # that their mean colour may still tell a little: twice chance is the bound.
    assert (nearest == labels[test]).mean() < 2 / 12
