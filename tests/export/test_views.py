"""The views of an image: the same thing, a little shifted or mirrored."""

from __future__ import annotations

import numpy as np

from export.samples import Sample
from export.views import VIEWS, with_views


def test_the_views_of_an_image_stand_side_by_side() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), np.uint8)
    samples = [Sample(f"{i}", lambda i=i: frames[i], label=i) for i in range(2)]  # type: ignore[misc]
    found = with_views(samples)
    assert len(found) == 2 * VIEWS
    for i, frame in enumerate(frames):
        whole, mirrored, corner, other = (v.read() for v in found[i * VIEWS : (i + 1) * VIEWS])
        np.testing.assert_array_equal(whole, frame)
        np.testing.assert_array_equal(mirrored, frame[:, ::-1])
        np.testing.assert_array_equal(corner, frame[:38, :57])
        np.testing.assert_array_equal(other, frame[2:, 3:][:, ::-1])
        assert all(view.read().flags.c_contiguous for view in found)


def test_a_frame_of_one_pixel_has_views() -> None:
    sample = Sample("dot", lambda: np.full((1, 1, 3), 7, np.uint8))
    assert [view.read().shape for view in with_views([sample])] == [(1, 1, 3)] * VIEWS
