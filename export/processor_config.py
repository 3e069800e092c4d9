"""The preprocessing that a Hugging Face folder's `preprocessor_config.json` asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from export.weight_files import WeightsError
from runtime import Preprocess

# Pillow's numbers, which `resample` holds.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_FILE = "preprocessor_config.json"


def preprocess_from(record: Mapping[str, Any], default: Preprocess) -> Preprocess:
    """Reads the fields that image processors of ViT, DeiT, Swin, DETR, CLIP and ConvNeXT write.

    Args:
        record: the file's content. A `size` that is a number means a square, but DETR's and
            CLIP's shorter side, as in `transformers`.
        default: stands in for fields that the file leaves out.

    Raises:
        WeightsError: a value that the runtime's preprocessing does not offer, or one that makes
            another input size than the model's.
    """
    for key, wanted in (("do_resize", True), ("do_rescale", True), ("do_pad", default.pad)):
        if bool(record.get(key, wanted)) is not wanted:
            raise _unsupported(key, record[key], str(wanted).lower())
    factor = record.get("rescale_factor", 1 / 255)
    if not isinstance(factor, float | int) or abs(factor * 255 - 1) > 1e-6:
        raise _unsupported("rescale_factor", record["rescale_factor"], "1/255")
    fields: dict[str, Any] = {"color": "RGB"}
    if "size" in record:
        # A folder's crop replaces the record's, which belongs to another resize.
        is_share = _kind(record).startswith("ConvNext")
        fields |= _share(record) if is_share else _size(record) | {"crop": _crop(record)}
    if "resample" in record:
        if record["resample"] not in tuple(_RESAMPLE):
            raise _unsupported("resample", record["resample"], "0, 1, 2 or 3")
        fields["interpolation"] = _RESAMPLE[record["resample"]]
    if not record.get("do_normalize", True):
        fields |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    else:
        names = {"image_mean": "mean", "image_std": "std"}
        fields |= {ours: record[theirs] for theirs, ours in names.items() if theirs in record}
    try:
        found = dataclasses.replace(default, **fields)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{_FILE}: {error}; correct the file or remove it") from error
    _check_input_size(found, default)
    return found


def _kind(record: Mapping[str, Any]) -> str:
    return str(record.get("image_processor_type") or record.get("feature_extractor_type"))


def _share(record: Mapping[str, Any]) -> dict[str, Any]:
    """ConvNeXT's rule, by which ResNets are published too: a crop of `crop_pct` of the image.

    Its `size` is that of the crop; from 384 pixels the image is squeezed into it instead.
    """
    size = record["size"]
    side = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if not isinstance(side, int):
        raise _unsupported("size", size, "a number or shortest_edge")
    if side >= 384:
        return {"resize": "exact", "size": side, "max_size": None, "crop": None}
    whole = int(side / record.get("crop_pct", 224 / 256))
    return {"resize": "shortest_edge", "size": whole, "max_size": None, "crop": side}


def _size(record: Mapping[str, Any]) -> dict[str, Any]:
    size = record["size"]
    if isinstance(size, int):
        if _kind(record).startswith(("Detr", "CLIP")):
            size = {"shortest_edge": size, "longest_edge": record.get("max_size")}
        else:
            size = {"height": size, "width": size}
    if isinstance(size, Mapping) and "shortest_edge" in size:
        longest = size.get("longest_edge", record.get("max_size"))
        return {"resize": "shortest_edge", "size": size["shortest_edge"], "max_size": longest}
    side = _square(size)
    if side is None:
        raise _unsupported("size", size, "a square, or shortest_edge with longest_edge")
    return {"resize": "exact", "size": side, "max_size": None}


def _crop(record: Mapping[str, Any]) -> int | None:
    if not record.get("do_center_crop", False):
        return None
    size = record.get("crop_size")
    side = size if isinstance(size, int) else _square(size)
    if side is None:
        raise _unsupported("crop_size", size, "a square")
    return side


def _square(size: Any) -> int | None:
    """The side of {"height": n, "width": n}; None for anything else."""
    sides = (size.get("height"), size.get("width")) if isinstance(size, Mapping) else (None, 0)
    return sides[0] if sides[0] == sides[1] else None


def _check_input_size(found: Preprocess, default: Preprocess) -> None:
    if found.pad:
        return
    side, wanted = (
        p.crop or (None if p.resize == "shortest_edge" else p.size) for p in (found, default)
    )
    if side != wanted:
        raise WeightsError(
            f"{_FILE} makes images of {side or 'varying'} pixels, this model takes {wanted}; "
            "choose the --model of that size, or remove the file to use the record's preprocessing"
        )


def _unsupported(key: str, found: Any, expected: str) -> WeightsError:
    return WeightsError(
        f"{_FILE}: `{key}` is {found!r}, expected {expected}; correct the file, or remove it to "
        "use the record's preprocessing"
    )
