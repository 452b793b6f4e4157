"""Embedders: what the built-in one finds, and that it does so everywhere alike."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ialstore import InvalidInputError, Message
from ialstore.embedding import Embedder, HashingEmbedder, embedded_text, has_words

TEXTS = ("I painted a sunrise.", "東京の天気は?", "", "!!!", "a" * 100, "Ünïcödé 10 €")
DIGEST = "ef8d36a7472e4f8f982f7f571004296e73b88af94b3b7f5a10d5f60a2a8e9e5e"


@pytest.fixture(scope="module")
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


def ranked(embedder: Embedder, query: str, texts: list[str]) -> list[str]:
    """Return texts, best first."""
    scores = embedder.embed(texts) @ embedder.embed_query(query)
    return [texts[i] for i in np.argsort(-scores, kind="stable")]


def digest_of_texts() -> str:
    made = HashingEmbedder()
    vectors = [*made.embed(TEXTS), *(made.embed_query(text) for text in TEXTS)]
    return hashlib.sha256(b"".join(one.astype("<f4").tobytes() for one in vectors)).hexdigest()


@pytest.mark.parametrize(
    ("query", "wanted", "others"),
    [
        pytest.param(
            "What did she paint?",
            "Melanie: I painted a sunrise by the lake.",
            ["Caroline: What did you do?", "Melanie: She did what she did, and what did he do?"],
            id="another form of the word, among function words",
        ),
        pytest.param(
            "restaurant by the river",
            "We booked a resturant, the one at the river.",
            ["The river was high this spring.", "Dinner was good."],
            id="a misspelling",
        ),
        pytest.param(
            "Which nuts is my sister allergic to?",
            "Eight of us. My sister is vegetarian and allergic to hazelnuts, so please check twice "
            "that the kitchen knows about it before you confirm the table for the dinner party.",
            ["Nuts!", "Go nuts :)"],
            id="a long text with more of the words before a short one",
        ),
        pytest.param(
            "東京の天気", "明日は東京に行きます。天気が心配です。", ["猫が好きです"], id="Japanese"
        ),
        pytest.param(
            "我的妹妹对什么过敏", "妹妹对坚果过敏", ["明天下雨", "我喜欢猫"], id="Chinese"
        ),
        pytest.param("แมวของฉันชื่ออะไร", "แมวชื่อมะลิ", ["ฉันชอบกินข้าวผัด", "พรุ่งนี้ฝนจะตก"], id="Thai"),
        pytest.param("बहन का जन्मदिन कब है", "बहन का जन्मदिन मार्च में है", ["मुझे चाय पसंद है"], id="Hindi"),
        pytest.param("내 고양이 이름", "고양이 이름은 나비예요", ["내일 비가 와요"], id="Korean"),
        pytest.param(
            "iPhone手机", "新的iPhone很贵", ["新的电视很贵"], id="scripts mixed in a word"
        ),
        pytest.param(
            "CAFE\u0301", "ein café in Köln", ["ein Haus in Köln"], id="case and composition"
        ),
    ],
)
def test_a_query_finds_the_text_that_shares_its_words(
    embedder: HashingEmbedder, query: str, wanted: str, others: list[str]
) -> None:
    assert ranked(embedder, query, [*others, wanted])[0] == wanted


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_every_vector_has_unit_length_and_is_finite(texts: list[str]) -> None:
    made = HashingEmbedder(dimension=16)
    rows = [*made.embed(texts), *map(made.embed_query, texts)]
    assert all(abs(np.linalg.norm(row) - 1) < 1e-6 for row in rows)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_shape_is_that_of_the_texts(embedder: HashingEmbedder, count: int) -> None:
    vectors = embedder.embed(["hello"] * count)
    assert vectors.shape == (count, 384)
    assert vectors.dtype == embedder.embed_query("hello").dtype == np.float32


@pytest.mark.parametrize("text", ["", "!!!", "🎉🎉", "\u0301", "— …"])
def test_a_text_without_words_has_a_fixed_vector(embedder: HashingEmbedder, text: str) -> None:
    fixed = np.eye(384, dtype=np.float32)[0]
    assert np.array_equal(embedder.embed([text])[0], fixed)
    assert np.array_equal(embedder.embed_query(text), fixed)


def test_the_vectors_of_version_1_stay_the_same_bits() -> None:
    assert digest_of_texts() == DIGEST, "change the version in the model's name too"


def test_another_process_with_other_hash_seed_gives_the_same_bits() -> None:
    code = (
        "import hashlib\nfrom ialstore.embedding import HashingEmbedder\n"
        f"texts = {TEXTS!r}\nmade = HashingEmbedder()\n"
        "vectors = [*made.embed(texts), *(made.embed_query(text) for text in texts)]\n"
        "data = b''.join(one.astype('<f4').tobytes() for one in vectors)\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert run.stdout.strip() == DIGEST


def test_what_was_embedded_before_changes_nothing(embedder: HashingEmbedder) -> None:
    texts = [f"word{i} and word{i * 7}" for i in range(5000)]
    first = embedder.embed(texts)
    assert np.array_equal(embedder.embed(texts), first)


def test_a_text_is_read_up_to_max_characters(embedder: HashingEmbedder) -> None:
    assert embedder.max_characters is not None
    text = "hello " * (embedder.max_characters // 6 + 1)
    cut = text[: embedder.max_characters]
    assert np.array_equal(embedder.embed_query(text + "surprise"), embedder.embed_query(cut))


@pytest.mark.parametrize("dimension", [16, 384, 4096])
def test_the_model_names_the_dimension(dimension: int) -> None:
    made = HashingEmbedder(dimension=dimension)
    assert made.model == f"hashing-{dimension}-v1"
    assert made.dimension == dimension == len(made.embed_query("hello"))
    assert repr(made) == f"HashingEmbedder(dimension={dimension})"


@pytest.mark.parametrize("dimension", [0, 15, 4097, 384.0, "384", True])
def test_other_dimensions_are_refused(dimension: int) -> None:
    with pytest.raises(InvalidInputError, match="dimension"):
        HashingEmbedder(dimension=dimension)


def test_a_lone_surrogate_is_refused(embedder: HashingEmbedder) -> None:
    with pytest.raises(InvalidInputError, match="surrogate"):
        embedder.embed_query("word \ud800")


def test_a_single_text_in_place_of_a_list_is_refused(embedder: HashingEmbedder) -> None:
    with pytest.raises(InvalidInputError, match="embed_query takes one text"):
        embedder.embed("hello")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("!?… 🎉 \u0301", False),
        ("a", True),
        ("— 7 —", True),
        ("水", True),
        ("ไ", True),
    ],
)
def test_words_are_letters_and_digits_of_any_script(text: str, *, expected: bool) -> None:
    assert has_words(text) is expected


@pytest.mark.parametrize(
    ("name", "expected"), [(None, "I paint."), ("Melanie", "Melanie: I paint."), ("", ": I paint.")]
)
def test_a_message_is_embedded_behind_its_speaker_s_name(name: str | None, expected: str) -> None:
    message = Message.new(user_id="u", session_id="s", role="user", content="I paint.", name=name)
    assert embedded_text(message) == expected
