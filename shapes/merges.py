"""Learns a tokenizer's merges from the captions of Shapes: `python -m shapes.merges FILE`.

Each merge joins the pair of symbols that occurs most often (Sennrich et al. 2016, algorithm 1),
of equally frequent ones the first in order, until each word is one symbol.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from runtime.bpe import END_OF_WORD, byte_characters, merged, words
from shapes.datasets.captions import every_caption


def main() -> int:
    """Parses the command line, learns, writes, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shapes.merges", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    file: Path = parser.parse_args().file
    pairs = learned(every_caption())
    lines = ["#version: 0.2", *(" ".join(pair) for pair in pairs)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(pairs)} merges in {file}")
    return 0


def learned(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of symbols in the order in which `runtime.bpe.Bpe` is to merge them."""
    counts = Counter(word for text in texts for word in words(text))
    spelt = {word: [byte_characters()[byte] for byte in word.encode()] for word in counts}
    for parts in spelt.values():
        parts[-1] += END_OF_WORD
    found: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in spelt.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            return found
        found.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        spelt = {word: merged(parts, found[-1]) for word, parts in spelt.items()}


if __name__ == "__main__":
    raise SystemExit(main())
