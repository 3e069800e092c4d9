"""Preprocessing against the image processors of transformers that are made for Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Preprocess

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLIP = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
# Folder in transformers, start of the class's name, and what its defaults amount to by hand.
FAMILIES = [
    ("vit", "ViT", Preprocess()),  # Swin's checkpoints name this one, too
    ("deit", "DeiT", Preprocess(size=256, crop=224, interpolation="bicubic")),
    ("beit", "Beit", Preprocess(interpolation="bicubic")),
    ("clip", "CLIP", Preprocess("shortest_edge", crop=224, interpolation="bicubic", **CLIP)),
    ("siglip", "Siglip", Preprocess(interpolation="bicubic")),
    ("blip", "Blip", Preprocess(size=384, interpolation="bicubic", **CLIP)),
    ("bit", "Bit", Preprocess("shortest_edge", crop=224, interpolation="bicubic", **CLIP)),
    ("convnext", "ConvNext", Preprocess(size=384, interpolation="bicubic")),
    ("segformer", "Segformer", Preprocess(size=512, **IMAGENET)),
    ("videomae", "VideoMAE", Preprocess("shortest_edge", crop=224)),
    ("detr", "Detr", Preprocess("shortest_edge", 800, max_size=1333, pad=True, **IMAGENET)),
    ("rt_detr", "RTDetr", Preprocess(size=640, mean=(0, 0, 0), std=(1, 1, 1))),
]
SIZES = [(61, 47), (480, 640), (1, 1), (3, 400), (700, 5), (1080, 1920)]


def oracle(module: str, name: str, **settings: Any) -> Any:
    """An image processor of transformers made for Pillow, or a skip."""
    parent = pytest.importorskip(f"transformers.models.{module}.image_processing_pil_{module}")
    made = getattr(parent, f"{name}ImageProcessorPil", None)
    return made(**settings) if made else pytest.skip(f"transformers has no {name} for Pillow")


def textured(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def in_levels(values: NDArray[np.float32], preprocess: Preprocess) -> NDArray[np.float32]:
    """Normalised values as grey levels, without the offset of the mean."""
    return values * np.float32(np.reshape(preprocess.std, (3, 1, 1))) * 255


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize(
    ("module", "name", "ours"), FAMILIES, ids=[name for _, name, _ in FAMILIES]
)
def test_a_familys_defaults(
    module: str, name: str, ours: Preprocess, size: tuple[int, int]
) -> None:
    frame = textured(*size)
    processor = oracle(module, name)
    asked = [frame] if name != "VideoMAE" else [[frame]]
    expected = processor(asked, input_data_format="channels_last", return_tensors="np")
    found = ours([frame]).inputs["pixel_values"]
    expected = expected["pixel_values"][0] if name == "VideoMAE" else expected["pixel_values"]
    assert found.shape == expected.shape
    difference = np.abs(in_levels(found - expected, ours))
    # Both normalise in float32, in another order: 2e-7 of values up to 2.7, here times 69.
    assert difference.max() <= 1e-4


@pytest.mark.parametrize("name", ["ViT", "CLIP", "Detr"])
def test_a_grey_frame_is_the_oracles_grey_image(name: str) -> None:
    image = pytest.importorskip("PIL.Image")
    module, name, ours = next(family for family in FAMILIES if family[1] == name)
    grey = textured(91, 130)[..., 0]
    as_rgb = image.fromarray(grey).convert("RGB")
    expected = oracle(module, name)(as_rgb, return_tensors="np")["pixel_values"]
    found = ours([grey], pixels="GREY").inputs["pixel_values"]
    difference = np.abs(in_levels(found - expected, ours))
    assert difference.max() <= 1e-4  # as above


@pytest.mark.parametrize("interpolation", ["nearest", "lanczos", "bilinear", "bicubic"])
def test_every_filter(interpolation: str) -> None:
    # Pillow numbers its filters: nearest 0, lanczos 1, bilinear 2, bicubic 3.
    resample = ["nearest", "lanczos", "bilinear", "bicubic"].index(interpolation)
    size = {"height": 32, "width": 32}
    statistics = {"image_mean": IMAGENET["mean"], "image_std": IMAGENET["std"]}
    processor = oracle("vit", "ViT", size=size, resample=resample, **statistics)
    ours = Preprocess("exact", 32, interpolation=interpolation, **IMAGENET)
    frame = textured(61, 47)
    expected = processor(frame, return_tensors="np")["pixel_values"]
    # Values reach 2.7; both normalise in float32, in another order.
    np.testing.assert_allclose(ours([frame]).inputs["pixel_values"], expected, atol=1e-6)


def test_detrs_sizes_and_masks() -> None:
    processor = oracle("detr", "Detr", size={"shortest_edge": 40, "longest_edge": 66})
    ours = Preprocess("shortest_edge", 40, max_size=66, pad=True, **IMAGENET)
    sides = np.random.default_rng(1).integers(10, 150, (40, 2)).tolist()
    frames = [textured(h, w) for h, w in [*sides, (40, 67), (66, 40), (200, 20), (67, 40)]]
    for frame in frames:  # one by one, so that no size hides behind the padding
        expected = processor(frame, return_tensors="np")["pixel_values"]
        # As above.
        np.testing.assert_allclose(ours([frame]).inputs["pixel_values"], expected, atol=1e-6)
    expected = processor(frames[:5], return_tensors="np")
    found = ours(frames[:5]).inputs
    np.testing.assert_array_equal(found["pixel_mask"], expected["pixel_mask"])
    np.testing.assert_allclose(found["pixel_values"], expected["pixel_values"], atol=1e-6)
