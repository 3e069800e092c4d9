from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import EngineError
from runtime.manifest import SCHEMA, EngineInfo, Manifest
from tests.runtime.bundles import CLASSIFIER, DETECTOR


@pytest.mark.parametrize("manifest", [CLASSIFIER, DETECTOR], ids=lambda m: m.model)
def test_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_what_an_engine_is_bound_to() -> None:
    plan = EngineInfo("tensorrt", "10.3.0", "Orin", "8.7", "Linux-aarch64", ("refit",), ("x",))
    manifest = dataclasses.replace(CLASSIFIER, engine=plan)
    assert Manifest.from_json(manifest.to_json()) == manifest
    # Earlier bundles do not say it.
    record = {"backend": "openvino", "version": "2026.2", "device": "", "compute_capability": None}
    found = Manifest.from_json(changed(engine=record)).engine
    assert found == EngineInfo("openvino", "2026.2", "", None, None, (), ())
    # And earlier runtimes read what does not use it.
    assert "fallbacks" not in json.loads(CLASSIFIER.to_json())["engine"]


def test_text_is_reproducible_and_sorted() -> None:
    record = json.loads(CLASSIFIER.to_json())
    shuffled = Manifest.from_json(json.dumps(dict(reversed(record.items()))))
    assert shuffled.to_json() == CLASSIFIER.to_json()
    assert list(record) == sorted(record)


def test_fields_are_those_of_the_design() -> None:
    build = {"schema", "model", "task", "precision", "target", "engine", "files", "source"}
    use = {"inputs", "outputs", "preprocess", "labels", "golden"}
    reports = {"precision_map", "calibration", "drift", "latency"}
    assert json.loads(CLASSIFIER.to_json()).keys() == build | use | reports


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(CLASSIFIER.to_json()) | fields)


def lacking(name: str) -> str:
    record = json.loads(CLASSIFIER.to_json())
    del record[name]
    return json.dumps(record)


ENGINE = {"backend": "openvino", "version": "1", "device": "", "compute_capability": None}
GOLDEN = {"min_cosine": 0.9, "probes": 1}
TENSOR = {"name": "x", "dtype": "float32", "shape": ["batch", 3]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(changed(schema=SCHEMA + 1), "reads up to 1; update Vitrine", id="newer"),
        pytest.param(changed(schema=0), "schema is 0, expected 1", id="older"),
        pytest.param(changed(schema=True), "schema is True, expected an integer", id="bool"),
        pytest.param(lacking("schema"), "schema is None", id="no schema"),
        pytest.param(lacking("labels"), "lacks labels; build", id="missing"),
        pytest.param(changed(extra=1), "has unknown extra; build", id="unknown"),
        pytest.param(changed(model=3), "model is 3, expected a string", id="model"),
        pytest.param(changed(labels="cat"), "labels is 'cat', expected a list", id="labels"),
        pytest.param(changed(labels=["a", 1]), "labels is 1, expected a string", id="label"),
        pytest.param(changed(files={"a": 1}), "files.a is 1", id="files"),
        pytest.param(changed(engine={"backend": "x"}), "engine lacks compute_cap", id="engine"),
        pytest.param(changed(engine=ENGINE | {"fallbacks": "x"}), "fallbacks is 'x'", id="falls"),
        pytest.param(changed(inputs=[]), "inputs is .*at least one", id="no input"),
        pytest.param(changed(inputs=[TENSOR | {"shape": [0]}]), "positive integers", id="axis"),
        pytest.param(changed(inputs=[TENSOR | {"shape": [1.0]}]), "positive", id="float axis"),
        pytest.param(changed(outputs=[{"name": "x"}]), "lacks dtype, shape", id="output"),
        pytest.param(changed(preprocess={"size": -1}), "preprocess.size is -1", id="preprocess"),
        pytest.param(
            changed(golden={"min_cosine": 2, "probes": 1}), "min_cosine is 2, expected", id="cosine"
        ),
        pytest.param(changed(golden=GOLDEN | {"probes": 0}), "probes is 0, expected 1", id="none"),
        pytest.param(changed(golden=GOLDEN | {"probes": 1000}), "1 to 999", id="many probes"),
        pytest.param(changed(labels=["x"] * (1 << 17 | 1)), "at most 131072", id="many labels"),
        pytest.param(changed(labels=["a\x1b[2J"]), "without control char", id="terminal"),
        pytest.param(changed(model="a\nb"), "model is 'a.+nb', expected text", id="two lines"),
        pytest.param(changed(model="\ud800"), "without control", id="lone surrogate"),
        pytest.param(changed(**{"a\nb" * 99: 1}), "has unknown a.+nba.*…;", id="long key"),
        pytest.param(changed(files={"a\nb": 1}), "files.a.+nb is 1", id="a line break in a key"),
        pytest.param(changed(inputs=[TENSOR] * 65), "at most 64", id="many inputs"),
        pytest.param(changed(inputs=[TENSOR] * 2), "each name once", id="inputs of one name"),
        pytest.param(changed(inputs=[TENSOR | {"shape": [1] * 9}]), "8 axes", id="many axes"),
        pytest.param(changed(inputs=[TENSOR | {"shape": [1 << 31]}]), "below 2", id="long axis"),
        pytest.param(changed(inputs=[TENSOR | {"dtype": "object"}]), "one of float32", id="dtype"),
        pytest.param(changed(precision_map=[]), "precision_map is .*an object", id="map"),
        pytest.param("[]", "manifest is .*expected an object", id="a list"),
        pytest.param(CLASSIFIER.to_json()[:200], "not JSON .*build", id="truncated"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        pytest.param('{"schema": NaN}', "NaN is not a JSON number", id="NaN"),
        pytest.param('{"schema": 1e999}', "beyond what a float holds", id="infinity"),
        pytest.param('{"schema": 1, "schema": 1}', "key 'schema' is there twice", id="twice"),
        pytest.param('{"a": ' + "9" * 10_000 + "}", "not JSON", id="long number"),
        pytest.param("", "not JSON", id="empty"),
    ],
)
def test_refusals_are_one_line(text: str, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        Manifest.from_json(text)
    assert "\n" not in str(caught.value)


def test_nesting_is_bounded_whatever_python_allows() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1 << 20)  # beyond what the stack holds
    try:
        for opening in ("[", '{"a":', '[["]"],'):
            with pytest.raises(EngineError, match="nested more than 32 deep"):
                Manifest.from_json(opening * 300_000)
    finally:
        sys.setrecursionlimit(before)


def test_brackets_in_text_are_no_nesting() -> None:
    labels = ("[" * 100, '{"' * 100, '\\"[' * 100)
    manifest = dataclasses.replace(CLASSIFIER, labels=labels)
    assert Manifest.from_json(manifest.to_json()) == manifest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(field=st.sampled_from(sorted(json.loads(CLASSIFIER.to_json()))), value=JSON)
def test_any_value_in_any_field_is_read_or_refused_in_one_line(field: str, value: Any) -> None:
    try:
        manifest = Manifest.from_json(changed(**{field: value}))
    except EngineError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_change_of_the_text_is_read_or_refused(data: st.DataObject) -> None:
    text = CLASSIFIER.to_json()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    pieces = st.sampled_from(["", "{", "}", "[", "]", '"', ",", "\\", "null", "-1", "1e9999"])
    inserted = data.draw(st.text(max_size=5) | pieces)
    try:
        manifest = Manifest.from_json(text[:start] + inserted + text[end:])
    except EngineError as error:
        assert "\n" not in str(error)
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_not_a_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        dataclasses.replace(CLASSIFIER, latency={"ms": float("nan")}).to_json()
