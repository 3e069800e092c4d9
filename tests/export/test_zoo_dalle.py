"""DALL·E: the paper's parameters and masks, and every graph against PyTorch and each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch.nn import functional

from export.attention import HIDDEN
from export.samples import Sample
from export.spec import find_model, load_models
from export.to_onnx import onnx_from_module
from export.weights import Reference
from export.zoo.dalle import FAMILY, Dalle, DalleStep
from export.zoo.dalle_config import DalleConfig
from export.zoo.dalle_masks import kinds, sparse_biases
from export.zoo.dalle_samples import codes_of, pictures
from export.zoo.dvae import Dvae
from export.zoo.dvae_config import DvaeConfig
from runtime.generation import continued
from runtime.texts import Texts

onnxruntime = pytest.importorskip("onnxruntime")

TEXT, WORDS, CODES, GRID = 5, 11, 7, 4
CONFIG: dict[str, Any] = {
    "text_length": TEXT,
    "text_tokens": WORDS,
    "width": 16,
    "heads": 2,
    "layers": 4,
    "kernel": 3,
    "dvae": {
        "image_size": 16, "codes": CODES, "hidden": 8, "initial": 12, "groups": 3, "blocks": 2,
        "laplace": True,
    },
}  # fmt: skip
# float32 sums in another order: a few units in the last place for each of some ten layers, on
# values of order 1. A wrong weight, mask or place shows above 1e-2.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def model() -> Dalle:
    """Random weights that make every term count."""
    torch.manual_seed(0)
    module = Dalle(DalleConfig(**CONFIG)).eval()
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
        elif not name.startswith("dvae."):
            parameter.data = torch.randn_like(parameter) * 1.5 * parameter.shape[1] ** -0.5
    return module


def texts() -> torch.Tensor:
    """Three texts of different lengths; the last number is the mark of the end."""
    return torch.tensor([[9, 3, 10, 0, 0], [9, 0, 1, 2, 10], [9, 10, 0, 0, 0]])


def codes(count: int = 3) -> torch.Tensor:
    return torch.randint(CODES, (count, GRID**2), generator=torch.Generator().manual_seed(1))


def all_logits(model: Dalle, codes: torch.Tensor) -> torch.Tensor:
    """Of every code, all at once."""
    places = torch.arange(codes.shape[1] - 1)
    inputs = [model.text_tokens(texts()), model.code_tokens(codes[:, :-1], places)]
    tokens, _ = model.seen(torch.cat(inputs, dim=1))
    found: torch.Tensor = model.code_head(tokens[:, TEXT - 1 :])
    return found


def run(graph: ir.Model, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        ir.serde.serialize_model(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    feed = {name: np.asarray(value) for name, value in inputs.items()}
    return dict(zip(names, session.run(names, feed), strict=True))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_full_size_has_the_papers_parameters() -> None:
    record = find_model("dalle_12b", load_models())
    with torch.device("meta"):
        module = FAMILY.reference.build(record.config)
    assert isinstance(module, Dalle)
    config = module.config
    # 64 layers of 62 heads of 64; text of 256 tokens, image of 32 x 32 of 8192 codes.
    assert (config.layers, config.heads, config.width) == (64, 62, 62 * 64)
    assert config.places + 1 == 256 + 32**2
    width = config.width
    # Layers; words, padding, positions, codes, rows and columns; a norm; both heads.
    embedded = 16_384 + 256 + 256 + 8192 + 32 + 32
    parts = 64 * (12 * width**2 + 13 * width), embedded * width, 2 * width
    expected = sum(parts) + (width + 1) * (16_384 + 8192)
    assert count(module) - count(module.dvae) == expected == 12_292_833_024
    # The step's inputs are what the whole graph makes, the decoder's what the steps choose.
    shapes = {
        name: record.parts[name].preprocess.to_dict()["shapes"] for name in ("step", "decoder")
    }
    assert shapes["step"]["cache"] == [2 * 64, 62, config.places, 64]
    assert shapes["decoder"]["codes"] == [config.images.grid**2]


def test_the_full_size_dvae_is_as_large_as_the_published_one() -> None:
    with torch.device("meta"):
        module = Dvae(DvaeConfig())
    # Sums over the layers of https://github.com/openai/DALL-E, dall_e/encoder.py and decoder.py,
    # with 256 channels, four groups of two blocks, 8192 codes and six outputs.
    assert count(module.encoder) == 53_786_240
    assert count(module.decoder) == 43_829_766
    assert module.config.grid == 32


def test_layers_see_rows_columns_and_last_a_square() -> None:
    assert kinds(8) == [0, 1, 0, 0, 0, 1, 0, 2]


def test_masks_are_those_of_figure_11() -> None:
    """Of 6 text tokens, an image of 4 x 4 and a kernel of 3 x 3; one token by its definition."""
    biases = sparse_biases(6, 4, 3)
    assert biases.shape == (3, 21, 21)
    assert set(biases.unique().tolist()) == {0.0, HIDDEN}
    seen = biases == 0
    rows, columns, squares = (mask[6:, 6:] for mask in seen)
    assert torch.equal(seen[:, :6, :6], torch.ones(6, 6).tril().bool().expand(3, 6, 6))
    assert seen[:, 6:, :6].all() and not seen[:, :6, 6:].any()
    # Row 2, column 1 of the image is token 9.
    assert rows[9].nonzero().flatten().tolist() == [5, 6, 7, 8, 9]
    assert columns[9].nonzero().flatten().tolist() == [1, 5, 9]
    assert squares[9].nonzero().flatten().tolist() == [4, 5, 6, 8, 9]
    # At the left edge the square goes on at the end of the row above.
    assert squares[8].nonzero().flatten().tolist() == [3, 4, 5, 7, 8]
    assert rows[2].nonzero().flatten().tolist() == [0, 1, 2]


@torch.no_grad()
def test_padding_has_a_token_for_each_position(model: Dalle) -> None:
    tokens = model.text_tokens(texts()) - model.positions.weight
    torch.testing.assert_close(tokens[0, 3:], model.padding.weight[3:])
    # A zero before the end is a word.
    torch.testing.assert_close(tokens[1, 1], model.texts.weight[0])


@torch.no_grad()
def test_steps_give_what_the_whole_sequence_gives(model: Dalle) -> None:
    """Prefill, then one code after another: logits as if all were seen at once."""
    chosen = codes()
    expected = all_logits(model, chosen)
    first, step = model(texts()), DalleStep(model)
    torch.testing.assert_close(first["logits"], expected[:, 0], atol=TOLERANCE, rtol=1e-5)
    cache = first["cache"]
    assert cache.shape == (3, 8, 2, TEXT + GRID**2 - 1, 8)
    cache[:, :, :, TEXT:] = 1e3  # what is there before it is written does not matter
    for number in range(GRID**2 - 1):
        place = TEXT + number
        position = torch.full((3,), place)
        found = step(input_ids=chosen[:, number : number + 1], position=position, cache=cache)
        wanted = expected[:, number + 1]
        torch.testing.assert_close(found["logits"], wanted, atol=TOLERANCE, rtol=1e-5)
        cache[:, :, :, place] = found["news"]


@torch.no_grad()
def test_a_code_does_not_depend_on_later_ones(model: Dalle) -> None:
    chosen = codes()
    other = chosen.clone()
    other[:, 6] = (other[:, 6] + 1) % CODES
    before, after = all_logits(model, chosen), all_logits(model, other)
    assert torch.equal(before[:, :7], after[:, :7])
    assert (before[:, 7] - after[:, 7]).abs().min() > 0


@torch.no_grad()
def test_the_graph_of_a_text_equals_pytorch(model: Dalle) -> None:
    graph = onnx_from_module(model, FAMILY, {"input_ids": texts()[:2]})
    operators = [node.op_type for node in graph.graph]
    assert operators.count("FusedAttention") == 4
    found, expected = run(graph, {"input_ids": texts()}), model(texts())
    for name in FAMILY.outputs:
        np.testing.assert_allclose(found[name], expected[name], atol=TOLERANCE, rtol=1e-5)


@torch.no_grad()
def test_the_graph_of_a_step_draws_what_pytorch_draws(model: Dalle) -> None:
    family, first = FAMILY.of_part("step"), model(texts())
    inputs = {"input_ids": codes()[:2, :1], "position": torch.tensor([6, 9])}
    graph = onnx_from_module(model, family, {**inputs, "cache": first["cache"][:2]})
    assert [node.op_type for node in graph.graph].count("FusedAttention") == 4
    session = onnxruntime.InferenceSession(
        ir.serde.serialize_model(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def step(inputs: Any) -> Any:
        return dict(zip(("logits", "news"), session.run(["logits", "news"], inputs), strict=True))

    logits, cache = (first[name].numpy() for name in ("logits", "cache"))
    drawn = continued(step, logits, cache, TEXT - 1, GRID**2)
    # Greedy codes are right where each is the best of the whole sequence's logits.
    best = all_logits(model, torch.from_numpy(drawn)).argmax(-1)
    np.testing.assert_array_equal(drawn, best.numpy())


@torch.no_grad()
def test_the_graphs_of_the_dvae_equal_pytorch(model: Dalle) -> None:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    graph = onnx_from_module(model, FAMILY.of_part("encoder"), {"pixel_values": images[:2]})
    expected = model.dvae.encoder(images)
    assert expected.shape == (3, CODES, GRID, GRID)
    found = run(graph, {"pixel_values": images})["logits"]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=1e-5)

    graph = onnx_from_module(model, FAMILY.of_part("decoder"), {"codes": codes(2)})
    drawn = model.dvae.decoder(codes().unflatten(1, (GRID, GRID)))
    assert drawn.shape == (3, 3, 16, 16)
    found = run(graph, {"codes": codes()})["restored"]
    np.testing.assert_allclose(found, drawn, atol=TOLERANCE, rtol=1e-5)


@torch.no_grad()
def test_codes_are_mixed_as_one_hot_codes_are(model: Dalle) -> None:
    """The relaxation that is trained on ends in what is used afterwards."""
    decoder, cells = model.dvae.decoder, codes().unflatten(1, (GRID, GRID))
    shares = functional.one_hot(cells, CODES).permute(0, 3, 1, 2).float()
    hard = decoder(cells)
    soft = (decoder.mixed(shares)[:, :3].sigmoid() - 0.1) / 0.8
    torch.testing.assert_close(soft, hard, atol=TOLERANCE, rtol=1e-5)


def test_samples_of_the_parts_are_of_one_picture(model: Dalle) -> None:
    preprocess: Any = Texts("merges.txt", TEXT, _Words())  # type: ignore[arg-type]
    frame = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    expected = codes_of(model, [frame])[0]
    reference = Reference(model, preprocess, ())
    samples = [Sample(str(index), lambda: "a", frame) for index in range(3)]
    encoder, decoder, step = (
        FAMILY.parts[name].samples(reference, samples) for name in ("encoder", "decoder", "step")
    )
    np.testing.assert_array_equal(encoder[0].read(), frame)
    np.testing.assert_array_equal(decoder[0].read()["codes"], expected)
    assert decoder[0].label.shape == (16, 16, 3)
    for sample in step:
        item = sample.read()
        place = int(item["position"]) - TEXT + 1
        assert item["input_ids"] == expected[place - 1] and sample.label == expected[place]
        assert item["cache"].shape == (8, 2, TEXT + place - 1, 8)
    assert len({int(sample.read()["position"]) for sample in step}) == 3


class _Words:
    """A tokenizer of one word."""

    start, end, contents = 9, 10, b""

    def encode(self, text: str) -> list[int]:
        return [3]


def test_an_impossible_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel is 4"):
        DalleConfig(**{**CONFIG, "kernel": 4})
    with pytest.raises(ValueError, match="not a multiple of heads 3"):
        DalleConfig(**{**CONFIG, "heads": 3})
    with pytest.raises(ValueError, match="a multiple of 4"):
        DvaeConfig(image_size=18, groups=3)
    for name in ("text_length", "layers", "kernel"):
        with pytest.raises(ValueError, match=f"config.{name} is -1; give at least 1"):
            DalleConfig(**{**CONFIG, name: -1})
    for name, least in (("hidden", 4), ("groups", 1), ("blocks", 1)):
        with pytest.raises(ValueError, match=f"config.dvae.{name} is 0; give at least {least}"):
            DvaeConfig(**{name: 0})


@pytest.mark.parametrize("name", ["dalle_12b", "dalle_tiny_shapes"])
def test_training_sees_pictures_as_the_encoders_engine_does(name: str) -> None:
    record = find_model(name, load_models())
    module: Any = DalleConfig(**record.config)
    assert record.parts["encoder"].preprocess == pictures(module.images.image_size)
