"""Which back ends may take over from the one that a build keeps."""

from __future__ import annotations

from export.engine_choice import Choice
from runtime import EngineError
from runtime.backends import open_session
from runtime.golden import Golden, check
from runtime.preparation import Preparation


def find_fallbacks(
    choice: Choice, golden: Golden, preprocess: Preparation, min_cosine: float
) -> tuple[str, ...]:
    """Other back ends for the kept graph, the fastest first.

    Each was found faithful and is held to the golden probes as the kept one will be: a back end
    that rounds more coarsely than the kept one would only fail them later.
    """
    kept = choice.kept
    same_graph = [
        candidate
        for candidate in choice.candidates
        if candidate.precision == kept.precision
        and candidate.backend != kept.backend
        and not candidate.obstacle
    ]
    found = []
    for candidate in sorted(same_graph, key=lambda candidate: candidate.milliseconds):
        session = open_session(candidate.backend, choice.model)
        try:
            check(session.run, preprocess, golden, min_cosine)
        except EngineError:
            continue
        finally:
            session.close()
        found.append(candidate.backend)
    return tuple(found)
