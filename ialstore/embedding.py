"""Embedders: what turns texts into vectors, and the built-in one that needs no model.

``HashingEmbedder`` finds shared words and their forms, not meaning; other models come
by extras and through ``CallableEmbedder``. Which messages are embedded, and when, is decided by the
context engine.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ialstore._text import check_int, check_text
from ialstore.errors import InvalidInputError, UnavailableError
from ialstore.limits import MAX_DIMENSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ialstore.model import Message

__all__ = [
    "Embedder",
    "HashingEmbedder",
    "embedded_text",
    "has_words",
    "read_texts",
    "sensible_vectors",
    "unit_rows",
]


_WORD: Final = 256
_FULL: Final = 16
_LIGHT: Final = 2  # of a function word, which has no parts either
_CONSTANT: Final = 6.0 * _WORD * _FULL
"""As long as the rest of a text of 18 different words: each counts 1, and its parts 1 together."""

_MAX_WORD: Final = 40
"""Letters of a word that are read: enough to tell words apart, few enough to remember them."""
_MIN_STEM: Final = 3
_SPACED: Final = re.compile(r"[^\W_]+")
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\U0001b000-\U0001b16f\U00020000-\U0003ffff]+"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, kana and Han: no spaces between words."""

_ENGLISH_FUNCTION_WORDS: Final = """
a an the this that these those some any each every all both either neither no not none such
i me my mine myself you your yours yourself he him his himself she her hers herself it its
itself we us our ours ourselves they them their theirs themselves one ones
who whom whose which what when where why how whatever whether
am is are was were be been being do does did done doing don have has had having can could
will would shall should may might must need let ll ve re s t d m im ive
get gets got getting go goes going gone went gonna come came make makes made take takes took
put give gave given keep kept say says said see seen seem seems use used want wants wanna
know think like thing things something anything everything nothing someone anyone everyone
and or but nor if then else than because so though although while until unless since
as at by for from in into of off on onto out over to too toward under up upon via with within
without about above across after again against along around away back before behind below
beneath between down during through
here there now once also just only even ever never still yet quite rather really very almost
already always often soon sometimes perhaps maybe more most much many few less least lot lots
other others another own same well sure please ok okay yes yeah yep oh hey hi hello wow haha
thanks thank welcome good great nice cool awesome amazing glad happy
"""
_FUNCTION_WORDS: Final = frozenset(_ENGLISH_FUNCTION_WORDS.split())


class Embedder(Protocol):
    """Turns texts into vectors of unit length, whose dot product says how close they are.

    A stored text and a question may be embedded in different ways: the two methods belong
    together, and a vector is comparable only with those of the same ``model``.
    """

    @property
    def model(self) -> str:
        """Name that is stored with an index, and changes whenever the vectors would."""
        ...

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        ...

    @property
    def max_characters(self) -> int | None:
        """How much of a text it reads; what lies beyond is ignored. None is all."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts to be stored, shape (len(texts), dimension).

        Each row has unit length, whatever its text.
        """
        ...

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text to search with, shape (dimension,), of unit length."""
        ...


def embedded_text(message: Message) -> str:
    """Return what is embedded of a message: its content, behind the speaker's name if it has one.

    With the name in front, a question that names a person finds what that person said.
    """
    return message.content if message.name is None else f"{message.name}: {message.content}"


def has_words(text: str) -> bool:
    """Return whether a text has a letter or digit of any script: something to search for."""
    return any(map(str.isalnum, text))


def read_texts(texts: Sequence[str], max_characters: int | None) -> list[str]:
    """Return texts as an embedder reads them: checked, and without what lies beyond its limit.

    Raises:
        InvalidInputError: a single text was given, or a text is no ``str`` or no valid one.
    """
    if isinstance(texts, str):
        raise InvalidInputError("embed takes a list of texts; embed_query takes one text")
    for text in texts:
        check_text(text, "the text")
    return [text[:max_characters] for text in texts]


def sensible_vectors(found: Any, shape: tuple[int, ...], source: str) -> NDArray[np.float32]:
    """Return what a model answered as vectors that an index can take.

    Args:
        found: an array, or sequences of numbers.
        shape: what it must have.
        source: what answered, to name it in an error.

    Raises:
        UnavailableError: it is of another shape, or a vector is zero or not finite.
    """
    try:
        with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is refused
            vectors: NDArray[np.float32] = np.asarray(found, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UnavailableError(
            f"{source} returned no array of numbers of shape {shape}", operation="embed"
        ) from error
    if vectors.shape != shape:
        raise UnavailableError(
            f"{source} returned shape {vectors.shape}, not {shape}", operation="embed"
        )
    if not (np.isfinite(vectors).all() and vectors.any(axis=-1).all()):
        raise UnavailableError(
            f"{source} returned a vector that is zero or not finite", operation="embed"
        )
    return vectors


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors, or one vector, at unit length; none of them may be zero."""
    # In float64, where no square of a float32 is too large or too small.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    units: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return units


