"""The tokenizer against that of `transformers`, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from runtime.bpe import Bpe, words
from runtime.errors import EngineError

MERGES = Path(__file__).resolve().parents[2] / "shapes" / "checkpoints" / "merges.txt"
# The first merges of OpenAI's file; a symbol's number depends on those before it alone.
OPENAI_START = "#version: 0.2\ni n\nt h\na n\nr e\na r\ne r\nth e</w>\nin g</w>\n"


@pytest.fixture(scope="module")
def theirs() -> CLIPTokenizer:
    """With the vocabulary as published ones are: bytes, bytes that end a word, merges, marks."""
    merges = [tuple(line.split(" ")) for line in MERGES.read_text().splitlines()[1:]]
    # OpenAI's numbers: printable bytes of Latin-1 first, then the others.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    single = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(68)]
    symbols = [*single, *(one + "</w>" for one in single), *map("".join, merges)]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={one: n for n, one in enumerate(symbols)}, merges=merges)


@pytest.fixture(scope="module")
def ours() -> Bpe:
    return Bpe.read(MERGES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a photo of a red circle",
        "A Photo of a LARGE t shape, on a white background!!",
        "it's they're I'd we'll 's 'S don't've ''s !'s",
        "42 red stars, ½ ² Ⅷ ٣",
        "naïve café, cafe\u0301, ÅNGSTRÖM, Straße, İstanbul",
        "日本語のテキスト 中文 한국어",
        "👍🏽 👨‍👩‍👧 ♥ ™",
        "tab\tnew\nline\u00a0no-break\u2003em\x1cfile\x85next",
        "under_score e-mail@example.org #1 <br> </w> Ġ",
        "हिन्दी عربى",
    ],
    ids=ascii,
)
def test_texts_have_the_numbers_of_transformers(
    ours: Bpe, theirs: CLIPTokenizer, text: str
) -> None:
    assert [ours.start, *ours.encode(text), ours.end] == theirs(text)["input_ids"]


# Left out is what the two Unicode tables of Python and of the library may disagree on: characters
# that are not assigned, combining marks (their order within a composed text), and the capital
# sigma, which Python and OpenAI's tokenizer lower to the final one at the end of a word.
CHARACTERS = st.characters(
    max_codepoint=0x2FFF, exclude_categories=["Cn", "Cs", "Mn", "Mc", "Me"], exclude_characters="Σ"
)


@given(text=st.text(CHARACTERS, max_size=40))
@example(text="Ωmega's 100% ﬁt")
def test_any_text_has_the_numbers_of_transformers(
    ours: Bpe, theirs: CLIPTokenizer, text: str
) -> None:
    assert ours.encode(text) == theirs(text)["input_ids"][1:-1]


def test_numbers_are_openais() -> None:
    tokenizer = Bpe(OPENAI_START.encode())
    # "a" is byte 97, the 65th printable one; as a word 256 more. Known of CLIP: "a" is 320.
    assert tokenizer.encode("a") == [320]
    # The vocabulary of every CLIP: "in" 512, "th" 513, "an" 514, "the" as a word 518.
    assert tokenizer.encode("the THE thin") == [518, 518, 513, 72, 333]
    assert (tokenizer.start, tokenizer.end) == (520, 521)


def test_half_a_character_is_a_question_mark(ours: Bpe) -> None:
    assert ours.encode("a\ud800") == ours.encode("a?")


def test_marks_in_a_text_are_characters_like_others(ours: Bpe) -> None:
    assert ours.end not in ours.encode("<|endoftext|>")


def test_words_are_cut_as_documented() -> None:
    assert list(words("It's 10 past_noon...  OK")) == [
        "it", "'s", "1", "0", "past", "_", "noon", "...", "ok"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "line 1 is ''"),
        (b"a b\n", "line 1 is 'a b'"),
        (b"#version: 0.2\na b\nabc\n", "line 3, 'abc'"),
        (b"#version: 0.2\na b c\n", "line 2, 'a b c'"),
        (b"#version: 0.2\nab c\n", "line 2, 'ab c'"),
        (b"#version: 0.2\na b\n\na c\n", "line 3, ''"),
        (b"#version: 0.2\na b\na b\n", "line 3, 'a b'"),
        (b"#version: 0.2\n\xff b\n", "decode byte 0xff"),
    ],
    ids=["empty", "untitled", "one", "three", "unknown", "gap", "twice", "not-utf8"],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, contents: bytes, message: str) -> None:
    (tmp_path / "m.txt").write_bytes(contents)
    with pytest.raises(EngineError, match=r"m\.txt holds no merges") as caught:
        Bpe.read(tmp_path / "m.txt")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No such file"):
        Bpe.read(tmp_path / "m.txt")
    (tmp_path / "m.txt").write_bytes(b"#version\n" + b"x" * (1 << 23))
    with pytest.raises(EngineError, match="more than 8388608 bytes"):
        Bpe.read(tmp_path / "m.txt")


def test_windows_line_ends_are_line_ends() -> None:
    one, other = Bpe(OPENAI_START.encode()), Bpe(OPENAI_START.replace("\n", "\r\n").encode())
    assert one.encode("the inn") == other.encode("the inn")
