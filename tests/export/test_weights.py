"""Weights that are wrong are refused in one line; those that are right are accounted for."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from foreign_names import VIT_TIMM, renamed
from safetensors.torch import load_file, save_file
from tiny_models import TINY
from tiny_specs import spec_of

from export import weight_files
from export.spec import ModelSpec, SpecError, find_model, load_models
from export.weights import WeightsError, load_reference
from export.zoo import find_family
from tests.assets import asset


def refusal(weights: Path | str | None, spec: ModelSpec | None = None) -> str:
    """The message with which weights are refused: always one line."""
    with pytest.raises(WeightsError) as caught:
        load_reference(spec or spec_of("vit"), None if weights is None else str(weights))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return TINY["vit"].module(seed=1).state_dict()


def saved(state: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file(state, folder / "w.safetensors")
    return folder / "w.safetensors"


def test_missing_surplus_and_misshapen_tensors_are_listed(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    state["classifier.bias"] = torch.zeros(9)
    del state["vit.layernorm.bias"]
    state["vit.neck.weight"] = torch.zeros(1)
    message = refusal(saved(state, tmp_path))
    assert "1 missing: vit.layernorm.bias" in message
    assert "1 surplus: vit.neck.weight" in message
    assert "1 misshapen: classifier.bias (9,) not (7,)" in message


def test_long_lists_are_counted(tmp_path: Path) -> None:
    message = refusal(saved({"other": torch.zeros(1)}, tmp_path))
    assert " more; 1 surplus: other" in message
    assert len(message) < 1000


def test_another_familys_weights_are_refused(tmp_path: Path) -> None:
    file = saved(TINY["swin"].module().state_dict(), tmp_path)
    message = refusal(file)
    assert "missing" in message
    assert "choose the --model these weights belong to" in message


def test_a_truncated_safetensors_file_is_refused(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = saved(state, tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    assert "w.safetensors is not a whole safetensors file" in refusal(file)


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_pickled_state_dicts_load(
    state: dict[str, torch.Tensor], tmp_path: Path, key: str | None, suffix: str
) -> None:
    file = tmp_path / f"w{suffix}"
    content = state if key is None else {key: state, "epoch": 3}
    torch.save(content, file)
    found = load_reference(spec_of("vit"), str(file))
    assert torch.equal(found.module.state_dict()["classifier.bias"], state["classifier.bias"])
    assert found.source["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with (tmp_path / "plain.pth").open("wb") as file:
        pickle.dump({"w": Malicious(mark)}, file)
    torch.save({"w": Malicious(mark)}, tmp_path / "torch.pth")
    for name in ("plain.pth", "torch.pth"):
        assert "pickles that run code are refused" in refusal(tmp_path / name)
    assert not mark.exists()
    # The pickle does what it says when somebody trusts it, so the test tests something.
    pickle.loads((tmp_path / "plain.pth").read_bytes())
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"epoch": 3}, {"model": {"w": "text"}}, torch.zeros(3)],
    ids=["list", "no-tensors", "nested-text", "tensor"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "expected tensors by name" in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00", b"hello"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_garbage_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    assert file.name in refusal(file)


def test_a_hugging_face_folder_brings_labels_epsilon_and_preprocessing(tmp_path: Path) -> None:
    module = TINY["vit"].module(seed=2)
    module.config.layer_norm_eps = 0.125
    module.config.id2label = {i: f"name {i}" for i in range(7)}
    module.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 32, "resample": 1}))
    found = load_reference(spec_of("vit"), str(tmp_path))
    assert found.labels == tuple(f"name {i}" for i in range(7))
    assert found.preprocess.interpolation == "lanczos"
    assert {m.eps for m in found.module.modules() if isinstance(m, torch.nn.LayerNorm)} == {0.125}
    for key, tensor in TINY["vit"].module(seed=2).state_dict().items():
        assert torch.equal(found.module.state_dict()[key], tensor), key


@pytest.mark.parametrize("name", list(TINY))
def test_a_saved_model_gives_the_same_answers(tmp_path: Path, name: str) -> None:
    from tiny_models import inputs, reference_outputs

    module, tiny = TINY[name].module(seed=3), TINY[name]
    module.save_pretrained(tmp_path)
    found = load_reference(spec_of(name), str(tmp_path))
    expected = reference_outputs(module, tiny, inputs(tiny, 2))
    for key, array in reference_outputs(found.module, tiny, inputs(tiny, 2)).items():
        assert (array == expected[key]).all(), key


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    TINY["swin"].module().save_pretrained(tmp_path)
    assert "holds a swin, tiny_vit is a vit" in refusal(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    assert "holds no model.safetensors" in refusal(tmp_path)


def test_a_folder_with_damaged_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert "config.json is not JSON" in refusal(tmp_path)


@pytest.mark.parametrize("path", ["./nowhere.safetensors", "/no/such/folder", "w.pth", "a/b.bin"])
def test_a_path_that_is_not_there_is_refused_without_asking_a_hub(path: str) -> None:
    assert f"--weights {path}: no such file or folder" in refusal(path)


@pytest.mark.parametrize("weights", [None, "someone/something"], ids=["record", "argument"])
def test_a_hub_id_without_a_hub_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, weights: str | None
) -> None:
    from huggingface_hub import constants

    # The library reads the environment variable HF_HUB_OFFLINE once, at its import.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal(weights)
    assert f"the hub did not give {weights or 'nobody/nothing'}" in message
    assert "--weights random" in message


def test_random_weights_are_reproducible_and_say_so() -> None:
    first, again, other = (load_reference(spec_of("vit"), "random", seed) for seed in (5, 5, 6))
    assert first.source == {"weights": "random", "seed": 5, "sha256": ""}
    states = [found.module.state_dict() for found in (first, again, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    name = "vit.layers.0.mlp.fc1.weight"
    assert not torch.equal(states[0][name], states[2][name])


def test_a_misspelt_setting_of_the_model_is_refused() -> None:
    spec = spec_of("vit", config={"hidden_sizee": 32})
    with pytest.raises(SpecError, match=r"`config.hidden_sizee` of tiny_vit .*`hidden_size`\?$"):
        load_reference(spec, "random")


@pytest.mark.parametrize("name", load_models())
def test_every_record_uses_settings_that_its_family_has(name: str) -> None:
    record = load_models()[name]
    assert record.config.keys() <= find_family(record.family).reference.settings()


def test_a_records_own_file_is_checked(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(state, tmp_path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(weight_files, "ROOT", tmp_path)
    right = spec_of("vit", weights={"file": file.name, "sha256": digest})
    assert load_reference(right).source["sha256"] == digest
    message = refusal(None, spec_of("vit", weights={"file": file.name, "sha256": "0" * 64}))
    assert f"has sha256 {digest[:12]}…, models.yaml expects 000000000000…" in message


def test_half_precision_weights_become_float32(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    half = {name: tensor.half() for name, tensor in renamed(state, VIT_TIMM).items()}
    found = load_reference(spec_of("vit"), str(saved(half, tmp_path))).module
    assert {p.dtype for p in found.parameters()} == {torch.float32}


@pytest.mark.assets
def test_real_vit_tiny_reproduces_its_logits() -> None:
    file = asset("weights/vit_tiny_patch16_224.augreg.safetensors")
    recorded = load_file(file.with_name("vit_tiny_patch16_224.augreg.refio.safetensors"))
    found = load_reference(find_model("vit_ti_16", load_models()), str(file))
    assert found.source["naming"] == "timm"
    with torch.inference_mode():
        logits = found.module(pixel_values=recorded["input"])["logits"]
    # Measured 0.0; another CPU may sum in another order, a few units in the last place of logits
    # up to 15.
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)
