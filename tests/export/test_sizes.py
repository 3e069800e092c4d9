"""A model that no ONNX file can hold is refused before it fills the memory."""

from __future__ import annotations

import pytest

from export.sizes import check_sizes
from export.spec import ModelSpec, SpecError, find_model, load_models

MODELS = load_models()
TOO_LARGE = {
    # Of iGPT-L (tests/export/test_zoo_imagegpt.py), and of DALL·E's transformer and dVAE together
    # (12,292,833,024 and 97,616,006, tests/export/test_zoo_dalle.py): 46 GiB were they real.
    "imagegpt_l": r"imagegpt_l has 1,362,914,304 weights, 5\.1 GiB .* choose a smaller member",
    "dalle_12b": r"dalle_12b has 12,390,449,030 weights, 46\.2 GiB .* 2 GiB",
    "dalle_12b.step": r"dalle_12b\.step has 12,390,449,030 weights",
}


@pytest.mark.parametrize(("name", "message"), TOO_LARGE.items(), ids=TOO_LARGE.keys())
def test_what_is_too_large_is_one_line(name: str, message: str) -> None:
    with pytest.raises(SpecError, match=f"^{message}"):
        check_sizes(find_model(name, MODELS))


@pytest.mark.parametrize(
    "spec", [s for name, s in MODELS.items() if name not in TOO_LARGE], ids=lambda spec: spec.name
)
def test_every_other_model_fits(spec: ModelSpec) -> None:
    check_sizes(spec)


def test_a_part_may_fit_where_the_whole_does_not() -> None:
    check_sizes(find_model("dalle_12b.decoder", MODELS))
