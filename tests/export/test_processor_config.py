"""`preprocessor_config.json` files as published, against what `transformers` does with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.processor_config import preprocess_from
from export.weights import WeightsError
from runtime import Preprocess

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
RECORD = Preprocess(
    resize="shortest_edge", size=248, crop=224, interpolation="bicubic", mean=(0.1, 0.2, 0.3)
)
DETECTION = Preprocess(resize="shortest_edge", size=800, max_size=1333, pad=True)

PUBLISHED: list[Any] = [
    pytest.param(
        {"feature_extractor_type": "ViTFeatureExtractor", "do_resize": True, "do_normalize": True,
         "size": 224, "resample": 2, **HALF},
        RECORD, Preprocess(size=224), id="vit-feature-extractor",
    ),
    pytest.param(
        {"image_processor_type": "ViTImageProcessor", "do_rescale": True,
         "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224},
         "resample": 3, **IMAGENET},
        RECORD,
        Preprocess(size=224, interpolation="bicubic", mean=(0.485, 0.456, 0.406),
                   std=(0.229, 0.224, 0.225)),
        id="swin-image-processor",
    ),
    pytest.param(
        {"feature_extractor_type": "DeiTFeatureExtractor", "do_center_crop": True,
         "crop_size": 224, "size": 256, "resample": 3, **IMAGENET},
        RECORD,
        Preprocess(size=256, crop=224, interpolation="bicubic", mean=(0.485, 0.456, 0.406),
                   std=(0.229, 0.224, 0.225)),
        id="deit-feature-extractor",
    ),
    pytest.param(
        {"image_processor_type": "DeiTImageProcessor", "do_center_crop": True, "resample": 0,
         "crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 256}, **HALF},
        RECORD,
        Preprocess(resize="shortest_edge", size=256, crop=224, interpolation="nearest"),
        id="deit-shortest-edge",
    ),
    pytest.param(
        {"feature_extractor_type": "DetrFeatureExtractor", "format": "coco_detection",
         "max_size": 1000, "size": 600, **HALF},
        DETECTION,
        Preprocess(resize="shortest_edge", size=600, max_size=1000, pad=True),
        id="detr-feature-extractor",
    ),
    pytest.param(
        {"image_processor_type": "DetrImageProcessor", "do_pad": True,
         "size": {"shortest_edge": 800, "longest_edge": 1333}, "resample": 2, **HALF},
        DETECTION, DETECTION, id="detr-image-processor",
    ),
    pytest.param({}, RECORD, RECORD, id="empty"),
    pytest.param(
        {"do_normalize": False, **IMAGENET}, RECORD,
        Preprocess(resize="shortest_edge", size=248, crop=224, interpolation="bicubic",
                   mean=(0, 0, 0), std=(1, 1, 1)),
        id="not-normalised",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("record", "default", "expected"), PUBLISHED)
def test_published_files_are_read(
    record: dict[str, Any], default: Preprocess, expected: Preprocess
) -> None:
    assert preprocess_from(record, default) == expected


@pytest.mark.parametrize(
    ("record", "message"),
    [
        pytest.param({"do_resize": False}, "`do_resize` is False, expected true", id="no-resize"),
        pytest.param({"do_rescale": False}, "`do_rescale` is False", id="no-rescale"),
        pytest.param({"rescale_factor": 1.0}, "`rescale_factor` is 1.0", id="rescale-factor"),
        pytest.param({"do_pad": True}, "`do_pad` is True, expected false", id="pad"),
        pytest.param({"resample": 4}, "`resample` is 4, expected 0, 1, 2 or 3", id="box-filter"),
        pytest.param({"size": {"height": 224, "width": 384}}, "`size` is", id="not-square"),
        pytest.param({"size": {"longest_edge": 224}}, "`size` is", id="longest-edge"),
        pytest.param({"size": "big"}, "`size` is 'big'", id="size-text"),
        pytest.param(
            {"size": 256, "do_center_crop": True, "crop_size": {"height": 224, "width": 200}},
            "`crop_size` is", id="crop-not-square",
        ),
        pytest.param({"image_std": [1, 1, 0]}, "preprocess.std", id="zero-std"),
        pytest.param({"image_mean": 0.5}, "preprocess.mean", id="one-mean"),
        pytest.param({"size": 384}, "images of 384 pixels, this model takes 224", id="larger"),
        pytest.param({"size": {"shortest_edge": 224}}, "images of varying pixels", id="varying"),
        pytest.param({"size": {"shortest_edge": "x"}}, "preprocess.size", id="size-not-a-number"),
        pytest.param({"rescale_factor": "x"}, "`rescale_factor` is 'x'", id="factor-text"),
        pytest.param({"resample": [3]}, "`resample` is [3]", id="resample-list"),
    ],
)  # fmt: skip
def test_what_the_runtime_does_not_offer_is_refused(record: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError) as caught:
        preprocess_from(record, RECORD)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("processor", "record"),
    [
        pytest.param("ViTImageProcessorPil", {"size": {"height": 224, "width": 224}}, id="vit"),
        pytest.param(
            "DeiTImageProcessorPil",
            {"size": {"height": 256, "width": 256}, "do_center_crop": True,
             "crop_size": {"height": 224, "width": 224}, "resample": 3},
            id="deit",
        ),
    ],
)  # fmt: skip
def test_pixels_are_those_of_transformers(processor: str, record: dict[str, Any]) -> None:
    import transformers

    record = {**record, **IMAGENET, "resample": record.get("resample", 2)}
    frame = np.random.default_rng(0).integers(0, 256, (301, 240, 3), dtype=np.uint8)
    theirs = getattr(transformers, processor)(**record)(frame, return_tensors="np")
    ours = preprocess_from(record, RECORD)([frame]).inputs
    # Both resize with Pillow; float32 normalisation rounds differently in the last place.
    np.testing.assert_allclose(
        ours["pixel_values"], np.asarray(theirs["pixel_values"]), atol=1e-5, rtol=0
    )
