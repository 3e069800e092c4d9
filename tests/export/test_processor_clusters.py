"""Clusters of a hub folder: the runtime then sees colours as the folder's own processor does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.processor_clusters import colours_from
from export.weight_files import WeightsError
from runtime.colours import Colours

DEFAULT = Colours(size=8, levels=2)


def test_clusters_replace_the_records_palette() -> None:
    processors = pytest.importorskip("transformers.models.imagegpt")
    clusters = np.random.default_rng(0).uniform(-1, 1, (8, 3)).tolist()
    theirs = processors.ImageGPTImageProcessor(clusters=clusters, size={"height": 8, "width": 8})
    frame = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    found = colours_from({"clusters": clusters, "size": 8}, DEFAULT)
    expected = np.asarray(theirs(images=[frame], return_tensors="np")["input_ids"])
    assert found([frame]).inputs["input_ids"].tolist() == expected.tolist()
    assert found.size == 8 and found.levels is None


def test_a_folder_without_clusters_changes_nothing() -> None:
    assert colours_from({"size": 8}, DEFAULT) is DEFAULT


@pytest.mark.parametrize(
    "clusters",
    [[[0.0, 0, 0]] * 7, [[0.0] * 4] * 8, [[128.0, 0, 0]] * 8, [[float("nan")] * 3] * 8, "red"],
    ids=["too-few", "four-numbers", "grey-levels", "nan", "words"],
)
def test_other_clusters_are_refused(clusters: Any) -> None:
    with pytest.raises(WeightsError, match=r"`clusters`.*expected 8 of \[red, green, blue\]"):
        colours_from({"clusters": clusters}, DEFAULT)
