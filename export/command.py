"""Entry point of the `vitrine` command, which needs packages that an application does not."""

from __future__ import annotations

import sys
from typing import Any


def main() -> Any:
    """Run the command, or say in one line what it needs."""
    try:
        from export import cli
    except ModuleNotFoundError as error:
        print(
            f"vitrine: {error.name} is not installed; run `pip install -e '.[cpu]'`",
            file=sys.stderr,
        )
        sys.exit(2)
    return cli.main()
