"""The cache returns what calibration would, and nothing when anything has changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from calibration import range_cache, ranges
from calibration.calibrate import Calibrated, Settings
from calibration.quantise import quantise
from calibration.range_cache import cache_key, calibrate_cached
from tests.calibration.float_graphs import CHANNELS, images, mlp

NAMES = ("fc1", "fc2")
IDENTITY = {"data": "0123abcd", "preprocess": {"size": 224, "mean": [0.5, 0.5, 0.5]}}
SETTINGS = Settings(threads=1)


class Counted:
    """Calibration inputs that know how often they were read."""

    def __init__(self) -> None:
        self.readings = 0

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        self.readings += 1
        return iter(images(6, 5, CHANNELS))


def calibrated(folder: Path, batches: Counted) -> Calibrated:
    return calibrate_cached(folder, IDENTITY, mlp(), NAMES, batches, SETTINGS)


def int8(result: Calibrated) -> bytes:
    return bytes(ir.to_proto(quantise(result, NAMES)).SerializeToString(deterministic=True))


def test_a_hit_reads_no_image_and_gives_the_same_int8_graph_bit_for_bit(tmp_path: Path) -> None:
    first, second = Counted(), Counted()
    made, found = calibrated(tmp_path, first), calibrated(tmp_path, second)
    assert first.readings > 0
    assert second.readings == 0
    assert int8(found) == int8(made)
    assert (found.images, found.thresholds) == (6, made.thresholds)


def other_weight() -> ir.Model:
    model = mlp()
    value = model.graph.initializers["w1"]
    array = value.const_value.numpy().copy()
    array[3, 5] = np.nextafter(array[3, 5], np.float32(np.inf))
    value.const_value = ir.tensor(array, name="w1")
    return model


def other_epsilon() -> ir.Model:
    model = mlp()
    norm = next(node for node in model.graph if node.op_type == "LayerNormalization")
    norm.attributes["epsilon"] = ir.AttrFloat32("epsilon", 1e-3)
    return model


def key(
    identity: dict[str, object] = IDENTITY,
    model: Callable[[], ir.Model] = mlp,
    names: tuple[str, ...] = NAMES,
    **settings: object,
) -> str:
    return cache_key(identity, model(), names, dataclasses.replace(SETTINGS, **settings))  # type: ignore[arg-type]


CHANGES = {
    "a-weight-by-one-bit": {"model": other_weight},
    "an-attribute": {"model": other_epsilon},
    "the-images": {"identity": IDENTITY | {"data": "0123abce"}},
    "the-preprocessing": {
        "identity": IDENTITY | {"preprocess": {"size": 256, "mean": [0.5, 0.5, 0.5]}}
    },
    "the-linears": {"names": ("fc1",)},
    "the-method": {"method": "mse"},
    "the-percentile": {"percentile": 99.9},
    "smoothing": {"smooth": False},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_misses(change: dict[str, object]) -> None:
    assert key(**change) != key()  # type: ignore[arg-type]


def test_what_changes_nothing_hits() -> None:
    assert key(names=NAMES[::-1]) == key()
    assert key(threads=2) == key()


@pytest.mark.parametrize(
    ("module", "constant"),
    [(ranges, "SAMPLED_ROWS"), (ranges, "SAMPLED_IMAGES"), (range_cache, "FORMAT")],
    ids=["rows", "images", "format"],
)
def test_constants_of_the_code_are_part_of_the_key(
    module: object, constant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key()
    monkeypatch.setattr(module, constant, getattr(module, constant) + 1)
    assert key() != before


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE = {"truncated": truncate, "one-bit": flip, "missing": Path.unlink}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("name", ["graph.onnx", "statistics.npz", "sha256.json"])
def test_a_damaged_entry_is_measured_anew_and_replaced(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    made = calibrated(tmp_path, Counted())
    (entry,) = tmp_path.iterdir()
    damage(entry / name)
    again, after = Counted(), Counted()
    assert int8(calibrated(tmp_path, again)) == int8(made)
    assert int8(calibrated(tmp_path, after)) == int8(made)
    assert again.readings > 0
    assert after.readings == 0


def test_a_foreign_entry_is_ignored(tmp_path: Path) -> None:
    made = calibrated(tmp_path, Counted())
    (entry,) = tmp_path.iterdir()
    for file in entry.iterdir():
        file.unlink()
    (entry / "sha256.json").write_text("[]")
    (entry / "notes.txt").write_text("not ours")
    assert int8(calibrated(tmp_path, Counted())) == int8(made)


def test_nothing_temporary_is_left_behind(tmp_path: Path) -> None:
    calibrated(tmp_path, Counted())
    (entry,) = tmp_path.iterdir()
    found = sorted(file.name for file in entry.iterdir())
    assert found == ["graph.onnx", "sha256.json", "statistics.npz"]


def test_an_identity_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        calibrate_cached(tmp_path, {"data": object()}, mlp(), NAMES, Counted(), SETTINGS)
