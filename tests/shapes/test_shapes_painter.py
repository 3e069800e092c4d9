"""How the tiny DALL·E is trained and measured: its drawings, closed forms, steps that help."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from export.zoo.dalle import Dalle
from export.zoo.dalle_config import DalleConfig
from export.zoo.dalle_samples import codes_of
from runtime.texts import Texts
from shapes.datasets.captions import COLOURS, Facts, corner
from shapes.datasets.drawings import DATASET, drawing, drawings
from shapes.figures import NAMES
from shapes.render import write
from shapes.train import ROOT
from shapes.training import painter
from shapes.training.dvae_training import temperature, train_dvae
from shapes.training.loop import Recipe, fit
from shapes.training.painter_scores import drawings_of, following, score, shapes_in
from shapes.training.trainer import Task

LENGTH = 16
TEXTS = Texts("shapes/checkpoints/merges.txt", LENGTH).opened(ROOT.joinpath)
SMALL: dict[str, Any] = {
    "text_length": LENGTH, "text_tokens": 622, "width": 16, "heads": 2, "layers": 2, "kernel": 3,
    "dvae": {
        "image_size": 16, "codes": 12, "hidden": 16, "initial": 32, "groups": 3, "blocks": 1,
        "laplace": False,
    },
}  # fmt: skip


def model(seed: int = 0) -> Dalle:
    torch.manual_seed(seed)
    return Dalle(DalleConfig(**SMALL))


def test_a_drawing_is_what_its_caption_says() -> None:
    for index in range(20):
        text, frame, facts = drawing(5, index)
        assert "large" not in text and "small" not in text
        assert f"{COLOURS[facts.colour]} {NAMES[facts.shape].replace('_', ' ')}" in text
        rendered = DATASET.image(5, index)
        assert rendered.frame == text
        np.testing.assert_array_equal(rendered.truth, frame)
    assert drawing(5, 3).text != drawing(6, 3).text or drawing(5, 4).text != drawing(6, 4).text


def test_a_drawing_is_flat_but_for_the_edge_of_its_figure() -> None:
    for index in range(12):
        _, frame, facts = drawing(5, index)
        assert facts.background is not None
        tones = [abs(corner(number) - 0.15) for number in (facts.background, facts.colour)]
        wanted = np.rint(np.array(tones) * 255)
        is_back, is_front = (np.abs(frame - tone).max(axis=2) <= 1 for tone in wanted)
        # Figures of that radius cover 7 to 40 % of their frame; an edge is a few pixels wide.
        assert is_back[0, 0] and 0.07 < is_front.mean() < 0.4
        assert (is_back | is_front).mean() > 0.8


def test_rendered_texts_lie_beside_their_drawings(tmp_path: Path) -> None:
    write(tmp_path, DATASET, 5, 2)
    for index in range(2):
        text, frame, _ = drawing(5, index)
        assert (tmp_path / f"00000{index}.txt").read_text() == f"{text}\n"
        with Image.open(tmp_path / f"00000{index}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), frame)


def test_what_a_caption_leaves_open_has_a_usual_answer() -> None:
    open_ones = [one for one in drawings(5, 1000) if "background" not in one.text]
    assert 400 < len(open_ones) < 600
    for one in open_ones:
        white = COLOURS.index("white")
        assert one.facts.background == (
            COLOURS.index("black") if one.facts.colour == white else white
        )
    groups: dict[Facts, Counter[bytes]] = {}
    for one in open_ones:
        groups.setdefault(one.facts, Counter())[one.frame.tobytes()] += 1
    usual = sum(seen.most_common(1)[0][1] for seen in groups.values())
    # 0.7 and, of the few groups that show no upright figure, a little more; four standard
    # deviations of a share of 500 are 0.08.
    assert 0.62 < usual / len(open_ones) < 0.82


def test_the_relaxation_ends_hard() -> None:
    values = [temperature(share) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert values[0] == 1 and values[3] == values[4] == 1 / 16
    assert values == sorted(values, reverse=True)


def test_the_loss_of_the_transformer_leaves_out_what_pads_a_text() -> None:
    module = model().eval()
    texts = TEXTS(["a red star", "the large blue heart"]).inputs["input_ids"]
    codes = np.random.default_rng(0).integers(0, 12, (2, 16))
    found = painter.transformer_loss(module, texts, codes, 1, seed=0)()
    row = int(np.random.default_rng(0).integers(2, size=1)[0])
    words, cells = torch.from_numpy(texts[row]), torch.from_numpy(codes[row])
    said, drawn = following(module, words[None], cells[None])
    last = int(words.argmax())  # of its mark of the end
    wanted = functional.cross_entropy(said[0, :last], words[1 : last + 1]) / 8
    wanted += functional.cross_entropy(drawn[0], cells) * 7 / 8
    # The loss is computed in bfloat16, of eight significant bits.
    assert found.item() == pytest.approx(wanted.item(), rel=0.01)


def test_the_judge_sees_the_shapes_of_drawings() -> None:
    drawn = drawings(6, 60)
    found = shapes_in([one.frame for one in drawn])
    # 0.98 of many; with 60 of them four standard deviations are 0.07.
    assert (found == [one.facts.shape for one in drawn]).mean() > 0.9


def test_what_is_drawn_depends_on_its_number_only() -> None:
    module = model().eval()
    texts = ["a red star", "the large blue heart"]
    frames = drawings_of(module, TEXTS, texts * 30)  # more than go at once
    assert len(frames) == 60 and frames[0].shape == (16, 16, 3)
    np.testing.assert_array_equal(frames[1], drawings_of(module, TEXTS, texts)[1])
    assert not np.array_equal(frames[0], frames[2])


def test_one_run_is_both_stages_one_after_the_other() -> None:
    """The committed weights were made in two runs."""
    second = Recipe(30, 2, 4, 1e-2, 0.05, warmup=5)
    first = painter.first_stage(second)
    assert (first.images, first.steps) == (15, 3)
    at_once = model()
    torch.manual_seed(1)
    training = painter.TRAINER.prepare(Task(at_once, TEXTS, second, 0, None))

    begun = model()
    torch.manual_seed(1)
    train_dvae(begun.dvae, np.stack([one.frame for one in drawings(0, 15)]), first, seed=0)
    resumed = painter.TRAINER.prepare(Task(model(), TEXTS, second, 0, begun.state_dict()))
    assert training.loss().item() == resumed.loss().item()
    for name, value in training.weights().items():
        assert torch.equal(value, resumed.weights()[name]), name


def test_a_few_steps_of_each_stage_help() -> None:
    module, recipe = model(), Recipe(40, 120, 8, 1e-2, 1e-4, warmup=5)
    before = score(module, TEXTS, seed=9, count=20)
    train_dvae(module.dvae, np.stack([one.frame for one in drawings(0, 40)]), recipe, seed=0)
    after = score(module, TEXTS, seed=9, count=20)
    assert after["psnr_db"] > before["psnr_db"] + 1
    weights = {name: value.clone() for name, value in module.state_dict().items()}

    second = painter.TRAINER.prepare(Task(module, TEXTS, recipe, 0, weights))
    frames = [one.frame for one in drawings(3, 4)]
    codes = codes_of(module, frames)
    fit(second.module, second.loss, recipe)
    last = score(module, TEXTS, seed=9, count=20)
    assert last["nats"] < after["nats"] - 0.3 and after["nats"] < 1.2 * math.log(12)
    # The codes that it learns stay what they are.
    np.testing.assert_array_equal(codes_of(module, frames), codes)
    assert last["psnr_db"] == after["psnr_db"]
