"""The command-line arguments that the examples share."""

from __future__ import annotations

import argparse
import re

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
    return found


def named_source(text: str) -> Source:
    """What NAME=SOURCE or SOURCE says; a file name with = in it is given as ./FILE."""
    name, equals, what = text.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name):
        return open_source(what, name=name)
    return open_source(text)
