"""Any function that turns texts into vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ialstore import (
    CallableEmbedder,
    ConfigurationError,
    InvalidInputError,
    UnavailableError,
    open_engine,
)
from ialstore.config import load_config, make_embedder

MODULE = """
calls = []

def embed(texts):
    calls.append(texts)
    return [[len(text), 1.0, 2.0] for text in texts]

class Client:
    @staticmethod
    def embed(texts):
        return [[0.0, 1.0, len(text)] for text in texts]

number = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module with functions to embed with."""
    name = f"embedding_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def lengths(texts: list[str]) -> list[list[float]]:
    return [[len(text), 3.0, 4.0] for text in texts]


def made(function: Any = lengths, **options: Any) -> CallableEmbedder:
    given: dict[str, Any] = {"dimension": 3, "model": "lengths", **options}
    return CallableEmbedder(given.pop("function", function), **given)


def as_tuples(texts: list[str]) -> Sequence[tuple[float, ...]]:
    return tuple(map(tuple, lengths(texts)))


@pytest.mark.parametrize(
    "function",
    [
        lengths,
        as_tuples,
        lambda texts: np.array(lengths(texts)),
        lambda texts: np.array(lengths(texts), np.float16),
        lambda texts: [np.array(one) for one in lengths(texts)],
        lambda texts: np.array(lengths(texts)).astype(">f8"),
    ],
    ids=["lists", "tuples", "float64", "float16", "arrays", "big-endian"],
)
def test_vectors_of_any_form_are_taken(function: Callable[[list[str]], Any]) -> None:
    vectors = made(function).embed(["", "a"])

    assert vectors.dtype == np.float32
    assert np.allclose(vectors, np.array([[0, 3, 4], [1, 3, 4]]) / [[5], [26**0.5]])


def test_vectors_stay_as_they_are_if_asked() -> None:
    embedder = made(normalize=False)
    assert embedder.embed(["abc"]).tolist() == [[3, 3, 4]]
    assert embedder.embed_query("abc").tolist() == [3, 3, 4]


def test_very_long_and_very_short_vectors_come_to_unit_length() -> None:
    vectors = made(lambda _: [[1e30, 1e30, 0], [1e-30, 0, 0]]).embed(["a", "b"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_the_array_of_the_function_is_not_changed() -> None:
    kept = np.array([[3.0, 0.0, 4.0]], np.float32)
    made(lambda _: kept).embed(["a"])
    assert kept.tolist() == [[3, 0, 4]]


def test_texts_come_in_batches() -> None:
    sizes: list[int] = []

    def function(texts: list[str]) -> Any:
        sizes.append(len(texts))
        return lengths(texts)

    vectors = made(function, batch_size=4, normalize=False).embed(["x" * i for i in range(10)])

    assert sizes == [4, 4, 2]
    assert vectors[:, 0].tolist() == list(range(10))


def test_no_texts_call_nothing() -> None:
    assert made(lambda _: pytest.fail("called")).embed([]).shape == (0, 3)


def test_a_query_may_have_a_function_of_its_own() -> None:
    embedder = made(query_target=lambda texts: [[1.0, 0.0, 0.0] for _ in texts])
    assert embedder.embed_query("a").tolist() == [1, 0, 0]
    assert embedder.embed(["a"])[0, 0] < 1


def test_texts_are_read_up_to_max_characters() -> None:
    embedder = made(max_characters=2, normalize=False)
    assert embedder.max_characters == 2
    assert embedder.embed(["abc"])[0, 0] == embedder.embed_query("abc")[0] == 2
    assert made().max_characters is None


def test_it_says_what_it_is() -> None:
    embedder = made()
    assert (embedder.model, embedder.dimension) == ("lengths", 3)
    assert repr(embedder) == "CallableEmbedder(model='lengths', dimension=3)"


def test_it_is_called_from_several_threads_at_once() -> None:
    barrier = threading.Barrier(4, timeout=30)

    def function(texts: list[str]) -> Any:
        barrier.wait()
        return lengths(texts)

    with ThreadPoolExecutor(4) as threads:
        assert len(list(threads.map(made(function).embed_query, "abcd"))) == 4


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([[1, 2]], r"the function of 'lengths' returned shape \(1, 2\), not \(1, 3\)"),
        ([1, 2, 3], r"returned shape \(3,\), not \(1, 3\)"),
        ([[1, 2, 3], [1, 2, 3]], r"returned shape \(2, 3\), not \(1, 3\)"),
        ([], r"returned shape \(0,\)"),
        (None, r"returned shape \(\)"),
        (["abc"], "no array of numbers"),
        ([[1, 2], [1]], "no array of numbers"),
        ({"a": [1, 2, 3]}, "no array of numbers"),
        ([[0, 0, 0]], "zero or not finite"),
        ([[1, 2, float("inf")]], "zero or not finite"),
        ([[1, 2, 1e200]], "zero or not finite"),
    ],
)
def test_what_is_not_a_vector_for_each_text_is_refused(found: Any, said: str) -> None:
    embedder = made(lambda _: found)
    with pytest.raises(UnavailableError, match=said) as caught:
        embedder.embed(["a"])
    assert not caught.value.retryable
    with pytest.raises(UnavailableError, match=said):
        embedder.embed_query("a")


def test_what_the_function_raises_passes() -> None:
    def function(_: list[str]) -> Any:
        raise KeyError("x")

    with pytest.raises(KeyError):
        made(function).embed(["a"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dimension": 0}, "dimension must be at least 1"),
        ({"dimension": 5000}, "dimension must be at most 4,096"),
        ({"dimension": "3"}, "dimension must be an int"),
        ({"model": ""}, "model must not be empty"),
        ({"model": None}, "model must be a str"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_characters": 0}, "max_characters must be at least 1"),
        ({"normalize": "no"}, "normalize must be true or false"),
        ({"function": 5}, "target must be a function, not int"),
        ({"function": "embed"}, "written package.module:function, not 'embed'"),
        ({"function": ":embed"}, "written package.module:function"),
        ({"function": "no_such_module:embed"}, "there is no module no_such_module"),
        ({"function": "ialstore.errors:embed"}, "ialstore.errors has no embed"),
        ({"function": "ialstore.limits:MAX_GET"}, "target must be a function, not int"),
        ({"query_target": 5}, "query_target must be a function"),
        ({"query_target": "ialstore:x.y"}, "query_target ialstore:x.y: ialstore has no x.y"),
    ],
)
def test_a_wrong_argument_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        made(**options)


def test_a_single_text_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="embed_query takes one text"):
        made().embed("hello")
    with pytest.raises(InvalidInputError, match="the text must be a str"):
        made().embed([5])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


# -- by configuration ---------------------------------------------------------------------------


def configured(**options: Any) -> dict[str, Any]:
    return {
        "conversation": {"url": "memory:"},
        "embedder": {"use": "callable", "dimension": 3, "model": "m", **options},
    }


def test_a_configuration_names_the_function(module: str) -> None:
    with open_engine(configured(target=f"{module}:embed")) as engine:
        engine.save("u", "s", "user", "hello")
        assert engine.index.spec.dimension == 3
        assert engine.index.spec.model == "m"
        assert len(engine.build_context("hello", "u", "another").memories) == 1


def test_a_configuration_names_a_function_inside_a_class(module: str) -> None:
    config = load_config(
        configured(target=f"{module}:Client.embed", query_target=f"{module}:embed")
    )
    embedder = make_embedder(config)
    assert embedder.embed(["a"])[0, 0] == 0
    assert embedder.embed_query("a")[0] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "the dict: embedder.target is missing; callable needs it"),
        ({"target": "x"}, "the dict: embedder: target is written package.module:function"),
        ({"target": "no_such_module:x"}, "the dict: embedder: target no_such_module:x: there is"),
        ({"target": "math:sin", "dimension": 0}, "the dict: embedder: dimension must be at least"),
        ({"taget": "math:sin"}, r"embedder\.taget is unknown; did you mean target\?"),
    ],
)
def test_a_wrong_configuration_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_engine(configured(**options))
