"""Texts as the numbers of a batch: marks, zeros, and what is no text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import CLIPTokenizer

from runtime.preparation import read_preparation
from runtime.texts import Texts

FOLDER = Path(__file__).resolve().parents[2] / "shapes" / "checkpoints"
RECORD = {"kind": "texts", "merges": "merges.txt", "length": 12}


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts("merges.txt", 12).opened(FOLDER.joinpath)


def test_marks_surround_a_text_and_zeros_follow(texts: Texts) -> None:
    batch = texts(["a red star", ""])
    assert list(batch.inputs) == ["input_ids"]
    rows = batch.inputs["input_ids"]
    assert rows.dtype == np.int64
    assert texts.tokenizer is not None
    start, end = texts.tokenizer.start, texts.tokenizer.end
    inside = texts.tokenizer.encode("a red star")
    assert rows.tolist() == [
        [start, *inside, end, *[0] * (10 - len(inside))],
        [start, end, *[0] * 10],
    ]
    # What finds the end in a model.
    assert rows.argmax(axis=1).tolist() == [len(inside) + 1, 1]
    assert batch.counts == [1, 1]
    assert batch.frame_sizes == [(0, 0)] * 2
    assert batch.regions == [(0.0, 0.0, 1.0, 1.0)] * 2


def test_a_text_that_just_fits_is_read_and_a_longer_one_refused(texts: Texts) -> None:
    row = texts(["red " * 10]).inputs["input_ids"][0]
    assert np.count_nonzero(row) == 12
    with pytest.raises(ValueError, match="has 11 tokens; the model reads 10: shorten it"):
        texts(["red " * 11])


def test_a_text_of_thousands_of_characters_is_refused_before_it_is_cut(texts: Texts) -> None:
    with pytest.raises(ValueError, match="has 2001 characters; give at most 2000"):
        texts(["x" * 2001])


@pytest.mark.parametrize(
    ("items", "message"),
    [("a text", "texts is one text"), ([b"bytes"], "text 0 is a bytes"), (["a", 3], "text 1 is")],
    ids=["one", "bytes", "number"],
)
def test_what_is_no_list_of_texts_is_misuse(texts: Texts, items: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        texts(items)


def test_no_texts_are_no_batch(texts: Texts) -> None:
    with pytest.raises(ValueError, match="found no texts"):
        texts([])


def test_unread_merges_are_misuse() -> None:
    with pytest.raises(ValueError, match="call `opened` first"):
        Texts("merges.txt")(["a"])


def test_the_record_comes_back_and_the_file_goes_into_a_bundle(tmp_path: Path) -> None:
    found = read_preparation({**RECORD, "merges": "shapes/checkpoints/merges.txt"})
    assert isinstance(found, Texts)
    assert found.files == {}
    opened = found.opened(lambda name: FOLDER.parents[1] / name)
    assert opened.to_dict() == RECORD
    assert opened.files == {"merges.txt": (FOLDER / "merges.txt").read_bytes()}
    for name, contents in opened.files.items():
        (tmp_path / name).write_bytes(contents)
    again = read_preparation(opened.to_dict()).opened(tmp_path.joinpath)
    assert again == opened
    assert np.array_equal(
        again(["a t shape"]).inputs["input_ids"], opened(["a t shape"]).inputs["input_ids"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merges": 3}, r"preprocess\.merges is 3"),
        ({"merges": ""}, r"preprocess\.merges is ''"),
        ({"length": "77"}, r"preprocess\.length is '77'"),
        ({"length": True}, r"preprocess\.length is True"),
        ({"length": 2}, r"preprocess\.length is 2"),
        ({"length": 5000}, r"preprocess\.length is 5000"),
        ({"size": 224}, r"preprocess of texts has size; it knows merges, length"),
    ],
    ids=["number", "empty", "text", "bool", "short", "long", "unknown"],
)
def test_records_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        read_preparation(RECORD | change)


def test_merges_must_be_named() -> None:
    with pytest.raises(ValueError, match="lacks merges"):
        read_preparation({"kind": "texts"})


def test_the_example_is_a_text_that_fits(texts: Texts) -> None:
    short = Texts("merges.txt", 24).opened(FOLDER.joinpath)
    assert short([short.example]).inputs["input_ids"].shape == (1, 24)


def test_rows_are_those_of_transformers_but_for_their_filling(texts: Texts) -> None:
    """Its tokenizer fills up with the mark of the end, OpenAI's with zeros; neither is read."""
    tokenizer = texts.tokenizer
    assert tokenizer is not None
    marks = {"<|startoftext|>": tokenizer.start, "<|endoftext|>": tokenizer.end}
    merges = [tuple(line.split(" ")) for line in tokenizer.contents.decode().splitlines()[1:]]
    theirs = CLIPTokenizer(vocab=tokenizer._numbers | marks, merges=merges)
    found = theirs(["a red star"], padding="max_length", max_length=12)
    seen = np.array(found["attention_mask"]) == 1
    rows = texts(["a red star"]).inputs["input_ids"]
    assert np.array_equal(rows[seen], np.array(found["input_ids"])[seen])
    assert not rows[~seen].any()
