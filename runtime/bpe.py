"""Byte-level byte-pair encoding as CLIP's text tower reads it (Radford et al. 2021, section 2.4).

A text is lower-cased and cut into words; of each word's UTF-8 bytes the pair that was learned first
is merged, again and again (Sennrich et al. 2016, algorithm 1); the last symbol of a word ends in
`</w>`. A file of merges says everything: symbols are numbered as the bytes, the bytes that end a
word, what each merge makes, and the marks of start and end.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from runtime.errors import EngineError, one_line

END_OF_WORD = "</w>"
_SUFFIXES = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")  # words of their own
_NO_SPACE = "\x1c\x1d\x1e\x1f"  # white space to Python, not to Unicode
_MOST_BYTES = 1 << 23  # of a file of merges; CLIP's has half a million
_REMEMBERED = 1 << 14  # words


class Bpe:
    """A tokenizer: text to numbers.

    Attributes:
        start, end: numbers of the marks around a text; `end` is the highest of all.
        contents: of the file.
    """

    def __init__(self, contents: bytes) -> None:
        """Number the symbols.

        Args:
            contents: of a file: pairs of symbols in the order in which they were learned, one a
                line, under a line with `#version`; the `merges.txt` of a CLIP on a hub.

        Raises:
            ValueError: something else, or a pair of which one symbol is not known yet, or that
                makes a known one.
        """
        title, *lines = contents.decode().rstrip("\r\n").replace("\r\n", "\n").split("\n")
        if "#version" not in title:
            raise ValueError(f"line 1 is {title[:40]!r}, not a #version")
        single = byte_characters().values()
        symbols = [*single, *(character + END_OF_WORD for character in single)]
        self._numbers = {symbol: number for number, symbol in enumerate(symbols)}
        self._ranks: dict[tuple[str, str], int] = {}
        for number, line in enumerate(lines, start=2):
            left, _, right = line.partition(" ")
            if not {left, right} <= self._numbers.keys() or left + right in self._numbers:
                raise ValueError(f"line {number}, {line[:40]!r}, does not join two known symbols")
            self._ranks[left, right] = len(self._ranks)
            self._numbers[left + right] = len(self._numbers)
        self.start, self.end = len(self._numbers), len(self._numbers) + 1
        self.contents = contents
        self._word = functools.lru_cache(_REMEMBERED)(self._encoded)

    @classmethod
    def read(cls, path: Path) -> Bpe:
        """The tokenizer of a file.

        Raises:
            EngineError: it cannot be read, or holds something else.
        """
        try:
            with path.open("rb") as file:
                contents = file.read(_MOST_BYTES + 1)
            if len(contents) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            return cls(contents)
        except (OSError, ValueError) as error:
            raise EngineError(
                f"{path} holds no merges ({one_line(error)}); give the merges.txt of a CLIP, two "
                "symbols a line"
            ) from error

    def encode(self, text: str) -> list[int]:
        """The numbers of a text, without the marks of start and end, which no text contains."""
        return [number for word in words(text) for number in self._word(word)]

    def _encoded(self, word: str) -> tuple[int, ...]:
        characters = byte_characters()
        # A lone surrogate, half a character, has no UTF-8.
        parts = [characters[byte] for byte in word.encode(errors="replace")]
        parts[-1] += END_OF_WORD
        while known := [pair for pair in itertools.pairwise(parts) if pair in self._ranks]:
            parts = merged(parts, min(known, key=self._ranks.__getitem__))
        return tuple(self._numbers[part] for part in parts)


@functools.cache
def byte_characters() -> dict[int, str]:
    """A printable character for each byte, by which merges spell it, in the order of numbers.

    Bytes that are printable in Latin-1 come first, as themselves (as in GPT-2's vocabulary).
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    others = [byte for byte in range(256) if byte not in plain]
    codes = [*plain, *range(256, 256 + len(others))]
    return dict(zip([*plain, *others], map(chr, codes), strict=True))


def words(text: str) -> Iterator[str]:
    """Cuts a text, composed (NFC) and in lower case, into words.

    A word is one of the endings such as `'s`, some letters, one digit, or some characters that are
    neither letters, digits (Unicode categories L and N) nor white space.
    """
    text = unicodedata.normalize("NFC", text).lower()
    start = 0
    while start < len(text):
        kind, end = _kind(text[start]), start + 1
        suffix = next((s for s in _SUFFIXES if text.startswith(s, start)), None)
        if suffix is not None:
            end = start + len(suffix)
        elif kind != "N":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            yield text[start:end]
        start = end


def merged(parts: Iterable[str], pair: tuple[str, str]) -> list[str]:
    """Symbols with each occurrence of a pair, from the left, made one."""
    found: list[str] = []
    last = None  # the symbol before, where it may still be merged
    for part in parts:
        if (last, part) == pair:
            found[-1] += part
            last = None
        else:
            found.append(part)
            last = part
    return found


def _kind(character: str) -> str:
    """ "L" of a letter, "N" of a digit, " " of white space, "" of anything else."""
    if character.isspace() and character not in _NO_SPACE:
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else ""
