"""``CallableEmbedder``: any function that turns texts into vectors, as an embedder."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ialstore._text import check_int, check_text
from ialstore.embedding import read_texts, sensible_vectors, unit_rows
from ialstore.errors import InvalidInputError
from ialstore.limits import MAX_DIMENSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CallableEmbedder"]

_MAX_BATCH = 100_000


class CallableEmbedder:
    """Embeds by a function that takes a list of texts and returns one vector for each.

    The vectors may be a list of lists, an array or anything that numpy takes for one. The function
    is called from several threads at once, and keeps to no deadline unless it does so itself.
    """

    def __init__(
        self,
        target: Callable[[list[str]], Any] | str,
        *,
        dimension: int,
        model: str,
        query_target: Callable[[list[str]], Any] | str | None = None,
        batch_size: int = 64,
        max_characters: int | None = None,
        normalize: bool = True,
    ) -> None:
        """Make an embedder.

        Args:
            target: the function, or its place as ``package.module:function``. It embeds texts to
                be stored.
            dimension: length of its vectors, 1 to 4,096.
            model: name that is stored with an index; change it whenever the vectors change.
            query_target: another function for texts to search with, where the model treats them
                differently.
            batch_size: texts that the function gets at once, at most.
            max_characters: how much of a text it gets; None is all.
            normalize: bring every vector to unit length. Without it the function does so, or the
                index is made for vectors of other lengths.

        Raises:
            InvalidInputError: an argument is not as said, or there is no such function.
        """
        check_int(dimension, "dimension", at_least=1, at_most=MAX_DIMENSION)
        check_int(batch_size, "batch_size", at_least=1, at_most=_MAX_BATCH)
        if max_characters is not None:
            check_int(max_characters, "max_characters", at_least=1, at_most=2**31)
        if not isinstance(normalize, bool):
            raise InvalidInputError("normalize must be true or false")
        if check_text(model, "model") == 0:
            raise InvalidInputError("model must not be empty: it tells vectors of models apart")
        self.max_characters = max_characters
        self._model = model
        self._dimension = dimension
        self._batch_size = batch_size
        self._normalize = normalize
        self._function = _function(target, "target")
        self._query_function = (
            self._function if query_target is None else _function(query_target, "query_target")
        )

    @property
    def model(self) -> str:
        """Name as given."""
        return self._model

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return self._dimension

    def __repr__(self) -> str:
        return f"CallableEmbedder(model={self._model!r}, dimension={self._dimension})"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts to be stored, shape (len(texts), dimension).

        What the function raises passes unchanged.

        Raises:
            InvalidInputError: a single text was given, or a text is no ``str`` or no valid one.
            UnavailableError: the function returned other than one vector for each text.
        """
        read = read_texts(texts, self.max_characters)
        vectors = np.empty((len(read), self._dimension), np.float32)
        for start in range(0, len(read), self._batch_size):
            batch = read[start : start + self._batch_size]
            vectors[start : start + len(batch)] = self._call(self._function, batch)
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text to search with, shape (dimension,).

        Raises:
            InvalidInputError: not a ``str``, or no valid one.
            UnavailableError: as ``embed``.
        """
        vectors = self._call(self._query_function, read_texts([text], self.max_characters))
        vector: NDArray[np.float32] = vectors[0]
        return vector

    def _call(self, function: Callable[[list[str]], Any], texts: list[str]) -> NDArray[np.float32]:
        found = function(texts)
        shape = (len(texts), self._dimension)
        vectors = sensible_vectors(found, shape, f"the function of {self._model!r}")
        return unit_rows(vectors) if self._normalize else vectors


def _function(target: object, what: str) -> Callable[[list[str]], Any]:
    """Return a function, given itself or by its place."""
    if isinstance(target, str):
        module, colon, name = target.partition(":")
        if not (module and colon and name):
            raise InvalidInputError(f"{what} is written package.module:function, not {target!r}")
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except ModuleNotFoundError as error:
            raise InvalidInputError(f"{what} {target}: there is no module {error.name}") from error
        except AttributeError as error:
            raise InvalidInputError(f"{what} {target}: {module} has no {name}") from error
        target = found
    if not callable(target):
        raise InvalidInputError(f"{what} must be a function, not {type(target).__name__}")
    return target
