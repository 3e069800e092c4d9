from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_board import Board

from runtime import Engine, Pipeline
from runtime.sources.events import SourceEvent
from tests.examples.red_square import frame


@pytest.fixture
def board() -> Board:
    return Board()


def told(board: Board, bundle: Path) -> list[tuple[str, str]]:
    """What the page would list, the oldest first."""
    return [(event["text"], event["level"]) for event in status(board, bundle)["events"]]


def status(board: Board, bundle: Path) -> dict[str, Any]:
    with Engine.load(bundle) as engine, Pipeline(engine, {"gate": []}) as pipeline:
        return board.status(engine, pipeline)


@pytest.mark.parametrize(
    ("kinds", "texts"),
    [
        (["connected"], ["gate is connected"]),
        (["connected", "lost", "connected"], ["gate is lost: why", "gate is back"]),
        (["lost", "connected"], ["gate is lost: why", "gate is back"]),
        (["connected", "stalled", "resumed"], ["gate has stalled: why", "gate is back"]),
        (["connected", "ended"], ["gate has ended: why"]),
        (["corrupt"], ["gate sent what is no picture: why"]),
    ],
    ids=["first", "back", "late", "resumed", "ended", "corrupt"],
)
def test_events_are_said_in_words(
    board: Board, bundle: Path, kinds: list[str], texts: list[str]
) -> None:
    for kind in kinds:
        board.event(SourceEvent("gate", kind, "why"))
    assert [text for text, _ in told(board, bundle)][-len(texts) :] == texts


def test_what_happens_to_the_engine_is_said(board: Board, bundle: Path) -> None:
    assert status(board, bundle)["probe"]["passed"] is True
    board.reload("refused")
    board.probe(0.5, passed=False)
    failed = status(board, bundle)["probe"]
    assert (failed["passed"], failed["cosine"]) == (False, 0.5)
    board.fallback("onnxruntime")
    board.probe(0.9999, passed=True)
    assert status(board, bundle)["probe"]["passed"] is True
    assert [level for _, level in told(board, bundle)] == ["bad", "bad", "bad", "good"]


def test_passing_probes_and_old_events_do_not_pile_up(board: Board, bundle: Path) -> None:
    for _ in range(1000):
        board.probe(1.0, passed=True)
    assert told(board, bundle) == []
    for _ in range(1000):
        board.reload("done")
    events = status(board, bundle)["events"]
    assert len(events) == 50
    assert [event["id"] for event in events] == list(range(951, 1001))


def test_the_newest_result_is_shown(board: Board, bundle: Path) -> None:
    places = [(10, 20), (60, 30), (100, 70)]
    sources = {"gate": [frame(*place) for place in places], "yard": [frame(5, 5)]}
    with Engine.load(bundle) as engine, Pipeline(engine, sources) as pipeline:
        board.follow(pipeline)
        newest = board.newest("gate")
        shown = board.status(engine, pipeline)
    assert newest is not None and newest.frame_id == 2
    assert [source["name"] for source in shown["sources"]] == ["gate", "yard"]
    assert [source["delivered"] for source in shown["sources"]] == [3, 1]
    assert shown["stopped"] == ""