class HashingEmbedder:
    """Embeds by the words of a text and the parts of its words; no model, no download, no state.

    It is lexical: it finds texts that share words, their forms ("paint", "painted"), parts and
    slight misspellings. It knows no synonyms and no other language's word for the same thing: "my
    sister" does not find "Anna". Texts in scripts without spaces (Chinese, Japanese, Thai, ...)
    are read as characters and pairs of them. A model that knows meaning comes with an extra.

    Each word, and each run of 3 and of 4 letters in it, adds to or subtracts from one component
    that a hash chooses (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning",
    ICML 2009). Words repeated count by the square root of their number, and a short built-in list
    of English function words counts an eighth. Component 0 is kept for a constant, present in
    stored texts and absent in queries: without it, division by the length would rank the shortest
    texts first (pivoted length normalization: Singhal, Buckley and Mitra, SIGIR 1996). So a text
    and the query of the same words are not parallel; only the order of scores means something. A
    text without any word is that constant alone.

    The same text gives the same bits in every process and on every machine: until the division
    by the length, sums are of whole numbers. (Python must know the characters: those newer than
    its Unicode tables count as no letters.)

    Attributes:
        max_characters: 16,384: in a longer text, the words that matter would drown.
    """

    max_characters: int | None = 16_384

    def __init__(self, *, dimension: int = 384) -> None:
        """Make an embedder.

        Args:
            dimension: 16 to 4,096. More keeps words better apart: fewer false finds, more bytes.

        Raises:
            InvalidInputError: the dimension is no such number.
        """
        check_int(dimension, "dimension", at_least=16, at_most=MAX_DIMENSION)
        self._dimension = dimension
        self._features = lru_cache(maxsize=8192)(self._make_features)

    @property
    def model(self) -> str:
        """``hashing-384-v1`` for 384 dimensions."""
        return f"hashing-{self._dimension}-v1"

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return self._dimension

    def __repr__(self) -> str:
        return f"HashingEmbedder(dimension={self._dimension})"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts to be stored, shape (len(texts), dimension).

        Raises:
            InvalidInputError: a single text was given, or a text is no ``str`` or no valid one.
        """
        checked = read_texts(texts, self.max_characters)
        vectors = np.empty((len(checked), self._dimension), np.float32)
        for row, text in enumerate(checked):
            vectors[row] = self._embed(text, constant=_CONSTANT)
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text to search with, shape (dimension,).

        Raises:
            InvalidInputError: not a ``str``, or no valid one.
        """
        (checked,) = read_texts([text], self.max_characters)
        return self._embed(checked, constant=0.0).astype(np.float32)

    def _embed(self, text: str, *, constant: float) -> NDArray[np.float64]:
        vector = np.zeros(self._dimension)
        counts = Counter(_words(text))
        if counts:
            features = [self._features(word) for word in counts]
            weights = [
                round(math.sqrt(count) * (_LIGHT if word in _FUNCTION_WORDS else _FULL))
                for word, count in counts.items()
            ]
            places = np.concatenate([one for one, _ in features])
            values = np.concatenate([w * v for w, (_, v) in zip(weights, features, strict=True)])
            vector += np.bincount(places, values, minlength=self._dimension)
        # Sums of whole numbers below 2**53 are exact, whatever their order.
        length = math.sqrt(vector @ vector + constant * constant)
        if length == 0:
            vector[0] = length = 1.0
        else:
            vector[0] = constant
        return vector / length

    def _make_features(self, word: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the components that a word adds to, and how much to each: whole numbers."""
        features = ["=" + _stem(word)]
        values = [_WORD]
        if word not in _FUNCTION_WORDS:
            framed = f"<{word}>"
            parts = [framed[i : i + n] for n in (3, 4) for i in range(len(framed) - n + 1)]
            features += parts
            values += [round(_WORD / math.sqrt(len(parts)))] * len(parts)
        hashes = [_hash(feature) for feature in features]
        places = [1 + (one >> 1) % (self._dimension - 1) for one in hashes]
        signed = [value if one & 1 else -value for one, value in zip(hashes, values, strict=True)]
        return np.array(places, np.intp), np.array(signed, np.float64)


def _words(text: str) -> Iterator[str]:
    """Yield words in lower case; of a run without spaces, its characters and their pairs."""
    if text.isascii():
        yield from (word[:_MAX_WORD] for word in _SPACED.findall(text.lower()))
        return
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # Vowel signs and accents that have no composed form are no \w, but part of their word.
    lettered = "".join(
        c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded
    )
    for run in lettered.split():
        for unspaced in _UNSPACED.findall(run):
            yield from unspaced
            yield from map("".join, pairwise(unspaced))
        for word in _UNSPACED.sub(" ", run).split():
            if has_words(word):
                yield word[:_MAX_WORD]


def _stem(word: str) -> str:
    """Return an English word without its commonest endings, and its double last letter single."""
    for ending in ("ing", "ed", "es", "s", "ly", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > _MIN_STEM and word[-1] == word[-2] else word


def _hash(feature: str) -> int:
    return int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
