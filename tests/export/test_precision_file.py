"""The reviewed precision map: what is written reads back, and each mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.precision_file import PrecisionMapError, precision_map_text, read_precision_map

LINEARS = {
    "patches": {"type": "fp32", "why": "reads the input image directly"},
    "layer.0.fc1": {"type": "int8", "why": "a linear layer"},
    "layer.0.fc2": {"type": "int8", "why": "a linear layer"},
}
CHOSEN = {**LINEARS, "layer.0.fc2": {"type": "fp32", "why": "returned: 1.5e-03, yes # really"}}


def written(folder: Path, text: str) -> Path:
    path = folder / "map.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_map_reads_back_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path, precision_map_text("vit", CHOSEN))
    found = read_precision_map(path, "vit", LINEARS)
    assert found == CHOSEN
    assert list(found) == list(LINEARS)


def test_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    backwards = {name: CHOSEN[name] for name in reversed(CHOSEN)}
    path = written(tmp_path, precision_map_text("vit", backwards))
    assert list(read_precision_map(path, "vit", LINEARS)) == list(LINEARS)


TEXT = precision_map_text("vit", CHOSEN)


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        pytest.param(
            "layer.0.fc2:", "layer.0.fc3:", 11, "did you mean layer.0.fc2", id="unknown node"
        ),
        pytest.param(
            "type: int8", "type: int4", 8, "'int4', expected int8 or fp16", id="unknown type"
        ),
        pytest.param("type: int8", "type: 8", 8, "expected {type: …, why: …}", id="not text"),
        pytest.param("    type: int8\n", "", 8, "expected {type: …, why: …}", id="no type"),
        pytest.param("model: vit", "model: swin", 3, "the map of 'swin', not of 'vit'", id="model"),
        pytest.param(
            "layer.0.fc2:", "layer.0.fc1:", 11, "given again, first in line 8", id="twice"
        ),
        pytest.param(
            "  patches:\n    type: fp32", "  patches:\n    type: int8", 5,
            "cannot be int8 (reads the input image directly)", id="cannot be",
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line(
    tmp_path: Path, old: str, new: str, line: int, expected: str
) -> None:
    assert old in TEXT
    path = written(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(PrecisionMapError) as caught:
        read_precision_map(path, "vit", LINEARS)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert expected in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [", "not YAML", id="not YAML"),
        pytest.param("", "expected the keys", id="empty"),
        pytest.param("- 1\n", "expected the keys", id="a list"),
        pytest.param("model: vit\nnodes: []\n", "not a mapping", id="nodes are a list"),
        pytest.param(
            "model: vit\nnodes:\n  patches: {type: fp32, why: x}\n",
            "2 linears of vit are missing, the first is 'layer.0.fc1'", id="missing",
        ),
        pytest.param(TEXT.replace("int8", "fp32"), "no node is int8", id="all float"),
        pytest.param("model: !!python/object/apply:os.getcwd []\n", "not YAML", id="code"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(PrecisionMapError, match=expected) as caught:
        read_precision_map(written(tmp_path, text), "vit", LINEARS)
    assert "\n" not in str(caught.value)
