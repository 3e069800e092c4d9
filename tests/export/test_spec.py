"""`models.yaml`: every record loads, and every mistake is named with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pydantic
import pytest
import torch

from export.spec import SpecError, find_model, load_models
from export.zoo import find_family

MODELS = load_models()
# In millions: Dosovitskiy et al. 2020 table 1 and Touvron et al. 2021 table 5 (ViT, DeiT), Liu et
# al. 2021 table 1 (Swin), Carion et al. 2020 table 1 (DETR).
PARAMETERS = {
    "vit_ti_16": 5.7,
    "vit_s_16": 22.1,
    "vit_b_16": 86.6,
    "vit_l_16": 304.3,
    "deit_s": 22.1,
    "swin_t": 28.3,
    "swin_s": 49.6,
    "swin_b": 87.8,
    "detr_r50": 41.3,
    "detr_r101": 60.2,
}
# DETR's authors count what they train, and train neither stem nor first stage of the backbone.
FROZEN = r"model\.backbone\.model\.(embedder|encoder\.stages\.0)\."
GOOD = """\
families:
  vit:
    keep_float: []
models:
  one: &one
    family: vit
    task: classification
    config: {hidden_size: 32}
    weights: {hub: a/b}
    preprocess:
      size: 32
      mean: [0.5, 0.5, 0.5]
    labels: [cat, dog]
    calibration:
      images: 4
    drift:
      int8: {top1_agreement: 0.9}
    keep_float:
      - pattern: "*.fc2"
        why: because
  two:
    <<: *one
    labels: [a, b, c]
"""


@pytest.mark.parametrize("name", MODELS)
def test_every_record_loads_and_is_frozen(name: str) -> None:
    record = MODELS[name]
    assert record.name == name
    # What embeds has no outputs by class: its labels are words that a build makes prompts of.
    classes = len(record.labels) if record.task == "embeddings" else 0
    assert len(record.labels) == record.config.get("num_labels", classes)
    with pytest.raises(pydantic.ValidationError):
        record.task = "detection"


@pytest.mark.parametrize("name", PARAMETERS)
def test_full_size_models_have_the_papers_parameters(name: str) -> None:
    record = MODELS[name]
    with torch.device("meta"):
        module = find_family(record.family).reference.build(record.config)
        counted = {n: p.numel() for n, p in module.named_parameters() if not re.match(FROZEN, n)}
    # The papers round to 0.1 M.
    assert sum(counted.values()) / 1e6 == pytest.approx(PARAMETERS[name], abs=0.06)


def problem(tmp_path: Path, text: str) -> str:
    file = tmp_path / "models.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_models(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_good_file_is_good(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(GOOD)
    models = load_models(tmp_path / "models.yaml")
    assert models["one"].labels == ("cat", "dog")
    assert models["two"].labels == ("a", "b", "c")
    assert models["two"].calibration.images == 4


MISTAKES = [
    pytest.param("families:", "famlies: {}\nfamilies:", 1, "unknown key `famlies`", id="top"),
    pytest.param("    keep_float: []", "    keep_flot: []", 3, "unknown key", id="family-key"),
    pytest.param("  vit:\n", "  vitt: {}\n  vit:\n", 2, "unknown family `vitt`", id="family-name"),
    pytest.param("    labels: [c", "    lables: []\n    labels: [c", 13, "did you mean `labels`?",
                 id="record"),
    pytest.param("      images: 4", "      image: 4", 15, "`calibration.image` of one",
                 id="calibration"),
    pytest.param("        why:", "        wy:", 20, "keep_float", id="in-a-list"),
    pytest.param("      size: 32", "      sice: 32", 11, "sice", id="preprocess"),
    pytest.param("{hub: a/b}", "{hub: a/b, rev: c}", 9, "`weights.rev`", id="weights"),
    pytest.param("    task: classification\n", "", 5, "`task` of one: Field required",
                 id="missing"),
    pytest.param("task: classification", "task: juggling", 7, "`task`", id="wrong-choice"),
    pytest.param("images: 4", "images: many", 15, "found 'many'", id="wrong-type"),
    pytest.param("images: 4", "images: 0", 15, "greater than or equal to 1", id="too-small"),
    pytest.param("int8: {top1", "int4: {top1", 17, "drift", id="precision"),
    pytest.param("{top1_agreement: 0.9}", "{top1_agreement: much}", 17, "drift", id="limit"),
    pytest.param("[0.5, 0.5, 0.5]", "[0.5]", 12, "preprocess.mean", id="mean"),
    pytest.param("{hub: a/b}", "{hub: a/b, file: c}", 9, "either `hub`", id="two-sources"),
    pytest.param("{hub: a/b}", "{file: c}", 9, "`file` and `sha256`", id="file-without-hash"),
    pytest.param("[cat, dog]", "no/such/file.txt", 5, "no/such/file.txt", id="labels-file"),
    pytest.param("      images: 4", "      images: 4\n      images: 5", 16,
                 "`images` is given again, first in line 15", id="duplicate-key"),
    pytest.param("  two:", "  one: {}\n  two:", 21, "`one` is given again", id="duplicate-model"),
    pytest.param("        why: because", "        why: because\n        why: no", 21,
                 "`why` is given again", id="duplicate-in-a-list"),
    pytest.param("labels: [a, b, c]", "labels: [a, b, c]\n    taks: x", 24, "`taks` of two",
                 id="second-record"),
    pytest.param("  two:\n", "  three: 3\n  two:\n", 21, "three is not a mapping", id="number"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "replacement", "line", "message"), MISTAKES)
def test_mistakes_are_named_with_their_line(
    tmp_path: Path, found: str, replacement: str, line: int, message: str
) -> None:
    assert found in GOOD
    said = problem(tmp_path, GOOD.replace(found, replacement, 1))
    assert f"models.yaml, line {line}: " in said, said
    assert message in said


@pytest.mark.parametrize(
    "text", ["models: [", "models: !!python/object/apply:os.system [ls]", "models: 3", "", "- a"]
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    assert problem(tmp_path, text).startswith("models.yaml")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("swin_x", "did you mean swin_"), ("vit_b16", "vit_b_16"), ("zzzzzzzz", "known: clip_rn50")],
)
def test_an_unknown_model_is_met_with_the_nearest_names(name: str, hint: str) -> None:
    with pytest.raises(SpecError, match=rf"^unknown model '{name}'; .*{hint}"):
        find_model(name, MODELS)
