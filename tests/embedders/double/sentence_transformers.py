"""A double of sentence-transformers, which needs gigabytes of PyTorch.

It has what the embedder uses, with the names, order and defaults of the parameters of the real
class as of version 6.2; ``test_the_double_is_like_the_library`` compares them where that is
installed. A vector is a bag of letters: enough to tell texts, prompts and lengths apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSION = 32

made: list[SentenceTransformer] = []
"""Every model loaded, in order."""


class SentenceTransformer:
    """Embeds by counting letters."""

    def __init__(
        self,
        model_name_or_path: str | None = None,
        *,
        device: str | None = None,
        local_files_only: bool = False,
    ) -> None:
        if model_name_or_path == "/no/such/folder":
            raise FileNotFoundError(f"Path {model_name_or_path} not found")
        if model_name_or_path == "not/in-the-cache":
            raise OSError("We couldn't connect to the hub, and couldn't find it in the cache.")
        if model_name_or_path == "broken/library":
            raise ImportError("libtorch.so: cannot open shared object file")
        if device == "warp":
            raise RuntimeError("Expected one of cpu, cuda, ... at start of device string: warp")
        self.name = model_name_or_path
        self.device = device
        self.local_files_only = local_files_only
        self.calls: list[tuple[str, int]] = []
        self.answer: Any = None
        self._borrowed = threading.Lock()
        made.append(self)

    def encode_query(
        self,
        inputs: Sequence[str] | str,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,  # noqa: FBT001 - the library's signature
        *,
        normalize_embeddings: bool = False,
    ) -> NDArray[np.float32]:
        """Return a vector, or vectors of several texts."""
        return self._encode("query", inputs, prompt, batch_size, unit=normalize_embeddings)

    def encode_document(
        self,
        inputs: Sequence[str] | str,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,  # noqa: FBT001 - the library's signature
        *,
        normalize_embeddings: bool = False,
    ) -> NDArray[np.float32]:
        """Return a vector, or vectors of several texts."""
        return self._encode("document", inputs, prompt, batch_size, unit=normalize_embeddings)

    def _encode(
        self, kind: str, inputs: Sequence[str] | str, prompt: str | None, size: int, *, unit: bool
    ) -> NDArray[np.float32]:
        if not self._borrowed.acquire(blocking=False):
            raise RuntimeError("Already borrowed")  # as its tokenizers do
        try:
            for _ in range(50):
                time.sleep(0)  # lets other threads run
            texts = [inputs] if isinstance(inputs, str) else inputs
            self.calls.append((kind, size))
            if self.answer is not None:
                return self.answer()  # type: ignore[no-any-return]  # a test says what
            vectors = np.zeros((len(texts), DIMENSION), np.float32)
            for row, text in enumerate(texts):
                for letter in f"{prompt or ''}{text}".encode():
                    vectors[row, letter % DIMENSION] += 1
            if unit:
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            return vectors[0] if isinstance(inputs, str) else vectors
        finally:
            self._borrowed.release()
