"""The command-line arguments that the examples share."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence

from runtime.sources import Source, open_source


def parser(about: str | None) -> argparse.ArgumentParser:
    """A bundle, sources, and how to run them; `about` is a docstring, its first line is shown."""
    found = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    found.add_argument("bundle", help="the folder of a built bundle")
    found.add_argument(
        "sources", nargs="+", metavar="[NAME=]SOURCE",
        help="a file, a folder of images, an rtsp or http address, a camera's index",
    )  # fmt: skip
    found.add_argument(
        "--threshold", type=float, default=0.5, metavar="T", help="least score of an object"
    )
    found.add_argument(
        "--max-delay-ms", type=float, default=5.0, metavar="MS",
        help="how long a frame waits at most for others to be inferred with",
    )  # fmt: skip
    found.add_argument(
        "--queue", type=_count, metavar="N",
        help="frames of a source that wait at most, of a camera 1 by default; give more where it "
        "sends several at once, as H.264 with B frames does",
    )  # fmt: skip
    return found


def named_sources(texts: Sequence[str]) -> list[Source]:
    """What each NAME=SOURCE or SOURCE says; a file name with = in it is given as ./FILE.

    Raises:
        EngineError: one that cannot be what its text says.
        ValueError: several of the same name.
    """
    sources = [_named_source(text) for text in texts]
    for name, times in Counter(source.name for source in sources).items():
        if times > 1:
            raise ValueError(f"{times} sources are called {name}; name them apart: NAME=SOURCE")
    return sources


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _named_source(text: str) -> Source:
    name, equals, what = text.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name):
        return open_source(what, name=name)
    return open_source(text)
