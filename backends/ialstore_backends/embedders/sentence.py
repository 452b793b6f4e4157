"""``sentence-transformers``: embedding by a model that runs on this machine.

The library and the model are loaded at first use, which takes seconds; see
``SentenceTransformersEmbedder`` for when that is.
"""

from __future__ import annotations

import hashlib
import importlib
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np

from ialstore._text import check_int, check_text
from ialstore.embedding import read_texts, sensible_vectors
from ialstore.errors import (
    ConfigurationError,
    InvalidInputError,
    MissingDriverError,
    UnavailableError,
)
from ialstore.limits import MAX_DIMENSION
from ialstore_backends._late import Late, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["DEFAULT_MODEL", "SentenceTransformersEmbedder"]

DEFAULT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
_MAX_BATCH: Final = 10_000


class _Model(Protocol):
    """What is used of ``sentence_transformers.SentenceTransformer``."""

    def encode_query(
        self,
        inputs: str,
        *,
        prompt: str | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
    ) -> Any: ...

    def encode_document(
        self,
        inputs: list[str],
        *,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
    ) -> Any: ...


class SentenceTransformersEmbedder:
    """Embeds by a model of the sentence-transformers library.

    The model is loaded once, when the first text is embedded; without ``dimension`` already when
    the engine opens, which has to know it. One call after another uses it: the library spreads
    each over all cores, and its tokenizers can't be shared. A forked child goes on with a model
    that was loaded before, on the CPU; load nothing on a GPU before a fork.

    Attributes:
        max_characters: 32,768. Models read much less, such as 256 tokens; what lies beyond costs
            time all the same.
    """

    max_characters: int | None = 32_768

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        name: str | None = None,
        dimension: int | None = None,
        device: str | None = None,
        batch_size: int = 32,
        normalize: bool = True,
        local_files_only: bool = False,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        """Make an embedder; loads nothing.

        Args:
            model: a name on the Hugging Face hub, or the folder of a model.
            name: what is stored with an index instead of ``model``; the same model may lie in
                another folder elsewhere.
            dimension: length of its vectors, to know it without loading the model.
            device: such as ``cpu``, ``cuda`` or ``mps``; the library chooses by default.
            batch_size: texts that the model computes at once.
            normalize: bring every vector to unit length. Without it they are as the model makes
                them.
            local_files_only: download nothing; the model is in the cache or a folder.
            query_prompt: stands before a text to search with; by default the model's own, if any.
            document_prompt: stands before a text to be stored; the same.

        Raises:
            InvalidInputError: an argument is not as said.
            MissingDriverError: the library is not installed.
        """
        check_int(batch_size, "batch_size", at_least=1, at_most=_MAX_BATCH)
        if dimension is not None:
            check_int(dimension, "dimension", at_least=1, at_most=MAX_DIMENSION)
        for what, flag in (("normalize", normalize), ("local_files_only", local_files_only)):
            if not isinstance(flag, bool):
                raise InvalidInputError(f"{what} must be true or false")
        for what, text in {
            "model": model,
            "name": name,
            "device": device,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
        }.items():
            if text is not None:
                check_text(text, what)
        if not model:
            raise InvalidInputError("model must not be empty")
        require(
            "sentence_transformers",
            extra="sentence-transformers",
            needed_by="the embedder sentence-transformers",
        )
        self._source = model
        self._name = name or model
        self._dimension = dimension
        self._device = device
        self._batch_size = batch_size
        self._normalize = normalize
        self._local_files_only = local_files_only
        self._query_prompt = query_prompt
        self._document_prompt = document_prompt
        self._loaded: Late[_Model] = Late(self._load, inherited=True)

    @property
    def model(self) -> str:
        """The name, and what else stored vectors depend on: length and prompt."""
        parts = [self._name]
        if not self._normalize:
            parts.append("raw")
        if self._document_prompt:
            digest = hashlib.blake2b(self._document_prompt.encode(), digest_size=4).hexdigest()
            parts.append(f"prompt-{digest}")
        return " ".join(parts)

    @property
    def dimension(self) -> int:
        """Length of every vector; loads the model if it was not given."""
        if self._dimension is None:
            self._loaded.get()
        return cast("int", self._dimension)

    def __repr__(self) -> str:
        return f"SentenceTransformersEmbedder(model={self.model!r})"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts to be stored, shape (len(texts), dimension).

        Raises:
            InvalidInputError: a single text was given, or a text is no ``str`` or no valid one.
            ConfigurationError: the model can't be loaded, or has another dimension.
            UnavailableError: it can't be downloaded now, or failed.
        """
        read = read_texts(texts, self.max_characters)
        model = self._loaded.get()
        shape = (len(read), self.dimension)
        if not read:
            return np.empty(shape, np.float32)
        return self._computed(lambda: self._documents(model, read), shape)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text to search with, shape (dimension,).

        Raises:
            IalStoreError: as ``embed``.
        """
        (read,) = read_texts([text], self.max_characters)
        model = self._loaded.get()

        def query() -> Any:
            return model.encode_query(
                read,
                prompt=self._query_prompt,
                show_progress_bar=False,
                normalize_embeddings=self._normalize,
            )

        return self._computed(query, (self.dimension,))

    def _documents(self, model: _Model, texts: list[str]) -> Any:
        return model.encode_document(
            texts,
            prompt=self._document_prompt,
            batch_size=self._batch_size,
            show_progress_bar=False,
            normalize_embeddings=self._normalize,
        )

    def _computed(self, compute: Callable[[], Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        source = f"the model {self._name!r}"
        try:
            with self._loaded.lock:
                found = compute()
        except Exception as error:
            raise UnavailableError(
                f"{source} raised {type(error).__name__}", operation="embed", retryable=True
            ) from error
        return sensible_vectors(found, shape, source)

    def _load(self) -> _Model:
        """Load the model, and compare its dimension with the one given or learn it."""
        what = f"the model {self._source!r}"
        try:
            library: Any = importlib.import_module("sentence_transformers")
            model: _Model = library.SentenceTransformer(
                self._source, device=self._device, local_files_only=self._local_files_only
            )
            found = len(self._documents(model, ["dimension"])[0])
        except ImportError as error:
            raise MissingDriverError(
                f"sentence-transformers is installed but can't be imported: {error}"
            ) from error
        except Exception as error:
            cause = type(error).__name__
            if isinstance(error, OSError) and not (
                isinstance(error, FileNotFoundError) or self._local_files_only
            ):
                raise UnavailableError(
                    f"{what} could not be downloaded ({cause}); where there is no network, name "
                    "its folder, or fill the cache of the Hugging Face hub beforehand",
                    operation="embed",
                    retryable=True,
                ) from error
            raise ConfigurationError(
                f"{what} could not be loaded ({cause}); it is the folder of a model or its name "
                "on the Hugging Face hub, and device must be one that this machine has"
            ) from error
        if self._dimension is None:
            self._dimension = found
        elif self._dimension != found:
            raise ConfigurationError(
                f"{what} makes vectors of {found} dimensions, not {self._dimension}"
            )
        return model
